"""How good a prediction, an interval or a front is: each measure defined once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


def standard_error_points(share: float, count: int) -> float:
    """Return the standard error, percent points, of a share (0 to 1) that was counted on so many samples."""
    return 100 * math.sqrt(share * (1 - share) / count)


def spearman(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Return Spearman's rank correlation, -1..1, ties at their mean rank; nan where either side is constant.

    Takes two vectors [n], n >= 2. Source: Spearman 1904.
    """
    first, second = _pair(predicted, actual, at_least=2)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    # As `scipy.stats.spearmanr`, which takes longer to load than a search to begin.
    return float(np.clip(np.corrcoef(_ranks(first), _ranks(second))[0, 1], -1.0, 1.0))


def _ranks(values: Vector) -> Vector:
    """Return the rank of each value, 1..n, ties at their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Vector = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks


def kendall(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Return Kendall's tau-b, -1..1, corrected for ties; nan where either side is constant.

    Takes two vectors [n], n >= 2. Source: Kendall 1945; `scipy.stats.kendalltau`.
    """
    first, second = _pair(predicted, actual, at_least=2)
    return float(_stats().kendalltau(first, second, variant="b").statistic)


def mape_pct(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Return the mean absolute percentage error in percent: mean of 100 |predicted - actual| / |actual|.

    Raises ValueError where an actual value is 0. Source: Hyndman and Koehler 2006, section 2.2.
    """
    return float(np.mean(_error_pct(predicted, actual)))


def within_pct(predicted: ArrayLike, actual: ArrayLike, tolerance_pct: float) -> float:
    """Return the percentage of predictions at most ``tolerance_pct`` percent from the actual value.

    The bound counts as within. Raises ValueError where an actual value is 0.
    Source: "±10 % accuracy" of nn-Meter (Zhang et al. 2021).
    """
    # A prediction written as actual x 1.1 must count as within 10 %, whatever its last bit says.
    return float(100 * np.mean(_error_pct(predicted, actual) <= tolerance_pct * (1 + 1e-12)))


def rmse(predicted: ArrayLike, actual: ArrayLike) -> float:
    """Return the root of the mean squared error, in the unit of its arguments."""
    first, second = _pair(predicted, actual, at_least=1)
    return float(np.sqrt(np.mean((second - first) ** 2)))


def coverage(actual: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> float:
    """Return the share, 0..1, of actual values in their closed interval ``lo <= actual <= hi``.

    Raises ValueError where an interval is upside down. Source: Gneiting and Raftery 2007.
    """
    first, low = _pair(actual, lo, at_least=1)
    _, high = _pair(actual, hi, at_least=1)
    if np.any(low > high):
        raise ValueError(f"`lo <= hi` must hold, but {int(np.sum(low > high))} of {low.size} intervals are upside down")
    return float(np.mean((low <= first) & (first <= high)))


def hypervolume_2d(gain: ArrayLike, cost: ArrayLike, *, least_gain: float, most_cost: float) -> float:
    """Return the area that points (gain up, cost down) dominate, up to the reference point (least_gain, most_cost).

    The unit is gain's times cost's; points at or beyond the reference add nothing; dominated points and repeats
    change nothing. Source: Zitzler and Thiele 1998, "size of the space covered".
    """
    gains, costs = _pair(gain, cost, at_least=0)
    inside = (gains > least_gain) & (costs < most_cost)
    order = np.lexsort((-gains[inside], costs[inside]))
    gains, costs = gains[inside][order], costs[inside][order]
    best = np.maximum.accumulate(np.concatenate(([least_gain], gains)))
    return float(np.sum(np.diff(best) * (most_cost - costs)))


def _error_pct(predicted: ArrayLike, actual: ArrayLike) -> Vector:
    """Return the absolute percentage error of each prediction."""
    first, second = _pair(predicted, actual, at_least=1)
    if np.any(second == 0):
        raise ValueError("a percentage error needs actual values that are not 0")
    return np.asarray(100 * np.abs(first - second) / np.abs(second))


def _pair(first: ArrayLike, second: ArrayLike, *, at_least: int) -> tuple[Vector, Vector]:
    """Return two finite float64 vectors of one length."""
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 1 or one.shape != two.shape or one.size < at_least:
        raise ValueError(f"two vectors of equal length >= {at_least} are needed, but got {one.shape} and {two.shape}")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise ValueError("only finite values can be scored")
    return one, two


def _stats() -> Any:
    """Return `scipy.stats`, which takes a quarter of a second to import."""
    from scipy import stats

    return stats
