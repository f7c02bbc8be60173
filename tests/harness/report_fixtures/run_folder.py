"""Write a run folder like the demo's from a seed: every number is made up, and every file says ``simulated``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

import ofa.space as spaces
from ofa import files
from ofa.lut.format import Header, Lut, NetworkRow, Row
from ofa.lut.write import write as write_table
from ofa.space.index import ops_in

RUNTIMES = {"onnxruntime": 1.0, "litert": 1.6}
RESOLUTIONS = (16, 20, 24, 28, 32)
TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)


def write(folder: Path, seed: int = 7) -> Path:
    """Write a whole run: every stage that the page shows."""
    rng = np.random.default_rng(seed)
    run(folder)
    supernet(folder, rng)
    labels(folder, rng)
    rows = [row for runtime in RUNTIMES for row in bench(folder, runtime, rng)]
    floors = {runtime: {"floor_pct": 0.8 * slow, "speed": 1.01} for runtime, slow in RUNTIMES.items()}
    _json(folder / "verify.json", {"simulated": True, **floors})
    summary = {"wall_s": 417.3, "accuracy_spread": [71.2, 93.9], "models": {"simulated": True}, "rows": rows}
    _json(folder / "summary.json", summary)
    return folder


def run(folder: Path) -> None:
    """Write what every run folder has."""
    facts = {
        "simulated": True,
        "date": "2026-11-24T10:12:00+00:00",
        "seed": 1,
        "space": TINY.id,
        "command": "ofa demo",
        "versions": {"ofa-lab": "0.1.0", "python": "3.11.2", "torch": "2.9.1+cpu", "onnxruntime": "1.23.2"},
        "machine": {"cpu": "a made-up processor", "cores": 2, "memory_gib": 8},
    }
    _json(folder / "run.json", facts)


def supernet(folder: Path, rng: np.random.Generator) -> None:
    """Write a training log with a loss at every step and corner accuracies now and then."""
    lines: list[dict[str, Any]] = []
    for step in range(0, 1500, 5):
        loss = 0.35 + 2.1 * np.exp(-step / 260) + rng.normal(0, 0.09)
        lines.append({"step": step, "loss": float(loss), "resolution": int(rng.choice(RESOLUTIONS)), "lr": 0.03})
    for step in range(150, 1501, 150):
        rise = 1 - np.exp(-step / 350)
        ends = {"max": 96.0, "k3e6d3": 94.0, "k7e3d3": 93.0, "k7e6d1": 88.0, "min": 80.0}
        lines.append({"step": step, "corners": {name: float(end * rise) for name, end in ends.items()}})
    files.write_atomic(folder / "supernet/metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def labels(folder: Path, rng: np.random.Generator) -> None:
    """Write measured accuracies of subnets, better at larger resolutions."""
    rows = []
    for index in range(400):
        resolution = int(rng.choice(RESOLUTIONS))
        top1 = 70 + (resolution - 16) * 1.4 + rng.normal(0, 3.2)
        rows.append((f"{index:012x}", "01" * 20, resolution, f"{min(top1, 99):.3f}", 1000, "fp32"))
    _csv(folder / "labels.csv", ("id", "genome", "resolution", "top1", "images", "precision"), rows)
    card = {
        "simulated": True,
        "samples": 400,
        "chosen": "base + boosted",
        "reason": "the trees help, or cost no more than one standard error",
        "models": {
            "base": {"spearman": 0.95, "kendall": 0.82, "rmse_points": 1.4, "mean_error_points": 1.1},
            "base + boosted": {"spearman": 0.97, "kendall": 0.86, "rmse_points": 1.1, "mean_error_points": 0.9},
        },
        "interval": {"method": "conformal", "coverage": 0.9, "half_width_points": 1.9, "residuals": 400},
    }
    _json(folder / "twins/accuracy/card.json", card)


def bench(folder: Path, runtime: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Write one device's table, twin and front; return its closing rows."""
    slow = RUNTIMES[runtime]
    table(folder / runtime / "lut", runtime, slow, rng)
    twin(folder / runtime / "twin")
    latencies = np.sort(rng.uniform(0.12, 0.9, 24)) * slow
    accuracies = 97 - 24 * np.exp(-latencies / slow / 0.2)
    points: list[dict[str, Any]] = [
        {"id": f"{at:03x}{runtime[:2]}", "accuracy": float(a), "latency_ms": float(x), "subnet": subnet(at, rng)}
        for at, (x, a) in enumerate(zip(latencies, accuracies, strict=True))
    ]
    chosen = [points[at] | {"budget_ms": round(points[at]["latency_ms"] * 1.02, 3)} for at in (5, 12, 19)]
    ends = [0.9 * float(latencies[0]), 1.1 * float(latencies[-1])]
    parents = [files.parent(folder / runtime / "twin/card.json", relative_to=folder)]
    front = {"simulated": True, "points": points, "chosen": chosen, "extremes_ms": ends, "parents": parents}
    _json(folder / runtime / "front.json", front)
    return [row(runtime, point, rng) for point in chosen]


