"""On a simulated device, whose truth is known: intervals hold it as often as they say, a plain benchmark's do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from virtual import COOL, SPACE, machine_of, phone, plan_of

from harness import journal as journals
from harness.inventory import Device
from harness.networks import middle
from harness.reduce import conditions, measured
from harness.session import run
from harness.simulation.machine import Machine
from harness.simulation.truth import truth_ns, work_of
from harness.simulation.weather import Weather
from ofa.space.index import ops_in
from ofa.space.ops import ops_of

# A virtual measurement takes a minute, so heat and drift are as much quicker than a real device's: work brings the
# cores to 70 degrees, where they throttle, within ten seconds, and after a minute all is a tenth slower.
HARSH: dict[str, Any] = {"drift_per_h": 6.0, "heating_c_per_s": 8.0, "cooling_s": 10.0, "cache_bytes": 3e5}
# Devices: all ops of one share what its reference is off by, so that so few of them scatter by a point or two. More of
# them, held to 93 to 97 %, are in benchmarks/protocol.py.
COVERED = {0.005: 12, 0.015: 10, 0.04: 10}
LEAST, MOST = 0.92, 0.98


@pytest.mark.slow
@pytest.mark.parametrize("noise", COVERED, ids=lambda noise: f"{100 * noise:g} %")
def test_intervals_hold_the_true_ratios_as_often_as_they_say(noise: float, tmp_path: Path) -> None:
    """95 % of them, over ops and devices: drift, heat that asks for rests, slow processes and heavy tails and all."""
    held: list[bool] = []
    for seed in range(COVERED[noise]):
        held += holds(phone(tmp_path / str(seed), seed=seed, round_noise=noise, **HARSH), tmp_path / str(seed))
    assert LEAST <= np.mean(held) <= MOST


@pytest.mark.slow
def test_without_rests_the_same_intervals_do_not_hold(tmp_path: Path) -> None:
    """The device throttles, and cores and memory no longer take their times in the ratio they have: the check tells."""
    device = phone(tmp_path, seed=0, round_noise=0.005, **HARSH)
    calm = device.profile.calm.model_copy(update={"max_temp_c": None})
    hot = replace(device, profile=device.profile.model_copy(update={"calm": calm}))
    assert np.mean(holds(hot, tmp_path)) < 0.5


def holds(device: Device, folder: Path) -> list[bool]:
    """Measure a device, and say of each row whether its interval holds the truth."""
    plan = plan_of(device, rounds=5, rounds_most=15)
    with journals.resume(folder / "journal.sqlite", plan) as journal:
        run(plan, device=device, journal=journal)
        found = conditions(journal)
        rows = [value for value in measured(journal, found).values() if not value.key.startswith("@")]
    machine = machine_of(device)
    unit = {state: truth_ns(machine, [op.key for op in ops_of(middle(SPACE))], state) for state in ("hot", "cold")}
    held = []
    for row in rows:
        true = truth_ns(machine, [row.key], row.state) / unit[row.state] * found.reference_ns[row.state]
        held.append((row.lo or 0) <= true <= (row.hi or 0))
    return held


@pytest.mark.parametrize("noise", COVERED, ids=lambda noise: f"{100 * noise:g} %")
def test_one_process_in_a_fixed_order_fails_the_same_test(noise: float) -> None:
    """So many calls of each op, the reference first; mean and standard error: tails and luck look like precision."""
    held = []
    for seed in range(6):
        machine = Machine(seed=seed, round_noise=noise, **HARSH)
        weather = Weather(machine, COOL, (0, 0, 0, 1))
        reference = [op.key for op in ops_of(middle(SPACE))]
        unit_ns, _ = mean_ns(weather, "f" * 15, reference)
        for number, op in enumerate(ops_in(SPACE)):
            ns, error_ns = mean_ns(weather, f"{number:015x}", [op.key])
            true = truth_ns(machine, [op.key], "hot") / truth_ns(machine, reference, "hot") * unit_ns
            held.append(abs(ns - true) <= 1.96 * error_ns)
    assert np.mean(held) < 0.9


def mean_ns(weather: Weather, name: str, keys: list[str], calls: int = 50) -> tuple[float, float]:
    """Return the mean of many calls after three to warm up, and its standard error."""
    work, luck, times = work_of(weather.machine, keys), weather.luck(name, (0, 0, 0)), []
    for _ in range(calls + 3):
        began_s = weather.time_s
        weather.call(name, work, luck)
        times.append((weather.time_s - began_s) * 1e9)
    return float(np.mean(times[3:])), float(np.std(times[3:], ddof=1)) / calls**0.5
