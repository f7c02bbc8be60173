"""Exchange: from the elite of every resolution, multi-changes that the tangents promise, until the rounds are spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.archive import Archive
from ofa.search.sites import sites_of
from ofa.search.tangent import Tangent, propose, tangent

DRAWS = 400
TRIED = 150
ELITE = 150
ENTER = 6
VISIT_COST = 3.0

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elite:
    """The best networks of each resolution by archive row, int64[E], and how often each was a start, int64[E]."""

    rows: Rows
    visits: Rows

    def joined(self, archive: Archive, rows: Rows) -> Elite:
        """Return the elite with some rows more, cut to the best of each resolution that meet every limit."""
        all_rows, first = np.unique(np.concatenate([self.rows, rows]), return_index=True)
        visits = np.concatenate([self.visits, np.zeros(len(rows), dtype=np.int64)])[first]
        scored = archive.take(all_rows)
        niche = scored.genomes[:, archive.space.at("resolution")]
        order = np.lexsort((all_rows, -scored.accuracy, niche, scored.violation))
        order = order[scored.violation[order] == 0]
        starts = np.flatnonzero(np.diff(niche[order], prepend=-1))
        place = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
        quota = max(6, ELITE // max(1, len(starts)))
        kept = order[place < quota]
        return Elite(rows=all_rows[kept], visits=visits[kept])


def exchange(
    archive: Archive, elite: Elite, *, rng: np.random.Generator, rounds: int, on_round: Callable[[int, Elite], None]
) -> Elite:
    """Spend ``rounds`` tangents, each from the network of the elite that promises most for the visits it has had.

    Iterated local search over first-order models (Lourenco et al. 2003): a tangent costs one score for each single
    change, and the multi-changes it promises are scored only where they meet every limit.
    """
    known: dict[int, Tangent] = {}
    noise = rng.standard_normal(2 * DRAWS * sites_of(archive.space).kept.size, dtype=np.float32)
    for number in range(rounds):
        if not len(elite.rows):
            break
        accuracy = archive.take(elite.rows).accuracy
        behind = (accuracy.max() - accuracy) / max(_typical(known), 1e-12)
        dear = behind + VISIT_COST * elite.visits - rng.gumbel(size=len(accuracy))
        pick = int(dear.argmin())
        row, visit = int(elite.rows[pick]), int(elite.visits[pick])
        if row not in known:
            known[row] = tangent(archive, archive.take(elite.rows[pick : pick + 1]))
        tried = propose(archive, known[row], rng, noise=noise, visit=visit, most=TRIED)
        elite.visits[pick] += 1
        found = archive.within(tried)
        if visit == 0:
            found = np.concatenate([found, archive.rows(known[row].singles.genomes)])
        scored = archive.take(found)
        best = np.lexsort((-scored.accuracy, scored.violation))[:ENTER]
        elite = elite.joined(archive, found[best])
        on_round(number, elite)
    return elite


def _typical(known: dict[int, Tangent]) -> float:
    """Return a quarter of the typical gain of a single change, in points."""
    if not known:
        return 1.0
    gain = np.abs(next(iter(known.values())).gain)
    return float(np.nanmedian(gain[gain > 0])) / 4 if (gain > 0).any() else 1.0
