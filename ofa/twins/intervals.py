"""How far a prediction may be off: conformal quantiles of out-of-fold residuals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ofa.twins.errors import coverage_impossible, too_few_for_coverage

Vector = NDArray[np.float64]

# What cards say of every interval made from such residuals.
CAVEAT = "about nominal on average, no finite-sample guarantee"
# Of fewer residuals a quantile is mostly chance.
FEWEST_NEARBY = 30


def quantile(residuals: Vector, coverage: float) -> float:
    """Return the ceil((n + 1) * coverage)-th smallest of n residuals.

    A new residual that is exchangeable with them stays at or below it with probability ``coverage``, for every n (split
    conformal prediction; Lei et al. 2018, section 2.2). Ours are not: each is of a model fitted without its own sample,
    a new one is of the model fitted to all. Then coverage is about nominal on average, with no finite-sample guarantee
    (Barber et al. 2021, section 1, which mends it by jackknife+ and CV+). Raises UsageInvalid where n is too small to
    say.
    """
    if not 0.0 < coverage < 1.0:
        raise coverage_impossible(coverage)
    # The tiny allowance keeps 0.9 * 20 at 18, not 19, where the product is not exact in binary.
    rank = math.ceil((len(residuals) + 1) * coverage - 1e-9)
    if rank > len(residuals):
        raise too_few_for_coverage(len(residuals), coverage, needed=_needed(coverage))
    return float(np.sort(residuals)[rank - 1])


def _needed(coverage: float) -> int:
    """Return how many residuals a quantile of this coverage takes at least."""
    return math.ceil(coverage / (1.0 - coverage) - 1e-9)


def nearby(residuals: Vector, predicted: Vector, at: Vector, coverage: float) -> Vector:
    """Return, for each prediction ``at`` float64[m], the ``quantile`` of the residuals of samples predicted alike.

    Those are a sixth of the samples, and at least thirty, or more where the coverage needs them: the nearest by rank of
    ``predicted`` float64[n]. Where a twin errs more on poor networks than on good ones, each has an interval of its own
    kind (localized conformal prediction; Guan 2023). Raises as ``quantile`` of all residuals.
    """
    quantile(residuals, coverage)
    count = len(residuals)
    kept = min(count, max(FEWEST_NEARBY, -(-count // 6), _needed(coverage)))
    order = np.argsort(predicted, kind="stable")
    residuals, predicted = residuals[order], predicted[order]
    # In the middle of those that are predicted equal.
    left, right = (np.searchsorted(predicted, at, side=side) for side in ("left", "right"))
    starts = np.clip((left + right) // 2 - kept // 2, 0, count - kept)
    windows, place = np.unique(starts, return_inverse=True)
    found = np.array([quantile(residuals[start : start + kept], coverage) for start in windows])
    return found[place]


def folds(count: int, parts: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return int64[count]: the fold of each sample, shuffled, sizes differing by at most one."""
    return rng.permutation(np.arange(count) % parts)
