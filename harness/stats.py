"""Robust statistics over rounds: medians, and intervals whose spread is learned from all items together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from harness.levels import Shared
from ofa.lut.student import MOST_FREEDOM, trigamma_inverse

Floats = NDArray[np.float64]

# Standard deviation of the median of n normal values over that of their mean, for n = 1, 2, … 15; √(π/2) beyond.
MEDIAN_TO_MEAN = (
    1.0, 1.0, 1.1602, 1.0922, 1.1976, 1.1351, 1.2137, 1.1600, 1.2229, 1.1762, 1.2287, 1.1878, 1.2329, 1.1963, 1.2357,
)  # fmt: skip
MEDIAN_TO_MEAN_LARGE = math.sqrt(math.pi / 2)
CONFIDENCE = 0.95
# The reference's own noise is in every ratio of a round, unless it was found apart (`harness.levels`): however many
# items there are, it is known from its own rounds alone. Where it is as large as an item's, the variance of both is
# worth four times their freedom (Satterthwaite 1946).
SHARED_FREEDOM = 4


def spread(count: int, most: int) -> list[int]:
    """Return places among ``count``, at most so many, evenly from the first to the last."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(most, count)).tolist()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval and how many rounds it rests on; one round has no interval: lo = value = hi."""

    value: float
    lo: float
    hi: float
    rounds: int

    @property
    def half_width(self) -> float:
        """Return the relative half width of the interval."""
        return math.sqrt(self.hi / self.lo) - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What all items together say about the variance of one: ``variance`` (of logs), worth ``freedom`` degrees."""

    variance: float
    freedom: float


def spread_of(items: Sequence[Sequence[float]]) -> Spread:
    """Return the spread that the items' own are drawn towards; ``items`` are the values of each, over rounds.

    An item's few rounds tell its variance badly, and stopping at those that happen to agree would stop too early, with
    intervals too narrow. The variances of all items follow a scaled F distribution; its two numbers come from the mean
    and the variance of their logs (Smyth 2004, "Linear models and empirical Bayes methods", section 6.2).
    """
    from scipy.special import digamma, polygamma

    logs = [np.log(np.asarray(values, dtype=np.float64)) for values in items if len(values) > 1]
    found = np.array([(float(np.var(values, ddof=1)), len(values) - 1) for values in logs]).reshape(-1, 2)
    found = found[found[:, 0] > 0]
    if len(found) < 2:
        return Spread(variance=float(found[0, 0]) if len(found) else 0.0, freedom=0.0)
    half = found[:, 1] / 2
    centred: Floats = np.log(found[:, 0]) - digamma(half) + np.log(half)
    excess = float(np.var(centred, ddof=1) - np.mean(polygamma(1, half)))
    freedom = MOST_FREEDOM if excess <= 0 else min(MOST_FREEDOM, 2 * trigamma_inverse(excess))
    half_prior = freedom / 2
    variance = math.exp(float(np.mean(centred)) + float(digamma(half_prior)) - math.log(half_prior))
    return Spread(variance=variance, freedom=freedom)


def over_rounds(values: Sequence[float], spread: Spread | None = None, shared: Shared | None = None) -> Estimate:
    """Return the median over rounds and its 95 % interval, made on the log scale.

    The interval is median x exp(± t · s · c(n) / √n): ``c`` because it is the median's interval and not the mean's;
    the variance s² of the logs and its degrees of freedom are drawn towards ``spread``. What is ``shared`` with all
    other values is added to it. ``values`` are positive.
    """
    from scipy.special import stdtrit

    logs = np.log(np.asarray(values, dtype=np.float64))
    centre = median(logs.tolist())
    count = len(logs)
    if count < 2:
        return Estimate(value=math.exp(centre), lo=math.exp(centre), hi=math.exp(centre), rounds=count)
    prior = spread or Spread(variance=0.0, freedom=0.0)
    freedom = count - 1 + prior.freedom
    variance = ((count - 1) * float(np.var(logs, ddof=1)) + prior.freedom * prior.variance) / freedom
    if shared is None or not shared.freedom:
        freedom = min(freedom, SHARED_FREEDOM * (count - 1))
    widening = MEDIAN_TO_MEAN[count - 1] if count <= len(MEDIAN_TO_MEAN) else MEDIAN_TO_MEAN_LARGE
    parts = [(widening**2 * variance / count, freedom), *([(shared.variance, shared.freedom)] if shared else [])]
    total = sum(part for part, _ in parts)
    # Degrees of freedom of a sum of variances (Satterthwaite 1946).
    joint = total**2 / sum(part**2 / free for part, free in parts if free) if total else freedom
    half = float(stdtrit(joint, (1 + CONFIDENCE) / 2)) * math.sqrt(total)
    return Estimate(value=math.exp(centre), lo=math.exp(centre - half), hi=math.exp(centre + half), rounds=count)


def apart(values: Sequence[float]) -> float:
    """Return how far values lie apart: largest over smallest, less 1."""
    return max(values) / min(values) - 1.0
