"""Exchange: from the elite of every resolution, multi-changes that the tangents promise, until the rounds are spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.archive import Archive, Scored
from ofa.search.sites import sites_of
from ofa.search.tangent import Tangent, propose, tangent

DRAWS = 400
TRIED = 150
ELITE = 150
ENTER = 6
VISIT_COST = 5.0
NEAR = 2
TYPICAL = 4.0

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elite:
    """The best networks of each resolution by archive row, int64[E], and how often each was a start, int64[E]."""

    rows: Rows
    visits: Rows

    @staticmethod
    def of(rows: Sequence[int]) -> Elite:
        """Return an elite of networks that were no start yet."""
        return Elite(rows=np.array(rows, dtype=np.int64), visits=np.zeros(len(rows), dtype=np.int64))

    def best(self, archive: Archive) -> int:
        """Return the archive row of the best."""
        return int(self.rows[archive.take(self.rows).order()[0]])

    def joined(self, archive: Archive, rows: Rows) -> Elite:
        """Return the elite with some rows more, cut to the best of each resolution that meet every limit.

        A network that differs in a few genes only from a better one is left out: near copies would crowd out others.
        """
        rows = np.setdiff1d(rows, self.rows)
        scored = archive.take(rows)
        rows = rows[np.argsort(-scored.accuracy, kind="stable")]
        rows = rows[archive.take(rows).violation == 0]
        all_rows = np.concatenate([self.rows, rows])
        visits = np.concatenate([self.visits, np.zeros(len(rows), dtype=np.int64)])
        scored = archive.take(all_rows)
        kept = _distinct(scored, len(self.rows))
        niche = scored.genomes[:, archive.space.at("resolution")]
        order = np.lexsort((all_rows, -scored.accuracy, niche))
        order = order[kept[order]]
        starts = np.flatnonzero(np.diff(niche[order], prepend=-1))
        place = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
        quota = max(6, ELITE // max(1, len(starts)))
        chosen = order[place < quota]
        return Elite(rows=all_rows[chosen], visits=visits[chosen])


def _distinct(scored: Scored, old: int) -> NDArray[np.bool_]:
    """Return bool[n]: which to keep where rows from ``old`` on come one after another, each near copy the worse."""
    near = (scored.genomes[:, None] != scored.genomes[None, old:]).sum(axis=2) <= NEAR
    kept = np.ones(len(scored), dtype=np.bool_)
    for own in range(old, len(scored)):
        around = near[:, own - old] & kept
        around[own:] = False
        if (scored.accuracy[around] >= scored.accuracy[own]).any():
            kept[own] = False
        else:
            kept &= ~around
    return kept


class Exchange:
    """Iterated local search over first-order models (Lourenco et al. 2003), a round at a time.

    A tangent costs one score for each single change; the multi-changes it promises are scored only where they meet
    every limit. Tangents are kept, and can be made again of the archive alone.
    """

    def __init__(self, archive: Archive, *, seed: Sequence[int]) -> None:
        """Draw the noise that proposals share."""
        self.archive = archive
        size = 2 * DRAWS * sites_of(archive.space).kept.size
        self._noise = np.random.default_rng([*seed, 1]).standard_normal(size, dtype=np.float32)
        self._known: dict[int, Tangent] = {}

    def round(self, elite: Elite, rng: np.random.Generator, *, fair: bool) -> Elite:
        """Start from the network of the elite that promises most for the visits it has had; return the elite after."""
        pick = _start(self.archive, elite, rng, fair=fair)
        row, visit = int(elite.rows[pick]), int(elite.visits[pick])
        at = self._known.get(row) or tangent(self.archive, self.archive.take(elite.rows[pick : pick + 1]))
        self._known[row] = at
        tried = self.archive.within(propose(self.archive, at, rng, noise=self._noise, visit=visit, most=TRIED))
        found = tried if visit else np.concatenate([tried, self.archive.rows(at.singles.genomes)])
        scored = self.archive.take(found)
        best = np.lexsort((-scored.accuracy, scored.violation))[:ENTER]
        visits = elite.visits.copy()
        visits[pick] += 1
        return Elite(rows=elite.rows, visits=visits).joined(self.archive, found[best])


def _start(archive: Archive, elite: Elite, rng: np.random.Generator, *, fair: bool) -> int:
    """Return which of the elite to start from: good, not visited often; with ``fair`` in the niche visited least."""
    scored = archive.take(elite.rows)
    behind = scored.accuracy.max() - scored.accuracy
    typical = float(np.median(behind[behind > 0])) / TYPICAL if (behind > 0).any() else 1.0
    dear = behind / typical + VISIT_COST * elite.visits
    dear -= rng.gumbel(size=len(dear))
    if fair:
        niche = scored.genomes[:, archive.space.at("resolution")]
        visits = np.bincount(niche, weights=elite.visits, minlength=1)
        dear += np.where(visits[niche] > visits[np.unique(niche)].min(), np.inf, 0.0)
    return int(dear.argmin())
