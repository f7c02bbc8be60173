"""What a calibration is worth: each network predicted by sums calibrated without it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ofa.lut.calibrate import fit
from ofa.twins import intervals

Vector = NDArray[np.float64]

# Above this many networks, folds stand in for leaving out one at a time.
ONE_BY_ONE = 200


def left_out(sums: Vector, latency: Vector, *, below_zero: bool = False) -> Vector:
    """Return measured / predicted float64[n], each predicted without that network (or its fold, above 200)."""
    count = len(latency)
    fold = np.arange(count) if count <= ONE_BY_ONE else intervals.folds(count, 20, np.random.default_rng(0))
    ratios = np.empty(count)
    for part in np.unique(fold):
        seen, unseen = fold != part, fold == part
        ratios[unseen] = latency[unseen] / fit(sums[seen], latency[seen], below_zero=below_zero).predict(sums[unseen])
    return ratios
