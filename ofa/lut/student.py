"""What a 95 % interval of a row implies on the log scale, and how sure a difference is, by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.lut.rows import MEASURED, USABLE, NetworkRow, Row

Vector = NDArray[np.float64]

NORMAL_95 = 1.960


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A measured value on the log scale: how far its 95 % interval reaches below and above, and on how many rounds."""

    log: float
    below: float
    above: float
    freedom: float

    @property
    def half_width(self) -> float:
        """Return half the interval, on the log scale: 0.01 is about 1 %."""
        return (self.below + self.above) / 2

    @property
    def error(self) -> float:
        """Return the standard error that the interval was made from."""
        return self.half_width / quantile(self.freedom)


def estimate(value: int, lo: int, hi: int, rounds: int) -> Estimate:
    """Return a value with its interval on the log scale; ``rounds`` >= 2 are what the interval rests on.

    No interval is taken to be narrower than the whole number that it is written as.
    """
    centre = max(float(value), 0.5)
    rounding = 0.5 / centre
    return Estimate(
        log=math.log(centre),
        below=max(math.log(centre / max(lo, 0.5)), rounding),
        above=max(math.log(max(hi, 0.5) / centre), rounding),
        freedom=rounds - 1,
    )


def measured(row: Row | NetworkRow) -> bool:
    """Say whether a row has a time that a device gave and a sum may use."""
    return row.status in MEASURED & USABLE and row.ns is not None


def of_row(row: Row | NetworkRow) -> Estimate | None:
    """Return the estimate of a row; None where it was not measured, or only in one round, which has no interval."""
    if not measured(row) or row.ns is None or row.lo is None or row.hi is None or row.rounds < 2:
        return None
    return estimate(row.ns, row.lo, row.hi, row.rounds)


def quantile(freedom: float) -> float:
    """Return the two-sided 95 % point of Student's t.

    The spread behind an interval may have been learned from other rows too, and be worth more than its own rounds:
    taken apart by these alone, the interval stays what it is at 95 %, and farther out a difference counts for less.
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def two_sided(t: float, freedom: float) -> float:
    """Return the probability of a value of Student's t at least this far from 0."""
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(t)))


def welch(a: Estimate, b: Estimate) -> float:
    """Return the p-value of the difference of two estimates whose rounds may scatter differently (Welch 1947)."""
    variances = (a.error**2, b.error**2)
    total = sum(variances)
    freedom = total**2 / (variances[0] ** 2 / a.freedom + variances[1] ** 2 / b.freedom)
    return two_sided((b.log - a.log) / math.sqrt(total), freedom)


def false_discoveries(p_values: Sequence[float]) -> Vector:
    """Return adjusted p-values float64[n]: calling those at most q different lets a share q of the calls be wrong.

    Source: Benjamini and Hochberg 1995, section 3 (step-up, independent or positively dependent tests).
    """
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p_values)) if len(p_values) else np.zeros(0)
