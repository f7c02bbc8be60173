"""A simulated device: the agent's own code on a virtual clock, a truth to hold to, equal runs from equal seeds."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from harness import journal as journals
from harness.artefacts import Artefacts
from harness.bench import Scope, bench
from harness.inventory import Device, simulated
from harness.networks import middle
from harness.plan import Plan, Rounds
from harness.prepare import bench_plan
from harness.reduce import conditions, drifts, measured, table
from harness.session import ready_runtime, run
from harness.simulation.machine import Machine
from harness.simulation.truth import bare_work, truth_ns, work_of
from harness.simulation.weather import Moment, Weather
from harness.transport.simulated import Simulated
from ofa.errors import FileInvalid, MeasurementRefused, UsageInvalid
from ofa.estimate import estimator
from ofa.lut import shelf
from ofa.lut.format import Lut, Row
from ofa.lut.write import write
from ofa.space.index import index_of, ops_in
from ofa.space.ops import Op, ops_of

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
OPS = ops_in(SPACE)[::6]
BARE = {"@session": "empty", "@io": "io"}
COOL = Moment(time_s=0.0, temperature_c=25.0)
# What a simulated device does when nothing disturbs it.
STILL: dict[str, Any] = {
    "call_noise": 0.0, "tail_share": 0.0, "round_noise": 0.0, "slow_process_share": 0.0, "heating_c_per_s": 0.0,
    "cache_bytes": 1e5,
}  # fmt: skip


def phone(folder: Path, *, own_process: bool = False, **parts: Any) -> Device:
    return simulated(folder / "files", machine=Machine(**parts), own_process=own_process)


def plan_of(device: Device, ops: Sequence[Op] = OPS, *, rounds: int = 2, **protocol: Any) -> Plan:
    return bench_plan(
        device, "simulated", Artefacts(device.transport.files), ops=ops, networks=(), reference=middle(SPACE),
        seed=3, rounds=rounds, protocol=Rounds(**{"rounds_most": rounds, **protocol}),
    )  # fmt: skip


def measure(device: Device, plan: Plan, folder: Path) -> Lut:
    with journals.resume(folder / "journal.sqlite", plan) as journal:
        run(plan, device=device, journal=journal)
        return table(journal)


@pytest.mark.slow
def test_a_still_device_is_measured_as_it_is(tmp_path: Path) -> None:
    device = phone(tmp_path, **STILL)
    plan = plan_of(device)
    lut = measure(device, plan, tmp_path)
    assert lut.simulated and lut.header.runtime == "simulated"
    ns = {row.key: row.ns or 0 for row in lut.rows if row.key[0] == "@"}
    assert ns.keys() == {"@session", "@io"} and ns["@io"] > 2 * ns["@session"]
    for row in lut.rows:
        assert row.ns == pytest.approx(true_ns(machine_of(device), row), rel=1e-3, abs=2), row.key
        assert row.status == "ok" and not row.flags
    hot, cold = ({row.key: row.ns for row in lut.rows if row.state == state} for state in ("hot", "cold"))
    assert all((cold[op.key] or 0) > (hot[op.key] or 0) for op in OPS)


def test_a_network_is_its_ops_and_one_call(tmp_path: Path) -> None:
    machine = Machine(**STILL | {"cache_bytes": 1e15})
    keys = [op.key for op in ops_of(middle(SPACE))]
    apart = sum(truth_ns(machine, [key], "hot") - machine.session_ns for key in keys)
    assert truth_ns(machine, keys, "hot") == pytest.approx(apart + machine.session_ns)
    small = machine.model_copy(update={"cache_bytes": 1.0})
    assert truth_ns(small, keys, "hot") == pytest.approx(truth_ns(machine, keys, "cold"))


@pytest.mark.slow
def test_equal_seeds_give_equal_tables_inside_and_in_processes_of_their_own(tmp_path: Path) -> None:
    made = {}
    for name, own_process, seed in (("inside", False, 1), ("process", True, 1), ("other", False, 2)):
        device = phone(tmp_path / name, own_process=own_process, seed=seed)
        made[name] = values(measure(device, plan_of(device, OPS[:6]), tmp_path / name))
    assert made["inside"] == made["process"] != made["other"]


def true_ns(machine: Machine, row: Row) -> float:
    """Return what a row should say, ns."""
    if row.key in BARE:
        return bare_work(machine, BARE[row.key]).at_ns(machine.power_speed, 0.0)
    return truth_ns(machine, [row.key], row.state)


def machine_of(device: Device) -> Machine:
    assert isinstance(device.transport, Simulated)
    return device.transport.machine


def values(lut: Lut) -> list[object]:
    """Return a table's rows without the sessions they came from."""
    return [row._replace(session="") for row in lut.rows] + [row._replace(session="") for row in lut.networks]


