"""Chooses the most accurate network under each budget for one runtime, and the front of everything it met."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import none_unseen
from harness.plan import RuntimeName
from harness.stats import spread
from ofa.score import standard_error_points
from ofa.space.core import Genomes, Subnet

if TYPE_CHECKING:
    from ofa.search import Found
    from ofa.twins.accuracy import AccuracyTwin
    from ofa.twins.latency import LatencyTwin

Predict = Callable[[Genomes], NDArray[np.float64]]

# A front of hundreds of points shows no more than one of this many.
MOST_FRONT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A network chosen for a runtime under a budget, with what the twins say of it."""

    runtime: RuntimeName
    budget_ms: float
    subnet: Subnet
    predicted_ms: float
    predicted_top1: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """What a choice rests on. ``seen`` are genomes that some twin was fitted to: what is chosen must be new to both.

    A network meets a budget where the latency twin's upper bound at ``coverage`` does. ``images`` says of how many
    images labels are, and of how many others the accuracy is that an interval is for: no twin knows that one better
    than so many images tell it.
    """

    accuracy: AccuracyTwin
    latency: LatencyTwin
    coverage: float
    seen: Genomes
    images: tuple[int, ...] = ()

    def unseen_top1(self) -> Predict:
        """Return the accuracy twin with the genomes that were seen marked down."""
        from ofa.search.active import unseen

        return unseen(self.accuracy.predict, {bytes(genome) for genome in self.seen})

    def chosen(self, runtime: RuntimeName, budget_ms: float, subnet: Subnet) -> Chosen:
        """Return a chosen network with what both twins say of it."""
        genome = subnet.array[None]
        top1 = float(self.accuracy.predict(genome)[0])
        low, high = self.accuracy.interval(genome, self.coverage)
        counted = (sampled(top1, count, self.coverage) for count in self.images)
        half = math.hypot(float(high[0] - low[0]) / 2, *counted)
        return Chosen(
            runtime=runtime,
            budget_ms=budget_ms,
            subnet=subnet,
            predicted_ms=float(self.latency.predict(genome)[0]),
            predicted_top1=top1,
            interval=(top1 - half, top1 + half),
        )


def sampled(top1: float, images: int, coverage: float) -> float:
    """Return half the width of the interval of a top-1, percent, that was counted on so many images, points."""
    share = min(1.0, max(0.0, top1 / 100))
    return NormalDist().inv_cdf((1 + coverage) / 2) * standard_error_points(share, images)


def choose(
    twins: Twins,
    runtime: RuntimeName,
    *,
    shares: Sequence[float],
    seed: int,
    population: int,
    generations: int,
    on_pick: Callable[[Chosen], None],
) -> tuple[list[Chosen], dict[str, Any]]:
    """Return one network for each budget, and the front as JSON.

    Budgets lie at ``shares`` of the way from the exact minimum to the exact maximum of the additive latency. Raises
    NoSubnetFits where no network meets a budget.
    """
    from ofa.search import extremes, find, latency_limit

    latency = twins.latency
    ends = extremes(latency.space, latency.op_values_ms, latency.constant_ms)
    predict_top1 = twins.unseen_top1()
    picks: list[Chosen] = []
    founds: list[Found] = []
    for share in shares:
        budget_ms = ends.least + share * (ends.most - ends.least)
        limit = latency_limit(latency, budget_ms, coverage=twins.coverage)
        found = find(latency.space, predict_top1, [limit], seed=seed, population=population, generations=generations)
        if found.best.accuracy < 0:
            raise none_unseen(budget_ms)
        founds.append(found)
        picks.append(twins.chosen(runtime, budget_ms, found.best.subnet))
        on_pick(picks[-1])
    return picks, {
        "points": _front(founds, twins),
        "chosen": [
            _point(pick.subnet, pick.predicted_top1, pick.predicted_ms) | {"budget_ms": pick.budget_ms}
            for pick in picks
        ],
        "extremes_ms": [ends.least, ends.most],
        "evaluated": sum(found.evaluated for found in founds),
        "seed": seed,
        # Everything that decides the front but for its twins: an archive makes it again from this.
        "request": {"shares": list(shares), "coverage": twins.coverage, "seed": seed}
        | {"population": population, "generations": generations},
    }


def _front(founds: Sequence[Found], twins: Twins) -> list[dict[str, Any]]:
    """Return the front over everything that several searches found, by predicted latency."""
    from ofa.search.front import pareto

    subnets = list({point.subnet.id: point.subnet for found in founds for point in found.front}.values())
    genomes = np.stack([subnet.array for subnet in subnets])
    top1, ms = twins.unseen_top1()(genomes), twins.latency.predict(genomes)
    rows = pareto(top1, ms)
    rows = rows[spread(len(rows), MOST_FRONT)]
    return [_point(subnets[row], float(top1[row]), float(ms[row])) for row in rows if top1[row] >= 0]


def _point(subnet: Subnet, top1: float, ms: float) -> dict[str, Any]:
    """Return a network of the front as JSON."""
    return {"id": subnet.id, "accuracy": top1, "latency_ms": ms, "subnet": subnet.to_json()}