def twin(folder: Path) -> None:
    """Write the card of a latency twin."""
    names = ("table", "table + boosted", "macs", "cold as it is", "hot as it is")
    scores = {name: {"spearman": 0.99 - 0.02 * at, "mape_percent": 2.4 + at} for at, name in enumerate(names)}
    card = {
        "simulated": True,
        "samples": 60,
        "calibrated": True,
        "chosen": "table",
        "reason": "the trees do not help by more than one standard error",
        "models": scores,
        "weights": {"cold": 0.31, "hot": 0.74},
        "constant_ms": 0.004,
    }
    _json(folder / "card.json", card)


def row(runtime: str, point: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return the closing row of a chosen network, measured a little off its prediction."""
    measured = point["latency_ms"] * float(rng.normal(0.985, 0.03))
    return {
        "device": "this-computer",
        "runtime": runtime,
        "budget_ms": point["budget_ms"],
        "subnet": point["subnet"],
        "subnet_id": point["id"],
        "predicted_ms": point["latency_ms"],
        "measured_ms": measured,
        "measured_lo_ms": measured * 0.98,
        "measured_hi_ms": measured * 1.025,
        "measured_on_other_ms": measured * 1.4,
        "predicted_top1": point["accuracy"],
        "predicted_lo_top1": point["accuracy"] - 1.9,
        "predicted_hi_top1": point["accuracy"] + 1.9,
        "measured_top1": point["accuracy"] + float(rng.normal(0, 1)),
    }


def subnet(size: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return a subnet's JSON; larger ``size`` means deeper."""
    depths = [int(rng.integers(1, 2 + min(2, size // 8))) for _ in range(3)]
    return {
        "space": TINY.id,
        "resolution": RESOLUTIONS[min(4, size // 5)],
        "depths": depths,
        "kernels": [[int(rng.choice((3, 5, 7))) for _ in range(depth)] for depth in depths],
        "expands": [[int(rng.choice((3, 4, 6))) for _ in range(depth)] for depth in depths],
    }


def network() -> NetworkRow:
    """Return a whole network with a made-up time."""
    largest, times = TINY.corner("max"), (600_000, 590_000, 610_000, 600_000, 600_000)
    return NetworkRow(TINY.id, largest.id, bytes(largest.genome).hex(), "fit", "ok", *times, 5, ("simulated",), "s1")


def table(
    folder: Path, runtime: str, slow: float, rng: np.random.Generator, networks: tuple[NetworkRow, ...] = ()
) -> None:
    """Write a latency table with made-up times that grow with what an operator computes."""
    lines = []
    for op in sorted(ops_in(TINY), key=lambda op: op.key):
        for state, factor in (("cold", 1.3), ("hot", 1.0)):
            ns = (9e3 + op.macs * 0.12) * slow * factor * float(rng.normal(1, 0.02))
            half = ns * float(rng.gamma(3, 0.004)) * slow
            times = (round(ns), round(ns - half), round(ns + half), round(ns), round(ns))
            lines.append(Row(op.key, state, "ok", *times, 5, ("simulated",), "s1"))
    header = Header(
        device="this-computer",
        runtime=runtime,  # type: ignore[arg-type]  # one of those above
        runtime_version="1.0",
        precision="fp32",
        conditions="simulated",
        environment={"transport": "simulated"},
        protocol={"rounds": 5},
        simulated=True,
        created="2026-11-24",
    )
    write_table(
        Lut(header=header, rows=tuple(lines), networks=networks, sessions=({"id": "s1"},)),
        folder,
        allow_simulated=True,
    )


def _json(path: Path, value: Any) -> None:
    files.write_atomic(path, files.readable_json(value))


def _csv(path: Path, header: tuple[str, ...], rows: list[Any]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    files.write_atomic(path, buffer.getvalue())
