"""The exact optimum of a sum under a limit on another sum: a multiple-choice knapsack along the places of a network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.sums import Sum, Term
from ofa.space.core import Genomes, SearchSpace

Values = NDArray[np.float64]
Key = tuple[int, ...]

# How many partial networks one state keeps; beyond, those of nearly equal cost are made one.
LABELS = 1000
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Partial networks that no other beats, by rising cost and gain: float64[N], and their genes uint8[N, G]."""

    cost: Values
    gain: Values
    genomes: Genomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The front of the sum of gains over the sum of costs up to the limit; its last network is the best.

    ``exact`` says that nothing was made one: then every number is that of the network beside it. Where it is not, the
    front of ``solve(relaxed=False)`` holds real networks, perhaps not the best, and that of ``relaxed=True`` values
    which no network exceeds.
    """

    front: Labels
    exact: bool

    @property
    def gain(self) -> float:
        """Return the largest sum of gains."""
        return float(self.front.gain[-1])

    @property
    def genome(self) -> Genomes:
        """Return the genome uint8[G] beside it."""
        return np.asarray(self.front.genomes[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """Genes decided together, the terms that are decided with them, and what later steps still ask for."""

    columns: tuple[int, ...]
    gain: tuple[Term, ...]
    cost: tuple[Term, ...]
    asked: tuple[int, ...]
    least_after: float


def solve(
    space: SearchSpace,
    gain: Sum,
    cost: Sum | None = None,
    at_most: float = np.inf,
    *,
    relaxed: bool = False,
    labels: int = LABELS,
) -> Optimum | None:
    """Return the best sum of gains under ``cost <= at_most``, or None where no network meets it.

    Dynamic programming over places in network order (Kellerer et al. 2004, section 11.3); a state is what later places
    still ask for: resolution, depth and width. Costs are never rounded. Where a state would hold more than ``labels``
    networks that do not beat each other, those of nearly equal cost become one: the most accurate of them, or with
    ``relaxed`` a network of the best gain and the least cost among them, which makes the result an upper bound.
    """
    price = cost if cost is not None else Sum(constant=0.0, terms=())
    allowed = at_most + ROUNDING * abs(at_most) if np.isfinite(at_most) else np.inf
    start = Labels(
        cost=np.array([price.constant]),
        gain=np.array([gain.constant]),
        genomes=np.zeros((1, len(space.genes)), dtype=np.uint8),
    )
    exact = True
    states: dict[Key, Labels] = {(): start}
    asked: tuple[int, ...] = ()
    for step in _steps(space, gain, price):
        reached: dict[Key, list[Labels]] = {}
        for key, own in states.items():
            for after, found in _extended(space, step, dict(zip(asked, key, strict=True)), own):
                reached.setdefault(after, []).append(found)
        states = {}
        for key, parts in reached.items():
            kept = _undominated(_stacked(parts), allowed - step.least_after)
            if len(kept.cost) > labels:
                kept, exact = _thinned(kept, labels, relaxed=relaxed), False
            if len(kept.cost):
                states[key] = kept
        asked = step.asked
    if not states:
        return None
    return Optimum(front=states[()], exact=exact)


def _steps(space: SearchSpace, gain: Sum, cost: Sum) -> Iterator[_Step]:
    """Yield which genes are decided when: stem and resolution, then of each stage depth and width, then its blocks."""
    groups: dict[tuple[int, int], list[int]] = {}
    for column, gene in enumerate(space.genes):
        place = (gene.stage or 0, 0 if gene.block is None else gene.block + 1)
        groups.setdefault(place, []).append(column)
    order = [tuple(groups[place]) for place in sorted(groups)]
    owner = {column: number for number, columns in enumerate(order) for column in columns}
    due = [[max((owner[c] for c in term.columns), default=0) for term in one.terms] for one in (gain, cost)]
    depths = {space.genes[c].stage: c for c in range(len(space.genes)) if space.genes[c].name.endswith(".depth")}
    for number, columns in enumerate(order):
        later = {
            column
            for one, dues in zip((gain, cost), due, strict=True)
            for term, at in zip(one.terms, dues, strict=True)
            if at > number
            for column in term.columns
        }
        later |= {
            depths[space.genes[c].stage]
            for group in order[number + 1 :]
            for c in group
            if space.genes[c].block is not None
        }
        yield _Step(
            columns=columns,
            gain=tuple(term for term, at in zip(gain.terms, due[0], strict=True) if at == number),
            cost=tuple(term for term, at in zip(cost.terms, due[1], strict=True) if at == number),
            asked=tuple(sorted(column for column in later if owner[column] <= number)),
            least_after=sum(float(t.table.min()) for t, at in zip(cost.terms, due[1], strict=True) if at > number),
        )


def _extended(space: SearchSpace, step: _Step, known: dict[int, int], own: Labels) -> Iterator[tuple[Key, Labels]]:
    """Yield for each state that a step leads to the labels made of those of one state."""
    options: dict[Key, list[tuple[float, float, Key]]] = {}
    for values in itertools.product(*(_values(space, column, known) for column in step.columns)):
        chosen = known | dict(zip(step.columns, values, strict=True))
        gained, spent = (sum(_entry(term, chosen) for term in terms) for terms in (step.gain, step.cost))
        options.setdefault(tuple(chosen[c] for c in step.asked), []).append((spent, gained, values))
    for key, found in options.items():
        cost, gain = (np.array([option[at] for option in found]) for at in (0, 1))
        order = np.lexsort((-gain, cost))
        best = np.concatenate([[-np.inf], np.maximum.accumulate(gain[order])[:-1]])
        order = order[gain[order] > best]
        count = len(own.cost)
        genomes = np.tile(own.genomes, (len(order), 1))
        values_of = np.array([found[at][2] for at in order], dtype=np.uint8)
        genomes[:, step.columns] = np.repeat(values_of, count, axis=0)
        yield (
            key,
            Labels(
                cost=(cost[order][:, None] + own.cost[None]).ravel(),
                gain=(gain[order][:, None] + own.gain[None]).ravel(),
                genomes=genomes,
            ),
        )


def _values(space: SearchSpace, column: int, known: dict[int, int]) -> tuple[int, ...]:
    """Return the values a gene can take beside those known: 0 where the depth leaves its block out."""
    gene = space.genes[column]
    if gene.block is not None:
        depth = space.at(f"s{gene.stage}.depth")
        if space.genes[depth].choices[known[depth] - 1] <= gene.block:
            return (0,)
    return tuple(range(1, len(gene.choices) + 1))


def _entry(term: Term, chosen: dict[int, int]) -> float:
    """Return the entry of a term for known gene values."""
    return float(term.table[tuple(chosen[column] for column in term.columns)])


def _stacked(parts: list[Labels]) -> Labels:
    """Put labels of one state together."""
    if len(parts) == 1:
        return parts[0]
    return Labels(
        cost=np.concatenate([part.cost for part in parts]),
        gain=np.concatenate([part.gain for part in parts]),
        genomes=np.concatenate([part.genomes for part in parts]),
    )


def _undominated(labels: Labels, allowed: float) -> Labels:
    """Return the labels that can still meet the limit and that no other beats, by rising cost."""
    able = np.flatnonzero(labels.cost <= allowed)
    order = able[np.lexsort((-labels.gain[able], labels.cost[able]))]
    best = np.concatenate([[-np.inf], np.maximum.accumulate(labels.gain[order])[:-1]])
    return _taken(labels, order[labels.gain[order] > best])


def _thinned(labels: Labels, most: int, *, relaxed: bool) -> Labels:
    """Make one of labels of nearly equal cost, so that at most ``most`` are left."""
    low, high = labels.cost[0], labels.cost[-1]
    bin_of = np.minimum(((labels.cost - low) / (high - low) * most).astype(np.int64), most - 1)
    last = np.flatnonzero(np.diff(bin_of, append=most))
    kept = _taken(labels, last)
    if not relaxed:
        return kept
    first = np.concatenate([[0], last[:-1] + 1])
    return Labels(cost=labels.cost[first], gain=kept.gain, genomes=kept.genomes)


def _taken(labels: Labels, rows: NDArray[np.int64]) -> Labels:
    """Return some labels."""
    return Labels(cost=labels.cost[rows], gain=labels.gain[rows], genomes=labels.genomes[rows])
