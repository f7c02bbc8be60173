"""The protocol on a simulated device, whose truth is known: how often its intervals hold, and a plain benchmark's.

And those of the protocol without its rests, on devices that then get too hot: what the same check says of these.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from record import record

import ofa.space as spaces
from harness.artefacts import Artefacts
from harness.inventory import Device, simulated
from harness.journal import create
from harness.networks import middle
from harness.plan import Plan, State
from harness.prepare import bench_plan
from harness.reduce import conditions, measured
from harness.session import run
from harness.simulation.machine import Machine
from harness.simulation.process import MOMENTS
from harness.simulation.truth import truth_ns, work_of
from harness.simulation.weather import Moment, Weather
from ofa.files import MEBIBYTE, read_json
from ofa.space.index import ops_in
from ofa.space.ops import ops_of

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
REFERENCE = [op.key for op in ops_of(middle(SPACE))]
STATES: tuple[State, ...] = ("cold", "hot")
NOISES = (0.005, 0.015, 0.04)
SEEDS = 10
# Without rests a device is only shown to fail.
RESTLESS_SEEDS, RESTLESS_NOISE = 2, 0.005
# A virtual measurement takes a minute or two, so what takes an hour on a real device is as much quicker here: all is a
# tenth slower after a minute, and work brings the cores from 25 to 70 degrees, where they throttle, within ten seconds
# (it would settle at 105). Every tenth process is slow.
HARSH: dict[str, Any] = {
    "drift_per_h": 6.0,
    "heating_c_per_s": 8.0,
    "cooling_s": 10.0,
    "slow_process_share": 0.1,
    "tail_share": 0.05,
    "cache_bytes": 3e5,
}
PLAIN_CALLS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How often intervals hold the true ratio to the reference, how wide and how far off they are; how long it took by
    the device's clock, and how hot that was at the most, at the end of a batch."""

    covered: float
    half_width_pct: float
    off_pct: float
    rounds: float
    virtual_s: float
    hottest_c: float


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
    machines = [Machine(seed=seed, round_noise=RESTLESS_NOISE, **HARSH) for seed in range(RESTLESS_SEEDS)]
    restless = averaged([protocol(machine, rests=False) for machine in machines])
    found[f"round noise {100 * RESTLESS_NOISE:g} %"]["protocol without rests"] = {"seeds": RESTLESS_SEEDS, **restless}
    record("protocol", "simulated: intervals that hold the true ratio of an op to the reference", found)


def averaged(runs: list[Held]) -> dict[str, float]:
    """Return the means over devices, and the range of the coverage."""
    return {
        "covered_pct": round(100 * mean(run.covered for run in runs), 2),
        "least_covered_pct": round(100 * min(run.covered for run in runs), 2),
        "median_half_width_pct": round(mean(run.half_width_pct for run in runs), 2),
        "median_error_pct": round(mean(run.off_pct for run in runs), 2),
        "rounds": round(mean(run.rounds for run in runs), 1),
        "virtual_s": round(mean(run.virtual_s for run in runs), 1),
        "hottest_c": round(max(run.hottest_c for run in runs), 1),
    }


def restless(device: Device) -> Device:
    """Return a device of which no profile says how hot is too hot."""
    calm = device.profile.calm.model_copy(update={"max_temp_c": None})
    return replace(device, profile=device.profile.model_copy(update={"calm": calm}))


def protocol(machine: Machine, *, rests: bool = True) -> Held:
    """Measure every op of the space by the protocol, with its rests before hot batches or without them."""
    with tempfile.TemporaryDirectory() as folder:
        device = simulated(Path(folder) / "files", machine=machine, own_process=False)
        device = device if rests else restless(device)
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
            hottest_c = max(float(facts["state"]["temperature_c"]["cores"]) for *_, facts in journal.batches())
        moments = read_json(device.transport.files / MOMENTS, max_bytes=MEBIBYTE, what="state of a simulated device")
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
        virtual_s=max(float(row[3]) for row in moments),
        hottest_c=hottest_c,
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
    return held(machine, rows, 1.0, virtual_s=weather.time_s, hottest_c=weather.temperature_c)


def held(
    machine: Machine,
    rows: list[tuple[float, float, float, str, str]],
    rounds: float,
    *,
    virtual_s: float,
    hottest_c: float,
) -> Held:
    """Compare ratios (value, low, high) by key and state with the truth."""
    unit: dict[str, float] = {state: truth_ns(machine, REFERENCE, state) for state in STATES}
    truth = np.array([truth_ns(machine, [key], state) / unit[state] for *_, key, state in rows])
    value, low, high = (np.array([row[place] for row in rows]) for place in range(3))
    return Held(
        covered=float(np.mean((low <= truth) & (truth <= high))),
        half_width_pct=float(np.median(100 * (np.sqrt(high / low) - 1))),
        off_pct=float(np.median(100 * np.abs(value / truth - 1))),
        rounds=rounds,
        virtual_s=virtual_s,
        hottest_c=hottest_c,
    )


if __name__ == "__main__":
    main()
