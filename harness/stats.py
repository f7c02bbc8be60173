"""Robust statistics over rounds: ratios to a reference, their median, and an interval of that median."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Two-sided 95 % points of Student's t for 1, 2, … 30 degrees of freedom.
T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
NORMAL_95 = 1.960

# The median of normal values varies this much more than their mean (large samples; an upper bound for small ones).
MEDIAN_TO_MEAN = math.sqrt(math.pi / 2)


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


def over_rounds(values: Sequence[float]) -> Estimate:
    """Return the median over rounds and its 95 % interval, made on the log scale.

    The interval is median x exp(± t · s · √(π/2) / √n): Student's t with n - 1 degrees of freedom and the standard
    deviation s of the logs, widened because it is the median's interval and not the mean's. ``values`` are positive.
    """
    logs = np.log(np.asarray(values, dtype=np.float64))
    centre = float(np.median(logs))
    count = len(logs)
    if count < 2:
        return Estimate(value=math.exp(centre), lo=math.exp(centre), hi=math.exp(centre), rounds=count)
    t = T_95[count - 2] if count - 2 < len(T_95) else NORMAL_95
    half = t * MEDIAN_TO_MEAN * float(np.std(logs, ddof=1)) / math.sqrt(count)
    return Estimate(value=math.exp(centre), lo=math.exp(centre - half), hi=math.exp(centre + half), rounds=count)


def spread(values: Sequence[float]) -> float:
    """Return how far values lie apart: largest over smallest, less 1."""
    return max(values) / min(values) - 1.0
