"""The layers inside an op, in execution order: what the elastic network runs and the graph writers write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from ofa.space.core import make_divisible

if TYPE_CHECKING:
    from ofa.space.ops import Op

LayerKind = Literal["conv", "linear", "gap", "maxpool", "avgpool", "mul", "add"]
SE_RATIO = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of an op. ``inputs`` are names of earlier layers, or "x" for the input of the op.

    Sizes are edges of square maps, px. A conv pads ``kernel // 2`` on each side; ``norm`` is a batch norm after it.
    """

    name: str
    kind: LayerKind
    inputs: tuple[str, ...]
    in_channels: int
    out_channels: int
    in_size: int
    out_size: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    norm: bool = False
    bias: bool = False
    act: str | None = None

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates of a conv or linear layer at batch 1; 0 for any other."""
        if self.kind not in ("conv", "linear"):
            return 0
        return self.out_size**2 * self.out_channels * self.kernel**2 * self.in_channels // self.groups

    @property
    def params(self) -> int:
        """Return the trained numbers: weights, bias, and scale and shift of a norm."""
        if self.kind not in ("conv", "linear"):
            return 0
        weights = self.out_channels * self.kernel**2 * self.in_channels // self.groups
        return weights + self.out_channels * (self.bias + 2 * self.norm)


@lru_cache(maxsize=1 << 16)
def layers_of(op: Op) -> tuple[Layer, ...]:
    """Return the layers inside an op in execution order; the last one is its output."""
    return tuple(_LAYERS[op.kind](op))


def _conv(name: str, source: Layer | None, op: Op, outputs: int, **parts: Any) -> Layer:
    """Return a convolution that reads ``source`` or the op's input; with batch norm, without bias where not said."""
    size = op.in_size if source is None else source.out_size
    return Layer(
        name=name,
        kind="conv",
        inputs=("x" if source is None else source.name,),
        in_channels=op.in_channels if source is None else source.out_channels,
        out_channels=outputs,
        in_size=size,
        out_size=-(-size // parts.get("stride", 1)),
        **{"norm": True, **parts},
    )


def _after(name: str, kind: LayerKind, first: Layer, *others: str, size: int | None = None, **parts: Any) -> Layer:
    """Return a layer without weights that keeps the channels of ``first``, and its map where no size is given."""
    return Layer(
        name=name,
        kind=kind,
        inputs=(first.name, *others),
        in_channels=first.out_channels,
        out_channels=first.out_channels,
        in_size=first.out_size,
        out_size=first.out_size if size is None else size,
        **parts,
    )


def _pool(op: Op, kind: LayerKind, source: str, channels: int, size: int, **parts: Any) -> Layer:
    """Return a pool over maps as large as the op's input."""
    return Layer(
        name="pool",
        kind=kind,
        inputs=(source,),
        in_channels=channels,
        out_channels=channels,
        in_size=op.in_size,
        out_size=size,
        **parts,
    )


def _stem(op: Op) -> Iterator[Layer]:
    """First convolution, then block 0: depthwise and linear, with a shortcut where the channels agree."""
    conv = _conv("conv", None, op, op.mid[0], kernel=op.kernel, stride=op.stride, act=op.act)
    depthwise = _conv("depthwise", conv, op, op.mid[0], kernel=op.kernel, groups=op.mid[0], act=op.block_act)
    project = _conv("project", depthwise, op, op.out_channels)
    yield from (conv, depthwise, project)
    if op.mid[0] == op.out_channels:
        yield _after("add", "add", project, "conv")


def _deepstem(op: Op) -> Iterator[Layer]:
    """Three 3x3 convolutions, the second one residual and optional, then a 3x3 max pool (ResNet-D)."""
    last = _conv("conv0", None, op, op.mid[0], kernel=op.kernel, stride=op.stride // 2, act=op.act)
    yield last
    if op.residual:
        conv = _conv("conv1", last, op, op.mid[0], kernel=op.kernel, act=op.act)
        last = _after("add", "add", conv, last.name)
        yield from (conv, last)
    last = _conv("conv2", last, op, op.out_channels, kernel=op.kernel, act=op.act)
    yield last
    yield _after("pool", "maxpool", last, size=op.out_size, kernel=3, stride=2)


def _mbconv(op: Op) -> Iterator[Layer]:
    """Inverted residual: expand, depthwise, squeeze-excite after the activation, linear, shortcut."""
    expand = _conv("expand", None, op, op.mid[0], act=op.act)
    spread = {"kernel": op.kernel, "stride": op.stride, "groups": op.mid[0]}
    last = _conv("depthwise", expand, op, op.mid[0], act=op.act, **spread)
    yield from (expand, last)
    if op.se:
        squeeze = _after("squeeze", "gap", last, size=1)
        inner = make_divisible(op.mid[0] // SE_RATIO)
        reduce = _conv("reduce", squeeze, op, inner, norm=False, bias=True, act="relu")
        excite = _conv("excite", reduce, op, op.mid[0], norm=False, bias=True, act="hsigmoid")
        last = _after("gate", "mul", last, "excite")
        yield from (squeeze, reduce, excite, last)
    project = _conv("project", last, op, op.out_channels)
    yield project
    if op.stride == 1 and op.in_channels == op.out_channels:
        yield _after("add", "add", project, "x")


def _bottleneck(op: Op) -> Iterator[Layer]:
    """ResNet-D bottleneck: the stride on the 3x3; a shortcut that changes shape averages, then projects."""
    reduce = _conv("reduce", None, op, op.mid[0], act=op.act)
    conv = _conv("conv", reduce, op, op.mid[0], kernel=op.kernel, stride=op.stride, act=op.act)
    expand = _conv("expand", conv, op, op.out_channels)
    yield from (reduce, conv, expand)
    shortcut = None
    if op.stride > 1:
        shortcut = _pool(op, "avgpool", "x", op.in_channels, op.out_size, kernel=op.stride, stride=op.stride)
        yield shortcut
    if op.stride > 1 or op.in_channels != op.out_channels:
        shortcut = _conv("shortcut", shortcut, op, op.out_channels)
        yield shortcut
    yield _after("add", "add", expand, "x" if shortcut is None else shortcut.name, act=op.act)


def _head(op: Op) -> Iterator[Layer]:
    """Final expansion (where there is one), global pool, feature mix without norm or bias, classifier."""
    source, channels = "x", op.in_channels
    if op.mid:
        yield _conv("expand", None, op, op.mid[0], act=op.act)
        source, channels = "expand", op.mid[0]
    last = _pool(op, "gap", source, channels, 1)
    yield last
    if len(op.mid) == 2:
        last = _conv("mix", last, op, op.mid[1], norm=False, act=op.act)
        yield last
    yield Layer(
        name="classifier",
        kind="linear",
        inputs=(last.name,),
        in_channels=last.out_channels,
        out_channels=op.out_channels,
        in_size=1,
        out_size=1,
        bias=True,
    )


_LAYERS = {"stem": _stem, "deepstem": _deepstem, "mbconv": _mbconv, "bottleneck": _bottleneck, "head": _head}
