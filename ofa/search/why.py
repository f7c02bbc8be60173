"""Why a network: what its parts cost under each limit, and what every change of one gene would do to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ofa.search.archive import Archive
from ofa.search.limits import Limit, Predictor
from ofa.search.polish import filled
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import Slot, index_of

# What no part costs: a model's constant.
BESIDE = "beside them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A gene that would pick something else: by how many points accuracy would rise, and the limits it would exceed.

    ``over`` holds the value of each limit that the changed network misses, by name; where it is empty and ``points``
    are not above 0, the change was turned down for its accuracy alone.
    """

    gene: str
    was: float
    becomes: float
    points: float
    over: dict[str, float]


def changes(space: SearchSpace, accuracy: Predictor, limits: Sequence[Limit], chosen: Genomes) -> list[Change]:
    """Return every change of one gene of a canonical genome uint8[G], most accurate first.

    A block that a deeper stage brings into use takes its least, middle or largest choices, whichever serves best.
    """
    archive = Archive(space, accuracy, limits)
    base = archive.score(chosen[None])
    places = [
        (column, value)
        for column, count in enumerate(space.cardinalities)
        for value in range(1, int(count) + 1)
        if chosen[column] and value != chosen[column]
    ]
    found = []
    for column, value in places:
        changed = chosen.copy()
        changed[column] = value
        scored = archive.score(filled(space, changed[None]))
        row = int(np.lexsort((-scored.accuracy, scored.violation))[0])
        choices = space.genes[column].choices
        over = {
            limit.name: float(of)
            for limit, of in zip(limits, scored.values[row], strict=True)
            if scored.violation[row] > 0 and of > limit.at_most
        }
        found.append(
            Change(
                gene=space.genes[column].name,
                was=float(choices[int(chosen[column]) - 1]),
                becomes=float(choices[value - 1]),
                points=float(scored.accuracy[row] - base.accuracy[0]),
                over=over,
            )
        )
    return sorted(found, key=lambda change: -change.points)


def costs(space: SearchSpace, limits: Sequence[Limit], chosen: Genomes) -> dict[str, dict[str, float]]:
    """Return what stem, blocks and head of a genome uint8[G] cost of each limit that is a sum over them, by its name.

    The parts add up to the limit's value; "beside them" is what no op costs. Other limits are left out.
    """
    slots = index_of(space).slots
    found: dict[str, dict[str, float]] = {}
    for limit in limits:
        if not limit.exact or limit.below is None or len(limit.below.terms) != len(slots):
            continue
        parts: dict[str, float] = {}
        for number, (slot, term) in enumerate(zip(slots, limit.below.terms, strict=True)):
            name = _name(space, slot, last=number == len(slots) - 1)
            value = float(term.table[tuple(int(chosen[column]) for column in term.columns)])
            parts[name] = parts.get(name, 0.0) + value
        beside = {BESIDE: limit.below.constant} if limit.below.constant else {}
        found[limit.name] = {name: value for name, value in parts.items() if value} | beside
    return found


def _name(space: SearchSpace, slot: Slot, *, last: bool) -> str:
    """Return the part of the network that a slot stands in, as genes name it: stem, s2.b1, head."""
    if slot.depth is None:
        return "head" if last else "stem"
    column, block = slot.depth
    return f"s{space.genes[column].stage}.b{block}"
