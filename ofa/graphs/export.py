"""Writes a trained subnet as a file a runtime loads, proves that it computes the same, and says where it came from."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ofa.errors import PackageMissing, SpaceMismatch, UsageInvalid
from ofa.files import readable_json, sha256_bytes, write_atomic
from ofa.graphs import onnx, pytorch, run, tflite
from ofa.graphs.errors import parity_broken
from ofa.graphs.ir import Graph, Weights, graph_of
from ofa.space.layers import layers_of
from ofa.space.ops import ops_of

if TYPE_CHECKING:
    from ofa.space.core import Subnet

Format = Literal["onnx", "tflite", "pytorch"]

TOLERANCE = 1e-4
PARITY_IMAGES = 2
SIDECAR_SCHEMA = "model/1"
WRITERS: dict[str, Callable[[Graph], bytes]] = {"onnx": onnx.write, "tflite": tflite.write, "pytorch": pytorch.write}
RUNTIMES: dict[str, tuple[run.Runtime, ...]] = {
    "onnx": ("onnxruntime",),
    "tflite": ("litert", "tflite_runtime"),
    "pytorch": ("torch",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A written model: the file, the JSON beside it, and max|difference| / max|logit| against torch."""

    path: Path
    sidecar: Path
    sha256: str
    parity: float


def export(
    network: nn.Module,
    subnet: Subnet,
    path: Path,
    format: Format = "onnx",
    *,
    checkpoint_sha256: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    options: Mapping[str, int] | None = None,
    seed: int = 0,
) -> Exported:
    """Write ``subnet`` to ``path`` and its origin to ``<path>.json``, once its output is that of torch.

    ``network`` is a supernet, or the plain network extracted from one: pass the latter after calibrating its batch
    norm. ``preprocessing`` is what a user of the file must do to images (kept as given); ``options`` goes to the writer
    (ONNX: opset, ir_version). Parity is max|difference| / max|logit| over random images drawn with ``seed``, through
    the format's own runtime. Raises VerificationFailed above 1e-4, and then writes nothing; SpaceMismatch where network
    and subnet differ; PackageMissing without a runtime of the format.
    """
    if format not in WRITERS:
        raise UsageInvalid(f"there is no format '{format}'", hint=f"one of: {', '.join(get_args(Format))}")
    plain = _plain(network, subnet)
    ops = ops_of(subnet)
    graph = graph_of(ops, folded_weights(plain, [[layer.name for layer in layers_of(op)] for op in ops]))
    data = WRITERS[format](graph, **dict(options or {}))
    runtime = _runtime(format)
    parity = parity_with(plain, graph, data, runtime, seed)
    if not parity <= TOLERANCE:
        raise parity_broken(path, runtime, parity=parity, tolerance=TOLERANCE)
    path = Path(path)
    exported = Exported(
        path=path, sidecar=path.with_name(path.name + ".json"), sha256=sha256_bytes(data), parity=parity
    )
    origin = {
        "schema": SIDECAR_SCHEMA,
        "file": {"name": path.name, "sha256": exported.sha256, "bytes": len(data), "format": format},
        "space": subnet.space.id,
        "subnet": subnet.to_json(),
        "subnet_id": subnet.id,
        "resolution_px": subnet.resolution,
        "precision": "fp32",
        "checkpoint_sha256": checkpoint_sha256,
        "preprocessing": dict(preprocessing or {}),
        "parity": {"runtime": runtime, "images": PARITY_IMAGES, "seed": seed, "max_difference": parity},
        "writer": dict(options or {}),
        "versions": _versions(runtime),
    }
    write_atomic(path, data)
    write_atomic(exported.sidecar, readable_json(origin))
    return exported


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
    training = plain.training
    plain.eval()
    with torch.no_grad():
        expected = plain(torch.from_numpy(images)).double().numpy()
    plain.train(training)
    found = run.load(data, runtime)(images).astype(np.float64)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


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
            raise SpaceMismatch(
                f"the network given is not subnet '{subnet.id}' of '{subnet.space.id}'",
                why="it has other layers, or was extracted at another resolution",
                hint="extract and calibrate the subnet that is exported",
            )
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