def test_the_clock_falls_with_heat_and_memory_does_not() -> None:
    machine = Machine(**STILL)
    hot = Weather(machine, Moment(time_s=0.0, temperature_c=80.0), (0,))
    assert hot.clock() == pytest.approx(0.6)
    key = OPS[3].key
    work = work_of(machine, [key])
    hot.call("a" * 15, work, 1.0)
    cores_ns, rest_ns = work.cores_ns, work.caches_ns + work.memory_ns
    assert hot.time_s * 1e9 == pytest.approx(cores_ns / 0.6 + rest_ns)
    hot.rest(10 * machine.cooling_s)
    assert hot.temperature_c == pytest.approx(machine.ambient_c, abs=0.1) and hot.clock() == 1.0


def test_all_that_disturbs_a_call_lengthens_it() -> None:
    work = work_of(Machine(), [OPS[0].key])

    def mean_s(**parts: Any) -> float:
        weather = Weather(Machine(**STILL | parts), COOL, (0,))
        for _ in range(2000):
            weather.call("a" * 15, work, 1.0)
        return weather.time_s / 2000

    still = mean_s()
    assert mean_s(call_noise=0.05) > 1.03 * still
    assert mean_s(tail_share=0.1) > 1.05 * still
    assert mean_s(slow_process_share=1.0) == pytest.approx(1.3 * still)
    assert mean_s(pinned=False, little_share=1.0) > 1.2 * still
    assert mean_s(power_mode="saving", power_speed=0.5) > 1.2 * still
    assert mean_s(preempted_per_s=100.0) > 1.1 * still
    assert mean_s(drift_per_h=1e5) > 1.01 * still


@pytest.mark.slow
def test_a_hot_device_rests_before_a_batch(tmp_path: Path) -> None:
    device = phone(tmp_path, **STILL | {"heating_c_per_s": 5.0, "cooling_s": 30.0})
    said: list[str] = []
    plan = plan_of(device, rounds=3, batch_files=12)
    with journals.resume(tmp_path / "journal.sqlite", plan) as journal:
        run(plan, device=device, journal=journal, on_progress=lambda done, total, text: said.append(text))
        limit_c = device.profile.calm.max_temp_c
        assert limit_c is not None and any("cooling" in text for text in said)
        lut = table(journal)
        assert not drifts(journal)
    machine = machine_of(device)
    for row in lut.rows:
        assert row.ns == pytest.approx(true_ns(machine, row), rel=2e-3)


def test_a_device_that_does_not_cool_is_not_measured(tmp_path: Path) -> None:
    device = phone(tmp_path, **STILL | {"ambient_c": 60.0})
    plan = plan_of(device)
    with (
        journals.resume(tmp_path / "journal.sqlite", plan) as journal,
        pytest.raises(MeasurementRefused, match="not cool enough"),
    ):
        run(plan, device=device, journal=journal)


