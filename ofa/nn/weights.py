"""Weights published with Once-for-All: what a space's tensors are called there, and a reader of such checkpoints."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from ofa.nn import errors
from ofa.nn.unpacking import unpacked
from ofa.space import ops
from ofa.space.core import SearchSpace
from ofa.space.layers import Layer, layers_of
from ofa.space.ops import Op

MOST_BYTES = 1 << 30

# What holds the weights of each layer of an op there, as a static network spells it.
_STEM = {
    "conv": "first_conv.conv",
    "depthwise": "blocks.0.conv.depth_conv.conv",
    "project": "blocks.0.conv.point_linear.conv",
}
_DEEPSTEM = {"conv0": "input_stem.0.conv", "conv1": "input_stem.1.conv.conv", "conv2": "input_stem.2.conv"}
_MBCONV = {
    "expand": "inverted_bottleneck.conv",
    "depthwise": "depth_conv.conv",
    "reduce": "depth_conv.se.fc.reduce",
    "excite": "depth_conv.se.fc.expand",
    "project": "point_linear.conv",
}
_BOTTLENECK = {"reduce": "conv1.conv", "conv": "conv2.conv", "expand": "conv3.conv", "shortcut": "downsample.conv"}
_HEAD = {"expand": "final_expand_layer.conv", "mix": "feature_mix_layer.conv", "classifier": "classifier.linear"}
# Where nothing is mixed after the pool, the last expansion bears the mix layer's name (ProxylessNAS).
_HEAD_WITHOUT_MIX = {"expand": "feature_mix_layer.conv", "classifier": "classifier.linear"}

# An elastic layer wraps a plain one in a module of the same name, so the last part of its name comes twice.
_WRAPPED = {"conv", "bn", "linear"}
_BLOCK = re.compile(r"^(blocks\.\d+\.)conv\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a published checkpoint holds for a space, every tensor of it accounted for once.

    ``weights`` is a state dict of ``ofa.nn.supernet.build(space)``, float32. ``identity`` lists the kernel transforms
    in it (our names) that the file lacks. ``unneeded`` lists the tensors of the file (its names) that were recognised
    and left out: the running statistics of its batch norms, which mix all subnets and serve none; our supernet keeps
    no such statistics, ``ofa.nn.calibrate`` measures a subnet's own.
    """

    weights: dict[str, Tensor]
    identity: tuple[str, ...]
    unneeded: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """One tensor there: its spellings, that of the published supernet first; ``ours`` is empty for a statistic."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    ours: str = ""
    transform: bool = False

    @property
    def kind(self) -> str:
        """Return type and shape, as a message says them."""
        return f"float32 {list(self.shape)}"


def load_published(path: Path, space: SearchSpace) -> Published:
    """Read the checkpoint of a published supernet of ``space``: a dict of tensors, or one under ``state_dict``.

    Both spellings of blocks (``conv``, ``mobile_inverted_conv``) and of layers (elastic, static) are known, and kernel
    transforms may be absent, as in the largest network trained first. Layout, batch-norm epsilon (1e-5) and the chained
    kernel transforms (matrix times vector) are those of this package, so values are copied as they stand. Raises
    FileInvalid for a file above 1 GiB, damaged, or with more than plain data and tensors in it, and, with a list of the
    differences, for one with other tensors than the supernet has (github.com/mit-han-lab/once-for-all).
    """
    return renamed(_tensors_in(path), space, source=str(path))


def renamed(tensors: Mapping[str, Tensor], space: SearchSpace, *, source: str) -> Published:
    """Return published tensors under our names, as copies; ``source`` names them in the message.

    Raises FileInvalid that lists what is missing, unknown or of another type or shape, as ``load_published`` does.
    """
    slots = list(_slots(space))
    by_name = {name: slot for slot in slots for name in slot.names}
    given: dict[str, str] = {}
    extra, missing, misfits = [], [], []
    for name in tensors:
        if name not in by_name:
            extra.append(name)
        elif (first := given.setdefault(by_name[name].names[0], name)) != name:
            misfits.append((name, f"a second spelling of '{first}'", "one of them"))
    for slot in slots:
        own = given.get(slot.names[0])
        if own is None and slot.ours and not slot.transform:
            missing.append(slot.names[0])
        elif own is not None and slot.ours and (found := _misfit(tensors[own], slot.kind)):
            misfits.append((own, found, slot.kind))
    if missing or extra or misfits:
        raise errors.other_weights(source, space.id, missing=missing, extra=extra, misfits=misfits)
    # Copied, because tensors of a file may share memory, which training would then change twice.
    weights = {
        slot.ours: tensors[given[slot.names[0]]].detach().clone(memory_format=torch.contiguous_format)
        if slot.names[0] in given
        else torch.eye(slot.shape[0])
        for slot in slots
        if slot.ours
    }
    identity = tuple(slot.ours for slot in slots if slot.ours and slot.names[0] not in given)
    unneeded = tuple(name for name in tensors if not by_name[name].ours)
    return Published(weights=weights, identity=identity, unneeded=unneeded)


def published_shapes(space: SearchSpace) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of a space's published supernet, running statistics included."""
    return {slot.names[0]: slot.shape for slot in _slots(space)}


