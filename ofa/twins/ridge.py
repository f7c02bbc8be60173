"""The additive part of an accuracy twin: a ridge over genes whose penalty is chosen by leave-one-out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.space.core import Genomes

Vector = NDArray[np.float64]

PENALTIES = np.geomspace(1e-3, 1e4, 29)
# How strongly single genes may speak beside the stage sums: 0 lets only the sums speak.
GENE_WEIGHTS = (0.0, 0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Additive:
    """A constant plus ``gene_values`` float64[G, C + 1]: one value per gene and choice, 0 for a gene not in use."""

    constant: float
    gene_values: NDArray[np.float64]

    def predict(self, genomes: Genomes) -> Vector:
        """Return float64[n]: the sum over genes."""
        terms = self.gene_values[np.arange(genomes.shape[1]), genomes]
        return np.asarray(self.constant + terms.sum(axis=1))


def additive(cardinalities: NDArray[np.int64], weights: Vector, constant: float) -> Additive:
    """Return weights of one-hot columns, float64[H], as a table of values by gene and choice."""
    values = np.zeros((len(cardinalities), int(cardinalities.max()) + 1))
    offered = np.arange(1, values.shape[1]) <= cardinalities[:, None]
    values[:, 1:][offered] = weights
    return Additive(constant=constant, gene_values=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A linear model of one-hot columns: ``weights`` float64[H], and the errors float64[n] without each sample.

    ``penalty`` and ``gene_weight`` are what the leave-one-out error chose.
    """

    weights: Vector
    constant: float
    left_out: Vector
    penalty: float
    gene_weight: float

    def predict(self, hot: Vector) -> Vector:
        """Return float64[n] for one-hot columns float64[n, H]."""
        return np.asarray(hot @ self.weights + self.constant)


def fit(hot: Vector, to_sums: Vector, labels: Vector) -> tuple[Line, Line]:
    """Fit two additive models to one-hot genes float64[n, H]: of stage sums alone, and of genes beside them.

    ``to_sums`` float64[H, F] is `features.sums_of_one_hot`. The penalty, and the scale of the genes beside the sums
    (``gene_weight``), are chosen by the exact leave-one-out error; a larger scale must win by more than one standard
    error, so the second model may be the first one again.
    """
    fits = [_fit_scaled(hot, to_sums, labels, weight) for weight in GENE_WEIGHTS]
    best = min(fits, key=lambda candidate: float(np.mean(candidate.left_out**2)))
    return fits[0], next(candidate for candidate in fits if _as_good(candidate.left_out, best.left_out))


def _as_good(errors: Vector, best: Vector) -> bool:
    """Say whether squared ``errors`` exceed ``best`` by at most one standard error of the paired difference."""
    excess = errors**2 - best**2
    return bool(excess.mean() <= excess.std() / np.sqrt(len(excess)))


def _fit_scaled(hot: Vector, to_sums: Vector, labels: Vector, gene_weight: float) -> Line:
    """Fit ridge at every penalty through one eigendecomposition and keep the best by leave-one-out."""
    hot_mean, label_mean = hot.mean(axis=0), float(labels.mean())
    centred = hot - hot_mean
    spread = (centred @ to_sums).std(axis=0)
    sums = to_sums[:, spread > 1e-9] / spread[spread > 1e-9]
    basis = sums if gene_weight == 0.0 else np.hstack([sums, gene_weight * np.eye(hot.shape[1])])
    gram = basis.T @ (centred.T @ centred) @ basis
    eigenvalues, vectors = np.linalg.eigh(gram)
    kept = eigenvalues > 1e-9 * max(float(eigenvalues[-1]), 1e-300)
    to_scores = basis @ vectors[:, kept]
    scores = centred @ to_scores
    shrunk = 1.0 / (eigenvalues[kept][:, None] + PENALTIES)
    moments = scores.T @ (labels - label_mean)
    leverage = scores**2 @ shrunk + 1.0 / len(labels)
    residuals = (labels - label_mean)[:, None] - scores @ (shrunk * moments[:, None])
    left_out = residuals / np.maximum(1.0 - leverage, 1e-9)
    pick = int(np.argmin(np.mean(left_out**2, axis=0)))
    weights = to_scores @ (shrunk[:, pick] * moments)
    return Line(
        weights=weights,
        constant=label_mean - float(hot_mean @ weights),
        left_out=left_out[:, pick],
        penalty=float(PENALTIES[pick]),
        gene_weight=gene_weight,
    )
