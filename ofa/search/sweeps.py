"""A whole front in one run: a search for each of many values of one limit, each begun from what the last ones found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ofa import score
from ofa.search import front, prove
from ofa.search.archive import Archive, Scored, joined
from ofa.search.finding import Candidate, Namer, candidate, nothing_found
from ofa.search.limits import Limit, Predictor, violations
from ofa.search.proof import Above, above_of
from ofa.search.run import Ended, Plan, Run
from ofa.search.sums import Sum
from ofa.space.core import Genomes, SearchSpace
from ofa.threads import on_one_thread

POPULATION, GENERATIONS, ROUNDS = 96, 5, 24
# Trees are bounded exactly at so many limits, seconds each; what their prices say holds at all.
PROOFS = 4
# The costliest useful network is looked for in this many generations.
WIDEST_GENERATIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The best network under one value of the limit, and what none under it exceeds, percent, where that is proven."""

    at_most: float
    best: Candidate
    upper_bound: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Points by rising limit, and all that was found of the front between them: cost and accuracy of each network.

    ``hypervolume`` is of all, in points of accuracy times the limit's unit, over the least accuracy and up to the
    largest limit.
    """

    points: tuple[Point, ...]
    between: tuple[tuple[float, float], ...]
    hypervolume: float
    evaluated: int
    bound_reason: str


@on_one_thread
def sweep(
    space: SearchSpace,
    accuracy: Predictor,
    limit: Limit,
    others: Sequence[Limit] = (),
    *,
    seed: int,
    points: int = 20,
    above: Sum | Above | None = None,
    named: Namer | None = None,
    on_point: Callable[[int], None] = lambda number: None,
) -> Front:
    """Return the best network under each of ``points`` values of a limit, evenly spaced up to its ``at_most``.

    The smallest value lies one step above the exact minimum where that is known, else above the least found. ``others``
    hold everywhere. Raises NoSubnetFits where no network was found that meets the limits at all.
    """
    naming = named or space.subnet
    prove.possible((limit, *others), naming)
    prove.together(space, (limit, *others))
    floor = limit.floor().least if limit.floor else _least(space, accuracy, (limit, *others), seed)
    floor = min(floor, limit.at_most)
    values = np.linspace(floor, limit.at_most, points + 1)[1:].tolist()
    tried = [(replace(limit, at_most=at_most), *others) for at_most in values]
    parts, last = _searched(space, accuracy, tried, seed, on_point)
    if not any((part.violation == 0).any() for part in parts):
        raise nothing_found(naming, (limit, *others), last.best)
    scored = joined(parts)
    scored = scored.take(violations(others, scored.values[:, 1:]) == 0)
    scored = scored.take(front.pareto(scored.accuracy, scored.values[:, 0]))
    above = above or above_of(accuracy)
    proven = [plane for limits in tried[:: -max(1, points // PROOFS)] for plane in prove.planes(space, above, limits)]
    found, reason = [], prove.upper_bound(space, above, (limit, *others), proven)[1]
    for at_most, limits in zip(values, tried, strict=True):
        within = np.flatnonzero(scored.values[:, 0] <= at_most)
        if len(within):
            bound, _ = prove.upper_bound(space, above, limits, proven)
            best = candidate(naming, (limit, *others), scored, int(within[-1]))
            found.append(Point(at_most=at_most, best=best, upper_bound=bound))
    return Front(
        points=tuple(found),
        between=tuple(zip(scored.values[:, 0].tolist(), scored.accuracy.tolist(), strict=True)),
        hypervolume=_volume(scored, limit),
        evaluated=sum(map(len, parts)),
        bound_reason=reason,
    )


def _searched(
    space: SearchSpace,
    accuracy: Predictor,
    tried: Sequence[Sequence[Limit]],
    seed: int,
    on_point: Callable[[int], None],
) -> tuple[list[Scored], Ended]:
    """Search under one set of limits after another, each from what the two before it found; return all that was scored
    under each, and the last search."""
    parts: list[Scored] = []
    elites: list[Genomes] = []
    for number, limits in enumerate(tried):
        archive = Archive(space, accuracy, limits)
        plan = Plan(seed=(seed, number), population=POPULATION, generations=GENERATIONS, rounds=ROUNDS)
        ended = Run(archive, plan, seeds=np.concatenate(elites[-2:]) if elites else None).finish()
        elites.append(ended.elite)
        parts.append(archive.all())
        on_point(number + 1)
    return parts, ended


def _volume(scored: Scored, limit: Limit) -> float:
    """Return the hypervolume of a front, over its least accuracy and up to the limit."""
    return score.hypervolume_2d(
        scored.accuracy,
        scored.values[:, 0],
        least_gain=float(scored.accuracy.min()) if len(scored) else 0.0,
        most_cost=float(limit.at_most),
    )


def _least(space: SearchSpace, accuracy: Predictor, limits: Sequence[Limit], seed: int) -> float:
    """Return the least value of the first limit that a short search for it finds."""
    first = limits[0]

    def small(genomes: Genomes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return -first.predict(genomes)

    archive = Archive(space, small, limits)
    plan = Plan(seed=(seed,), population=POPULATION, generations=WIDEST_GENERATIONS, rounds=0)
    ended = Run(archive, plan).finish()
    return float(-ended.best.accuracy[0])
