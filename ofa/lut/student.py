"""What a 95 % interval of a row implies on the log scale, and how sure a difference is, by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ofa.lut.rows import MEASURED, USABLE, NetworkRow, Row

Vector = NDArray[np.float64]

NORMAL_95 = 1.960
# Spreads that agree better than chance lets them have one cause: freedom beyond this is as good as infinite.
MOST_FREEDOM = 1e3
FEWEST_TO_POOL = 20


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


def pooled(estimates: Sequence[Estimate]) -> list[Estimate]:
    """Return the estimates of one table and state with the freedom that their intervals show together.

    A table does not say whether the spread behind an interval is that of its own rounds alone. Then the widths scatter
    as chi does with the freedom of those rounds; the less they do, the more was learned from other rows (variance of
    the log of a variance, Smyth 2004). Never less than each one's own; few estimates say nothing of that.
    """
    if len(estimates) < FEWEST_TO_POOL:
        return list(estimates)
    logs = [2 * math.log(one.half_width) + math.log(one.freedom + 1) for one in estimates]
    spread = float(np.var(logs, ddof=1))
    freedom = min(MOST_FREEDOM, 2 * trigamma_inverse(spread)) if spread > 0 else MOST_FREEDOM
    return [replace(one, freedom=max(one.freedom, freedom)) for one in estimates]


def trigamma_inverse(value: float) -> float:
    """Return x with trigamma(x) = value > 0, by Newton's method on 1 / trigamma, which is nearly a straight line."""
    from scipy.special import polygamma

    x = 0.5 + 1 / value
    for _ in range(50):
        first = float(polygamma(1, x))
        step = first * (1 - first / value) / float(polygamma(2, x))
        x += step
        if abs(step) < 1e-9 * x:
            break
    return x


def false_discoveries(p_values: Sequence[float] | Vector) -> Vector:
    """Return adjusted p-values float64[n]: calling those at most q different lets a share q of the calls be wrong.

    Source: Benjamini and Hochberg 1995, section 3 (step-up, independent or positively dependent tests).
    """
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p_values)) if len(p_values) else np.zeros(0)
