"""An additive model of whatever a search has scored, its exact optima under an additive limit, and that limit's price:
where to begin, no proof."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ofa.search import knapsack
from ofa.search.archive import Archive
from ofa.search.bound import ends
from ofa.search.limits import Values
from ofa.search.sums import of_genes
from ofa.space.core import Genomes

SEEDS = 24
LABELS = 200
SHRINKAGE = 1.0
# What a limit is worth is told by what its last tenth buys, where the front is known over at least half of that.
LAST = 0.1


def optima(archive: Archive) -> tuple[Genomes, Values]:
    """Return networks that the model holds best under the first limit with an additive part, uint8[n, G], and the price
    of every limit, points for a unit, float64[L]: 0 but for that one where it is the only one."""
    at = next((number for number, limit in enumerate(archive.limits) if limit.below is not None), None)
    below, at_most = (None, np.inf) if at is None else (archive.limits[at].below, archive.limits[at].at_most)
    scored = archive.all()
    gain = of_genes(_fitted(scored.genomes, scored.accuracy, int(archive.space.cardinalities.max())))
    found = knapsack.solve(archive.space, gain, below, at_most, labels=LABELS)
    price = np.zeros(len(archive.limits))
    # Of several limits another may bind. Where the best of all costs less than the limit, more of it buys nothing.
    if found and at is not None and len(price) == 1 and found.gain < ends(archive.space, gain).most - 1e-6:
        price[at] = _slope(found.front, at_most)
    genomes = found.front.genomes[-SEEDS:] if found else archive.take(np.zeros(0, dtype=np.int64)).genomes
    return genomes, price


def _slope(front: knapsack.Labels, at_most: float) -> float:
    """Return what a front gains for a unit more of its cost just below a limit; 0 where too little of it is known."""
    last = front.cost >= (1.0 - LAST) * at_most
    cost, gain = front.cost[last], front.gain[last]
    if not len(cost) or cost.max() - cost.min() < LAST / 2 * at_most:
        return 0.0
    centred = cost - cost.mean()
    return float(centred @ gain / (centred @ centred))


def _fitted(genomes: Genomes, accuracy: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Fit a value to each gene and choice by ridge regression, float64[G, C + 1]."""
    hot = (genomes[:, :, None] == np.arange(1, most + 1)).reshape(len(genomes), -1).astype(np.float64)
    centred = hot - hot.mean(axis=0)
    gram = centred.T @ centred + SHRINKAGE * np.eye(hot.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (accuracy - accuracy.mean()))
    values = np.zeros((genomes.shape[1], most + 1))
    values[:, 1:] = weights.reshape(genomes.shape[1], most)
    return values
