"""What work costs on a device: linear prices of amounts of work, by relative error, from whole networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ofa.lut.physics import non_negative

Vector = NDArray[np.float64]
Loss = Literal["squared", "bent", "absolute", "positive"]

LOSSES: tuple[Loss, ...] = ("absolute", "bent", "squared", "positive")
PENALTIES = np.geomspace(1e-7, 10.0, 33)
REWEIGHTINGS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """``weights`` float64[F] a unit of work and a constant; ``left_out`` float64[n]: predictions without each network.

    ``left_out`` is exact for a ridge of given penalty and given weights of networks (leave-one-out), which are both
    chosen with the network; for positive prices it is of the fit itself.
    """

    loss: Loss
    weights: Vector
    constant: float
    left_out: Vector

    def predict(self, amounts: Vector) -> Vector:
        """Return float64[n], in the unit fitted to, for amounts float64[n, F]."""
        return np.asarray(amounts @ self.weights + self.constant)


def fit(amounts: Vector, values: Vector, loss: Loss) -> Prices:
    """Fit prices of amounts float64[n, F] to values float64[n] > 0 by relative error; the penalty by leave-one-out.

    ``squared`` is a ridge; ``absolute`` and ``bent`` (Huber 1964) weigh each network by its error and fit again a few
    times (iteratively reweighted least squares; Holland and Welsch 1977): measured latencies have tails, and a few
    networks that met a busy device should not move all prices. ``positive`` has prices of zero or more, no penalty.
    """
    if loss == "positive":
        return _positive(amounts, values)
    found = _ridge(amounts, values, np.ones(len(values)))
    for _ in range(0 if loss == "squared" else REWEIGHTINGS):
        off = np.abs(found.left_out / values - 1.0)
        middle = max(float(np.median(off)), 1e-12)
        counts = (
            1.0 / np.hypot(off, 0.5 * middle) if loss == "absolute" else np.minimum(1.0, 2.2 * middle / (off + 1e-12))
        )
        found = _ridge(amounts, values, counts)
    return Prices(loss=loss, weights=found.weights, constant=found.constant, left_out=found.left_out)


def _ridge(amounts: Vector, values: Vector, counts: Vector) -> Prices:
    """Fit a ridge to relative errors, networks counting ``counts`` times, at the penalty that leave-one-out prefers."""
    share = counts / values**2
    share = share / share.sum()
    centre = share @ amounts
    spread = np.sqrt(share @ (amounts - centre) ** 2)
    varies = spread > 1e-9 * np.abs(centre) + 1e-300
    root = np.sqrt(share)[:, None]
    design = (amounts - centre)[:, varies] / spread[varies] * root
    level = float(share @ values)
    goal = (values - level) * root[:, 0]
    eigenvalues, vectors = np.linalg.eigh(design.T @ design)
    kept = eigenvalues > 1e-10 * max(float(eigenvalues[-1]), 1e-300) if len(eigenvalues) else eigenvalues > 0
    eigenvalues, vectors = eigenvalues[kept], vectors[:, kept]
    scores = design @ vectors
    shrunk = 1.0 / (eigenvalues[:, None] + PENALTIES)
    moments = scores.T @ goal
    leverage = scores**2 @ shrunk + share[:, None]
    left_out = (goal[:, None] - scores @ (shrunk * moments[:, None])) / np.maximum(1.0 - leverage, 1e-6)
    pick = int(np.argmin((left_out**2).sum(axis=0)))
    weights = np.zeros(amounts.shape[1])
    weights[varies] = vectors @ (shrunk[:, pick] * moments) / spread[varies]
    return Prices(
        loss="squared",
        weights=weights,
        constant=level - float(centre @ weights),
        left_out=values - left_out[:, pick] / root[:, 0],
    )


def _positive(amounts: Vector, values: Vector) -> Prices:
    """Fit prices and a constant of zero or more by least squared relative error."""
    matrix = np.concatenate([amounts, np.ones((len(values), 1))], axis=1) / values[:, None]
    found = non_negative(matrix.T @ matrix, matrix.sum(axis=0))
    weights, constant = found[:-1], float(found[-1])
    return Prices(loss="positive", weights=weights, constant=constant, left_out=amounts @ weights + constant)