def _misfit(value: Tensor, expected: str) -> str:
    """Return what a tensor is where it is not the weights expected; empty where it is."""
    if value.is_nested or value.layout != torch.strided or value.device.type != "cpu":
        return "no plain tensor"
    found = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if found == expected and not bool(value.isfinite().all()):
        return f"{found} with values that are not finite"
    return "" if found == expected else found


def _slots(space: SearchSpace) -> Iterator[_Slot]:
    """List the tensors of the largest subnet, whose parts make all others, and its kernel transforms."""
    for place, op, modules, kernels in _places(space):
        elastic = place.startswith("stages.") or space.family == "bottleneck"
        for layer in layers_of(op):
            if layer.kind in ("conv", "linear"):
                used = kernels if layer.groups > 1 else ()
                yield from _slots_of(layer, place, modules[layer.name], used, elastic=elastic)


def _places(space: SearchSpace) -> Iterator[tuple[str, Op, Mapping[str, str], Collection[int]]]:
    """Yield each place of the supernet: our name, its largest op, the module of each layer there, its kernels."""
    deep = space.family == "bottleneck"
    first, *blocks, last = ops.ops_of(space.corner("max"))
    yield "stem", first, _DEEPSTEM if deep else _STEM, ()
    where = [(s, b) for s, stage in enumerate(space.stages) for b in range(max(stage.depths))]
    for number, ((s, b), op) in enumerate(zip(where, blocks, strict=True)):
        # Static block 0 of an mbconv space is in our stem.
        prefix, inside = (f"blocks.{number}", _BOTTLENECK) if deep else (f"blocks.{number + 1}.conv", _MBCONV)
        modules = {layer: f"{prefix}.{module}" for layer, module in inside.items()}
        yield f"stages.{s}.{b}", op, modules, space.stages[s].kernels
    yield "head", last, _HEAD_WITHOUT_MIX if space.head.mix_channels is None else _HEAD, ()


def _slots_of(layer: Layer, place: str, module: str, kernels: Collection[int], *, elastic: bool) -> Iterator[_Slot]:
    """List the tensors of one layer with weights and of its norm."""
    conv, norm = f"{place}.convs.{layer.name}", f"{place}.norms.{layer.name}"
    outputs = (layer.out_channels,)
    fan_in = (layer.in_channels // layer.groups,)
    edges = (layer.kernel,) * 2 if layer.kind == "conv" else ()
    yield _Slot(names=_spellings(module, "weight", elastic), shape=outputs + fan_in + edges, ours=f"{conv}.weight")
    if layer.bias:
        yield _Slot(names=_spellings(module, "bias", elastic), shape=outputs, ours=f"{conv}.bias")
    for larger, kernel in pairwise(sorted(kernels, reverse=True)):
        names = _old_too(f"{module}.{larger}to{kernel}_matrix")
        yield _Slot(names=names, shape=(kernel**2,) * 2, ours=f"{conv}.transform_{kernel}", transform=True)
    if layer.norm:
        module = f"{module.removesuffix('conv')}bn"
        for name in ("weight", "bias"):
            yield _Slot(names=_spellings(module, name, elastic), shape=outputs, ours=f"{norm}.{name}")
        for name, shape in (("running_mean", outputs), ("running_var", outputs), ("num_batches_tracked", ())):
            yield _Slot(names=_spellings(module, name, elastic), shape=shape)


def _spellings(module: str, tensor: str, elastic: bool) -> tuple[str, ...]:
    """Return the names a tensor can have; that of an elastic or a static layer first."""
    leaf = module.rpartition(".")[2]
    levels = [f"{module}.{leaf}", module] if leaf in _WRAPPED else [module]
    return _old_too(*(f"{level}.{tensor}" for level in (levels if elastic else reversed(levels))))


def _old_too(*names: str) -> tuple[str, ...]:
    """Add to names those that older files use for the inside of a block."""
    return tuple(dict.fromkeys((*names, *(_BLOCK.sub(r"\1mobile_inverted_conv.", name) for name in names))))


def _tensors_in(path: Path) -> Mapping[str, Tensor]:
    """Return the state dict in a file; whatever a training run saved beside it is left alone."""
    content = unpacked(path, max_bytes=MOST_BYTES, broken=errors.weights_unreadable, old=True)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise errors.weights_unreadable(path, "it holds no dict of tensors, nor one under 'state_dict'")
    return content
