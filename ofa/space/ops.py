"""Op: the unit a latency table prices; its canonical key, and the ops of a subnet in network order.

An op is a ``stem`` or ``deepstem`` (everything up to the first block that varies), one ``mbconv`` or ``bottleneck``
block with its norms, activations, squeeze-excite and shortcut, or the ``head`` (everything after the last block).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from ofa.space.core import SearchSpace, Stage, Subnet, make_divisible
from ofa.space.errors import no_op_key
from ofa.space.layers import layers_of

Kind = Literal["stem", "deepstem", "mbconv", "bottleneck", "head"]
ACTS = ("relu", "relu6", "hswish")

_N = r"[1-9][0-9]{0,5}"
_ACT = "|".join(ACTS)
_KEY = re.compile(
    rf"(?P<kind>{'|'.join(get_args(Kind))})(?:\.k(?P<kernel>{_N})\.s(?P<stride>{_N}))?"
    rf"\.i(?P<inputs>{_N})x(?P<size>{_N})\.o(?P<outputs>{_N})(?:x{_N})?(?:\.m(?P<mid>{_N}(?:-{_N})?))?"
    rf"(?:\.(?P<act>{_ACT})(?:-(?P<block_act>{_ACT}))?)?(?P<se>\.se)?(?P<residual>\.res)?\.n(?P<batch>{_N})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """What a table prices. ``mid`` holds inner channels: one number, or those of expansion and mix in a head.

    ``act`` is None only in a head without inner layers; ``block_act`` is that of a stem's static block 0. ``residual``
    says whether a deep stem has its residual convolution.
    """

    kind: Kind
    kernel: int = 1
    stride: int = 1
    in_channels: int
    in_size: int
    out_channels: int
    mid: tuple[int, ...]
    act: str | None
    block_act: str | None = None
    se: bool = False
    residual: bool = False
    batch: int = 1

    @property
    def out_size(self) -> int:
        """Return the edge of the output map, px; 1 for a head."""
        return 1 if self.kind == "head" else -(-self.in_size // self.stride)

    @property
    def key(self) -> str:
        """Return the canonical key; ``parse`` inverts it."""
        head = self.kind == "head"
        fields: list[str] = [self.kind] if head else [self.kind, f"k{self.kernel}", f"s{self.stride}"]
        fields.append(f"i{self.in_channels}x{self.in_size}")
        fields.append(f"o{self.out_channels}" if head else f"o{self.out_channels}x{self.out_size}")
        if self.mid:
            fields.append("m" + "-".join(map(str, self.mid)))
        if self.act:
            fields.append(self.act if self.block_act is None else f"{self.act}-{self.block_act}")
        fields += [flag for flag, has in (("se", self.se), ("res", self.residual)) if has]
        return ".".join([*fields, f"n{self.batch}"])

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates of convolutions and linear layers, squeeze-excite included, at batch 1."""
        return sum(layer.macs for layer in layers_of(self))

    @property
    def params(self) -> int:
        """Return the trained numbers."""
        return sum(layer.params for layer in layers_of(self))


@lru_cache(maxsize=1 << 16)
def parse(key: str) -> Op:
    """Return the op a canonical key names; raises FileInvalid for any other text."""
    found = _KEY.fullmatch(key)
    if found is None:
        raise no_op_key(key, "it does not follow the form 'kind.kK.sS.iCxS.oCxS.mC.act.n1'")
    mid = tuple(int(part) for part in found["mid"].split("-")) if found["mid"] else ()
    kind = found["kind"]
    if not (len(mid) <= 2 if kind == "head" else len(mid) == 1 and found["act"]) or (found["act"] is None) != (not mid):
        raise no_op_key(key, f"inner channels and activation are not those of a {kind}")
    op = Op(
        kind=kind,  # type: ignore[arg-type]  # one of Kind: the pattern says so
        kernel=int(found["kernel"] or 1),
        stride=int(found["stride"] or 1),
        in_channels=int(found["inputs"]),
        in_size=int(found["size"]),
        out_channels=int(found["outputs"]),
        mid=mid,
        act=found["act"],
        block_act=found["block_act"],
        se=bool(found["se"]),
        residual=bool(found["residual"]),
        batch=int(found["batch"]),
    )
    _check(op, key)
    return op


