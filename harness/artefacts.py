"""The files a plan needs, named by their content: built by the writers of `ofa.graphs` in the form each runtime
takes."""

from __future__ import annotations

import hashlib
import importlib
import io
import zipapp
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import file_invalid
from harness.places import devices_folder
from harness.plan import FilePrecision
from harness.protocol import Runtime
from ofa.files import canonical_json, read_capped, sha256_bytes, sha256_file, write_atomic
from ofa.graphs.forms import FORMATS

if TYPE_CHECKING:
    from ofa.space.ops import Op

INT8_WRITERS = {"onnx": "qdq", "tflite": "tflite"}
NEWEST_OPSET = 17
NEWEST_IR_VERSION = 8
MAX_FILE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A stored file: its SHA-256, which is its name, and its size."""

    name: str
    size_bytes: int


class Source(Protocol):
    """Where a plan's files come from: built, or only foretold."""

    def for_op(self, op: Op, runtime: Runtime, precision: FilePrecision = "fp32") -> File:
        """Return the file of one op."""

    def for_network(self, ops: Sequence[Op], runtime: Runtime, precision: FilePrecision = "fp32") -> File:
        """Return the file of ops one after another."""


@dataclass(frozen=True, slots=True)
class Artefacts:
    """A folder of files named by their SHA-256, with a memory of which recipe gave which file."""

    folder: Path

    def path(self, name: str) -> Path:
        """Return where a file is or would be."""
        return self.folder / name

    def store(self, data: bytes) -> File:
        """Keep some bytes; storing the same again changes nothing, unless what is there was damaged."""
        name = sha256_bytes(data)
        if not self.path(name).exists() or sha256_file(self.path(name)) != name:
            write_atomic(self.path(name), data)
        return File(name=name, size_bytes=len(data))

    def store_file(self, path: Path, precision: FilePrecision = "fp32") -> File:
        """Keep a copy of a model file (at most 2 GiB), made symmetric for "int8_symmetric"; raises FileInvalid where it
        cannot be read."""
        data = read_capped(path, max_bytes=MAX_FILE_BYTES, what="model file")
        return self.store(symmetric(data, f"'{path}'") if precision == "int8_symmetric" else data)

    def for_op(self, op: Op, runtime: Runtime, precision: FilePrecision = "fp32") -> File:
        """Return the file of one op with random weights, as the device's runtime reads it."""
        return self.for_network([op], runtime, precision)

    def for_network(self, ops: Sequence[Op], runtime: Runtime, precision: FilePrecision = "fp32") -> File:
        """Return the file of a whole network (its ops in order) with random weights, as the device's runtime reads
        it."""
        memory = self._memory(ops, runtime, precision)
        if (known := self._known(memory)) is not None:
            return known
        stored = self.store(build(ops, runtime, precision))
        write_atomic(memory, stored.name + "\n")
        return stored

    def foretell(
        self, ops: Sequence[Op], runtime: Runtime, precision: FilePrecision = "fp32"
    ) -> tuple[str, File | None]:
        """Return the name of a recipe, and the file it gave; None where it is still to be built."""
        memory = self._memory(ops, runtime, precision)
        return memory.name, self._known(memory)

    def has_built(self, recipe: str) -> bool:
        """Say whether a recipe has given a file, by its name."""
        return self._known(self.folder / "recipes" / recipe) is not None

    def _memory(self, ops: Sequence[Op], runtime: Runtime, precision: FilePrecision) -> Path:
        """Return where it is kept which file a recipe gave."""
        recipe = {"ops": [op.key for op in ops], **target(runtime, precision), "writers": writers()}
        return self.folder / "recipes" / sha256_bytes(canonical_json(recipe).encode())

    def _known(self, memory: Path) -> File | None:
        """Return the file that a recipe gave, or None where it is to be built."""
        if not memory.exists():
            return None
        name = memory.read_text().strip()
        if not self.path(name).exists() or sha256_file(self.path(name)) != name:
            return None
        return File(name=name, size_bytes=self.path(name).stat().st_size)


