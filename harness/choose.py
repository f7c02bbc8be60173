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
        low, high = self.interval(genome)
        return Chosen(
            runtime=runtime,
            budget_ms=budget_ms,
            subnet=subnet,
            predicted_ms=float(self.latency.predict(genome)[0]),
            predicted_top1=float(self.accuracy.predict(genome)[0]),
            interval=(float(low[0]), float(high[0])),
        )

    def interval(self, genomes: Genomes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of the accuracy twin's interval, widened by what the images leave open, percent."""
        top1 = self.accuracy.predict(genomes)
        low, high = self.accuracy.interval(genomes, self.coverage)
        counted = [[sampled(float(one), count, self.coverage) for count in self.images] for one in top1]
        half = np.array([math.hypot(own, *more) for own, more in zip((high - low) / 2, counted, strict=True)])
        return top1 - half, top1 + half


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
    """Return one network for each budget, and the front as JSON: with intervals, and what is proven under each budget.

    Budgets lie at ``shares`` of the way from the exact minimum to the exact maximum of the additive latency. Raises
    NoSubnetFits where no network meets a budget.
    """
    from ofa.search import extremes, find, latency_limit
    from ofa.search.proof import accuracy_above

    latency = twins.latency
    ends = extremes(latency.space, latency.op_values_ms, latency.constant_ms)
    predict_top1, above = twins.unseen_top1(), accuracy_above(twins.accuracy)
    effort: dict[str, Any] = {"seed": seed, "population": population, "generations": generations}
    picks: list[Chosen] = []
    founds: list[Found] = []
    for share in shares:
        budget_ms = ends.least + share * (ends.most - ends.least)
        limit = latency_limit(latency, budget_ms, coverage=twins.coverage)
        found = find(latency.space, predict_top1, [limit], above=above, **effort)
        if found.best.accuracy < 0:
            raise none_unseen(budget_ms)
        founds.append(found)
        picks.append(twins.chosen(runtime, budget_ms, found.best.subnet))
        on_pick(picks[-1])
    return picks, {
        "points": _front(founds, twins),
        "chosen": [_chosen(pick, found) for pick, found in zip(picks, founds, strict=True)],
        "bound_reason": founds[-1].bound_reason,
        "extremes_ms": [ends.least, ends.most],
        "evaluated": sum(found.evaluated for found in founds),
        "seed": seed,
        # Everything that decides the front but for its twins: an archive makes it again from this.
        "request": {"shares": list(shares), "coverage": twins.coverage, "images": list(twins.images)} | effort,
    }


def _chosen(pick: Chosen, found: Found) -> dict[str, Any]:
    """Return a choice as JSON: the network, its budget, and what no network under that is predicted above, percent."""
    from ofa.search.answer import rounded_up

    point = _point(pick.subnet, pick.predicted_top1, pick.predicted_ms, pick.interval)
    return point | {"budget_ms": pick.budget_ms, "upper_bound": rounded_up(found.upper_bound)}


def _front(founds: Sequence[Found], twins: Twins) -> list[dict[str, Any]]:
    """Return the front over everything that several searches found, by predicted latency."""
    from ofa.search.front import pareto

    subnets = list({point.subnet.id: point.subnet for found in founds for point in found.front}.values())
    genomes = np.stack([subnet.array for subnet in subnets])
    top1, ms = twins.unseen_top1()(genomes), twins.latency.predict(genomes)
    rows = pareto(top1, ms)
    rows = rows[spread(len(rows), MOST_FRONT)]
    rows = rows[top1[rows] >= 0]
    ends = zip(*twins.interval(genomes[rows]), strict=True)
    return [
        _point(subnets[row], float(top1[row]), float(ms[row]), (float(low), float(high)))
        for row, (low, high) in zip(rows, ends, strict=True)
    ]


def _point(subnet: Subnet, top1: float, ms: float, interval: tuple[float, float]) -> dict[str, Any]:
    """Return a network of the front as JSON."""
    low, high = interval
    between = {"accuracy_lo": low, "accuracy_hi": high}
    return {"id": subnet.id, "accuracy": top1, **between, "latency_ms": ms, "subnet": subnet.to_json()}
