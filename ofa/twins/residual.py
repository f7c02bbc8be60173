"""Which linear model of latency to trust, and whether trees on the log of what it leaves over are worth having."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xgboost
from numpy.typing import NDArray

from ofa.twins import boost, intervals
from ofa.twins.boost import Growth

Vector = NDArray[np.float64]
# Fits a linear model to some rows; returns predictions for all rows, and for its own rows without each of them.
Linear = Callable[[NDArray[np.bool_]], tuple[Vector, Vector]]
# Returns what trees read, float64[n, F], given the linear predictions of all rows.
Read = Callable[[Vector], Vector]

# Below this, a lucky fold looks like a gain of one standard error, and trees would cost the exact additive form.
FEWEST_FOR_TREES = 50
# How much of the residual trees may claim.
SHARES = (0.5, 1.0)
LEAST = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What cross-validation chose: a linear model by name, the share of trees on it (0: none), and why.

    ``ratios`` holds, by model, measured over predicted out of fold, float64[n]; ``chosen`` names one of them.
    """

    linear: str
    share: float
    chosen: str
    reason: str
    ratios: dict[str, Vector]


def choose(
    values: Vector, linears: Mapping[str, Linear], read: Read, *, plain: str | None, seed: int, threads: int = 1
) -> Choice:
    """Compare linear models, then the best one with trees, by cross-validated absolute log error.

    ``plain`` names the model that stands unless another is better by more than one standard error: calibrated tables,
    which need no belief. Trees must be better by more than one standard error too, and need 50 networks.
    """
    parts = 10 if len(values) <= 500 else 5
    fold = intervals.folds(len(values), min(parts, len(values)), np.random.default_rng(seed))
    ratios = {name: values / _out_of_fold(linear, fold) for name, linear in linears.items()}
    off = {name: np.abs(np.log(found)) for name, found in ratios.items()}
    best = min(off, key=lambda name: float(off[name].mean()))
    told = f"cross-validated log error: {', '.join(f'{name} {off[name].mean():.4f}' for name in off)}"
    if plain is not None and best != plain and not _better(off[best], off[plain]):
        best, told = plain, f"{told}; '{plain}' stands unless another is better by more than one standard error"
    boosted = {
        share: values / _boosted(values, linears[best], read, fold, share, seed=seed, threads=threads)
        for share in (SHARES if len(values) >= FEWEST_FOR_TREES else ())
    }
    if not boosted:
        why = f"trees are trusted from {FEWEST_FOR_TREES} measured networks up; there are {len(values)}; {told}"
        return Choice(linear=best, share=0.0, chosen=best, reason=why, ratios=ratios)
    share = min(boosted, key=lambda part: float(np.abs(np.log(boosted[part])).mean()))
    name = f"{best}+boosted"
    ratios[name] = boosted[share]
    gain = off[best] - np.abs(np.log(boosted[share]))
    error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    told += f"; trees lower it by {gain.mean():+.3g}, standard error {error:.2g}"
    if gain.mean() > error:
        why = f"the trees help by more than one standard error; {told}"
        return Choice(linear=best, share=share, chosen=name, reason=why, ratios=ratios)
    why = f"the trees do not help by more than one standard error; {told}"
    return Choice(linear=best, share=0.0, chosen=best, reason=why, ratios=ratios)


def grow(
    matrix: Vector, values: Vector, left_out: Vector, share: float, *, seed: int, threads: int = 1
) -> xgboost.Booster:
    """Grow trees on a share of log(values / left_out), float64[n], from features float64[n, F].

    Absolute errors, for the reason that prices have them; leaves are then medians, so trees of half the target are
    half the trees (Friedman 2001, section 4.3).
    """
    growth = Growth(rounds=250, eta=0.07, max_depth=3, min_child_weight=4, loss="absolute")
    target = share * np.log(values / np.maximum(left_out, LEAST * values))
    return boost.fit(matrix, target, growth, seed=seed, threads=threads)


def _better(one: Vector, other: Vector) -> bool:
    """Say whether errors are smaller on average by more than one standard error of the paired difference."""
    gain = other - one
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def _out_of_fold(linear: Linear, fold: NDArray[np.int64]) -> Vector:
    """Return predictions float64[n] > 0, each by a model fitted without its fold."""
    found = np.empty(len(fold))
    for part in np.unique(fold):
        found[fold == part] = linear(fold != part)[0][fold == part]
    return np.maximum(found, LEAST)


def _boosted(
    values: Vector, linear: Linear, read: Read, fold: NDArray[np.int64], share: float, *, seed: int, threads: int
) -> Vector:
    """Return the same of a linear model with trees on its residual."""
    found = np.empty(len(fold))
    for part in np.unique(fold):
        seen, unseen = fold != part, fold == part
        predicted, left_out = linear(seen)
        matrix = read(predicted)
        trees = grow(matrix[seen], values[seen], left_out, share, seed=seed, threads=threads)
        found[unseen] = predicted[unseen] * np.exp(boost.predict(trees, matrix[unseen]))
    return np.maximum(found, LEAST)
