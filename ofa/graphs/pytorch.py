"""Writes a graph as a TorchScript file, without torch, and loads such a file where torch is installed.

TorchScript, because a device must load a file without running code of ours (`torch.load` of a module would) and because
boards with torch 1.6 to 1.13 have nothing newer (`torch.export` is of 2.x). The archive is written here rather than by
`torch.jit.save`: its few operators are in every release since 1.6; a bench host needs no torch to measure a board that
has it; the bytes are the same on every machine, where torch numbers its classes in the order a process made them; and
`torch.jit.script` and `save` warn that they are deprecated, while loading stays.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa.errors import package_missing
from ofa.graphs.ir import INPUT, Array, Graph, Node, partial_window
from ofa.graphs.pickled import module_pickle

CLASS = "Network"
FORMAT_VERSION = "3\n"  # what torch.jit.save writes where no operator asks for more; read by every release since 1.6
EPOCH = (1980, 1, 1, 0, 0, 0)


def write(graph: Graph) -> bytes:
    """Return the graph as a TorchScript archive: float32[1, C, H, W] in, the last node's value out.

    The extra file ``input_shape`` holds the input's shape ("1,3,224,224"), which TorchScript itself does not keep.
    """
    tensors = _tensors(graph)
    shape = f"1,{graph.input.channels},{graph.input.size},{graph.input.size}"
    flags = {"training": False, "_is_full_backward_hook": None}
    records: dict[str, bytes] = {
        "version": FORMAT_VERSION.encode(),
        "byteorder": b"little",
        "extra/input_shape": shape.encode(),
        "code/__torch__.py": _source(graph, list(tensors)).encode(),
        "constants.pkl": b"\x80\x02).",  # the empty tuple
        "data.pkl": module_pickle(CLASS, tensors, flags),
    }
    for place, array in enumerate(tensors.values()):
        records[f"data/{place}"] = array.astype("<f4", copy=False).tobytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for name, data in records.items():
            file.writestr(zipfile.ZipInfo(f"network/{name}", EPOCH), data)
    return archive.getvalue()


def load(source: bytes | str, threads: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a call that runs a TorchScript file (bytes or a path) on one float32 array.

    ``threads`` is set for the whole process: torch knows no other way. Raises PackageMissing without torch.
    """
    torch = _torch()
    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(io.BytesIO(source) if isinstance(source, bytes) else source, map_location="cpu").eval()

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
        return found

    return run


def input_shape(source: bytes | str) -> tuple[int, ...]:
    """Return the input shape an archive names; KeyError where it names none."""
    with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
        for name in file.namelist():
            if name.endswith("/extra/input_shape"):
                return tuple(int(part) for part in file.read(name).decode().split(","))
    raise KeyError("input_shape")


def version() -> str:
    """Return torch's version; raises PackageMissing without torch."""
    return str(_torch().__version__)


def _torch() -> Any:
    try:
        import torch
    except ImportError as fault:
        raise package_missing("torch", extra="train", needed_for="running TorchScript files") from fault
    return torch


def _tensors(graph: Graph) -> dict[str, Array]:
    """Return all weights and biases by attribute name."""
    found: dict[str, Array] = {}
    for place, node in enumerate(graph.nodes):
        if node.weight is not None:
            found[f"weight{place}"] = np.ascontiguousarray(node.weight)
        if node.bias is not None:
            found[f"bias{place}"] = np.ascontiguousarray(node.bias)
    return found


def _source(graph: Graph, tensors: Sequence[str]) -> str:
    """Return the archive's class: attributes, then ``forward`` with one statement per layer."""
    values = {INPUT: "x"} | {node.name: f"v{place}" for place, node in enumerate(graph.nodes)}
    quoted = "".join(f'"{name}", ' for name in tensors)
    lines = [
        f"class {CLASS}(Module):",
        f"  __parameters__ = [{quoted}]",
        "  __buffers__ = []",
        *(f"  {name} : Tensor" for name in tensors),
        "  training : bool",
        "  _is_full_backward_hook : Optional[bool]",
        f"  def forward(self: __torch__.{CLASS},",
        "    x: Tensor) -> Tensor:",
    ]
    for place, node in enumerate(graph.nodes):
        read = [values[name] for name in node.inputs]
        lines.append(f"    v{place} = {_activated(node.layer.act, _call(node, place, read))}")
    return "\n".join([*lines, f"    return {values[graph.output]}", ""])


def _call(node: Node, place: int, read: Sequence[str]) -> str:
    """Return the expression of one layer, with every argument spelled out: defaults changed over the years."""
    layer = node.layer
    stride, kernel, pad = ([value] * 2 for value in (layer.stride, layer.kernel, layer.kernel // 2))
    bias = "None" if node.bias is None else f"self.bias{place}"
    match layer.kind:
        case "conv":
            return f"torch.conv2d({read[0]}, self.weight{place}, {bias}, {stride}, {pad}, [1, 1], {layer.groups})"
        case "linear":
            flat = f"torch.flatten({read[0]}, 1, -1)"
            return f"torch.linear({flat}, self.weight{place}, {bias})"
        case "gap":
            return f"torch.adaptive_avg_pool2d({read[0]}, [1, 1])"
        case "maxpool":
            return f"torch.max_pool2d({read[0]}, {kernel}, {stride}, {pad}, [1, 1], False)"
        case "avgpool":
            edge = partial_window(layer)
            return f"torch.avg_pool2d({read[0]}, {kernel}, {stride}, [0, 0], {edge}, False, None)"
        case "mul":
            return f"torch.mul({read[0]}, {read[1]})"
        case "add":
            return f"torch.add({read[0]}, {read[1]}, alpha=1)"
    raise KeyError(layer.kind)


def _activated(act: str | None, value: str) -> str:
    """Return an expression with its activation applied."""
    match act:
        case None:
            return value
        case "relu":
            return f"torch.relu({value})"
        case "relu6":
            return f"torch.hardtanh({value}, 0., 6.)"
        case "hswish":
            return f"torch.hardswish({value})"
        case "hsigmoid":
            return f"torch.hardsigmoid({value})"
    raise KeyError(act)
