"""An additive model of whatever a search has scored, and its exact optima under an additive limit: seeds, no proof."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ofa.search import knapsack
from ofa.search.archive import Archive
from ofa.search.sums import of_genes
from ofa.space.core import Genomes

SEEDS = 24
LABELS = 200
SHRINKAGE = 1.0


def optima(archive: Archive) -> Genomes:
    """Return networks that the model holds best under the first limit with an additive part, uint8[n, G]."""
    cost = next(((limit.below, limit.at_most) for limit in archive.limits if limit.below is not None), None)
    scored = archive.all()
    gain = of_genes(_fitted(scored.genomes, scored.accuracy, int(archive.space.cardinalities.max())))
    below, at_most = cost if cost else (None, np.inf)
    found = knapsack.solve(archive.space, gain, below, at_most, labels=LABELS)
    return found.front.genomes[-SEEDS:] if found else archive.take(np.zeros(0, dtype=np.int64)).genomes


def _fitted(genomes: Genomes, accuracy: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Fit a value to each gene and choice by ridge regression, float64[G, C + 1]."""
    hot = (genomes[:, :, None] == np.arange(1, most + 1)).reshape(len(genomes), -1).astype(np.float64)
    centred = hot - hot.mean(axis=0)
    gram = centred.T @ centred + SHRINKAGE * np.eye(hot.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (accuracy - accuracy.mean()))
    values = np.zeros((genomes.shape[1], most + 1))
    values[:, 1:] = weights.reshape(genomes.shape[1], most)
    return values
