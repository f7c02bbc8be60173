"""Tangents: what every single change of networks does to worth and limits, and multi-changes that this promises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.archive import Archive
from ofa.search.limits import Values
from ofa.search.sites import Codes, Sites, sites_of
from ofa.search.worth import Worth
from ofa.space.core import Genomes

# Of changes that are guessed, those most promising are scored.
SINGLES = 30
# How many sites a multi-change redraws, and by how much, in typical gains of one change, its guess may err.
FEWEST_SITES, MOST_SITES = 2, 8
NOISE = (0.15, 0.4, 0.8)
PRICE_SPREAD = 0.7
# First-order sums are a guide, not a verdict: a little more than is admitted is worth trying.
HOPE = 1.001
# Of proposals, most of which are found again and again, so many times as many are looked at as are scored.
REDRAWN = 3

Gains = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tangents:
    """B scored networks and their first differences: ``gain`` float32[B, S, O + 1], ``cost`` float32[B, L, S, O + 1].

    An entry is what giving a site that code changes, 0 for the code it has, NaN where there is no such option. An
    option of a block that is not in use counts from the deeper network whose new blocks are at their middle. ``codes``
    is int64[B, S], ``values`` of the limits float64[B, L]; ``singles`` are the archive's rows of the changes that were
    scored, and ``owners`` say of which network each is one, int64[N] both. Gains are of ``worth``.
    """

    worth: Worth
    codes: Codes
    values: Values
    gain: Gains
    cost: Gains
    singles: Rows
    owners: Rows


def unknown(archive: Archive, count: int) -> Gains:
    """Return the gains of ``count`` networks of which nothing is known, float32[count, S, O + 1]."""
    return np.full((count, *sites_of(archive.space).kept.shape), np.nan, dtype=np.float32)


def tangents(archive: Archive, worth: Worth, rows: Rows, guess: Gains) -> Tangents:
    """Return the tangents at scored networks, archive rows int64[B].

    ``guess`` float32[B, S, O + 1] holds the gains of networks that are alike, which may count from another code of each
    site; what is unknown in it (NaN) is scored, and of the rest only what promises most of what ``worth`` admits. Of
    any change that the archive knows its own gain is taken.
    """
    sites = sites_of(archive.space)
    scored = archive.take(rows)
    codes = sites.codes(scored.genomes)
    site, code = _offered(sites)
    genomes, dormant, owner, least = _changed(sites, codes, site, code)
    values = archive.limit_values(genomes).reshape(*dormant.shape, -1)
    gains = _guessed(sites, codes, guess)
    expected = gains[:, site, code] + np.where(dormant, gains[:, owner, least], 0.0)
    met = archive.met(genomes).reshape(dormant.shape)
    asked = _asked(worth, values, expected, met)
    singles = archive.rows(genomes[asked.ravel()])
    met[asked] = singles
    known = worth(archive.take(np.maximum(met, 0).ravel())).reshape(met.shape) - worth(scored)[:, None]
    gain, cost = unknown(archive, len(rows)), np.zeros((len(rows), values.shape[2], *sites.kept.shape), np.float32)
    gain[:, :, 0] = 0.0
    gain[:, site, code] = np.where(met >= 0, known, expected)
    cost[:, :, site, code] = (values - scored.values[:, None]).transpose(0, 2, 1)
    of, at = np.nonzero(dormant)
    site, code, owner, least = site[at], code[at], owner[at], least[at]
    gain[of, site, code] -= gain[of, owner, least]
    cost[of, :, site, code] -= cost[of, :, owner, least]
    owners = np.nonzero(asked)[0]
    return Tangents(
        worth=worth, codes=codes, values=scored.values, gain=gain, cost=cost, singles=singles, owners=owners
    )


def _offered(sites: Sites) -> tuple[Codes, Codes]:
    """Return every (site, code) there is."""
    code = np.arange(1, int(sites.options.max()) + 1)
    site, column = np.nonzero(code[None] <= sites.options[:, None])
    return site, code[column]


def _middle(sites: Sites) -> Codes:
    """Return the middle option of each site, int64[S]: what a block begins as that comes into use."""
    return (sites.options + 1) // 2


def _changed(sites: Sites, codes: Codes, site: Codes, code: Codes) -> tuple[Genomes, NDArray[np.bool_], Codes, Codes]:
    """Return the genomes uint8[B * N, G] of N single changes of each network; which need a deeper stage, bool[B, N];
    and for each change the site of that depth and the least code that keeps the block, int64[N] both."""
    rows = np.repeat(codes[:, None], len(site), axis=1)
    rows[:, np.arange(len(site)), site] = code
    dormant = codes[:, site] == 0
    owner, least = sites.depth[site], sites.kept.argmax(axis=1)[site]
    of, at = np.nonzero(dormant)
    rows[of, at, owner[at]] = least[at]
    settled = sites.settled(rows.reshape(-1, sites.count), _middle(sites))
    return sites.genomes(settled), dormant, owner, least


def _guessed(sites: Sites, codes: Codes, guess: Gains) -> Gains:
    """Return gains that count from the networks' own codes; from the middle where a block is not in use."""
    anchor = np.where(codes > 0, codes, _middle(sites))
    return guess - np.take_along_axis(guess, anchor[:, :, None], axis=2)


def _asked(worth: Worth, values: Values, expected: Gains, met: Rows) -> NDArray[np.bool_]:
    """Return which changes to score, bool[B, N]: those of which nothing is known, and of those not ``met`` yet the most
    promising of what ``worth`` admits."""
    able = np.asarray(worth.admits(values) & (met < 0))
    hoped = np.where(able, expected, -np.inf)
    asked = np.zeros_like(able)
    np.put_along_axis(asked, np.argsort(-hoped, axis=1, kind="stable")[:, :SINGLES], values=True, axis=1)
    return np.asarray(np.isnan(expected) | (asked & able))


