"""How much each model counts in an average: weights of zero or more that sum to one, from out-of-fold errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ofa.lut.physics import non_negative

Vector = NDArray[np.float64]

# How strongly weights are drawn together, in parts of the best model's squared error.
SHRINK = 0.1
# Errors beyond so many times the median of a sample's errors count by their size, not its square (Huber 1964).
BEND = 3.0


def weights(errors: Vector) -> Vector:
    """Return float64[M] >= 0 with sum 1 for the out-of-fold errors float64[n, M] of M models.

    They minimise the squared error of the weighted average, samples that all models miss by far counting less, plus
    a small multiple of their own squares. Source: Breiman 1996, *Stacked regressions*, section 2 (weights of zero or
    more). The optimum on the simplex is the scaled solution of ``v @ C @ v / 2 - sum(v)`` over v >= 0.
    """
    counted = bent(errors)[:, None] * errors
    gram = counted.T @ errors / len(errors)
    gram += SHRINK * float(np.diag(gram).min()) * np.eye(len(gram)) + 1e-12 * np.eye(len(gram))
    found = non_negative(gram, np.ones(len(gram)))
    return np.asarray(found / found.sum())


def bent(errors: Vector) -> Vector:
    """Return float64[n]: how much each sample counts, 1 for most, less where all models are far off."""
    size = np.abs(errors).mean(axis=1)
    limit = BEND * max(float(np.median(size)), 1e-12)
    return np.asarray(np.minimum(1.0, limit / np.maximum(size, 1e-12)))


def left_out(errors: Vector, fold: NDArray[np.int64]) -> Vector:
    """Return the errors float64[n] of the weighted average, each with weights that its own fold did not choose."""
    found = np.empty(len(errors))
    for part in np.unique(fold):
        found[fold == part] = errors[fold == part] @ weights(errors[fold != part])
    return found
