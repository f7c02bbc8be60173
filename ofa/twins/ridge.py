"""The additive part of an accuracy twin: a ridge over genes whose penalty is chosen by leave-one-out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.space.core import Genomes, SearchSpace
from ofa.twins import features

Vector = NDArray[np.float64]

PENALTIES = np.geomspace(1e-3, 1e4, 29)
# How strongly single genes may speak beside the stage sums: 0 lets only the sums speak.
GENE_WEIGHTS = (0.0, 0.03, 0.1, 0.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Additive:
    """A constant plus ``gene_values`` float64[G, C + 1]: one value per gene and choice, 0 for a gene not in use."""

    constant: float
    gene_values: NDArray[np.float64]
    penalty: float
    gene_weight: float

    def predict(self, genomes: Genomes) -> Vector:
        """Return float64[n]: the sum over genes."""
        terms = self.gene_values[np.arange(genomes.shape[1]), genomes]
        return np.asarray(self.constant + terms.sum(axis=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    weights: Vector
    constant: float
    left_out: Vector
    penalty: float
    gene_weight: float


def fit(space: SearchSpace, genomes: Genomes, labels: Vector) -> tuple[Additive, Vector]:
    """Fit an additive model; return it and the leave-one-out residuals float64[n] (label - prediction without it).

    The design is the stage sums beside one-hot genes scaled down by ``gene_weight``; both the scale and the ridge
    penalty are chosen by the exact leave-one-out error, and a larger scale must win by more than one standard error.
    """
    hot = features.one_hot(space, genomes)
    fits = [_fit_scaled(hot, features.sums_of_one_hot(space), labels, weight) for weight in GENE_WEIGHTS]
    best = min(fits, key=lambda candidate: float(np.mean(candidate.left_out**2)))
    chosen = next(candidate for candidate in fits if _as_good(candidate.left_out, best.left_out))
    cards = space.cardinalities
    values = np.zeros((len(cards), int(cards.max()) + 1))
    offered = np.arange(1, values.shape[1]) <= cards[:, None]
    values[:, 1:][offered] = chosen.weights
    additive = Additive(
        constant=chosen.constant, gene_values=values, penalty=chosen.penalty, gene_weight=chosen.gene_weight
    )
    return additive, chosen.left_out


def _as_good(errors: Vector, best: Vector) -> bool:
    """Say whether squared ``errors`` exceed ``best`` by at most one standard error of the paired difference."""
    excess = errors**2 - best**2
    return bool(excess.mean() <= excess.std() / np.sqrt(len(excess)))


def _fit_scaled(hot: Vector, to_sums: Vector, labels: Vector, gene_weight: float) -> _Fit:
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
    return _Fit(
        weights=weights,
        constant=label_mean - float(hot_mean @ weights),
        left_out=left_out[:, pick],
        penalty=float(PENALTIES[pick]),
        gene_weight=gene_weight,
    )
