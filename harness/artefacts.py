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
from typing import TYPE_CHECKING, Any

from harness.errors import file_invalid
from harness.inventory import devices_folder
from harness.protocol import Runtime
from ofa.files import canonical_json, read_capped, sha256_bytes, sha256_file, write_atomic

if TYPE_CHECKING:
    from ofa.space.ops import Op

FORMATS = {
    "onnxruntime": "onnx",
    "litert": "tflite",
    "tflite_runtime": "tflite",
    "torch": "pytorch",
    "simulated": "keys",
}
NEWEST_OPSET = 17
NEWEST_IR_VERSION = 8
MAX_FILE_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A stored file: its SHA-256, which is its name, and its size."""

    name: str
    size_bytes: int


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

    def store_file(self, path: Path) -> File:
        """Keep a copy of a model file (at most 2 GiB); raises FileInvalid where it cannot be read."""
        return self.store(read_capped(path, max_bytes=MAX_FILE_BYTES, what="model file"))

    def for_op(self, op: Op, runtime: Runtime) -> File:
        """Return the file of one op with random weights, as the device's runtime reads it."""
        return self.for_network([op], runtime)

    def for_network(self, ops: Sequence[Op], runtime: Runtime) -> File:
        """Return the file of a whole network (its ops in order) with random weights, as the device's runtime reads
        it."""
        recipe = {"ops": [op.key for op in ops], **target(runtime)}
        memory = self.folder / "recipes" / sha256_bytes(canonical_json({**recipe, "writers": writers()}).encode())
        if memory.exists():
            name = memory.read_text().strip()
            if self.path(name).exists() and sha256_file(self.path(name)) == name:
                return File(name=name, size_bytes=self.path(name).stat().st_size)
        stored = self.store(build(ops, runtime))
        write_atomic(memory, stored.name + "\n")
        return stored


def target(runtime: Runtime) -> dict[str, Any]:
    """Return the file format a runtime takes, and for ONNX the opset and IR version: the device's, at most ours."""
    if FORMATS[runtime.name] != "onnx":
        return {"format": FORMATS[runtime.name]}
    return {
        "format": "onnx",
        "opset": min(runtime.opset or NEWEST_OPSET, NEWEST_OPSET),
        "ir_version": min(runtime.ir_version or NEWEST_IR_VERSION, NEWEST_IR_VERSION),
    }


def build(ops: Sequence[Op], runtime: Runtime) -> bytes:
    """Write ops with random weights through the writer of the runtime's format."""
    options = target(runtime)
    # A simulated device knows ops by name; no other reads such a file.
    if options["format"] == "keys":
        return canonical_json({"ops": [op.key for op in ops]}).encode()
    ir = importlib.import_module("ofa.graphs.ir")
    writer = importlib.import_module("ofa.graphs." + options.pop("format"))
    data: bytes = writer.write(ir.graph_of(ops, None), **options)
    return data


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
