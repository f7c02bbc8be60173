"""What a whole batch was off by: an item is compared with all that ran beside it, and not with the reference alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Fewer items that ran together in other rounds, too, say less of a batch than the reference does.
FEWEST = 20
SWEEPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The variance (of logs) that every item has in common, since the level of all is known from some rounds only."""

    variance: float = 0.0
    freedom: float = 0.0


def levelled(items: Integers, rounds: Integers, batches: Integers, logs: Floats) -> tuple[Floats, Shared]:
    """Return logs of item over reference float64[n] less what their batch was off by, and what is left in common.

    Where a core is faster for a second, or the caches are used by others, one network is no measure of all: cold ops
    wait for memory more than the reference does. Items meet in new batches each round, so that item and batch are told
    apart by medians in turn (median polish, Tukey 1977). Levels are counted from their mean over rounds, whose variance
    is shared. Batches of few items keep to the reference.
    """
    _, item = np.unique(items, return_inverse=True)
    own, batch = np.unique(np.stack([rounds, batches]), axis=1, return_inverse=True)
    batch = batch.reshape(-1)
    repeated = np.bincount(item)[item] > 1
    enough = np.bincount(batch[repeated], minlength=own.shape[1]) >= FEWEST
    numbers = np.unique(own[0][enough])
    if len(numbers) < 2:
        return logs, Shared()
    level = np.zeros(own.shape[1])
    for _ in range(SWEEPS):
        usual = _medians(item, logs - level[batch])
        level = np.where(enough, _medians(batch, logs - usual[item]), 0.0)
    means = np.array([level[enough & (own[0] == number)].mean() for number in numbers])
    level = np.where(enough, level - means.mean(), 0.0)
    shared = Shared(variance=float(np.var(means, ddof=1)) / len(means), freedom=len(means) - 1.0)
    return logs - level[batch], shared


def _medians(groups: Integers, values: Floats) -> Floats:
    """Return the median of the values of each group 0, 1, …, each of which has some."""
    order = np.lexsort((values, groups))
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    ordered = values[order]
    return np.asarray((ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2)