def _check(op: Op, key: str) -> None:
    """Raise FileInvalid where a key has a part its kind does not have, or is not the one its op is named by."""
    wrong = (
        ("squeeze-excite", op.se and op.kind != "mbconv"),
        ("residual convolution", op.residual and op.kind != "deepstem"),
        ("activations", (op.block_act is not None) != (op.kind == "stem")),
        ("kernel", op.kernel % 2 == 0),
        ("stride", op.kind == "deepstem" and op.stride % 2 == 1),  # its max pool has half of it
    )
    for part, fault in wrong:
        if fault:
            raise no_op_key(key, f"no {op.kind} has this {part}")
    if op.key != key:
        raise no_op_key(key, f"its parts say '{op.key}'")


def stem_op(space: SearchSpace, resolution: int, mid: int, out: int, *, residual: bool, batch: int = 1) -> Op:
    """Return the stem of a space with the widths and the residual convolution chosen for it."""
    deep = space.family == "bottleneck"
    return Op(
        kind="deepstem" if deep else "stem",
        kernel=3,
        stride=space.stem.stride,
        in_channels=space.channels,
        in_size=resolution,
        out_channels=out,
        mid=(mid,),
        act=space.stem.act,
        block_act=None if deep else space.stem.block_act,
        residual=residual,
        batch=batch,
    )


def block_op(
    space: SearchSpace,
    stage: Stage,
    *,
    first: bool,
    inputs: int,
    outputs: int,
    size: int,
    kernel: int,
    expand: float,
    batch: int = 1,
) -> Op:
    """Return a block of a stage; only the first one carries the stage's stride."""
    # An inverted residual expands its input, a bottleneck narrows its output (reference: round, then make divisible).
    wide = outputs if space.family == "bottleneck" else inputs
    return Op(
        kind=space.family,
        kernel=kernel,
        stride=stage.stride if first else 1,
        in_channels=inputs,
        in_size=size,
        out_channels=outputs,
        mid=(make_divisible(round(wide * expand)),),
        act=stage.act,
        se=stage.se,
        batch=batch,
    )


def head_op(space: SearchSpace, inputs: int, size: int, batch: int = 1) -> Op:
    """Return the head of a space behind a last stage of ``inputs`` channels."""
    mid = tuple(width for width in (space.head.expand_channels, space.head.mix_channels) if width is not None)
    return Op(
        kind="head",
        in_channels=inputs,
        in_size=size,
        out_channels=space.classes,
        mid=mid,
        act=space.head.act if mid else None,
        batch=batch,
    )


def ops_of(subnet: Subnet, resolution: int | None = None, batch: int = 1) -> tuple[Op, ...]:
    """Return the ops of a subnet in network order: stem, active blocks, head; ``resolution`` (px) replaces its own."""
    space = subnet.space
    mid, out = subnet.stem_widths
    size = subnet.resolution if resolution is None else resolution
    found = [stem_op(space, size, mid, out, residual=subnet.stem_residual, batch=batch)]
    choices = zip(space.stages, subnet.widths, subnet.kernels, subnet.expands, strict=True)
    for stage, width, kernels, expands in choices:
        for place, (kernel, expand) in enumerate(zip(kernels, expands, strict=True)):
            found.append(
                block_op(
                    space,
                    stage,
                    first=place == 0,
                    inputs=found[-1].out_channels,
                    outputs=width,
                    size=found[-1].out_size,
                    kernel=kernel,
                    expand=expand,
                    batch=batch,
                )
            )
    return (*found, head_op(space, found[-1].out_channels, found[-1].out_size, batch))
