"""A device left out, and 10 or 20 measurements of it: what the others tell, beside a ridge over what they tell.

Needs published latencies (`--data FOLDER` with `latency/`). Each device of each space is left out in turn. The others
are known by models fitted to at most 900 networks each (`models`) or by their measurements of every network
(`values`); "others" leaves out devices that are the same card or phone at another batch size too, "all" does not. Ranks
are scored on 1,000 networks that no model saw, without the fastest and slowest tenth, as HELP does (Lee et al. 2021).
The baseline measures networks spread along the mean predicted latency, 10 draws; the tool chooses its own, once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from record import record
from twins_data import Timed, Vector, latencies

from ofa import score
from ofa.twins import choose_networks, latency, measured, transfer_latency

SPACES = ("nb201_help", "fbnet_help", "ofa_mbv3_help")
SHOTS, DRAWS, TO_FIT, QUERIES = (10, 20), 10, 900, 1000
LEAST_MS = 0.05
Rows = NDArray[np.int64]


class Known(NamedTuple):
    """What known devices say of the networks to choose from and of those to predict, ms float64[n, D], by device."""

    devices: list[str]
    pool: Vector
    query: Vector
    own_pool: Vector
    own_query: Vector


def main() -> None:
    """Leave every device out, and write means over devices beside the baseline's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with `latency`")
    data = parser.parse_args().data
    began = time.process_time()
    found: dict[str, Any] = {}
    for name, timed in latencies(data).items():
        if name in SPACES:
            found |= {f"{name}, {kind}": entry for kind, entry in of_space(timed)}
    gains = {
        row: round(each["mean"]["twin"] - each["mean"]["ridge over devices"], 4)
        for row, each in found.items()
        if row.endswith("n = 10")
    }
    promises = {"gain in Spearman": gains, "mean gain": round(float(np.mean(list(gains.values()))), 4)}
    result = {"promises": promises, "cpu_s": round(time.process_time() - began), **found}
    record("twins_transfer", "devices left out in turn: Spearman on networks not seen", result, "--data FOLDER")


def of_space(timed: Timed) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the results of a space for each kind of knowledge and number of measurements."""
    order = np.random.default_rng(0).permutation(len(timed.macs))
    fitted, query = order[:TO_FIT], order[TO_FIT : TO_FIT + QUERIES]
    values = np.stack([np.maximum(np.nan_to_num(ms, nan=LEAST_MS), LEAST_MS) for ms in timed.ms.values()], axis=1)
    models = np.stack([modelled(timed, ms, fitted) for ms in timed.ms.values()], axis=1)
    for kind, said in (("models", models), ("values", values)):
        known = Known(list(timed.ms), said[fitted], said[query], values[fitted], values[query])
        for circle in ("others", "all"):
            for shots in SHOTS:
                yield f"{kind} of {circle}, n = {shots}", left_out(known, shots, circle == "all")


def modelled(timed: Timed, ms: Vector, fitted: Rows) -> Vector:
    """Return what a model of some networks of one device predicts for all, ms float64[n]."""
    rows = fitted[np.isfinite(ms[fitted])]
    if timed.space is not None and timed.genomes is not None:
        found = latency.fit(timed.space, {}, timed.genomes[rows], ms[rows]).predict(timed.genomes)
    else:
        model = measured.fit(measured.samples(timed.amounts[rows], timed.genes[rows], ms[rows]))
        found = model.predict(timed.amounts, np.zeros((len(ms), 0)), timed.genes)
    return np.maximum(found, LEAST_MS)


def family(device: str) -> str:
    """Return the card or phone of a column: its name without the batch size."""
    name, _, batch = device.rpartition("_")
    return name if batch in ("1", "32", "64", "256") and not device.startswith("essential") else device


def left_out(known: Known, shots: int, everyone: bool) -> dict[str, Any]:
    """Return Spearman by device and model, their means, and the twin's intervals."""
    by_device: dict[str, dict[str, float]] = {}
    for at, device in enumerate(known.devices):
        others = [
            other
            for other, name in enumerate(known.devices)
            if other != at and (everyone or family(name) != family(device))
        ]
        pool, query, actual = known.pool[:, others], known.query[:, others], known.own_query[:, at]
        rows = choose_networks(pool, shots)
        twin = transfer_latency(pool, rows, known.own_pool[rows, at])
        predicted, (low, high) = twin.predict(query), twin.interval(query)
        draws = [
            ranks(ridge(pool, spread(pool, shots, draw), known.own_pool[:, at], query), actual) for draw in range(DRAWS)
        ]
        by_device[device] = {
            "twin": ranks(predicted, actual),
            "ridge over devices": float(np.mean(draws)),
            "mape_pct": score.mape_pct(predicted, actual),
            "coverage_of_90_pct": score.coverage(actual, low, high),
            "half_width_pct": float(100 * np.mean((high - low) / 2 / predicted)),
            "asks_for_a_table": float(twin.card["build_table"]),
        }
    names = list(next(iter(by_device.values())))
    means = {name: round(float(np.mean([entry[name] for entry in by_device.values()])), 4) for name in names}
    rounded = {device: {name: round(value, 4) for name, value in entry.items()} for device, entry in by_device.items()}
    return {"mean": means, "devices": rounded}


def spread(pool: Vector, shots: int, draw: int) -> Rows:
    """Return rows drawn one from each of equal parts along the mean predicted latency."""
    rng = np.random.default_rng(draw)
    order = np.argsort(np.log(pool).mean(axis=1), kind="stable")
    return np.array([rng.choice(part) for part in np.array_split(order, shots)], dtype=np.int64)


def ridge(pool: Vector, rows: Rows, own: Vector, query: Vector) -> Vector:
    """Return the baseline: a ridge in log space over the known devices, its penalty by leave-one-out."""
    from sklearn.linear_model import RidgeCV

    logs = np.log(pool[rows])
    centre, deviation = logs.mean(axis=0), logs.std(axis=0) + 1e-9
    model = RidgeCV(alphas=np.geomspace(1e-3, 1e3, 25)).fit((logs - centre) / deviation, np.log(own[rows]))
    return np.asarray(model.predict((np.log(query) - centre) / deviation))


def ranks(predicted: Vector, actual: Vector) -> float:
    """Return Spearman's rank correlation without the fastest and slowest tenth."""
    order = np.argsort(actual, kind="stable")
    tenth = len(order) // 10
    kept = order[tenth:-tenth]
    return score.spearman(predicted[kept], actual[kept])


if __name__ == "__main__":
    main()
