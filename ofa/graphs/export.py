"""Writes a trained subnet as a file a runtime loads, proves that it computes the same, and says where it came from."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ofa.errors import PackageMissing
from ofa.files import readable_json, sha256_bytes, write_atomic
from ofa.graphs import onnx, pytorch, qdq, run, tflite
from ofa.graphs.errors import (
    agreement_broken,
    calibration_missing,
    format_unknown,
    network_of_another,
    parity_broken,
    precision_unknown,
    precision_unsupported,
)
from ofa.graphs.ir import Array, Graph, Weights, graph_of
from ofa.graphs.quantize import checked_images
from ofa.space.layers import layers_of
from ofa.space.ops import ops_of

if TYPE_CHECKING:
    from ofa.space.core import Subnet

Format = Literal["onnx", "tflite", "pytorch"]
Precision = Literal["fp32", "int8"]

TOLERANCE = 1e-4
LEAST_COSINE = 0.9  # int8 loses some accuracy, and is broken where it gives other logits altogether
PARITY_IMAGES = 2
TORCH_BATCH = 64
SIDECAR_SCHEMA = "model/1"
WRITERS: dict[str, Callable[[Graph], bytes]] = {"onnx": onnx.write, "tflite": tflite.write, "pytorch": pytorch.write}
INT8_WRITERS: dict[str, Callable[[Graph, Array], bytes]] = {"onnx": qdq.write, "tflite": tflite.write_int8}
RUNTIMES: dict[str, tuple[run.Runtime, ...]] = {
    "onnx": ("onnxruntime",),
    "tflite": ("litert", "tflite_runtime"),
    "pytorch": ("torch",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How near a file's logits come to torch's over some images.

    ``cosine`` is that of all logits as one vector; ``max_difference`` is max|difference| / max|logit|;
    ``same_top1_percent`` is the share of images for which both name the same class.
    """

    runtime: run.Runtime
    images: int
    cosine: float
    max_difference: float
    same_top1_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A written model: the file, the JSON beside it, and how near its logits come to torch's.

    ``parity`` is max|difference| / max|logit|: over random images in fp32, over the calibration images in int8.
    ``agreement`` is None in fp32.
    """

    path: Path
    sidecar: Path
    sha256: str
    parity: float
    agreement: Agreement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proven:
    """The bytes of a file, what came of comparing it with torch, and what its sidecar says of that."""

    data: bytes
    parity: float
    agreement: Agreement | None = None
    facts: dict[str, Any]


def export(
    network: nn.Module,
    subnet: Subnet,
    path: Path,
    format: Format = "onnx",
    *,
    precision: Precision = "fp32",
    calibration: Array | None = None,
    checkpoint_sha256: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    options: Mapping[str, int] | None = None,
    seed: int = 0,
) -> Exported:
    """Write ``subnet`` to ``path`` and its origin to ``<path>.json``, once its output is that of torch.

    ``network`` is a supernet, or the plain network extracted from one: pass the latter after calibrating its batch
    norm. ``preprocessing`` is what a user of the file must do to images (kept as given); ``options`` goes to the writer
    (ONNX: opset, ir_version; int8 TFLite: hard_swish). An fp32 file must be within 1e-4 of torch, over random images
    drawn with ``seed``. An int8 file takes its ranges from ``calibration``, float32[n, C, r, r] images of the training
    set, prepared as for the network; how near it comes to torch over these is reported, and refused only where the
    cosine is below 0.9. Raises VerificationFailed where a file is refused, and then writes nothing; UsageInvalid for a
    form there is no writer for and int8 without images; SpaceMismatch where network and subnet differ; PackageMissing
    without a runtime of the format.
    """
    _check_form(format, precision)
    path, kept = Path(path), dict(options or {})
    plain = _plain(network, subnet)
    graph = _graph(plain, subnet)
    if precision == "int8":
        proven = _int8(plain, graph, path, format, calibration, kept)
    else:
        proven = _fp32(plain, graph, path, format, seed, kept)
    sidecar, sha256 = path.with_name(path.name + ".json"), sha256_bytes(proven.data)
    origin = {
        **_origin(subnet),
        "file": {"name": path.name, "sha256": sha256, "bytes": len(proven.data), "format": format},
        "precision": precision,
        "checkpoint_sha256": checkpoint_sha256,
        "preprocessing": dict(preprocessing or {}),
        "writer": kept,
        **proven.facts,
    }
    write_atomic(path, proven.data)
    write_atomic(sidecar, readable_json(origin))
    return Exported(path=path, sidecar=sidecar, sha256=sha256, parity=proven.parity, agreement=proven.agreement)


def folded_weights(plain: nn.Module, names: Sequence[Sequence[str]] | None = None) -> list[dict[str, Weights]]:
    """Return the weights of a plain network, op by op and layer by layer, batch norm folded into them.

    ``plain.ops[i]`` has a submodule per layer: ``.conv`` with ``.norm`` (or None), or a linear layer. ``names[i]``
    limits op i to these layers. Folding is done in float64: w * g / sqrt(v + eps), (b - m) * g / sqrt(v + eps) + beta.
    """
    found: list[dict[str, Weights]] = []
    for place, op in enumerate(plain.ops):  # type: ignore[arg-type]
        layers = {name: module for name, module in op.named_children() if names is None or name in names[place]}
        weights = {name: _folded(module) for name, module in layers.items()}
        found.append({name: pair for name, pair in weights.items() if pair is not None})
    return found


def parity_with(plain: nn.Module, graph: Graph, data: bytes, runtime: run.Runtime, seed: int = 0) -> float:
    """Return max|difference| / max|logit| between torch and a file in a runtime, over random images."""
    shape = (PARITY_IMAGES, graph.input.channels, graph.input.size, graph.input.size)
    images = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return _largest_difference(run.load(data, runtime)(images), _logits(plain, images))


def agreement_with(plain: nn.Module, images: Array, data: bytes, runtime: run.Runtime) -> Agreement:
    """Return how near a file in a runtime comes to torch over images float32[n, C, r, r]."""
    found, expected = run.load(data, runtime)(images).astype(np.float64), _logits(plain, images)
    lengths = float(np.linalg.norm(found) * np.linalg.norm(expected))
    return Agreement(
        runtime=runtime,
        images=len(images),
        cosine=float((found * expected).sum()) / lengths if lengths else 0.0,
        max_difference=_largest_difference(found, expected),
        same_top1_percent=100 * int((found.argmax(1) == expected.argmax(1)).sum()) / len(images),
    )


def _logits(plain: nn.Module, images: Array) -> NDArray[np.float64]:
    """Return the logits of a network for images, float64[n, classes]; its mode is left as it was."""
    training = plain.training
    plain.eval()
    parts = torch.from_numpy(images).split(TORCH_BATCH)
    with torch.no_grad():
        logits: NDArray[np.float64] = torch.cat([plain(part) for part in parts]).double().numpy()
    plain.train(training)
    return logits


def _largest_difference(found: NDArray[Any], expected: NDArray[np.float64]) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _check_form(format: str, precision: str) -> None:
    """Raise UsageInvalid for a format or precision there is none of."""
    if format not in WRITERS:
        raise format_unknown(format, get_args(Format))
    if precision not in get_args(Precision):
        raise precision_unknown(precision, get_args(Precision))
    if precision == "int8" and format not in INT8_WRITERS:
        raise precision_unsupported(precision, format, INT8_WRITERS)


def _origin(subnet: Subnet) -> dict[str, Any]:
    """Return what a sidecar says about the network."""
    return {
        "schema": SIDECAR_SCHEMA,
        "space": subnet.space.id,
        "subnet": subnet.to_json(),
        "subnet_id": subnet.id,
        "resolution_px": subnet.resolution,
    }


def _fp32(plain: nn.Module, graph: Graph, path: Path, format: Format, seed: int, options: Mapping[str, int]) -> _Proven:
    """Return a file that computes what torch computes, or raise VerificationFailed."""
    runtime = _runtime(format)
    data = WRITERS[format](graph, **options)
    parity = parity_with(plain, graph, data, runtime, seed)
    if not parity <= TOLERANCE:
        raise parity_broken(path, runtime, parity=parity, tolerance=TOLERANCE)
    proof = {"runtime": runtime, "images": PARITY_IMAGES, "seed": seed, "max_difference": parity}
    return _Proven(data=data, parity=parity, facts={"parity": proof, "versions": _versions(runtime)})


def _int8(
    plain: nn.Module, graph: Graph, path: Path, format: Format, images: Array | None, options: Mapping[str, int]
) -> _Proven:
    """Return an int8 file and how near it comes to torch, or raise VerificationFailed where that is nowhere near."""
    if images is None:
        raise calibration_missing()
    images = checked_images(graph, images)
    runtime = _runtime(format)
    data = INT8_WRITERS[format](graph, images, **options)
    agreement = agreement_with(plain, images, data, runtime)
    if not agreement.cosine >= LEAST_COSINE:
        raise agreement_broken(path, runtime, cosine=agreement.cosine, least=LEAST_COSINE, images=len(images))
    facts = {
        "agreement": asdict(agreement),
        "calibration": {"images": len(images), "sha256": sha256_bytes(images.tobytes()), "ranges": "least, largest"},
        # The ranges come from onnxruntime, whatever the format.
        "versions": _versions(runtime) | _versions("onnxruntime"),
    }
    return _Proven(data=data, parity=agreement.max_difference, agreement=agreement, facts=facts)


def _graph(plain: nn.Module, subnet: Subnet) -> Graph:
    """Return the graph of a plain network."""
    ops = ops_of(subnet)
    return graph_of(ops, folded_weights(plain, [[layer.name for layer in layers_of(op)] for op in ops]))


def _plain(network: nn.Module, subnet: Subnet) -> nn.Module:
    """Return the plain network: ``network`` itself where it has ops, else what is extracted from it.

    A plain network says what layers it was made of, and so at which resolution its batch norm was calibrated: weights
    alone would fit that subnet at any other one.
    """
    ops = getattr(network, "ops", None)
    if isinstance(ops, nn.ModuleList):
        wanted = [layers_of(op) for op in ops_of(subnet)]
        found = [getattr(op, "layers", own) for op, own in zip(ops, wanted, strict=False)]
        if len(ops) != len(wanted) or found != wanted:
            raise network_of_another(subnet.id, subnet.space.id)
        return network
    supernet = importlib.import_module("ofa.nn.supernet")
    plain: nn.Module = supernet.extract(network, subnet)
    return plain


def _runtime(format: Format) -> run.Runtime:
    """Return the first runtime of a format that works here, or raise what the first one lacks."""
    missing: list[PackageMissing] = []
    for runtime in RUNTIMES[format]:
        try:
            run.version(runtime)
        except PackageMissing as fault:
            missing.append(fault)
        else:
            return runtime
    raise missing[0]


def _folded(module: nn.Module) -> Weights | None:
    """Return (weight, bias) of a layer, or None where it has none."""
    if isinstance(module, nn.Linear):
        return _float32(module.weight), None if module.bias is None else _float32(module.bias)
    conv, norm = getattr(module, "conv", None), getattr(module, "norm", None)
    if not isinstance(conv, nn.Conv2d):
        return None
    weight = conv.weight.detach().double()
    bias = None if conv.bias is None else conv.bias.detach().double()
    if isinstance(norm, nn.BatchNorm2d):
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = weight * scale[:, None, None, None]
        centred = -norm.running_mean.double() if bias is None else bias - norm.running_mean.double()
        bias = centred * scale + norm.bias.detach().double()
    return _float32(weight), None if bias is None else _float32(bias)


def _float32(tensor: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().float().contiguous().numpy()
    return array


def _versions(runtime: run.Runtime) -> dict[str, str]:
    """Return the versions the file depends on."""
    names = {"torch": str(torch.__version__), "numpy": np.__version__, runtime: run.version(runtime)}
    try:
        names["ofa-lab"] = importlib.metadata.version("ofa-lab")
    except importlib.metadata.PackageNotFoundError:
        names["ofa-lab"] = "from source"
    return names