@pytest.mark.slow
def test_a_round_in_which_the_device_drifted_is_begun_anew(tmp_path: Path) -> None:
    """Throttling sets in within the batch: canaries that work the cores get slower, and so does not count."""
    throttling = {"heating_c_per_s": 40.0, "cooling_s": 20.0, "throttle_c": 40.0, "throttle_per_c": 0.01}
    device = phone(tmp_path, **STILL | throttling)
    plan = plan_of(device, rounds=1, redo_most=2)
    lut = measure(device, plan, tmp_path)
    with journals.open_journal(tmp_path / "journal.sqlite") as journal:
        assert journal.drifts_of(0) == 2 and journal.attempts_of(0) == 3 and drifts(journal) == {(0, 0)}
    assert all("moved" in row.flags for row in lut.rows)


@pytest.mark.slow
def test_items_are_measured_until_they_are_known_well(tmp_path: Path) -> None:
    device = phone(tmp_path, **STILL | {"round_noise": 0.004})
    plan = plan_of(device, rounds=3, rounds_most=12, half_width=0.008)
    with journals.resume(tmp_path / "journal.sqlite", plan) as journal:
        run(plan, device=device, journal=journal)
        found = measured(journal, conditions(journal))
    rounds = sorted({value.rounds for value in found.values()})
    assert rounds[0] >= 3 and 3 < rounds[-1] <= 12
    assert all((value.half_width or 0) <= 0.008 or value.rounds == 12 for value in found.values())


@pytest.mark.slow
def test_power_modes_are_other_environments(tmp_path: Path) -> None:
    ids = {}
    for mode, speed in (("full", 1.0), ("saving", 0.5)):
        device = phone(tmp_path / mode, power_mode=mode, power_speed=speed)
        lut = measure(device, plan_of(device, OPS[:4]), tmp_path / mode)
        ids[mode] = lut.header.environment_id
        assert lut.header.environment["power_mode"] == mode
    assert ids["full"] != ids["saving"]


@pytest.mark.slow
def test_a_request_that_fits_two_power_modes_names_what_differs(tmp_path: Path) -> None:
    for mode, speed in (("15w", 0.6), ("30w", 1.0)):
        device = phone(tmp_path / mode, **STILL | {"power_mode": mode, "power_speed": speed})
        lut = measure(device, plan_of(device, OPS[:4]), tmp_path / mode)
        write(lut, tmp_path / "tables" / lut.header.place, allow_simulated=True)
    with pytest.raises(UsageInvalid, match=r"2 tables .* fit") as caught:
        shelf.one(tmp_path / "tables", device="simulated-phone")
    assert "power_mode" in caught.value.why and "cpu-1t-15w" in caught.value.why and "cpu-1t-30w" in caught.value.why
    slow, quick = (shelf.one(tmp_path / "tables", conditions=f"cpu-1t-{mode}") for mode in ("15w", "30w"))
    assert sum(row.ns or 0 for row in slow.rows) > 1.2 * sum(row.ns or 0 for row in quick.rows)
    with pytest.raises(FileInvalid, match="no table under"):
        shelf.one(tmp_path / "tables", conditions="cpu-4t")


