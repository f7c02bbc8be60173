"""The Pareto front: what no other network beats on accuracy and on a limit's value at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ofa.search.limits import Values


def pareto(accuracy: Values, cost: Values) -> NDArray[np.int64]:
    """Return row numbers of the front, by rising cost: accuracy strictly rises along it, and equals appear once."""
    order = np.lexsort((-accuracy, cost))
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(accuracy[order])[:-1]])
    return order[accuracy[order] > best_before]
