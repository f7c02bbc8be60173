"""The models an accuracy twin is made of: two ridges over genes, and trees free, monotone, or on what a ridge leaves.

Each is additive over genes, or that plus trees, so any weighted average of them is too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xgboost
from numpy.typing import NDArray

from ofa.space.core import Genomes
from ofa.twins import boost, features, ridge
from ofa.twins.boost import Growth
from ofa.twins.genes import Space

Vector = NDArray[np.float64]

SUMS, GENES = "ridge on stage sums", "ridge on genes"
RESIDUAL = "ridge on genes + boosted residual"
RISING_SUMS, RISING, FREE = "monotone trees on sums", "monotone trees", "trees"
NAMES = (SUMS, GENES, RESIDUAL, RISING_SUMS, RISING, FREE)
TREES_ALONE = (RISING_SUMS, RISING, FREE)

# From so many labels up, more and deeper trees pay.
MANY = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Genomes as members read them: one-hot float64[n, H], what sums it float64[H, F], features of trees."""

    hot: Vector
    to_sums: Vector
    trees: Vector
    rising: tuple[int, ...]
    of_sums: NDArray[np.bool_]

    def at(self, rows: NDArray[np.bool_]) -> Inputs:
        """Return some of the rows."""
        return Inputs(
            hot=self.hot[rows], to_sums=self.to_sums, trees=self.trees[rows], rising=self.rising, of_sums=self.of_sums
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One fitted model: ``weights`` float64[H] of one-hot columns, a constant, and trees where it has some."""

    weights: Vector
    constant: float
    trees: xgboost.Booster | None
    note: dict[str, float]

    def predict(self, inputs: Inputs) -> Vector:
        """Return float64[n], percent."""
        additive = inputs.hot @ self.weights + self.constant
        return additive if self.trees is None else additive + boost.predict(self.trees, inputs.trees)


def read(space: Space, genomes: Genomes) -> Inputs:
    """Return what members read of canonical genomes uint8[n, G]."""
    return Inputs(
        hot=features.one_hot(space, genomes),
        to_sums=features.sums_of_one_hot(space),
        trees=features.tree_features(space, genomes).matrix,
        rising=features.rising_columns(space),
        of_sums=features.sum_columns(space),
    )


def fit(
    inputs: Inputs, labels: Vector, *, seed: int, threads: int = 1, names: tuple[str, ...] = NAMES
) -> dict[str, Member]:
    """Fit the named members to labels float64[n], percent."""
    lines = dict(zip((SUMS, GENES), ridge.fit(inputs.hot, inputs.to_sums, labels), strict=True))
    level, found = float(labels.mean()), {}
    for name in names:
        line = lines.get(name, lines[GENES] if name == RESIDUAL else None)
        trees = None
        if name not in lines:
            target = labels - level if line is None else line.left_out
            trees = _grown(name, inputs, target, seed=seed, threads=threads)
        found[name] = Member(
            weights=np.zeros(inputs.hot.shape[1]) if line is None else line.weights,
            constant=level if line is None else line.constant,
            trees=trees,
            note={} if line is None else {"penalty": line.penalty, "gene_weight": line.gene_weight},
        )
    return found


def _grown(name: str, inputs: Inputs, target: Vector, *, seed: int, threads: int) -> xgboost.Booster:
    """Grow the trees of one member."""
    many = len(target) >= MANY
    growth = {
        RESIDUAL: Growth(rounds=300 if many else 150, eta=0.1, max_depth=4 if many else 3, min_child_weight=4),
        RISING_SUMS: Growth(rounds=120, eta=0.12, max_depth=2, min_child_weight=2),
        RISING: Growth(rounds=150, eta=0.12, max_depth=3, min_child_weight=1),
        FREE: Growth(rounds=600 if many else 250, eta=0.1, max_depth=5 if many else 4, min_child_weight=1),
    }[name]
    rising = None if name in (RESIDUAL, FREE) else inputs.rising
    # A column that never changes is never split on: the trees read all features and speak of sums alone.
    matrix = np.where(inputs.of_sums, inputs.trees, 0.0) if name == RISING_SUMS else inputs.trees
    return boost.fit(matrix, target, growth, rising=rising, seed=seed, threads=threads)
