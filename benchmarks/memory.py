"""How well the peak memory of a process that calls a network is foretold by its layers.

Random networks of MobileNetV3 at width 1.0, each in a process of its own: half of them to fit, half held out, and those
measured once more. What was measured lies in the folder: an interrupted run goes on, and the result tells every runtime
that the folder knows.

    python benchmarks/memory.py --runtime onnxruntime --out FOLDER
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import record

import ofa.space as spaces
from harness.artefacts import Artefacts
from harness.footprint import of_file
from harness.inventory import Device, RuntimeName, this_computer
from harness.phases import phases
from harness.plan import EMPTY
from harness.session import ready_runtime
from ofa import score
from ofa.files import read_json, readable_json, write_atomic
from ofa.space.core import Subnet
from ofa.space.ops import ops_of
from ofa.twins import memory

SPACE = spaces.load("mobilenet_v3")
# The features were chosen on the networks of seed 0.
FIT, HOLDOUT, SEED = 20, 20, 1
RUNTIMES: tuple[RuntimeName, ...] = ("onnxruntime", "litert")
AGAIN = "again "
MOST_BYTES = 1 << 20


def main() -> None:
    """Measure with one runtime, and write the result of every one that was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", choices=RUNTIMES, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of what was measured")
    given = parser.parse_args()
    measure(this_computer(given.out / "files"), given.runtime, given.out / f"{given.runtime}.json")
    known: list[str] = [name for name in RUNTIMES if (given.out / f"{name}.json").exists()]
    found = {name: scored(read_json(given.out / f"{name}.json", max_bytes=MOST_BYTES, what="result")) for name in known}
    what = f"peak memory of {FIT} + {HOLDOUT} random networks of {SPACE.id}, foretold for the held-out {HOLDOUT}"
    record("memory", what, found, "--runtime RUNTIME --out FOLDER")


def networks() -> list[Subnet]:
    """Return the networks: those to fit, then the held-out ones."""
    rng = np.random.default_rng(SEED)
    drawn = spaces.sample.unique(spaces.sample.random(SPACE, FIT + HOLDOUT, rng))
    return [SPACE.subnet(genome) for genome in drawn[rng.permutation(len(drawn))]]


def measure(device: Device, runtime: RuntimeName, path: Path) -> None:
    """Measure the empty network, all networks, and the held-out ones again, as far as the file does not know them."""
    about = ready_runtime(device, runtime)[1]
    artefacts = Artefacts(device.transport.files)
    drawn = networks()
    wanted: dict[str, Subnet | None] = {EMPTY: None, **{subnet.id: subnet for subnet in drawn}}
    wanted |= {AGAIN + subnet.id: subnet for subnet in drawn[FIT:]}
    facts: dict[str, Any] = {"version": about.version, "date": f"{datetime.now(UTC):%Y-%m-%d}", "peak_rss_kib": {}}
    if path.exists():
        facts = read_json(path, max_bytes=MOST_BYTES, what="result")
    with phases(f"memory with {runtime}") as tell:
        for done, (name, subnet) in enumerate(wanted.items(), 1):
            if name not in facts["peak_rss_kib"]:
                file = EMPTY if subnet is None else artefacts.for_network(ops_of(subnet), about).name
                answer = of_file(device, runtime, file)
                if answer.peak_rss_kib is None:
                    raise SystemExit(f"{name}: {answer.reason}")
                facts["peak_rss_kib"][name] = answer.peak_rss_kib
                write_atomic(path, readable_json(facts))
            tell(done, len(wanted), name)


def scored(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what one runtime comes to, beside a constant."""
    kib = facts["peak_rss_kib"]
    subnets = networks()
    drawn = np.stack([subnet.array for subnet in subnets])
    peaks = np.array([kib[subnet.id] for subnet in subnets], dtype=np.float64)
    again = np.array([kib[AGAIN + subnet.id] for subnet in subnets[FIT:]], dtype=np.float64)
    twin = memory.fit(SPACE, drawn[:FIT], peaks[:FIT])
    held_out = memory.scores(twin, drawn[FIT:], peaks[FIT:], empty_kib=kib[EMPTY])
    columns = memory.features(SPACE, drawn)
    return {
        "runtime_version": facts["version"],
        "date": facts["date"],
        "fit": FIT,
        "holdout": HOLDOUT,
        "empty_rss_mib": mib(kib[EMPTY]),
        "peak_rss_mib": {"least": mib(peaks.min()), "median": mib(np.median(peaks)), "most": mib(peaks.max())},
        "held_out": {
            "mape_pct": round(held_out["mape_pct"], 2),
            "less_empty_mape_pct": round(held_out["less_empty_mape_pct"], 2),
            "spearman": round(held_out["spearman"], 4),
            "pearson": round(float(np.corrcoef(twin.predict(drawn[FIT:]), peaks[FIT:])[0, 1]), 4),
        },
        "measured_again_mape_pct": round(score.mape_pct(again, peaks[FIT:]), 3),
        "a_constant_mape_pct": round(score.mape_pct(np.full(HOLDOUT, peaks[:FIT].mean()), peaks[FIT:]), 2),
        "base_mib": mib(twin.base_kib),
        "weights": {name: round(value, 3) for name, value in twin.weights.items()},
        "pearson_of_features": {
            name: round(float(np.corrcoef(column, peaks)[0, 1]), 4)
            for name, column in zip(memory.FEATURES, columns.T, strict=True)
        },
    }


def mib(kib: float | NDArray[np.float64]) -> float:
    """Return KiB as MiB."""
    return round(float(kib) / 1024, 1)


if __name__ == "__main__":
    main()
