"""Which whole networks are measured beside the ops: spread over MACs, the held-out ones over resolutions as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import ofa.space as spaces
from harness.errors import networks_lacking
from harness.plan import Split
from harness.refusals import too_many_held_out
from ofa.space.core import Genomes, SearchSpace, Subnet
from ofa.space.index import index_of
from ofa.space.ops import ops_of

# How steeply the genes of candidates to fit to may lean to their small or large ends, all of one candidate together.
LEAN = 8.0
# How many random networks stand behind each one that is measured: more reach further towards the ends.
CANDIDATES = 64
FEWEST_CANDIDATES = 512
RESOLUTION = "resolution"
# The resolutions most tables of this family are made at, px.
MAIN_PX = (128, 160, 192, 224)
MAIN_COUNT = 4
MANY_RESOLUTIONS = 20
FIT = 20
HOLDOUT, HOLDOUT_OF_MANY = 12, 101
# Where no op is measured, prices of a dozen kinds of work are fitted to networks.
FIT_ALONE = 100


def networks_of(space: SearchSpace, *, fit: int, holdout: int, seed: int) -> list[tuple[Subnet, Split]]:
    """Return distinct networks to fit a latency twin to and to hold out from it; equal arguments give equal ones.

    Those to fit to are spread over everything, from nearly the smallest network of the space to nearly the largest:
    outside of them a calibration is none. The held-out ones are stratified as `shares` says, and spread over MACs
    within a resolution. Raises UsageInvalid where the space has not so many.
    """
    rng = np.random.default_rng(seed)
    fitted = spread(space, fit, rng, drawn=leaning(space, max(FEWEST_CANDIDATES, CANDIDATES * fit), rng))
    counts = shares(space.resolutions, holdout)
    rng = np.random.default_rng([seed, 1])
    alone = [px for px, count in zip(space.resolutions, counts, strict=True) if count == 1]
    # One network says nothing about the spread within its resolution: together they are spread, in random order.
    sizes = dict(zip(alone, rng.permutation((np.arange(len(alone)) + 0.5) / max(1, len(alone))), strict=True))
    held = fitted[:0]
    for px, count in zip(space.resolutions, counts, strict=True):
        at = np.array([sizes[px]]) if px in sizes else np.linspace(0, 1, count)
        found = spread(space, count, rng, resolution=px, at=at, apart=np.concatenate([fitted, held]))
        held = np.concatenate([held, found])
    chosen: list[tuple[Subnet, Split]] = [(space.subnet(genome), "fit") for genome in fitted]
    return chosen + [(space.subnet(genome), "holdout") for genome in held]


def parted(subnets: Sequence[Subnet], holdout: int) -> list[tuple[Subnet, Split]]:
    """Return given networks in their order, ``holdout`` of them held out, evenly from the fewest to the most MACs.

    The smallest and the largest are fitted to: outside of what it is fitted to a calibration is none. Raises
    UsageInvalid where more are to be held out than lie between these two.
    """
    inner = len(subnets) - 2
    if holdout > max(0, inner):
        raise too_many_held_out(holdout, len(subnets))
    by_macs = sorted(range(len(subnets)), key=lambda place: sum(op.macs for op in ops_of(subnets[place])))
    held = {by_macs[1 + int((number + 0.5) * inner / holdout)] for number in range(holdout)}
    return [(subnet, "holdout" if place in held else "fit") for place, subnet in enumerate(subnets)]


def holdout_of(space: SearchSpace) -> int:
    """Return how many networks are held out where nobody says: more where there are many resolutions to check at."""
    return HOLDOUT_OF_MANY if len(space.resolutions) > MANY_RESOLUTIONS else HOLDOUT


def main_resolutions(resolutions: Sequence[int]) -> tuple[int, ...]:
    """Return the resolutions most networks are held out at: 128, 160, 192 and 224 px, or else four spread evenly."""
    if set(MAIN_PX) <= set(resolutions):
        return MAIN_PX
    count = min(MAIN_COUNT, len(resolutions))
    return tuple(resolutions[round(place)] for place in np.linspace(0, len(resolutions) - 1, count))


def shares(resolutions: Sequence[int], count: int) -> tuple[int, ...]:
    """Return how many networks are held out at each resolution: one at every one, the rest equally at the main ones.

    What does not divide goes to the largest. Fewer than resolutions are spread over them, one each.
    """
    if count < len(resolutions):
        chosen = {int((place + 0.5) * len(resolutions) / count) for place in range(count)}
        return tuple(int(place in chosen) for place in range(len(resolutions)))
    main = main_resolutions(resolutions)
    each, over = divmod(count - len(resolutions), len(main))
    largest = sorted(main)[len(main) - over :]
    return tuple(1 + each * (px in main) + (px in largest) for px in resolutions)


def leaning(space: SearchSpace, count: int, rng: np.random.Generator) -> Genomes:
    """Return random genomes uint8[count, G] of all sizes: the genes of each lean to their small or large ends."""
    power = LEAN ** rng.uniform(-1, 1, (count, 1))
    shares = rng.random((count, len(space.genes))) ** power
    return space.canonical((1 + np.floor(shares * space.cardinalities)).astype(np.uint8))


def spread(
    space: SearchSpace,
    count: int,
    rng: np.random.Generator,
    *,
    resolution: int | None = None,
    at: NDArray[np.float64] | None = None,
    apart: Genomes | None = None,
    drawn: Genomes | None = None,
) -> Genomes:
    """Return ``count`` distinct random genomes uint8[count, G] whose MACs are spread on a log scale.

    Random networks crowd in the middle of a space; a calibration on them alone would say little about its ends. They
    are chosen from ``drawn``, or else from networks drawn here. ``resolution``: all of this one, px. ``at``: where they
    lie between the smallest and the largest that were drawn, float64[count] from 0 to 1, ascending. ``apart``: genomes
    that are not taken. Raises UsageInvalid where there are not so many.
    """
    if not count:
        return np.zeros((0, len(space.genes)), dtype=np.uint8)
    if drawn is None:
        drawn = spaces.sample.random(space, max(FEWEST_CANDIDATES, CANDIDATES * count), rng)
    if resolution is not None and space.has(RESOLUTION):
        drawn[:, space.at(RESOLUTION)] = 1 + space.resolutions.index(resolution)
    taken = {bytes(genome) for genome in apart} if apart is not None else set()
    drawn = spaces.sample.unique(drawn)
    drawn = drawn[[bytes(genome) not in taken for genome in drawn]]
    if len(drawn) < count:
        raise networks_lacking(space.id, count, len(drawn), resolution)
    index = index_of(space)
    logs = np.log(index.sum(drawn, index.values(lambda op: float(op.macs))))
    drawn, logs = drawn[np.argsort(logs, kind="stable")], np.sort(logs)
    at = np.linspace(0, 1, count) if at is None else at
    places = np.searchsorted(logs, logs[0] + at * (logs[-1] - logs[0]))
    # Where the ends are thin, two targets may meet at one network: each takes the next that is free.
    for place in range(1, count):
        places[place] = max(places[place], places[place - 1] + 1)
    for place in range(count - 1, -1, -1):
        places[place] = min(places[place], len(drawn) - count + place)
    chosen: Genomes = drawn[places]
    return chosen


def middle(space: SearchSpace) -> Subnet:
    """Return the network in the middle of every gene's choices: what each round is divided by."""
    genome = ((space.cardinalities + 1) // 2).astype(np.uint8)
    return space.subnet(space.canonical(genome[None])[0])
