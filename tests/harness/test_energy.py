"""Energy per inference: true ratios within the stated interval, from a rail that averages; and no source is no zero."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards import board

import ofa.space as spaces
from harness import energy
from harness.artefacts import Artefacts
from harness.energy import Energy, NoSource
from harness.inventory import Device, simulated
from harness.protocol import parse
from harness.simulation.machine import Machine
from harness.simulation.rail import AVERAGING_S, IDLE_W, Rail, call_joules
from harness.simulation.truth import work_of
from harness.stats import over_rounds
from ofa.errors import DeviceLost
from ofa.space.ops import ops_of

SPACE = spaces.load("mobilenet_v3", width=1.2)
SMALL, *OTHERS, LARGE = sorted(
    (SPACE.subnet(genome) for genome in spaces.sample.random(SPACE, 12, np.random.default_rng(4))),
    key=lambda subnet: sum(op.macs for op in ops_of(subnet)),
)
CHOSEN = {"small": SMALL, "middle": OTHERS[5], "large": LARGE}


def truths(machine: Machine) -> dict[str, float]:
    works = {name: work_of(machine, [op.key for op in ops_of(subnet)]) for name, subnet in CHOSEN.items()}
    return {name: call_joules(work) for name, work in works.items()}


def stored(device: Device) -> dict[str, str]:
    artefacts = Artefacts(device.transport.files)
    contents = {name: json.dumps({"ops": [op.key for op in ops_of(net)]}) for name, net in CHOSEN.items()}
    return {name: artefacts.store(content.encode()).name for name, content in contents.items()}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_true_ratios_are_recovered_within_their_intervals(seed: int, tmp_path: Path) -> None:
    machine = Machine(seed=seed, drift_per_h=0.1)
    device = simulated(tmp_path, machine=machine, own_process=False)
    answers = {name: energy.ask(device, "simulated", file) for name, file in stored(device).items()}
    found = energy.of_networks(device.name, answers)
    truth = truths(machine)
    assert truth["large"] / truth["small"] > 1.5
    for one, other in combinations(CHOSEN, 2):
        first, second = found[one], found[other]
        assert isinstance(first, Energy) and isinstance(second, Energy)
        ratio = energy.ratio(first.joules, second.joules)
        assert ratio.lo <= truth[one] / truth[other] <= ratio.hi and ratio.half_width < 0.05
        assert first.source == "ina3221:SIMULATED" and first.averaging_s == AVERAGING_S
        assert first.joules.rounds == energy.WINDOWS and first.microjoules[0] > 0


def test_a_short_window_on_a_rail_that_averages_fails_the_same_test() -> None:
    """What a call and one reading after it would say, five times over: the reason for long windows."""
    machine = Machine()
    truth, naive = truths(machine), {}
    for name, subnet in CHOSEN.items():
        call_s = work_of(machine, [op.key for op in ops_of(subnet)]).at_ns(1.0, 0.0) * 1e-9
        assert call_s < AVERAGING_S
        clock = [5.0]
        rail = Rail(lambda clock=clock: clock[0], seed=1)  # type: ignore[misc]
        found = []
        for _ in range(5):
            start_s, clock[0] = clock[0], clock[0] + call_s
            rail.call(start_s, truth[name])
            found.append((rail.reading_w(clock[0]) - IDLE_W) * call_s)
            clock[0] += 1.0
        naive[name] = over_rounds(found)
    ratio = energy.ratio(naive["large"], naive["small"])
    assert not ratio.lo <= truth["large"] / truth["small"] <= ratio.hi


def test_a_rail_says_what_was_drawn() -> None:
    clock = [0.0]
    rail = Rail(lambda: clock[0], seed=1)
    for _ in range(100):
        start_s = clock[0]
        clock[0] += 0.01
        rail.call(start_s, 0.02)
    assert rail.energy_j(1.0) == pytest.approx(IDLE_W + 2.0) and rail.energy_j(2.0) == pytest.approx(2 * IDLE_W + 2.0)
    assert rail.energy_j(0.505) == pytest.approx(0.505 * (IDLE_W + 2.0))
    assert rail.reading_w(0.9) == pytest.approx(IDLE_W + 2.0, abs=0.1) and rail.reading_w(3.0) < IDLE_W + 0.1


@pytest.fixture
def over(device: Device) -> Callable[[Path], Device]:
    def make(root: Path) -> Device:
        variables = {**device.transport.environment, "OFA_AGENT_ROOT": str(root)}  # type: ignore[attr-defined]
        return replace(device, transport=replace(device.transport, environment=variables))  # type: ignore[type-var]

    return make


def test_no_source_is_an_answer(over: Any, tmp_path: Path) -> None:
    device = over(board("bare-container", tmp_path / "container"))
    answer = energy.ask(device, "onnxruntime", "empty")
    assert answer.source is None and answer.windows == [] and answer.averaging_s == "unreadable"
    found = energy.of_networks(device.name, {"a": answer})
    assert found == {"a": NoSource(reason="it has neither an INA3221 nor RAPL")}


@pytest.mark.slow
def test_a_package_is_metered_by_its_counter_across_a_wrap(over: Any, tmp_path: Path) -> None:
    """The agent, its windows and its clock are real; the counter is a file that this test moves on at 5 W."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    root = board("x86-laptop", tmp_path / "laptop")
    file, over_now = root / "sys/class/powercap/intel-rapl:0/energy_uj", threading.Event()
    begin_uj, most_uj = int(file.read_text()), 262143328850

    def count() -> None:
        start_s = time.monotonic()
        while not over_now.wait(0.01):
            value = (begin_uj + int((time.monotonic() - start_s) * 5e6)) % most_uj
            # Whole or not at all, as the kernel's are.
            file.with_suffix(".part").write_text(str(value))
            file.with_suffix(".part").rename(file)

    counting = threading.Thread(target=count)
    counting.start()
    try:
        answer = energy.ask(over(root), "onnxruntime", "empty", windows=1, window_s=10, idle_s=2)
    finally:
        over_now.set()
        counting.join(10)
    assert answer.source == "rapl:package-0" and answer.averaging_s == 0.0
    assert [window.kind for window in answer.windows] == ["idle", "busy", "idle"]
    assert [window.watts for window in answer.windows] == [pytest.approx(5.0, rel=0.1)] * 3
    assert answer.windows[1].calls > 1000 and answer.windows[1].seconds == pytest.approx(10, abs=1)


