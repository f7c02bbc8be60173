"""The protocol on a simulated device, whose truth is known: how often its intervals hold, and a plain benchmark's."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from record import record

import ofa.space as spaces
from harness.artefacts import Artefacts
from harness.inventory import simulated
from harness.journal import create
from harness.networks import middle
from harness.plan import Plan, State
from harness.prepare import bench_plan
from harness.reduce import conditions, measured
from harness.session import run
from harness.simulation.machine import Machine
from harness.simulation.truth import truth_ns, work_of
from harness.simulation.weather import Moment, Weather
from ofa.space.index import ops_in
from ofa.space.ops import ops_of

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
REFERENCE = [op.key for op in ops_of(middle(SPACE))]
STATES: tuple[State, ...] = ("cold", "hot")
NOISES = (0.005, 0.015, 0.04)
SEEDS = 10
# Work would settle at 103 °C, and throttles above 70 °C; in an hour all is a tenth slower; every tenth process is slow.
HARSH: dict[str, Any] = {
    "drift_per_h": 0.1,
    "heating_c_per_s": 1.3,
    "slow_process_share": 0.1,
    "tail_share": 0.05,
    "cache_bytes": 3e5,
}
PLAIN_CALLS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How often intervals hold the true ratio to the reference, and how wide and how far off they are."""

    covered: float
    half_width_pct: float
    off_pct: float
    rounds: float


def main() -> None:
    """Measure by both, and write the result."""
    found: dict[str, Any] = {"ops": len(ops_in(SPACE)), "seeds": SEEDS, "machine": HARSH, "simulated": True}
    for noise in NOISES:
        machines = [Machine(seed=seed, round_noise=noise, **HARSH) for seed in range(SEEDS)]
        ours, theirs = [protocol(machine) for machine in machines], [plain(machine) for machine in machines]
        found[f"round noise {100 * noise:g} %"] = {
            "protocol": averaged(ours),
            "fixed order, fixed count": averaged(theirs),
        }
        print(noise, found[f"round noise {100 * noise:g} %"], file=sys.stderr, flush=True)
    record("protocol", "simulated: intervals that hold the true ratio of an op to the reference", found)


def averaged(runs: list[Held]) -> dict[str, float]:
    """Return the means over devices, and the range of the coverage."""
    return {
        "covered_pct": round(100 * mean(run.covered for run in runs), 2),
        "least_covered_pct": round(100 * min(run.covered for run in runs), 2),
        "median_half_width_pct": round(mean(run.half_width_pct for run in runs), 2),
        "median_error_pct": round(mean(run.off_pct for run in runs), 2),
        "rounds": round(mean(run.rounds for run in runs), 1),
    }


def protocol(machine: Machine) -> Held:
    """Measure every op of the space by the protocol."""
    with tempfile.TemporaryDirectory() as folder:
        device = simulated(Path(folder) / "files", machine=machine, own_process=False)
        plan: Plan = bench_plan(
            device,
            "simulated",
            Artefacts(device.transport.files),
            ops=ops_in(SPACE),
            networks=(),
            reference=middle(SPACE),
            seed=machine.seed,
        )
        with create(Path(folder) / "journal.sqlite", plan) as journal:
            run(plan, device=device, journal=journal)
            found = conditions(journal)
            values = [value for value in measured(journal, found).values() if not value.key.startswith("@")]
    scale = found.reference_ns
    return held(
        machine,
        [
            (
                value.ns / scale[value.state],
                value.lo / scale[value.state],
                value.hi / scale[value.state],
                value.key,
                value.state,
            )
            for value in values
            if value.ns and value.lo and value.hi
        ],
        mean(value.rounds for value in values),
    )


def plain(machine: Machine) -> Held:
    """Measure as benchmarks commonly do: one process, the ops in order, so many calls each, mean and standard error."""
    weather = Weather(machine, Moment(time_s=0.0, temperature_c=machine.ambient_c), (0, 0, 0, 1))

    def timed(keys: list[str], name: str) -> tuple[float, float]:
        work, luck = work_of(machine, keys), weather.luck(name, (0, 0, 0))
        times = []
        for _ in range(PLAIN_CALLS + 3):
            before_s = weather.time_s
            weather.call(name, work, luck)
            times.append((weather.time_s - before_s) * 1e9)
        return float(np.mean(times[3:])), float(np.std(times[3:], ddof=1)) / PLAIN_CALLS**0.5

    reference_ns, _ = timed(REFERENCE, "f" * 15)
    rows = []
    for number, op in enumerate(ops_in(SPACE)):
        ns, error = timed([op.key], f"{number:015x}")
        low, high = ns - 1.96 * error, ns + 1.96 * error
        rows.append((ns / reference_ns, low / reference_ns, high / reference_ns, op.key, "hot"))
    return held(machine, rows, 1.0)


def held(machine: Machine, rows: list[tuple[float, float, float, str, str]], rounds: float) -> Held:
    """Compare ratios (value, low, high) by key and state with the truth."""
    unit: dict[str, float] = {state: truth_ns(machine, REFERENCE, state) for state in STATES}
    truth = np.array([truth_ns(machine, [key], state) / unit[state] for *_, key, state in rows])
    value, low, high = (np.array([row[place] for row in rows]) for place in range(3))
    return Held(
        covered=float(np.mean((low <= truth) & (truth <= high))),
        half_width_pct=float(np.median(100 * (np.sqrt(high / low) - 1))),
        off_pct=float(np.median(100 * np.abs(value / truth - 1))),
        rounds=rounds,
    )


if __name__ == "__main__":
    main()
