"""The latency twin: priced work and calibrated tables, boosted trees only where they prove worth it, upper bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xgboost
from numpy.typing import NDArray

from ofa import files, score
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.threads import on_one_thread
from ofa.twins import boost, calibrate, errors, features, intervals, measured, samples, store, work
from ofa.twins.genes import genes_digest
from ofa.twins.measured import TABLE, Measured, Samples
from ofa.twins.samples import finite

Vector = NDArray[np.float64]
Quantity = Literal["latency", "energy"]

SCHEMA = "latency-twin/2"
FEWEST_NETWORKS = 5
MACS = "macs"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTwin:
    """Predicts latency, ms, for any genome of its space; a twin of energy the same way, mJ (its card says which).

    ``op_values_ms`` (float64[n_ops], parallel to ``index_of(space).ops``) and ``constant_ms`` are the exact
    additive part; exp(``trees``) multiplies it where they are present. ``ratios`` holds cross-validated measured /
    predicted.
    """

    space: SearchSpace
    op_values_ms: Vector
    constant_ms: float
    trees: xgboost.Booster | None
    ratios: Vector
    card: dict[str, Any]

    def predict(self, genomes: Genomes) -> Vector:
        """Return the predicted latency, ms, float64[n], of canonical genomes uint8[n, G].

        Raises SpaceMismatch for foreign genomes.
        """
        self.space.check(genomes)
        table_ms = index_of(self.space).sum(genomes, self.op_values_ms) + self.constant_ms
        if self.trees is None:
            return np.asarray(table_ms)
        matrix = features.latency_features(self.space, genomes, table_ms)
        return np.asarray(table_ms * np.exp(boost.predict(self.trees, matrix)))

    __call__ = predict

    def upper_factor(self, coverage: float = 0.9) -> float:
        """Return what ``upper`` multiplies the prediction by: a conformal quantile of measured / predicted."""
        if not len(self.ratios):
            raise errors.not_calibrated(coverage)
        return intervals.quantile(self.ratios, coverage)

    def upper(self, genomes: Genomes, coverage: float = 0.9) -> Vector:
        """Return a latency, ms, float64[n], that a measurement is meant to stay at or below with ``coverage``.

        One-sided conformal quantile of cross-validated relative residuals: for networks drawn like the measured ones it
        holds about that often on average, without a finite-sample guarantee (`intervals.quantile` says why). Raises
        UsageInvalid where there are no or too few measured networks for this coverage.
        """
        return self.predict(genomes) * self.upper_factor(coverage)

    def save(self, folder: Path) -> None:
        """Write the twin to a folder: card.json, arrays.npz, and trees-1.json where it has trees."""
        arrays = {
            "op_values_ms": self.op_values_ms,
            "constant_ms": np.array([self.constant_ms]),
            "ratios": self.ratios,
        }
        store.save(Path(folder), self.card, arrays, [] if self.trees is None else [boost.to_bytes(self.trees)])


@on_one_thread
def fit(
    space: SearchSpace,
    tables: Mapping[str, NDArray[np.floating]],
    genomes: Genomes | None = None,
    measured_ms: NDArray[np.floating] | None = None,
    *,
    quantity: Quantity = "latency",
    precision: str | None = "fp32",
    seed: int = 0,
    threads: int = 1,
) -> LatencyTwin:
    """Fit a twin to networks measured end to end, ms float64[n] (mJ where ``quantity`` is energy), and to tables.

    ``tables`` maps a state ("hot", "cold") to float64[n_ops], parallel to ``index_of(space).ops``; it may be empty.
    Linear models compete by cross-validation: the tables' sums mixed with weights of zero or more and a constant that
    minimise relative error; the same and so much for each op (`ofa.lut.calibrate.with_ops`); and prices of the work in
    ops at their real map sizes (`ofa.twins.work`), with the sums beside it. The first stands unless another is better
    by more than one standard error; trees on the log of what is left over must be better by as much, and need 50
    networks. Without networks the cold table (or the only one) is used as it is, and the card says ``"calibrated":
    false``. Raises SpaceMismatch for foreign genomes and UsageInvalid for unusable values, fewer than 5 different
    networks, or neither table nor network.
    """
    index = index_of(space)
    known = {name: _checked_table(name, values, len(index.ops)) for name, values in sorted(tables.items())}
    card = _card(space, list(known), seed) | {"quantity": quantity, "precision": precision}
    if genomes is None or measured_ms is None:
        return _plain(space, known, card)
    genomes, values = samples.merged(
        space, genomes, measured_ms, needed=FEWEST_NETWORKS, of="measured networks", positive=True
    )
    given = _samples(space, known, genomes, values)
    model = measured.fit(given, seed=seed, threads=threads)
    card |= _facts(model, list(known), len(values))
    # A sum of ms is no energy as it is.
    card["models"] = _compared(space, genomes, values, model, known if quantity == "latency" else {})
    return LatencyTwin(
        space=space,
        op_values_ms=_of_ops(space, known) @ model.weights,
        constant_ms=model.constant,
        trees=model.trees,
        ratios=model.choice.ratios[model.choice.chosen],
        card=card,
    )


@on_one_thread
def fit_measured(
    space: SearchSpace,
    genomes: Genomes,
    measured_ms: NDArray[np.floating],
    *,
    tables: Mapping[str, NDArray[np.floating]] | None = None,
    quantity: Quantity = "latency",
    precision: str | None = "fp32",
    seed: int = 0,
    threads: int = 1,
) -> LatencyTwin:
    """Fit a twin to measured networks, with tables where there are some: ``fit`` in the order of `fit_accuracy`."""
    given = {} if tables is None else tables
    return fit(space, given, genomes, measured_ms, quantity=quantity, precision=precision, seed=seed, threads=threads)


def _of_ops(space: SearchSpace, tables: Mapping[str, Vector]) -> Vector:
    """Return what weights are of, for each op: its work, then its row in each table, float64[n_ops, F + T]."""
    return np.concatenate([work.op_columns(space).of_ops, *(table[:, None] for table in tables.values())], axis=1)


def _samples(space: SearchSpace, tables: Mapping[str, Vector], genomes: Genomes, values: Vector) -> Samples:
    """Return what the model of measured networks reads, and the exact least that prices give to any of the space."""
    index, of_ops = index_of(space), _of_ops(space, tables)

    def least(weights: Vector, constant: float) -> float:
        from ofa.search import extremes

        return extremes(space, of_ops @ weights, constant).least

    sums = [index.sum(genomes, table)[:, None] for table in tables.values()]
    return Samples(
        amounts=work.amounts(space, genomes),
        sums=np.concatenate([np.zeros((len(genomes), 0)), *sums], axis=1),
        columns=features.work_features(space, genomes),
        values=values,
        ops=work.counting_ops(space),
        least=least,
    )


def _card(space: SearchSpace, tables: list[str], seed: int) -> dict[str, Any]:
    """Return what every card says first: what the twin belongs to and was made from."""
    return {
        "schema": SCHEMA,
        "space": space.id,
        "genes_sha256": genes_digest(space),
        "ops_sha256": _ops_digest(space),
        "seed": seed,
        "tables": tables,
    }


def _facts(model: Measured, tables: list[str], count: int) -> dict[str, Any]:
    """Return what a card says of the choice and the calibration; ``weights`` are those of the tables."""
    weights = model.weights[len(model.weights) - len(tables) :]
    return {
        "calibrated": True,
        "samples": count,
        "chosen": model.choice.chosen,
        "reason": model.choice.reason,
        "weights": dict(zip(tables, weights.tolist(), strict=True)),
        "constant_ms": model.constant,
        "interval": {
            "method": f"conformal quantile of cross-validated ratios; {intervals.CAVEAT}",
            "residuals": count,
        },
    }


def load(folder: Path, space: SearchSpace | None = None) -> LatencyTwin:
    """Read a saved twin; ``space`` is the one it must belong to (default: the one its card names).

    Raises FileInvalid where a file is absent, cut short, changed or of another version, and SpaceMismatch where it
    was fitted on another space.
    """
    folder = Path(folder)
    space = store.named_space(folder) if space is None else space
    stored = store.load(folder, schema=SCHEMA, space=space)
    if stored.card.get("ops_sha256") != _ops_digest(space):
        raise errors.other_space(folder, f"{space.id} with other ops", space.id)
    columns = features.latency_features(space, np.zeros((0, len(space.genes)), np.uint8), np.zeros(0)).shape[1]
    trees = store.trees(stored, folder, columns)
    if len(trees) > 1:
        raise errors.broken(folder, "a latency twin has one file of trees at most")
    return LatencyTwin(
        space=space,
        op_values_ms=store.array(stored, folder, "op_values_ms", (len(index_of(space).ops),)),
        constant_ms=float(store.array(stored, folder, "constant_ms", (1,))[0]),
        trees=trees[0] if trees else None,
        ratios=store.array(stored, folder, "ratios", (None,)),
        card=stored.card,
    )


def _plain(space: SearchSpace, tables: dict[str, Vector], card: dict[str, Any]) -> LatencyTwin:
    """Use one table as it is: the cold one, whose sum is an upper one whether or not data stay in the caches."""
    if not tables:
        raise errors.nothing_measured()
    name = "cold" if "cold" in tables else sorted(tables)[0]
    facts = {"calibrated": False, "samples": 0, "chosen": TABLE, "weights": {name: 1.0}, "constant_ms": 0.0}
    return LatencyTwin(
        space=space,
        op_values_ms=tables[name],
        constant_ms=0.0,
        trees=None,
        ratios=np.zeros(0),
        card=card | facts | {"reason": f"no measured networks: the plain sum of the '{name}' table"},
    )


def _compared(
    space: SearchSpace, genomes: Genomes, values: Vector, model: Measured, tables: Mapping[str, Vector]
) -> dict[str, Any]:
    """Score every candidate beside calibrated MACs alone and some tables as they are."""
    index = index_of(space)
    macs = index.sum(genomes, index.values(lambda op: float(op.macs)))[:, None]
    predicted = {name: values / found for name, found in model.choice.ratios.items()}
    predicted[MACS] = values / calibrate.left_out(macs, values, below_zero=True)
    predicted |= {f"{name} as it is": index.sum(genomes, table) for name, table in tables.items()}
    resolutions = features.resolutions(space, genomes)
    return {name: _scores(values, found, resolutions) for name, found in predicted.items()}


def _scores(values: Vector, predicted: Vector, resolutions: Vector | None) -> dict[str, float | None]:
    """Describe one candidate by its cross-validated predictions."""
    return samples.rank_scores(predicted, values, resolutions) | {
        "mape_percent": finite(score.mape_pct(predicted, values)),
        "bias_percent": finite(100.0 * float(np.mean(predicted / values - 1.0))),
    }


def _checked_table(name: str, values: NDArray[np.floating], count: int) -> Vector:
    """Return a table as float64[n_ops] after checking its shape and values."""
    table = np.asarray(values, dtype=np.float64)
    if table.shape != (count,):
        raise errors.not_parallel(f"table '{name}'", table.shape, (count,))
    if not np.isfinite(table).all() or (table < 0).any():
        raise errors.not_a_number(f"latencies of table '{name}'", "a latency of zero or more")
    return table


def _ops_digest(space: SearchSpace) -> str:
    """Return a hash over the operators of a space, in the order of a twin's values."""
    return files.sha256_bytes("\n".join(op.key for op in index_of(space).ops).encode())
