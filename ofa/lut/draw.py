"""Which rows of a table are measured again to see whether it still holds: ops of all strata, networks of all speeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ofa.errors import FileInvalid
from ofa.lut import student
from ofa.lut.changes import group_of
from ofa.lut.format import Lut
from ofa.lut.rows import NetworkRow
from ofa.space.ops import Op, parse

OPS, NETWORKS = 30, 8
SIZES = 3


def ops_of_table(lut: Lut) -> tuple[Op, ...]:
    """Return the ops that a table has measured in more than one round, by key."""
    keys = {row.key for row in lut.rows if not row.key.startswith("@") and student.of_row(row) is not None}
    found = []
    for key in sorted(keys):
        try:
            found.append(parse(key))
        except FileInvalid:
            continue
    return tuple(found)


def draw(ops: Sequence[Op], rng: np.random.Generator, count: int = OPS) -> tuple[Op, ...]:
    """Return ``count`` of some ops (all where there are fewer), spread over kind, kernel and size, sorted by key.

    Sizes are thirds of the map edges that a kind and kernel has. Every stratum gets one where there are enough, kinds
    and kernels in turn; the rest goes to strata in proportion to their ops (Webster's method). Equal generators draw
    equal ops.
    """
    groups: dict[str, list[Op]] = defaultdict(list)
    for op in sorted(ops, key=lambda op: op.key):
        groups[group_of(op.key)].append(op)
    strata: dict[tuple[str, int], list[Op]] = defaultdict(list)
    for group, own in groups.items():
        sizes = sorted({op.in_size for op in own})
        for op in own:
            strata[group, SIZES * sizes.index(op.in_size) // len(sizes)].append(op)
    shuffled = {name: [own[place] for place in rng.permutation(len(own))] for name, own in sorted(strata.items())}
    by_group: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for name in sorted(shuffled):
        by_group[name[0]].append(name)
    turns = {name: turn for own in by_group.values() for turn, name in enumerate(own)}
    given = dict.fromkeys(sorted(shuffled, key=lambda name: (turns[name], name))[:count], 1)
    while sum(given.values()) < min(count, len(ops)):
        open_ = [name for name in sorted(shuffled) if given.get(name, 0) < len(shuffled[name])]
        richest = max(open_, key=lambda name: len(shuffled[name]) / (2 * given.get(name, 0) + 1))
        given[richest] = given.get(richest, 0) + 1
    chosen = [op for name, number in given.items() for op in shuffled[name][:number]]
    return tuple(sorted(chosen, key=lambda op: op.key))


def networks_of_table(lut: Lut, count: int = NETWORKS) -> tuple[NetworkRow, ...]:
    """Return ``count`` networks of a table, evenly from the quickest to the slowest; held-out ones where it has as
    many, since its sums were never fitted to these."""
    usable = [row for row in lut.networks if row.split != "verify" and student.of_row(row) is not None]
    held = [row for row in usable if row.split == "holdout"]
    ranked = sorted(held if len(held) >= count else usable, key=lambda row: (row.ns or 0, row.space, row.id))
    places = {round(place) for place in np.linspace(0, len(ranked) - 1, min(count, len(ranked))).tolist()}
    return tuple(ranked[place] for place in sorted(places))
