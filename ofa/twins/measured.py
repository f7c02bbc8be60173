"""A model of measured networks on plain arrays: prices of work (and of tables), and trees on what these leave over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xgboost
from numpy.typing import NDArray

from ofa.lut.calibrate import Mix, with_ops
from ofa.lut.calibrate import fit as calibrated
from ofa.twins import boost, calibrate, features, prices, residual
from ofa.twins.prices import LOSSES
from ofa.twins.residual import Choice, Linear

Vector = NDArray[np.float64]
Least = Callable[[Vector, float], float]

# Calibrated sums of tables, and the same and so much for each op (`ofa.lut.calibrate.with_ops`).
TABLE, TABLE_AND_OPS = "table", "table+ops"
# A linear model that gives a possible network less than this share of the fastest measured one is not believed.
LEAST_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Measured networks: amounts of work float64[n, F], table sums float64[n, T], tree columns float64[n, K], values.

    ``values`` float64[n] > 0. ``ops`` bool[F] says which amounts together count a network's ops. ``least`` returns the
    least that weights float64[F + T] and a constant give to any network that is possible, where that can be known:
    prices under which one takes next to no time are not used.
    """

    amounts: Vector
    sums: Vector
    columns: Vector
    values: Vector
    ops: NDArray[np.bool_] | None = None
    least: Least | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """``predict`` gives (amounts, sums) @ ``weights`` + ``constant``, times exp(trees) where there are trees."""

    weights: Vector
    constant: float
    trees: xgboost.Booster | None
    choice: Choice

    def additive(self, amounts: Vector, sums: Vector) -> Vector:
        """Return the linear part, float64[n]."""
        return np.asarray(np.concatenate([amounts, sums], axis=1) @ self.weights + self.constant)

    def predict(self, amounts: Vector, sums: Vector, columns: Vector) -> Vector:
        """Return float64[n] in the unit of the values."""
        linear = self.additive(amounts, sums)
        return (
            linear
            if self.trees is None
            else linear * np.exp(boost.predict(self.trees, features.beside(linear, columns)))
        )


def samples(amounts: Vector, columns: Vector, values: Vector) -> Samples:
    """Return measured networks without tables, of no known space: float64[n, F], float64[n, K], float64[n]."""
    return Samples(amounts=amounts, sums=np.zeros((len(values), 0)), columns=columns, values=values)


def fit(given: Samples, *, seed: int = 0, threads: int = 1) -> Measured:
    """Fit the linear model and the trees that cross-validation chooses.

    With tables, their calibrated sum stands unless the same and so much for each op, or priced work beside it, is
    better by more than one standard error.
    """
    linears = _linears(given)
    plain = TABLE if TABLE in linears else None

    def read(linear: Vector) -> Vector:
        return features.beside(linear, given.columns)

    choice = residual.choose(given.values, linears, read, plain=plain, seed=seed, threads=threads)
    weights, constant, left_out = _fitted(given, choice.linear, np.ones(len(given.values), dtype=np.bool_))
    predicted = np.concatenate([given.amounts, given.sums], axis=1) @ weights + constant
    trees = None
    if choice.share:
        trees = residual.grow(read(predicted), given.values, left_out, choice.share, seed=seed, threads=threads)
    return Measured(weights=weights, constant=constant, trees=trees, choice=choice)


def name_of(loss: str, tables: bool) -> str:
    """Return the name of priced work in cards: what errors the prices keep small, and whether tables stand beside."""
    return f"{'table+' if tables else ''}work ({loss})"


def _linears(given: Samples) -> dict[str, Linear]:
    """Return the linear models that compete: calibrated tables, and priced work under each loss that is sound."""
    everything = np.ones(len(given.values), dtype=np.bool_)
    found: dict[str, Linear] = {}
    tables = bool(given.sums.shape[1])
    names = [TABLE, *([] if given.ops is None else [TABLE_AND_OPS])] if tables else []
    for name in [*names, *(name_of(loss, tables) for loss in LOSSES)]:
        weights, constant, _ = _fitted(given, name, everything)
        if name == TABLE or _takes_time(given, weights, constant):
            found[name] = _linear(given, name)
    return found


def _takes_time(given: Samples, weights: Vector, constant: float) -> bool:
    """Say whether every network of the space is predicted some time, where its exact least is known."""
    if given.least is None or (constant >= 0 and (weights >= 0).all()):
        return True
    return given.least(weights, constant) > LEAST_SHARE * float(given.values.min())


def _linear(given: Samples, name: str) -> Linear:
    """Return a linear model as cross-validation calls it."""
    both = np.concatenate([given.amounts, given.sums], axis=1)

    def predictions(rows: NDArray[np.bool_]) -> tuple[Vector, Vector]:
        weights, constant, left_out = _fitted(given, name, rows)
        return both @ weights + constant, left_out

    return predictions


def _fitted(given: Samples, name: str, rows: NDArray[np.bool_]) -> tuple[Vector, float, Vector]:
    """Fit one linear model to some rows: weights float64[F + T], a constant, and predictions without each row."""
    if name in (TABLE, TABLE_AND_OPS):
        return _calibrated(given, rows, given.ops if name == TABLE_AND_OPS else None)
    sums, values = given.sums[rows], given.values[rows]
    loss = next(loss for loss in LOSSES if name == name_of(loss, bool(sums.shape[1])))
    found = prices.fit(np.concatenate([given.amounts[rows], sums], axis=1), values, loss)
    return found.weights, found.constant, found.left_out


def _calibrated(given: Samples, rows: NDArray[np.bool_], ops: NDArray[np.bool_] | None) -> tuple[Vector, float, Vector]:
    """Calibrate the sums of tables on some rows, as `_fitted` returns it; with so much for each op where it is given
    which amounts count them."""
    sums, values = given.sums[rows], given.values[rows]
    if ops is not None:
        sums = with_ops(sums, given.amounts[rows][:, ops].sum(axis=1))

    def weights(mix: Mix) -> Vector:
        priced = np.zeros(given.amounts.shape[1])
        if ops is not None:
            priced[ops] = mix.weights[-1]
        return np.concatenate([priced, mix.weights[: given.sums.shape[1]]])

    mix, below_zero = calibrated(sums, values, below_zero=True), True
    if not _takes_time(given, weights(mix), mix.constant):
        mix, below_zero = calibrated(sums, values), False
    left_out = values / calibrate.left_out(sums, values, below_zero=below_zero)
    return weights(mix), mix.constant, left_out