def propose(
    archive: Archive, at: Tangents, rng: np.random.Generator, *, draws: int, visits: Rows, most: int
) -> tuple[Genomes, Rows]:
    """Return genomes uint8[n, G] that change several sites at once, none met before, and of which network, int64[n].

    Every draw picks a few sites and gives each the code of the best gain less cost at a random price, a little noise
    added: samples around the Lagrangian optimum of the tangent (Everett 1963). Where gains are of a worth they are net
    of its price already, and draws are dearer by as much. Of each network's ``draws`` up to ``most``, those that
    promise most.
    """
    sites, (count, places, _) = sites_of(archive.space), at.gain.shape
    pull = _Pull.of(at, rng, draws=draws, visits=visits)
    of = np.repeat(np.arange(count), draws)
    codes = at.codes[of]
    share = rng.integers(FEWEST_SITES, MOST_SITES, len(of)) / places
    pull.fill(codes, rng.random(codes.shape, dtype=np.float32) < share[:, None], rng)
    used = sites.in_use(codes)
    pull.fill(codes, used & (codes == 0), rng)
    codes *= used
    promised = pull.gain[of[:, None], np.arange(places), codes].sum(axis=1)
    spent = pull.cost[of[:, None], np.arange(places), codes].sum(axis=1)
    hopeful = np.flatnonzero((at.values[of] + spent <= at.worth.most * HOPE).all(axis=1))
    hopeful = hopeful[np.lexsort((-promised[hopeful], of[hopeful]))]
    hopeful = hopeful[place(of[hopeful]) < REDRAWN * most]
    genomes, of = sites.genomes(codes[hopeful]), of[hopeful]
    fresh = np.array(archive.unmet(genomes), dtype=np.int64)
    fresh = fresh[place(of[fresh]) < most]
    return genomes[fresh], of[fresh]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pull:
    """What draws gives codes by: ``gain`` float32[B, S, O + 1], ``cost`` float32[B, S, O + 1, L], both 0 where nothing
    is known; ``hope`` is the gain, and -inf there; ``price`` float32[B * draws, L]; ``noise`` float32[B]."""

    gain: Gains
    cost: Gains
    hope: Gains
    price: Gains
    noise: Gains
    draws: int

    @staticmethod
    def of(at: Tangents, rng: np.random.Generator, *, draws: int, visits: Rows) -> _Pull:
        """Draw the prices."""
        known = ~np.isnan(at.gain)
        known[:, :, 0] = False
        gain = np.where(known, at.gain, np.float32(0.0))
        cost = np.where(known[:, None], at.cost, np.float32(0.0))
        prices = [_prices(gain, cost[:, number], known, rng, draws).ravel() for number in range(cost.shape[1])]
        return _Pull(
            gain=gain,
            cost=np.ascontiguousarray(cost.transpose(0, 2, 3, 1)),
            hope=np.where(known, gain, np.float32(-np.inf)),
            price=np.stack(prices, axis=1) if prices else np.zeros((len(gain) * draws, 0), np.float32),
            noise=_scale(gain, visits),
            draws=draws,
        )

    def fill(self, codes: Codes, where: NDArray[np.bool_], rng: np.random.Generator) -> None:
        """Give the sites that bool[B * draws, S] says the codes of the best gain less cost."""
        draw, site = np.nonzero(where)
        of = draw // self.draws
        score = self.noise[of, None] * rng.standard_normal((len(of), self.gain.shape[2]), dtype=np.float32)
        score += self.hope[of, site]
        for number in range(self.price.shape[1]):
            score -= self.price[draw, None, number] * self.cost[of, site, :, number]
        codes[draw, site] = score.argmax(axis=1)


def _scale(gain: Gains, visits: Rows) -> NDArray[np.float32]:
    """Return how large the noise of each network's proposals is, float32[B]: another one on every visit."""
    moved = np.sort(np.abs(gain.reshape(len(gain), -1)), axis=1)
    zeros = (moved == 0).sum(axis=1)
    middle = np.minimum((zeros + moved.shape[1]) // 2, moved.shape[1] - 1)
    typical = np.where(zeros < moved.shape[1], moved[np.arange(len(gain)), middle], np.float32(1.0))
    return typical * np.array(NOISE, dtype=np.float32)[visits % len(NOISE)]


def place(of: Rows) -> Rows:
    """Return the how-manieth of its group each entry of sorted groups is, int64[n], from 0."""
    starts = np.flatnonzero(np.diff(of, prepend=-1))
    return np.arange(len(of)) - np.repeat(starts, np.diff([*starts, len(of)]))


def _prices(
    gain: Gains, cost: Gains, known: NDArray[np.bool_], rng: np.random.Generator, draws: int
) -> NDArray[np.float32]:
    """Draw prices of a limit about what its whole range buys, in points a unit, float32[B, draws]."""
    ranges = [
        (np.where(known, table, -np.inf).max(axis=2) + np.where(known, -table, -np.inf).max(axis=2)).sum(axis=1)
        for table in (gain, cost)
    ]
    middle = np.divide(ranges[0], ranges[1], out=np.zeros_like(ranges[0]), where=ranges[1] > 0)
    spread = np.exp(PRICE_SPREAD * rng.standard_normal((len(gain), draws), dtype=np.float32))
    return np.asarray(middle[:, None] * spread, dtype=np.float32)
