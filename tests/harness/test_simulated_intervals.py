"""On a simulated device, whose truth is known: intervals hold it as often as they say, a plain benchmark's do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from virtual import COOL, SPACE, machine_of, phone, plan_of

from harness import journal as journals
from harness.networks import middle
from harness.reduce import conditions, measured
from harness.session import run
from harness.simulation.machine import Machine
from harness.simulation.truth import truth_ns, work_of
from harness.simulation.weather import Weather
from ofa.space.index import ops_in
from ofa.space.ops import ops_of

# Devices: all ops of one share what its reference is off by, so that few of them scatter by points.
COVERED = {0.005: 12, 0.015: 10, 0.04: 10}


@pytest.mark.slow
@pytest.mark.parametrize("noise", COVERED, ids=lambda noise: f"{100 * noise:g} %")
def test_intervals_hold_the_true_ratios_as_often_as_they_say(noise: float, tmp_path: Path) -> None:
    """95 % of them, over ops and devices: drift, heat beyond throttling, slow processes and heavy tails and all."""
    held = []
    for seed in range(COVERED[noise]):
        device = phone(
            tmp_path / str(seed), seed=seed, round_noise=noise, drift_per_h=0.1, heating_c_per_s=1.3, cache_bytes=3e5
        )
        plan = plan_of(device, rounds=5, rounds_most=15)
        with journals.resume(tmp_path / str(seed) / "journal.sqlite", plan) as journal:
            run(plan, device=device, journal=journal)
            found = conditions(journal)
            rows = [value for value in measured(journal, found).values() if not value.key.startswith("@")]
        machine = machine_of(device)
        unit = {state: truth_ns(machine, [op.key for op in ops_of(middle(SPACE))], state) for state in ("hot", "cold")}
        for row in rows:
            true = truth_ns(machine, [row.key], row.state) / unit[row.state] * found.reference_ns[row.state]
            held.append((row.lo or 0) <= true <= (row.hi or 0))
    assert 0.93 <= np.mean(held) <= 0.97


@pytest.mark.parametrize("noise", COVERED, ids=lambda noise: f"{100 * noise:g} %")
def test_one_process_in_a_fixed_order_fails_the_same_test(noise: float) -> None:
    """So many calls of each op, the reference first; mean and standard error: heat and luck look like precision."""
    held = []
    for seed in range(6):
        machine = Machine(seed=seed, round_noise=noise, drift_per_h=0.1, heating_c_per_s=1.3, cache_bytes=3e5)
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
