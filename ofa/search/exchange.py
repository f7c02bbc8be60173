"""Exchange: from the elite of every resolution, multi-changes that the tangents promise, until the rounds are spent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.archive import Archive, Scored
from ofa.search.tangent import Gains, Rows, place, propose, tangents, unknown

# So many networks are started from at once: arrays of several cost little more than those of one.
STARTS = 8
DRAWS = 150
TRIED = 40
ELITE = 150
ENTER = 6
VISIT_COST = 5.0
NEAR = 2
TYPICAL = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Elite:
    """The best networks of each resolution by archive row, int64[E], and how often each was a start, int64[E].

    ``gains`` float32[E, S, O + 1] are those of the network that each was made of (see `Tangents`), NaN without one.
    """

    rows: Rows
    visits: Rows
    gains: Gains

    @staticmethod
    def empty(archive: Archive) -> Elite:
        """Return an elite of no network."""
        none = np.zeros(0, dtype=np.int64)
        return Elite(rows=none, visits=none, gains=unknown(archive, 0))

    def best(self, archive: Archive) -> int:
        """Return the archive row of the best."""
        return int(self.rows[archive.take(self.rows).order()[0]])

    def joined(self, archive: Archive, rows: Rows, gains: Gains | None = None) -> Elite:
        """Return the elite with some rows more, cut to the best of each resolution that meet every limit.

        A network that differs in a few genes only from a better one is left out: near copies would crowd out others.
        """
        rows, first = np.unique(rows, return_index=True)
        gains = unknown(archive, len(rows)) if gains is None else gains[first]
        scored = archive.take(rows)
        fresh = np.flatnonzero((scored.violation == 0) & ~np.isin(rows, self.rows))
        fresh = fresh[np.argsort(-scored.accuracy[fresh], kind="stable")]
        rows = np.concatenate([self.rows, rows[fresh]])
        visits = np.concatenate([self.visits, np.zeros(len(fresh), dtype=np.int64)])
        gains = np.concatenate([self.gains, gains[fresh]])
        scored = archive.take(rows)
        kept = _distinct(scored, len(self.rows))
        niche = scored.genomes[:, archive.space.at("resolution")].astype(np.int64)
        order = np.lexsort((rows, -scored.accuracy, niche))
        order = order[kept[order]]
        quota = max(6, ELITE // max(1, len(np.unique(niche[order]))))
        chosen = order[place(niche[order]) < quota]
        return Elite(rows=rows[chosen], visits=visits[chosen], gains=gains[chosen])


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


def exchange(archive: Archive, elite: Elite, rng: np.random.Generator, *, fair: bool) -> Elite:
    """Start from networks of the elite that promise most for the visits they have had; return the elite after.

    A round of iterated local search over first-order models (Lourenco et al. 2003). What single changes gain is scored
    once for a network that evolution left, and guessed from then on: a network that a round finds has, but for a few
    sites, the gains of the one it was made of. The most promising single changes, and the multi-changes that the gains
    promise together, are scored where they meet every limit.
    """
    picks = _starts(archive, elite, rng, fair=fair)
    at = tangents(archive, elite.rows[picks], elite.gains[picks])
    genomes, owners = propose(archive, at, rng, draws=DRAWS, visits=elite.visits[picks], most=TRIED)
    within = archive.violation(genomes) == 0
    rows = np.concatenate([archive.rows(genomes[within]), at.singles])
    owners = np.concatenate([owners[within], at.owners])
    scored = archive.take(rows)
    order = np.lexsort((-scored.accuracy, scored.violation, owners))
    best = order[place(owners[order]) < ENTER]
    visits, gains = elite.visits.copy(), elite.gains.copy()
    visits[picks] += 1
    gains[picks] = at.gain
    after = Elite(rows=elite.rows, visits=visits, gains=gains)
    return after.joined(archive, rows[best], at.gain[owners[best]])


def _starts(archive: Archive, elite: Elite, rng: np.random.Generator, *, fair: bool) -> Rows:
    """Return which of the elite to start from: good, not visited often; with ``fair`` in niches visited least."""
    scored = archive.take(elite.rows)
    behind = scored.accuracy.max() - scored.accuracy
    typical = float(np.median(behind[behind > 0])) / TYPICAL if (behind > 0).any() else 1.0
    dear = behind / typical + VISIT_COST * elite.visits - rng.gumbel(size=len(behind))
    niche = scored.genomes[:, archive.space.at("resolution")]
    visits = np.bincount(niche, weights=elite.visits)
    picks: list[int] = []
    for _ in range(min(STARTS, len(dear))):
        crowded = visits[niche] > visits[niche[np.isfinite(dear)]].min() if fair else False
        picks.append(int(np.where(crowded, np.inf, dear).argmin()))
        dear[picks[-1]] = np.inf
        visits[niche[picks[-1]]] += 1
    return np.array(picks, dtype=np.int64)
