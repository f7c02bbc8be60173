"""Polish: try every change of one gene and pairs of changes, the most promising or all, until nothing improves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ofa.search.archive import Archive, Scored
from ofa.space.core import Genomes, SearchSpace

PAIRS = 384
ROUNDS = 60


def neighbours(space: SearchSpace, genome: Genomes) -> Genomes:
    """Return every genome that differs in one gene, uint8[m, G].

    A block that a deeper stage brings into use appears with each of its choices, the other genes at their middle.
    """
    rows: list[Genomes] = []
    for column, count in enumerate(space.cardinalities):
        if genome[column] == 0:
            continue
        for value in range(1, int(count) + 1):
            if value != genome[column]:
                changed = genome.copy()
                changed[column] = value
                rows.append(changed)
    return filled(space, np.array(rows, dtype=np.uint8))


def filled(space: SearchSpace, rows: Genomes) -> Genomes:
    """Give genes that came into use a value: one copy of the row for each extreme and for the middle."""
    middle = (space.cardinalities + 1) // 2
    versions = [
        space.canonical(np.where(rows > 0, rows, fill).astype(np.uint8))
        for fill in (np.ones_like(middle), middle, space.cardinalities)
    ]
    _, first = np.unique(np.concatenate(versions), axis=0, return_index=True)
    return np.concatenate(versions)[np.sort(first)]


def polish(archive: Archive, start: Scored) -> Scored:
    """Climb from one scored genome (a Scored of length 1) to one that no tried change improves; return it."""
    best = start
    for _ in range(ROUNDS):
        singles = neighbours(archive.space, best.genomes[0])
        scored = archive.score(singles)
        better = _best(scored, best)
        if better is None:
            better = _best(archive.score(_pairs(archive, best, scored)), best)
        if better is None:
            return best
        best = better
    return best


def settle(archive: Archive, start: Scored) -> Scored:
    """Climb from one scored genome (a Scored of length 1) to one that no change of one or two genes improves.

    Of pairs only those that meet every limit are scored. Where the start misses one, it is only polished.
    """
    best = polish(archive, start)
    for _ in range(ROUNDS if best.violation[0] == 0 else 0):
        singles = archive.score(neighbours(archive.space, best.genomes[0]))
        left, right = np.triu_indices(len(singles), k=1)
        apart = _apart(singles.genomes, best, left, right)
        pairs = _together(archive.space, best.genomes[0], singles, left[apart], right[apart])
        better = _best(archive.take(archive.within(pairs)), best)
        if better is None:
            break
        best = polish(archive, better)
    return best


def _best(found: Scored, best: Scored) -> Scored | None:
    """Return the best of ``found`` where it beats ``best``."""
    if not len(found):
        return None
    first = found.take(found.order()[:1])
    ranks = [(float(one.violation[0]), -float(one.accuracy[0])) for one in (first, best)]
    return first if ranks[0] < ranks[1] else None


def _pairs(archive: Archive, best: Scored, singles: Scored) -> Genomes:
    """Combine pairs of single changes that promise, to first order, more accuracy within the limits."""
    allowed = np.array([limit.at_most for limit in archive.limits])
    gain = singles.accuracy - best.accuracy[0]
    cost = singles.values - best.values[0]
    left, right = np.triu_indices(len(singles), k=1)
    promised = gain[left] + gain[right]
    total = best.values[0] + cost[left] + cost[right]
    # First-order sums are a guide, not a verdict: a percent over the limit is worth trying.
    hopeful = (promised > -0.02) & (total <= allowed * 1.01).all(axis=1) & _apart(singles.genomes, best, left, right)
    left, right, promised = left[hopeful], right[hopeful], promised[hopeful]
    chosen = np.argsort(-promised, kind="stable")[:PAIRS]
    return _together(archive.space, best.genomes[0], singles, left[chosen], right[chosen])


def _together(
    space: SearchSpace, base: Genomes, singles: Scored, left: NDArray[np.int64], right: NDArray[np.int64]
) -> Genomes:
    """Return genomes with two changes of ``base`` at once each."""
    first, second = singles.genomes[left], singles.genomes[right]
    return space.canonical(_fill_active(space, np.where(second != base, second, first), base))


def _apart(rows: Genomes, best: Scored, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which pairs of rows change different genes of ``best``."""
    changed = (rows != best.genomes[0]).astype(np.float32)
    overlap = changed @ changed.T
    return np.asarray(overlap[left, right] == 0)


def _fill_active(space: SearchSpace, rows: Genomes, base: Genomes) -> Genomes:
    """Give genes that two changes together bring into use a middle choice."""
    middle = ((space.cardinalities + 1) // 2).astype(np.uint8)
    return np.where(rows > 0, rows, np.where(base > 0, base, middle)).astype(np.uint8)
