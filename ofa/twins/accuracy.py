"""The accuracy twin: an additive base plus weighted boosted trees, and intervals that say how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from ofa.space.core import Genomes
from ofa.threads import on_one_thread
from ofa.twins import boost, card, features, intervals, members, ridge, samples, stack, store
from ofa.twins.errors import not_parallel
from ofa.twins.genes import Space, genes_digest

Vector = NDArray[np.float64]
Boosters = tuple[tuple[float, xgboost.Booster], ...]

SCHEMA = "accuracy-twin/3"
FEWEST_LABELS = 20
BASE, TREES, BOOSTED = "base", "trees", "base+boosted"
# What each form is an average of.
FORMS = {BASE: (members.GENES,), TREES: members.TREES_ALONE, BOOSTED: members.NAMES}
# A member that counts for less than this is left out: its trees would cost every search and say nothing.
LEAST_WEIGHT = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyTwin:
    """Predicts top-1 accuracy, percent, for any genome of its space: ``base`` + sum of weight x trees.

    ``base`` is additive over genes; ``boosters`` are pairs (weight, trees over `features.tree_features`).
    ``left_out`` holds residuals (label - prediction) in points, float64[n], and ``left_out_at`` the predictions they
    are of, percent: cross-validated ones, and where a label was foretold, what was said before it was known. ``card``
    is JSON.
    """

    space: Space
    base: ridge.Additive
    boosters: Boosters
    left_out: Vector
    left_out_at: Vector
    card: dict[str, Any]

    def predict(self, genomes: Genomes) -> Vector:
        """Return the predicted top-1 accuracy, percent, float64[n], of canonical genomes uint8[n, G].

        Raises SpaceMismatch for foreign genomes.
        """
        self.space.check(genomes)
        predicted = self.base.predict(genomes)
        if self.boosters:
            matrix = features.tree_features(self.space, genomes).matrix.astype(np.float32)
            predicted += sum(weight * boost.predict(trees, matrix) for weight, trees in self.boosters)
        return predicted

    __call__ = predict

    def interval(self, genomes: Genomes, coverage: float = 0.9) -> tuple[Vector, Vector]:
        """Return the lower and upper end, percent, of an interval meant to hold the label with ``coverage``.

        Symmetric about the prediction; its half width is the conformal quantile of the absolute residuals of networks
        that are predicted alike (`intervals.nearby`). For networks drawn like the labelled ones it holds about that
        often on average, without a finite-sample guarantee (`intervals.quantile` says why). For networks that a search
        picked it comes near that where labels along fronts were foretold (`rounds.learn`), dozens of them, and holds
        less often elsewhere. Raises UsageInvalid where there are too few labels for this coverage.
        """
        predicted = self.predict(genomes)
        half = intervals.nearby(np.abs(self.left_out), self.left_out_at, predicted, coverage)
        return predicted - half, predicted + half

    def save(self, folder: Path) -> None:
        """Write the twin to a folder: card.json, arrays.npz, and trees-1.json and so on where it has trees."""
        arrays = {
            "constant": np.array([self.base.constant]),
            "gene_values": self.base.gene_values,
            "left_out": self.left_out,
            "left_out_at": self.left_out_at,
            "tree_weights": np.array([weight for weight, _ in self.boosters], dtype=np.float64),
        }
        store.save(Path(folder), self.card, arrays, [boost.to_bytes(trees) for _, trees in self.boosters])


@on_one_thread
def fit(
    space: Space,
    genomes: Genomes,
    top1: NDArray[np.floating],
    *,
    latency_ms: NDArray[np.floating] | None = None,
    foretold: NDArray[np.floating] | None = None,
    precision: str | None = "fp32",
    seed: int = 0,
    threads: int = 1,
) -> AccuracyTwin:
    """Fit a twin to measured accuracies, percent float64[n], of canonical genomes uint8[n, G].

    Six models (`ofa.twins.members`) are cross-validated on the same folds and averaged with weights that their
    out-of-fold errors choose (`ofa.twins.stack`). Three forms compete on errors that neither models nor weights have
    seen: the additive base, trees alone, and base + boosted, which is the average of all six; either of the first two
    is chosen only where it is better by more than one standard error. Nothing here depends on which space it is. The
    card says what was chosen, and what each model scored. ``latency_ms`` float64[n] adds errors inside latency bins
    to the card. ``foretold`` float64[n] is what an earlier twin said of networks that it picked, percent, before their
    labels were known, NaN of all others: how far off it was stands in for their cross-validated errors in intervals.
    Raises SpaceMismatch for foreign genomes and UsageInvalid for unusable labels or fewer than 20 different networks.
    """
    rows = genomes
    genomes, labels = samples.merged(space, rows, top1, needed=FEWEST_LABELS, of="accuracy labels", positive=False)
    said = _said(rows, foretold, genomes)
    inputs = members.read(space, genomes)
    fold = intervals.folds(len(labels), 10 if len(labels) <= 200 else 5, np.random.default_rng(seed))
    errors = cross_validate(inputs, labels, fold, seed=seed, threads=threads)
    residuals = {form: form_errors(errors, form, fold) for form in FORMS}
    chosen, reason = choose(residuals)
    weights = dict(zip(FORMS[chosen], stack.weights(_columns(errors, chosen)), strict=True))
    weights = {name: weight for name, weight in weights.items() if weight >= LEAST_WEIGHT}
    weights = {name: float(weight) / float(sum(weights.values())) for name, weight in weights.items()}
    fitted = members.fit(inputs, labels, seed=seed, threads=threads, names=tuple(weights))
    bins = None
    if latency_ms is not None:
        bins = samples.merged(space, rows, latency_ms, needed=FEWEST_LABELS, of="latencies", positive=True)[1]
    resolutions = features.resolutions(space, genomes)
    predictions = {name: labels + error for name, error in (errors | residuals).items()}
    at = np.where(np.isnan(said), predictions[chosen], said)
    facts: dict[str, Any] = {"schema": SCHEMA, "space": space.id, "genes_sha256": genes_digest(space)}
    facts |= card.accuracy_card(labels, predictions, chosen, resolutions=resolutions, latency_ms=bins)
    facts |= {"interval": card.interval(labels, at, foretold=int(np.isfinite(said).sum()))}
    facts |= {"reason": reason, "seed": seed, "precision": precision}
    facts |= {"weights": {name: samples.finite(weight) for name, weight in weights.items()}}
    facts |= {"ridge": next((fitted[name].note for name in weights if fitted[name].note), {})}
    base, boosters = merged(space, fitted, weights)
    return AccuracyTwin(space=space, base=base, boosters=boosters, left_out=labels - at, left_out_at=at, card=facts)


def _said(rows: Genomes, foretold: NDArray[np.floating] | None, genomes: Genomes) -> Vector:
    """Return what was foretold of each of ``genomes``, percent, NaN where nothing was; raise UsageInvalid by shape."""
    if foretold is None:
        return np.full(len(genomes), np.nan)
    if np.shape(foretold) != (len(rows),):
        raise not_parallel("accuracies foretold", np.shape(foretold), (len(rows),))
    known = {bytes(genome): float(said) for genome, said in zip(rows, foretold, strict=True) if np.isfinite(said)}
    return np.array([known.get(bytes(genome), np.nan) for genome in genomes])


def merged(
    space: Space, fitted: dict[str, members.Member], weights: dict[str, float]
) -> tuple[ridge.Additive, Boosters]:
    """Return the weighted average of members as one additive part and the trees with their weights."""
    hot = sum((weight * fitted[name].weights for name, weight in weights.items()), np.zeros(space.cardinalities.sum()))
    constant = sum(weight * fitted[name].constant for name, weight in weights.items())
    boosters = [(weight, fitted[name].trees) for name, weight in weights.items()]
    base = ridge.additive(space.cardinalities, np.asarray(hot, dtype=np.float64), float(constant))
    return base, tuple((weight, trees) for weight, trees in boosters if trees is not None)


def load(folder: Path, space: Space | None = None) -> AccuracyTwin:
    """Read a saved twin; ``space`` is the one it must belong to (default: the one its card names).

    Raises FileInvalid where a file is absent, cut short, changed or of another version, and SpaceMismatch where it
    was fitted on another space.
    """
    folder = Path(folder)
    own = space if space is not None else store.named_space(folder)
    stored = store.load(folder, schema=SCHEMA, space=own)
    shape = (len(own.genes), int(own.cardinalities.max()) + 1)
    base = ridge.Additive(
        constant=float(store.array(stored, folder, "constant", (1,))[0]),
        gene_values=store.array(stored, folder, "gene_values", shape),
    )
    trees = store.trees(stored, folder, len(features.rising_columns(own)))
    weights = store.array(stored, folder, "tree_weights", (len(trees),))
    left_out = store.array(stored, folder, "left_out", (None,))
    return AccuracyTwin(
        space=own,
        base=base,
        boosters=tuple(zip(weights.tolist(), trees, strict=True)),
        left_out=left_out,
        left_out_at=store.array(stored, folder, "left_out_at", (len(left_out),)),
        card=stored.card,
    )


def cross_validate(
    inputs: members.Inputs, labels: Vector, fold: NDArray[np.int64], *, seed: int, threads: int = 1
) -> dict[str, Vector]:
    """Return the out-of-fold errors (prediction - label, points, float64[n]) of each member, on equal folds."""
    errors = {name: np.empty(len(labels)) for name in members.NAMES}
    for part in np.unique(fold):
        seen, unseen = fold != part, fold == part
        fitted = members.fit(inputs.at(seen), labels[seen], seed=seed, threads=threads)
        for name, member in fitted.items():
            errors[name][unseen] = member.predict(inputs.at(unseen)) - labels[unseen]
    return errors


def _columns(errors: dict[str, Vector], form: str) -> Vector:
    """Return the errors of the members of a form, float64[n, M]."""
    return np.stack([errors[name] for name in FORMS[form]], axis=1)


def form_errors(errors: dict[str, Vector], form: str, fold: NDArray[np.int64]) -> Vector:
    """Return the errors, float64[n], of a form whose weights no sample's own fold has chosen."""
    return stack.left_out(_columns(errors, form), fold)


def choose(errors: dict[str, Vector]) -> tuple[str, str]:
    """Prefer base + boosted unless a simpler form is better by more than one standard error; say why."""
    told, chosen, best = [], BOOSTED, 0.0
    for form in (BASE, TREES):
        excess = errors[BOOSTED] ** 2 - errors[form] ** 2
        mean, standard_error = float(excess.mean()), float(excess.std(ddof=1) / np.sqrt(len(excess)))
        told.append(f"'{BOOSTED}' minus '{form}' {mean:+.4g}, standard error {standard_error:.2g}")
        if mean > max(standard_error, best):
            chosen, best = form, mean
    verdict = f"'{chosen}' is better by more than one standard error" if best else "no simpler form is clearly better"
    return chosen, f"{verdict}; squared error of {'; of '.join(told)}"
