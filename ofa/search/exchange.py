"""Exchange: from the elite of every resolution, multi-changes that the tangents promise, until the rounds are spent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.archive import Archive
from ofa.search.limits import Values
from ofa.search.tangent import Gains, Rows, place, propose, tangents, unknown
from ofa.search.worth import Worth
from ofa.space.core import Genomes

# So many networks are started from at once: arrays of several cost little more than those of one.
STARTS = 8
ELITE = 150
VISIT_COST = 5.0
NEAR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """How widely a round looks: so many ``draws`` from a start, the most promising of them ``tried``, and so many of
    what was found that ``enter`` the elite. ``strict`` says how much dearer a start is that is behind the best by what
    is typical."""

    draws: int
    tried: int
    enter: int
    strict: float


# At a price, a network behind the best is not behind for what it left of the limit: fewer are worth a look. The numbers
# were tried on published tables, for answers that are good and scatter little, and for time.
PRICED = Width(draws=80, tried=25, enter=3, strict=8.0)
UNPRICED = Width(draws=150, tried=40, enter=6, strict=4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Elite:
    """The networks of most worth at each resolution by archive row, int64[E], and how often each was a start, int64[E].

    ``gains`` float32[E, S, O + 1] are those of the network that each was made of (see `Tangents`), NaN without one.
    """

    rows: Rows
    visits: Rows
    gains: Gains
    worth: Worth

    @staticmethod
    def empty(archive: Archive, worth: Worth) -> Elite:
        """Return an elite of no network."""
        none = np.zeros(0, dtype=np.int64)
        return Elite(rows=none, visits=none, gains=unknown(archive, 0), worth=worth)

    def best(self, archive: Archive, count: int) -> Rows:
        """Return the archive rows of up to so many of most worth."""
        return self.rows[np.argsort(-self.worth(archive.take(self.rows)), kind="stable")[:count]]

    def joined(self, archive: Archive, rows: Rows, gains: Gains | None = None) -> Elite:
        """Return the elite with some rows more, cut to those of most worth at each resolution that its worth admits.

        A network that differs in a few genes only from a better one is left out: near copies would crowd out others.
        """
        rows, first = np.unique(rows, return_index=True)
        gains = unknown(archive, len(rows)) if gains is None else gains[first]
        scored = archive.take(rows)
        fresh = np.flatnonzero(self.worth.admits(scored.values) & ~np.isin(rows, self.rows))
        fresh = fresh[np.argsort(-self.worth(scored)[fresh], kind="stable")]
        rows = np.concatenate([self.rows, rows[fresh]])
        visits = np.concatenate([self.visits, np.zeros(len(fresh), dtype=np.int64)])
        gains = np.concatenate([self.gains, gains[fresh]])
        scored = archive.take(rows)
        worth = self.worth(scored)
        kept = _distinct(scored.genomes, worth, len(self.rows))
        niche = scored.genomes[:, archive.space.at("resolution")].astype(np.int64)
        order = np.lexsort((rows, -worth, niche))
        order = order[kept[order]]
        quota = max(6, ELITE // max(1, len(np.unique(niche[order]))))
        chosen = order[place(niche[order]) < quota]
        return Elite(rows=rows[chosen], visits=visits[chosen], gains=gains[chosen], worth=self.worth)


def _distinct(genomes: Genomes, worth: Values, old: int) -> NDArray[np.bool_]:
    """Return bool[n]: which to keep where rows from ``old`` on come one after another, each near copy the worse."""
    near = (genomes[:, None] != genomes[None, old:]).sum(axis=2) <= NEAR
    kept = np.ones(len(genomes), dtype=np.bool_)
    for own in range(old, len(genomes)):
        around = near[:, own - old] & kept
        around[own:] = False
        if (worth[around] >= worth[own]).any():
            kept[own] = False
        else:
            kept &= ~around
    return kept


def exchange(archive: Archive, elite: Elite, rng: np.random.Generator, *, fair: bool) -> Elite:
    """Start from networks of the elite that promise most for the visits they have had; return the elite after.

    A round of iterated local search over first-order models (Lourenco et al. 2003). What single changes gain is scored
    once for a network that evolution left, and guessed from then on: a network that a round finds has, but for a few
    sites, the gains of the one it was made of. The most promising single changes, and the multi-changes that the gains
    promise together, are scored where the elite's worth admits what they take.
    """
    width = PRICED if elite.worth.price.any() else UNPRICED
    picks = _starts(archive, elite, rng, strict=width.strict, fair=fair)
    at = tangents(archive, elite.worth, elite.rows[picks], elite.gains[picks])
    genomes, owners = propose(archive, at, rng, draws=width.draws, visits=elite.visits[picks], most=width.tried)
    admitted = elite.worth.admits(archive.limit_values(genomes))
    rows = np.concatenate([archive.rows(genomes[admitted]), at.singles])
    owners = np.concatenate([owners[admitted], at.owners])
    scored = archive.take(rows)
    order = np.lexsort((-elite.worth(scored), ~elite.worth.admits(scored.values), owners))
    best = order[place(owners[order]) < width.enter]
    visits, gains = elite.visits.copy(), elite.gains.copy()
    visits[picks] += 1
    gains[picks] = at.gain
    after = Elite(rows=elite.rows, visits=visits, gains=gains, worth=elite.worth)
    return after.joined(archive, rows[best], at.gain[owners[best]])


def _starts(archive: Archive, elite: Elite, rng: np.random.Generator, *, strict: float, fair: bool) -> Rows:
    """Return which of the elite to start from: good, not visited often; with ``fair`` in niches visited least."""
    scored = archive.take(elite.rows)
    worth = elite.worth(scored)
    behind = worth.max() - worth
    typical = float(np.median(behind[behind > 0])) if (behind > 0).any() else 1.0
    dear = strict * behind / typical + VISIT_COST * elite.visits - rng.gumbel(size=len(behind))
    niche = scored.genomes[:, archive.space.at("resolution")]
    visits = np.bincount(niche, weights=elite.visits)
    picks: list[int] = []
    for _ in range(min(STARTS, len(dear))):
        crowded = visits[niche] > visits[niche[np.isfinite(dear)]].min() if fair else False
        picks.append(int(np.where(crowded, np.inf, dear).argmin()))
        dear[picks[-1]] = np.inf
        visits[niche[picks[-1]]] += 1
    return np.array(picks, dtype=np.int64)
