"""Where a table says that more work takes less time: pairs of ops that no interval explains, for a person to judge."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from ofa.lut import student
from ofa.lut.rows import NANOSECONDS_PER_MS, Row
from ofa.space import ops

MOST_SHOWN = 10
# What may grow from one op to the next, all else equal: a kernel's edge, inner channels, the edge of the input map.
GROWTH = ("kernel", "expand", "map")


def unexpected(rows: Iterable[Row]) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Return how many pairs there are and how many are unexpected, in all and by what grows, and the worst pairs.

    A pair is two ops of one state that differ in one thing only and are neighbours among those measured: kernels 3 and
    5, expand ratios 4 and 6, maps of 14 and 16. It is unexpected where the op with less to do has an interval that lies
    wholly above the other's. Devices do that (a kernel size with fast code of its own, maps that fill a cache line),
    and so does a measurement that went wrong: a warning, never an error.
    """
    families: dict[tuple[Any, ...], list[tuple[int, Row]]] = defaultdict(list)
    for row in rows:
        if student.measured(row) and not row.key.startswith("@"):
            for family, size in _families(ops.parse(row.key)):
                families[(row.state, *family)].append((size, row))
    pairs, found = 0, []
    for family, members in families.items():
        for (_, smaller), (_, larger) in pairwise(sorted(members, key=lambda member: member[0])):
            pairs += 1
            if (smaller.lo or 0) > (larger.hi or 0):
                found.append(_pair(family[1], smaller, larger))
    found.sort(key=lambda pair: (-pair["over_pct"], pair["smaller"], pair["state"], pair["grows"]))
    by_growth = Counter(pair["grows"] for pair in found)
    counts = {"pairs": pairs, "unexpected": len(found), **{name: by_growth[name] for name in GROWTH}}
    return counts, found[:MOST_SHOWN]


def _families(op: ops.Op) -> Iterable[tuple[tuple[Any, ...], int]]:
    """Yield what an op shares with those it is compared with, and its size among them."""
    same = (op.kind, op.stride, op.in_channels, op.out_channels, op.act, op.block_act, op.se, op.residual, op.batch)
    yield ("map", *same, op.kernel, op.mid), op.in_size
    if op.kind in ("mbconv", "bottleneck"):
        yield ("kernel", *same, op.in_size, op.mid), op.kernel
        yield ("expand", *same, op.in_size, op.kernel), op.mid[0]


def _pair(grows: str, smaller: Row, larger: Row) -> dict[str, Any]:
    """Return an unexpected pair; ``over_pct`` is how much longer the smaller one takes."""
    smaller_ns, larger_ns = smaller.ns or 1, larger.ns or 1
    return {
        "grows": grows,
        "state": smaller.state,
        "smaller": smaller.key,
        "larger": larger.key,
        "smaller_ms": smaller_ns / NANOSECONDS_PER_MS,
        "larger_ms": larger_ns / NANOSECONDS_PER_MS,
        "over_pct": round(100 * (smaller_ns / larger_ns - 1), 2),
    }