WINDOW = {"start_ns": 0, "end_ns": 10**9, "calls": 0, "watts": 1.0, "samples": 20, "kind": "idle"}
GOOD: dict[str, Any] = {
    "id": 1, "ev": "energy", "source": "rapl:package-0", "averaging_s": 0.0, "reason": None, "pattern": "1111100110101",
    "pulses": [],
    "windows": [
        WINDOW,
        {**WINDOW, "kind": "busy", "start_ns": 10**9, "end_ns": 11 * 10**9, "calls": 100, "watts": 3.0},
        {**WINDOW, "start_ns": 11 * 10**9, "end_ns": 12 * 10**9, "watts": 1.2},
    ],
}  # fmt: skip


def spoiled(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_idle_is_subtracted() -> None:
    assert energy.joules_of("d", parse(spoiled())) == [pytest.approx((3.0 - 1.1) * 10 / 100)]
    idle, busy, after = GOOD["windows"]
    found = energy.of_networks(
        "d", {"a": parse(spoiled(windows=[idle, {**busy, "watts": 1.0}, after])),
              "b": parse(spoiled(windows=[idle, {**busy, "watts": None}, after]))},
    )  # fmt: skip
    assert isinstance(found["a"], NoSource) and "1.000 W at work and 1.100 W idle" in found["a"].reason
    assert isinstance(found["b"], NoSource) and "window 1 of 3" in found["b"].reason


@pytest.mark.parametrize(
    "changes",
    [
        {"windows": GOOD["windows"][:2]},
        {"windows": GOOD["windows"][1:]},
        {"windows": []},
        {"reason": "none"},
        {"windows": [GOOD["windows"][0], {**GOOD["windows"][1], "calls": 0}, GOOD["windows"][2]]},
        {"windows": [GOOD["windows"][2], GOOD["windows"][1], GOOD["windows"][0]]},
        {"windows": [{**WINDOW, "watts": -1.0}, *GOOD["windows"][1:]]},
        {"windows": [{**WINDOW, "end_ns": 0}, *GOOD["windows"][1:]]},
        {"pulses": [[1, 2, 3]]},
        {"averaging_s": "soon"},
        {"extra": 1},
    ],
)
def test_what_no_device_can_say_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        parse(spoiled(**changes))


def test_requests_for_windows_that_are_too_short_are_refused(device: Device) -> None:
    with pytest.raises(DeviceLost, match="cannot be used") as caught:
        energy.ask(device, "onnxruntime", "empty", window_s=1)
    assert "'window_s' must be a whole number from 10 to 60" in caught.value.why
