"""Calibration of table sums on measured networks: non-negative weights and a constant, by least relative error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What a network's latency is: ``sums @ weights + constant``, all of zero or more."""

    weights: Vector
    constant: float

    def predict(self, sums: Vector) -> Vector:
        """Return latencies float64[n] for table sums float64[n, T]."""
        return np.asarray(sums @ self.weights + self.constant)


def fit(sums: Vector, latency: Vector) -> Mix:
    """Fit weights of zero or more for sums float64[n, T] and a constant to positive latencies float64[n].

    Every row is divided by its latency, so that a percent counts the same on a small and a large network
    (non-negative least squares; Lawson and Hanson 1974).
    """
    from scipy.optimize import nnls

    scale = np.append(np.maximum(sums.mean(axis=0), 1e-300), 1.0)
    design = np.column_stack([sums, np.ones(len(sums))]) / scale
    solution, _ = nnls(design / latency[:, None], np.ones(len(latency)))
    weights = solution / scale
    if not weights.any():
        return Mix(weights=np.zeros(sums.shape[1]), constant=float(latency.mean()))
    return Mix(weights=weights[:-1], constant=float(weights[-1]))
