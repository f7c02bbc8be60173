"""The latency twin: lookup tables calibrated on measured networks, boosted trees only where they prove worth it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from ofa import files, score
from ofa.lut.calibrate import Mix
from ofa.lut.calibrate import fit as calibrated
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.twins import boost, calibrate, errors, features, intervals, samples, store
from ofa.twins.samples import finite

Vector = NDArray[np.float64]

SCHEMA = "latency-twin/1"
FEWEST_NETWORKS = 5
# Below this, a lucky fold looks like a gain of one standard error, and trees would cost the exact additive form.
FEWEST_FOR_TREES = 50
TABLE, BOOSTED, MACS = "table", "table+boosted", "macs"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTwin:
    """Predicts latency, ms, for any genome of its space.

    ``op_values_ms`` (float64[n_ops], parallel to ``index_of(space).ops``) and ``constant_ms`` are the exact
    additive part; ``trees`` multiply it where they are present. ``ratios`` holds cross-validated measured / predicted.
    """

    space: SearchSpace
    op_values_ms: Vector
    constant_ms: float
    trees: xgboost.Booster | None
    ratios: Vector
    card: dict[str, Any]

    def predict(self, genomes: Genomes) -> Vector:
        """Return the predicted latency, ms, float64[n], of canonical genomes uint8[n, G]."""
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
        """Write the twin to a folder: card.json, arrays.npz, and trees.json where it has trees."""
        arrays = {
            "op_values_ms": self.op_values_ms,
            "constant_ms": np.array([self.constant_ms]),
            "ratios": self.ratios,
        }
        store.save(Path(folder), self.card, arrays, None if self.trees is None else boost.to_bytes(self.trees))


def fit(
    space: SearchSpace,
    tables: Mapping[str, NDArray[np.floating]],
    genomes: Genomes | None = None,
    measured_ms: NDArray[np.floating] | None = None,
    *,
    seed: int = 0,
    threads: int = 1,
) -> LatencyTwin:
    """Fit a twin to one or more tables of operator latencies, ms, and to whole networks measured end to end.

    ``tables`` maps a state ("hot", "cold") to float64[n_ops], parallel to ``index_of(space).ops``. With measured
    networks the tables' sums are mixed with weights and a constant of zero or more that minimise relative error, and
    trees on the log of what is left over are kept only where cross-validation gains more than one standard error (and
    from 50 networks up). Without them the cold table (or the only one) is used as it is, and the card says
    ``"calibrated": false``. Raises SpaceMismatch for foreign genomes and UsageInvalid for unusable values or fewer than
    5 different networks.
    """
    index = index_of(space)
    known = {name: _checked_table(name, values, len(index.ops)) for name, values in tables.items()}
    if not known:
        raise errors.no_table()
    card = _card(space, known, seed)
    if genomes is None or measured_ms is None:
        return _plain(space, known, card)
    genomes, latency_ms = samples.merged(
        space, genomes, measured_ms, needed=FEWEST_NETWORKS, of="measured networks", positive=True
    )
    names = sorted(known)
    sums = np.stack([index.sum(genomes, known[name]) for name in names], axis=1)
    mix = calibrated(sums, latency_ms)
    ratios = {TABLE: calibrate.left_out(sums, latency_ms)}
    ratios[BOOSTED] = _cross_validate(space, genomes, sums, latency_ms, seed=seed, threads=threads)
    chosen, reason = _choose(ratios)
    trees = None
    if chosen == BOOSTED:
        matrix = features.latency_features(space, genomes, mix.predict(sums))
        trees = boost.fit(matrix, np.log(ratios[TABLE]), seed=seed, threads=threads)
    card |= {"chosen": chosen, "reason": reason} | _mix_facts(mix, names, len(latency_ms))
    card["models"] = _compared(space, genomes, latency_ms, ratios, dict(zip(names, sums.T, strict=True)))
    op_values_ms = np.stack([known[name] for name in names], axis=1) @ mix.weights
    return LatencyTwin(
        space=space,
        op_values_ms=op_values_ms,
        constant_ms=mix.constant,
        trees=trees,
        ratios=ratios[chosen],
        card=card,
    )


def _card(space: SearchSpace, tables: Iterable[str], seed: int) -> dict[str, Any]:
    """Return what every card says first: what the twin belongs to and was made from."""
    return {
        "schema": SCHEMA,
        "space": space.id,
        "genes_sha256": store.genes_digest(space),
        "ops_sha256": _ops_digest(space),
        "seed": seed,
        "tables": sorted(tables),
    }


def _mix_facts(mix: Mix, names: list[str], samples: int) -> dict[str, Any]:
    """Return what a card says of the calibration."""
    return {
        "calibrated": True,
        "samples": samples,
        "weights": dict(zip(names, mix.weights.tolist(), strict=True)),
        "constant_ms": mix.constant,
        "interval": {
            "method": f"conformal quantile of cross-validated ratios; {intervals.CAVEAT}",
            "residuals": samples,
        },
    }


def load(folder: Path, space: SearchSpace | None = None) -> LatencyTwin:
    """Read a saved twin; ``space`` is the one it must belong to (default: the one its card names).

    Raises FileInvalid where a file is absent, cut short, changed or of another version, and SpaceMismatch where it
    was fitted on another space.
    """
    folder = Path(folder)
    space = store.space_of(folder, space)
    stored = store.load(folder, schema=SCHEMA, space=space)
    if stored.card.get("ops_sha256") != _ops_digest(space):
        raise errors.other_space(folder, f"{space.id} with other operators", space.id)
    columns = features.latency_features(space, np.zeros((0, len(space.genes)), np.uint8), np.zeros(0)).shape[1]
    return LatencyTwin(
        space=space,
        op_values_ms=store.array(stored, folder, "op_values_ms", (len(index_of(space).ops),)),
        constant_ms=float(store.array(stored, folder, "constant_ms", (1,))[0]),
        trees=store.trees(stored, folder, columns),
        ratios=store.array(stored, folder, "ratios", (None,)),
        card=stored.card,
    )


def _plain(space: SearchSpace, tables: dict[str, Vector], card: dict[str, Any]) -> LatencyTwin:
    """Use one table as it is: the cold one, whose sum is an upper one whether or not data stay in the caches."""
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


def _cross_validate(
    space: SearchSpace, genomes: Genomes, sums: Vector, latency_ms: Vector, *, seed: int, threads: int
) -> Vector:
    """Return out-of-fold measured / predicted float64[n] of the calibrated table with trees on its residual."""
    parts = 10 if len(latency_ms) <= 500 else 5
    fold = intervals.folds(len(latency_ms), min(parts, len(latency_ms)), np.random.default_rng(seed))
    ratios = np.empty(len(latency_ms))
    for part in np.unique(fold):
        seen, unseen = fold != part, fold == part
        mix = calibrated(sums[seen], latency_ms[seen])
        left_over = np.log(calibrate.left_out(sums[seen], latency_ms[seen]))
        table_ms = mix.predict(sums)
        matrix = features.latency_features(space, genomes, table_ms)
        trees = boost.fit(matrix[seen], left_over, seed=seed, threads=threads)
        ratios[unseen] = latency_ms[unseen] / (table_ms[unseen] * np.exp(boost.predict(trees, matrix[unseen])))
    return ratios


def _choose(ratios: dict[str, Vector]) -> tuple[str, str]:
    """Prefer the table alone unless trees lower the squared log error by more than one standard error."""
    gain = np.log(ratios[TABLE]) ** 2 - np.log(ratios[BOOSTED]) ** 2
    standard_error = float(gain.std(ddof=1) / np.sqrt(len(gain)))
    if len(gain) < FEWEST_FOR_TREES:
        return TABLE, f"trees are trusted from {FEWEST_FOR_TREES} measured networks up; there are {len(gain)}"
    told = f"squared log error of '{TABLE}' minus '{BOOSTED}': {gain.mean():+.3g}, standard error {standard_error:.2g}"
    if gain.mean() > standard_error:
        return BOOSTED, f"the trees help by more than one standard error; {told}"
    return TABLE, f"the trees do not help by more than one standard error; {told}"


def _compared(
    space: SearchSpace, genomes: Genomes, latency_ms: Vector, ratios: dict[str, Vector], sums: dict[str, Vector]
) -> dict[str, Any]:
    """Score every candidate beside calibrated MACs alone and the tables as they are."""
    index = index_of(space)
    macs = index.sum(genomes, index.values(lambda op: float(op.macs)))[:, None]
    predicted = {name: latency_ms / found for name, found in ratios.items()}
    predicted[MACS] = latency_ms / calibrate.left_out(macs, latency_ms)
    predicted |= {f"{name} as it is": found for name, found in sums.items()}
    return {name: _scores(space, genomes, latency_ms, found) for name, found in predicted.items()}


def _scores(space: SearchSpace, genomes: Genomes, latency_ms: Vector, predicted_ms: Vector) -> dict[str, float | None]:
    """Describe one candidate by its cross-validated predictions."""
    resolutions = features.choice_values(space, genomes)[:, space.at("resolution")]
    return samples.rank_scores(predicted_ms, latency_ms, resolutions) | {
        "mape_percent": finite(score.mape_pct(predicted_ms, latency_ms)),
        "bias_percent": finite(100.0 * float(np.mean(predicted_ms / latency_ms - 1.0))),
    }


def _checked_table(name: str, values: NDArray[np.floating], count: int) -> Vector:
    """Return a table as float64[n_ops] after checking its shape and values."""
    table = np.asarray(values, dtype=np.float64)
    if table.shape != (count,):
        raise errors.not_parallel(f"table '{name}'", table.shape, (count,))
    if not np.isfinite(table).all() or (table < 0).any():
        raise errors.not_a_number(f"table '{name}'", "a latency of zero or more")
    return table


def _ops_digest(space: SearchSpace) -> str:
    """Return a hash over the operators of a space, in the order of a twin's values."""
    return files.sha256_bytes("\n".join(op.key for op in index_of(space).ops).encode())
