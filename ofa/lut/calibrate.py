"""Calibration of table sums on measured networks: weights of zero or more and a constant, by least relative error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# A constant may take off so much of what the sums say of the smallest network measured.
MOST_TAKEN_OFF = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What a network's latency is: ``sums @ weights + constant``, weights of zero or more."""

    weights: Vector
    constant: float

    def predict(self, sums: Vector) -> Vector:
        """Return latencies float64[n] for table sums float64[n, T]."""
        return np.asarray(sums @ self.weights + self.constant)


def with_ops(sums: Vector, ops: Vector) -> Vector:
    """Return table sums float64[n, T] of networks, and how many ops float64[n] each has as one sum more.

    An op called again and again finds its own code and that of its runtime where it left them; in a network it comes
    after another one, which costs it something whatever its size.
    """
    return np.column_stack([sums, ops])


def fit(sums: Vector, latency: Vector, *, below_zero: bool = False) -> Mix:
    """Fit weights of zero or more for sums float64[n, T] and a constant to positive latencies float64[n].
    The constant is of zero or more, too; with ``below_zero`` it may be less, since rows of ops hold what a network has
    once, such as fetching its input: as long as a network half as large as the smallest one still takes some time.
    Every row is divided by its latency, so that a percent counts the same on a small and a large network
    (non-negative least squares; Lawson and Hanson 1974).
    """
    from scipy.optimize import nnls

    ones = np.ones((len(sums), 1))
    scale = np.append(np.maximum(sums.mean(axis=0), 1e-300), 1.0)
    design = np.column_stack([sums, ones]) / scale
    signs = np.column_stack([design, -ones]) if below_zero else design
    solution, _ = nnls(signs / latency[:, None], np.ones(len(latency)))
    weights, constant = solution[: sums.shape[1]] / scale[:-1], float(solution[sums.shape[1]])
    if not solution.any():
        return Mix(weights=np.zeros(sums.shape[1]), constant=float(latency.mean()))
    if below_zero:
        constant -= float(solution[-1])
        if constant < -MOST_TAKEN_OFF * float((sums @ weights).min()):
            return fit(sums, latency)
    return Mix(weights=weights, constant=constant)
