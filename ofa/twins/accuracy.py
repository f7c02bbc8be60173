"""The accuracy twin: an additive base, boosted trees on what it leaves over, and intervals that say how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from ofa.space.core import Genomes, SearchSpace
from ofa.twins import boost, features, intervals, ridge, samples, store
from ofa.twins.samples import finite

Vector = NDArray[np.float64]

SCHEMA = "accuracy-twin/1"
FEWEST_LABELS = 20
BASE, BOOSTED = "base", "base+boosted"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyTwin:
    """Predicts top-1 accuracy, percent, for any genome of its space.

    ``left_out`` holds cross-validated residuals (label - prediction) in points, float64[n]; ``card`` is JSON.
    """

    space: SearchSpace
    base: ridge.Additive
    trees: xgboost.Booster | None
    left_out: Vector
    card: dict[str, Any]

    def predict(self, genomes: Genomes) -> Vector:
        """Return the predicted top-1 accuracy, percent, float64[n], of canonical genomes uint8[n, G]."""
        additive = self.base.predict(genomes)
        if self.trees is None:
            return additive
        return additive + boost.predict(self.trees, features.tree_features(self.space, genomes).matrix)

    __call__ = predict

    def interval(self, genomes: Genomes, coverage: float = 0.9) -> tuple[Vector, Vector]:
        """Return the lower and upper end, percent, of an interval meant to hold the label with ``coverage``.

        Symmetric about the prediction; its half width is the conformal quantile of absolute cross-validated
        residuals. For networks drawn like the labelled ones it holds about that often on average, without a
        finite-sample guarantee (`intervals.quantile` says why). For networks that a search picked it does not: the
        card's ``optimism`` says how much their predictions flatter. Raises UsageInvalid where there are too few labels
        for this coverage.
        """
        half = self.half_width(coverage)
        predicted = self.predict(genomes)
        return predicted - half, predicted + half

    def half_width(self, coverage: float = 0.9) -> float:
        """Return half the width of ``interval``, points."""
        return intervals.quantile(np.abs(self.left_out), coverage)

    def save(self, folder: Path) -> None:
        """Write the twin to a folder: card.json, arrays.npz, and trees.json where it has trees."""
        arrays = {
            "constant": np.array([self.base.constant]),
            "gene_values": self.base.gene_values,
            "left_out": self.left_out,
        }
        trees = None if self.trees is None else boost.to_bytes(self.trees)
        store.save(Path(folder), self.card, arrays, trees)


def fit(
    space: SearchSpace, genomes: Genomes, top1: NDArray[np.floating], *, seed: int = 0, threads: int = 1
) -> AccuracyTwin:
    """Fit a twin to measured accuracies, percent float64[n], of canonical genomes uint8[n, G].

    Base and base + boosted trees are compared by cross-validation on the same folds; the simpler one is chosen only
    where it is better by more than one standard error. The card says which, and what each scored. Raises
    SpaceMismatch for foreign genomes and UsageInvalid for unusable labels or fewer than 20 different networks.
    """
    genomes, labels = samples.merged(space, genomes, top1, needed=FEWEST_LABELS, of="accuracy labels", positive=False)
    errors = cross_validate(space, genomes, labels, seed=seed, threads=threads)
    chosen, reason = _choose(errors)
    base, left_over = ridge.fit(space, genomes, labels)
    trees = None
    if chosen == BOOSTED:
        trees = boost.fit(features.tree_features(space, genomes).matrix, left_over, seed=seed, threads=threads)
    card = {
        "schema": SCHEMA,
        "space": space.id,
        "genes_sha256": store.genes_digest(space),
        "samples": len(labels),
        "seed": seed,
        "label_mean": finite(labels.mean()),
        "label_sd": finite(labels.std()),
        "chosen": chosen,
        "reason": reason,
        "models": {name: _scores(space, genomes, labels, residuals) for name, residuals in errors.items()},
        "base": {"penalty": base.penalty, "gene_weight": base.gene_weight},
        "interval": _interval_facts(errors[chosen]),
    }
    return AccuracyTwin(space=space, base=base, trees=trees, left_out=errors[chosen], card=card)


def load(folder: Path, space: SearchSpace | None = None) -> AccuracyTwin:
    """Read a saved twin; ``space`` is the one it must belong to (default: the one its card names).

    Raises FileInvalid where a file is absent, cut short, changed or of another version, and SpaceMismatch where it
    was fitted on another space.
    """
    folder = Path(folder)
    space = store.space_of(folder, space)
    stored = store.load(folder, schema=SCHEMA, space=space)
    shape = (len(space.genes), int(space.cardinalities.max()) + 1)
    base = ridge.Additive(
        constant=float(store.array(stored, folder, "constant", (1,))[0]),
        gene_values=store.array(stored, folder, "gene_values", shape),
        **store.numbers(stored, folder, "base", ("penalty", "gene_weight")),
    )
    left_out = store.array(stored, folder, "left_out", (None,))
    trees = store.trees(stored, folder, _tree_columns(space))
    return AccuracyTwin(space=space, base=base, trees=trees, left_out=left_out, card=stored.card)


def cross_validate(
    space: SearchSpace, genomes: Genomes, labels: Vector, *, seed: int, threads: int = 1
) -> dict[str, Vector]:
    """Return out-of-fold residuals (label - prediction, points, float64[n]) of each candidate model, on equal folds."""
    parts = 10 if len(labels) <= 500 else 5
    fold = intervals.folds(len(labels), parts, np.random.default_rng(seed))
    matrix = features.tree_features(space, genomes).matrix
    residuals = {BASE: np.empty(len(labels)), BOOSTED: np.empty(len(labels))}
    for part in range(parts):
        seen, unseen = fold != part, fold == part
        base, left_over = ridge.fit(space, genomes[seen], labels[seen])
        trees = boost.fit(matrix[seen], left_over, seed=seed, threads=threads)
        residuals[BASE][unseen] = labels[unseen] - base.predict(genomes[unseen])
        residuals[BOOSTED][unseen] = residuals[BASE][unseen] - boost.predict(trees, matrix[unseen])
    return residuals


def _choose(errors: dict[str, Vector]) -> tuple[str, str]:
    """Prefer base + boosted unless the base alone is better by more than one standard error."""
    excess = errors[BOOSTED] ** 2 - errors[BASE] ** 2
    standard_error = float(excess.std(ddof=1) / np.sqrt(len(excess)))
    told = f"squared error of '{BOOSTED}' minus '{BASE}': {excess.mean():+.4g}, standard error {standard_error:.2g}"
    if excess.mean() > standard_error:
        return BASE, f"the trees make it worse; {told}"
    return BOOSTED, f"the trees help, or cost no more than one standard error; {told}"


def _scores(space: SearchSpace, genomes: Genomes, labels: Vector, residuals: Vector) -> dict[str, float | None]:
    """Describe one candidate by its out-of-fold predictions."""
    predicted = labels - residuals
    top = np.argsort(-predicted, kind="stable")[: max(5, len(labels) // 10)]
    resolutions = features.choice_values(space, genomes)[:, space.at("resolution")]
    return samples.rank_scores(predicted, labels, resolutions) | {
        "rmse_points": finite(np.sqrt(np.mean(residuals**2))),
        "mean_error_points": finite(np.abs(residuals).mean()),
        "top_tenth_rmse_points": finite(np.sqrt(np.mean(residuals[top] ** 2))),
        "optimism_points": finite(-residuals[top].mean()),
    }


def _interval_facts(residuals: Vector) -> dict[str, Any]:
    """State the half width at a nominal 90 %, and the method."""
    half = intervals.quantile(np.abs(residuals), 0.9)
    return {
        "method": f"conformal quantile of absolute out-of-fold residuals; {intervals.CAVEAT}",
        "coverage": 0.9,
        "half_width_points": finite(half),
        "residuals": len(residuals),
    }


def _tree_columns(space: SearchSpace) -> int:
    """Return how many features the trees of a space read."""
    return len(features.tree_features(space, np.zeros((0, len(space.genes)), dtype=np.uint8)).names)