@pytest.mark.slow
def test_a_throttled_device_ranks_networks_otherwise_and_other_networks_are_chosen(tmp_path: Path) -> None:
    """Heat slows the cores and not the memory: what computes much loses to what moves much."""
    machine = {"heating_c_per_s": 2.0, "cooling_s": 40.0, "throttle_per_c": 0.02, "macs_per_ns": 3.0}
    machine |= {"dram_bytes_per_ns": 0.7, "layer_ns": 200.0}
    tables = {}
    for regime, soak_s in (("burst", 0), ("sustained", 60)):
        device = phone(tmp_path / regime, **STILL | machine)
        scope = Scope(fit=12, holdout=4, rounds=2, rounds_most=2, soak_s=soak_s, seed=0, again=False)
        lut = bench(SPACE, device=device, runtime="simulated", folder=tmp_path / regime, scope=scope)
        assert lut.header.environment["regime"] == regime
        tables[regime] = lut
    assert tables["burst"].header.environment_id != tables["sustained"].header.environment_id
    genomes = spaces.sample.unique(spaces.sample.random(SPACE, 3000, np.random.default_rng(0)))
    sums = {regime: estimator(lut, SPACE)(genomes) for regime, lut in tables.items()}
    macs = index_of(SPACE).sum(genomes, index_of(SPACE).values(lambda op: float(op.macs)))
    chosen = {}
    for regime, ms in sums.items():
        fits = ms <= np.quantile(ms, 0.3)
        chosen[regime] = int(np.flatnonzero(fits)[np.argmax(macs[fits])])
    assert chosen["burst"] != chosen["sustained"]
    # Each is over the other regime's limit, or worse there than the other's choice.
    order = {regime: np.argsort(np.argsort(ms)) for regime, ms in sums.items()}
    assert np.abs(order["burst"] - order["sustained"]).max() > 100


@pytest.mark.slow
def test_a_simulated_table_never_enters_luts(tmp_path: Path) -> None:
    device = phone(tmp_path, **STILL)
    lut = measure(device, plan_of(device, OPS[:4]), tmp_path)
    with pytest.raises(FileInvalid, match="simulated"):
        write(lut, tmp_path / "luts" / "simulated-phone" / "x", allow_simulated=True)


@pytest.mark.slow
def test_the_bench_works_on_a_simulated_device(tmp_path: Path) -> None:
    device = phone(tmp_path, seed=4)
    scope = Scope(fit=6, holdout=3, rounds=2, seed=0)
    lut = bench(SPACE, device=device, runtime="simulated", folder=tmp_path / "run", scope=scope)
    assert len(lut.networks) == 9 and {row.state for row in lut.rows} == {"hot", "cold"}
    assert ready_runtime(device, "simulated")[1].ready


HOST = """
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from harness.inventory import simulated
from harness.simulation.machine import Machine
sys.path.insert(0, {here!r})
from test_simulated import OPS, measure, phone, plan_of
from ofa.lut.write import write
folder = Path({folder!r})
device = phone(folder, own_process=True, seed=9)
lut = measure(device, plan_of(device, OPS[:12], rounds=4), folder)
write(lut, folder / "lut", allow_simulated=True)
"""


@pytest.mark.slow
def test_fifty_kills_of_host_and_agent_change_nothing(tmp_path: Path) -> None:
    """Whoever is killed, and whenever: the table is that of a run that nothing disturbed, row by row."""
    once = phone(tmp_path / "once", own_process=True, seed=9)
    expected = measure(once, plan_of(once, OPS[:12], rounds=4), tmp_path / "once")
    moments = random.Random(0)
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", HOST.format(here=str(Path(__file__).parent), folder=str(folder))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    kills = 0
    while kills < 50:
        host = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline_s = time.monotonic() + moments.uniform(0.5, 4.0)
        while host.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.02)
        if host.poll() is not None:
            # It got through before the kill: what comes next has nothing left to interrupt.
            for path in (folder / "journal.sqlite", folder / "files" / "simulated-moments.json"):
                path.unlink(missing_ok=True)
            continue
        agents = children(host.pid)
        if agents and moments.random() < 0.5:
            os.kill(moments.choice(agents), signal.SIGKILL)
            kills += 1
            host.wait(timeout=60)
            continue
        host.kill()
        host.wait(timeout=60)
        kills += 1
    subprocess.run(command, env=environment, check=True, timeout=300)
    found = journals.open_journal(folder / "journal.sqlite")
    with found:
        lut = table(found)
        triples = [(row.round, row.item) for row in found.samples()]
    assert len(triples) == len(set(triples)) == 4 * len(found.plan.items)
    assert values(lut) == values(expected)


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(word) for word in path.read_text().split()]
    except OSError:
        return []


COVERED = {0.005: 12, 0.015: 6, 0.04: 6}


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