def target(runtime: Runtime, precision: FilePrecision = "fp32") -> dict[str, Any]:
    """Return the file format a runtime takes, and for ONNX the opset and IR version: the device's, at most ours.

    An int8 file also depends on the onnxruntime of this computer, whose arithmetic gives the ranges and whose quantizer
    writes the ONNX form.
    """
    kind = FORMATS[runtime.name]
    found: dict[str, Any] = {"format": kind}
    if precision != "fp32":
        run = importlib.import_module("ofa.graphs.run")
        found |= {"precision": precision, "quantizer": run.version("onnxruntime")}
    if kind == "onnx":
        found["opset"] = min(runtime.opset or NEWEST_OPSET, NEWEST_OPSET)
        found["ir_version"] = min(runtime.ir_version or NEWEST_IR_VERSION, NEWEST_IR_VERSION)
    return found


def build(ops: Sequence[Op], runtime: Runtime, precision: FilePrecision = "fp32") -> bytes:
    """Write ops with random weights through the writer of the runtime's format.

    Raises what the writer raises: PackageMissing, MeasurementRefused for an opset too old for the precision.
    """
    wanted = target(runtime, precision)
    # A simulated device knows ops by name; no other reads such a file.
    if wanted["format"] == "keys":
        return canonical_json({"ops": [op.key for op in ops]}).encode()
    ir = importlib.import_module("ofa.graphs.ir")
    graph = ir.graph_of(ops, None)
    options = {name: wanted[name] for name in ("opset", "ir_version") if name in wanted}
    data: bytes
    if precision != "fp32":
        writer = importlib.import_module("ofa.graphs." + INT8_WRITERS[wanted["format"]])
        write = writer.write if wanted["format"] == "onnx" else writer.write_int8
        data = write(graph, _image(graph.input.channels, graph.input.size), **options, **boundaries(ops))
        data = symmetric(data) if precision == "int8_symmetric" else data
    else:
        data = importlib.import_module("ofa.graphs." + wanted["format"]).write(graph, **options)
    return data


def symmetric(data: bytes, name: str = "in memory") -> bytes:
    """Return an int8 ONNX file with symmetric integers, as TensorRT inside onnxruntime takes them."""
    made: bytes = importlib.import_module("ofa.graphs.tensorrt").symmetric(data, name)
    return made


def boundaries(ops: Sequence[Op]) -> dict[str, bool]:
    """Return what an int8 file of some ops takes and gives.

    Inside an int8 network a block reads the integers of the one before and leaves integers to the next: steps from and
    to float32 around each op would be work that no network has, on the largest maps as much as some blocks take. They
    stay at the two ends, where a network has them too: a stem reads an image, a head gives logits, in float32.
    """
    return {"takes_int8": ops[0].kind not in ("stem", "deepstem"), "gives_int8": ops[-1].kind != "head"}


def _image(channels: int, size: int) -> NDArray[np.float32]:
    """Return what stands for calibration images: latency depends on ranges no more than on weights, so any fixed one
    does, and one that no libm has a part in gives the same file again."""
    image: NDArray[np.float32] = np.random.default_rng(0).random((1, channels, size, size), dtype=np.float32)
    return image * np.float32(4) - np.float32(2)


def writers() -> str:
    """Return a hash of the writers' own source: a file made by an older writer is not the one a new writer makes."""
    package = importlib.import_module("ofa.graphs")
    digest = hashlib.sha256()
    for path in sorted(Path(package.__path__[0]).glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def agent_archive(folder: Path) -> Path:
    """Return the agent as one zipapp in ``folder``, named by the hash of its source; built where it is not there
    yet."""
    source = devices_folder() / "agent"
    sources = sorted(path for path in source.rglob("*.py"))
    if not (source / "__main__.py").exists():
        raise file_invalid("agent", source, "it has no '__main__.py'", "install ofa-lab again, or use a checkout")
    digest = hashlib.sha256()
    for path in sources:
        digest.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes() + b"\0")
    archive = folder / f"agent-{digest.hexdigest()[:12]}.pyz"
    if not archive.exists():
        draft = io.BytesIO()
        zipapp.create_archive(source, draft, filter=lambda path: path.suffix == ".py")
        write_atomic(archive, draft.getvalue())
    return archive
