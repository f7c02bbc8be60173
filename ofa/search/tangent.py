"""Tangents: what every single change of a network does to accuracy and limits, and multi-changes that this promises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.archive import Archive, Scored
from ofa.search.limits import Values
from ofa.search.sites import Codes, Sites, sites_of
from ofa.space.core import Genomes

# How many sites a multi-change redraws, and by how much, in typical gains of one change, its guess may err.
FEWEST_SITES, MOST_SITES = 2, 8
NOISE = (0.15, 0.4, 0.8)
PRICE_SPREAD = 0.7
# First-order sums are a guide, not a verdict: a little over the limit is worth trying.
HOPE = 1.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Tangent:
    """A scored network and its first differences: ``gain`` float64[S, O + 1], ``cost`` float64[L, S, O + 1].

    An entry is what giving a site that code changes, 0 for the code it has, NaN where there is no such option. An
    option of a block that is not in use counts from the deeper network whose new blocks are at their middle.
    """

    codes: Codes
    values: Values
    gain: Values
    cost: Values
    singles: Scored


def tangent(archive: Archive, scored: Scored) -> Tangent:
    """Return the tangent at one scored network (a Scored of length 1); every single change is scored."""
    sites = sites_of(archive.space)
    codes = sites.codes(scored.genomes)[0]
    site, code = _offered(sites)
    other = codes[site] != code
    site, code = site[other], code[other]
    rows = np.repeat(codes[None], len(site), axis=0)
    numbers = np.arange(len(site))
    rows[numbers, site] = code
    dormant = codes[site] == 0
    owner, least = sites.depth[site], sites.kept.argmax(axis=1)[site]
    rows[numbers[dormant], owner[dormant]] = least[dormant]
    found = archive.score(sites.genomes(sites.settled(rows, (sites.options + 1) // 2)))
    shape = sites.kept.shape
    gain = np.full(shape, np.nan)
    gain[np.arange(len(codes)), codes] = 0.0
    gain[:, 0] = 0.0
    cost = np.repeat(gain[None], found.values.shape[1], axis=0)
    gain[site, code] = found.accuracy - scored.accuracy[0]
    cost[:, site, code] = (found.values - scored.values[0]).T
    site, code, owner, least = site[dormant], code[dormant], owner[dormant], least[dormant]
    gain[site, code] -= gain[owner, least]
    cost[:, site, code] -= cost[:, owner, least]
    return Tangent(codes=codes, values=scored.values[0], gain=gain, cost=cost, singles=found)


def _offered(sites: Sites) -> tuple[Codes, Codes]:
    """Return every (site, code) there is."""
    code = np.arange(1, int(sites.options.max()) + 1)
    site, column = np.nonzero(code[None] <= sites.options[:, None])
    return site, code[column]


def propose(
    archive: Archive, at: Tangent, rng: np.random.Generator, *, noise: NDArray[np.float32], visit: int, most: int
) -> Genomes:
    """Return up to ``most`` genomes that change several sites at once, most promising first, none met before.

    Every draw picks a few sites and gives each the code of the best gain less cost at a random price, a little noise
    added: samples around the Lagrangian optimum of the tangent (Everett 1963).
    """
    sites, count = sites_of(archive.space), len(at.codes)
    known = ~np.isnan(at.gain)
    known[:, 0] = False
    gain = np.where(known, at.gain, 0.0).astype(np.float32)
    cost = np.where(known, at.cost, 0.0).astype(np.float32)
    moved = np.abs(gain[gain != 0])
    draws = len(noise) // (2 * gain.size)
    start = int(rng.integers(0, len(noise) - draws * gain.size))
    score = noise[start : start + draws * gain.size].reshape(draws, *gain.shape) * np.float32(
        NOISE[visit % len(NOISE)] * (float(np.median(moved)) if len(moved) else 1.0)
    )
    score += np.where(known, gain, -np.inf)
    for price in cost:
        score -= _prices(gain, price, known, rng, draws)[:, None, None] * price
    best = score.argmax(axis=2)
    share = rng.integers(FEWEST_SITES, MOST_SITES, draws) / count
    picked = rng.random((draws, count), dtype=np.float32) < share[:, None]
    codes = sites.settled(np.where(picked, best, at.codes), best)
    at_sites = np.arange(count)
    promised = gain[at_sites, codes].sum(axis=1)
    allowed = np.array([limit.at_most for limit in archive.limits])
    total = at.values + cost[:, at_sites, codes].sum(axis=2).T
    hopeful = np.flatnonzero((total <= allowed * HOPE).all(axis=1))
    hopeful = hopeful[np.argsort(-promised[hopeful], kind="stable")]
    return archive.fresh(sites.genomes(codes[hopeful]))[:most]


def _prices(
    gain: NDArray[np.float32],
    cost: NDArray[np.float32],
    known: NDArray[np.bool_],
    rng: np.random.Generator,
    draws: int,
) -> NDArray[np.float32]:
    """Draw prices of a limit about what its whole range buys, in points a unit."""
    ranges = [
        np.where(known, table, -np.inf).max(axis=1) + np.where(known, -table, -np.inf).max(axis=1)
        for table in (gain, cost)
    ]
    whole = ranges[1].sum()
    middle = ranges[0].sum() / whole if whole > 0 else np.float32(0.0)
    return np.asarray(middle * np.exp(PRICE_SPREAD * rng.standard_normal(draws, dtype=np.float32)))
