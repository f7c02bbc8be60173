"""The block an operator belongs to, read from its key, and where a search space uses it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ofa.errors import OfaError

_MAP = re.compile(r"(?P<channels>\d+)x(?P<size>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What tells operators of a table apart; ``expand`` is the ratio of inner to input channels."""

    block: str
    kernel: int
    expand: float
    in_size: int


def shape_of(key: str) -> Shape | None:
    """Return the shape of an operator, or None for overhead rows and kinds that have no map.

    The inner channels of a bottleneck are a ratio of its output; its input has one of many widths, and is left out.
    """
    kind, *fields = key.split(".")
    if kind not in ("stem", "deepstem", "mbconv", "bottleneck", "head"):
        return None
    found = {field[0]: field[1:] for field in fields if field[1:2].isdigit()}
    source, target = _MAP.fullmatch(found.get("i", "")), _MAP.fullmatch(found.get("o", ""))
    if source is None:
        return None
    in_channels, in_size = int(source["channels"]), int(source["size"])
    if kind not in ("mbconv", "bottleneck") or target is None:
        return Shape(block="head" if kind == "head" else "stem", kernel=0, expand=0.0, in_size=in_size)
    inner = int(found.get("m", "0").split("-")[0] or 0)
    wide = kind == "bottleneck"
    return Shape(
        block=f"{'' if wide else in_channels}→{target['channels']} s{found.get('s', '1')}",
        kernel=int(found.get("k", "0")),
        expand=inner / (int(target["channels"]) if wide else in_channels),
        in_size=in_size,
    )


def kind_of(key: str) -> str:
    """Return what a figure calls a kind of op: its block, with the kernel and squeeze-excite that set it apart."""
    kind, *fields = key.split(".")
    if kind.startswith("@"):
        return "overhead"
    if kind not in ("mbconv", "bottleneck"):
        return "stem" if kind == "deepstem" else kind
    kernel = next((field for field in fields if field[:1] == "k" and field[1:].isdigit()), "")
    return " ".join(filter(None, (kind, kernel, "with SE" if "se" in fields else "")))


def resolutions_of(named: Any) -> dict[str, dict[int, int]]:
    """Return, for each block of a search space, its input size at each resolution, px; empty where it is not known.

    ``named`` is what a run says its space is, or the set of spaces whose networks a table holds.
    """
    import ofa.space as spaces
    from ofa.space import ops

    names = named if isinstance(named, set) else {str(named)}
    if len(names) != 1:
        return {}
    try:
        space = spaces.by_id(*names)
    except OfaError:
        return {}
    found: dict[str, dict[int, int]] = {}
    for resolution in space.resolutions:
        for op in ops.ops_of(space.corner("max", resolution)):
            shape = shape_of(op.key)
            if shape is not None:
                found.setdefault(shape.block, {})[resolution] = shape.in_size
    return found
