"""The energy of some whole networks of a bench: truly in the table, kept through interruptions, refused at once where
nothing could say it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards import board
from far import far

import ofa.space as spaces
from harness import energy, windows
from harness import journal as journals
from harness.bench import Scope, bench
from harness.inventory import Device, simulated
from harness.journal import Windows
from harness.plan import Plan
from harness.preview import preview
from harness.protocol import Energy as Answer
from harness.simulation.machine import Machine
from harness.simulation.rail import SOURCE, call_joules
from harness.simulation.truth import work_of
from harness.stats import Estimate
from harness.tables import JOURNAL, TABLE
from harness.windows import Energies, chosen
from ofa.errors import FileInvalid, MeasurementRefused
from ofa.lut.check import checked, show
from ofa.lut.format import Lut, NetworkRow
from ofa.space.facts import macs
from ofa.space.ops import ops_of

# Its networks take milliseconds: of the smallest space a window of 10 s is a hundred thousand simulated calls.
SPACE = spaces.load("mobilenet_v3", width=1.2)
DRAWN = tuple(SPACE.subnet(genome) for genome in spaces.sample.random(SPACE, 6, np.random.default_rng(2)))
SCOPE = Scope(
    fit=0, holdout=0, rounds=1, rounds_most=1, seed=0, again=False, memory=False, ops=False, subnets=DRAWN,
    energy=Energies(networks=3),
)  # fmt: skip
LINE = ["--space", "mobilenet_v3", "--width", "1.2", "--device", "simulated-phone"]
LINE += ["--runtime", "simulated", "--fit", "2", "--holdout", "1", "--rounds", "1", "--rounds-most", "1", "--no-ops"]
ANSWER = Answer(
    id=0, ev="energy", source=None, averaging_s="unreadable", reason="none", pattern="11111", windows=[], pulses=[]
)


def measured(folder: Path, scope: Scope = SCOPE, stop_at: str = "never", **parts: Any) -> Lut | None:
    """Measure into a folder, or go on there, until something is told that begins so."""

    def stop(done: int, total: int, text: str) -> None:
        if text.startswith(stop_at):
            raise KeyboardInterrupt

    device = simulated(folder / "files", machine=Machine(**parts), own_process=False)
    try:
        return bench(SPACE, device=device, runtime="simulated", folder=folder / "run", scope=scope, on_progress=stop)
    except KeyboardInterrupt:
        return None


def estimate(row: NetworkRow) -> Estimate:
    assert row.energy_uj and row.energy_lo and row.energy_hi
    return Estimate(value=row.energy_uj, lo=row.energy_lo, hi=row.energy_hi, rounds=energy.WINDOWS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_the_table_of_a_bench_holds_the_true_ratios_within_their_intervals(seed: int, tmp_path: Path) -> None:
    lut = measured(tmp_path, seed=seed)
    assert lut is not None and lut.simulated
    known = {row.id: row for row in lut.networks if row.energy_uj is not None}
    assert len(known) == 3 and len(lut.networks) == 6
    by_id = {subnet.id: subnet for subnet in DRAWN}
    truth = {name: call_joules(work_of(Machine(), [op.key for op in ops_of(by_id[name])])) for name in known}
    assert max(truth.values()) / min(truth.values()) > 1.5
    for one, other in combinations(known, 2):
        ratio = energy.ratio(estimate(known[one]), estimate(known[other]))
        assert ratio.lo <= truth[one] / truth[other] <= ratio.hi and ratio.half_width < 0.05
    assert {(row.energy_source, row.energy_averaging_ms) for row in known.values()} == {(SOURCE, 100)}
    facts = show(tmp_path / "run" / TABLE)
    assert facts["energy"] == {"networks": 3, "source": [SOURCE], "averaging_ms": [100]}
    assert [row["mj"] * 1000 for row in facts["energies"]] == sorted(
        (r.energy_uj for r in known.values()), reverse=True
    )  # type: ignore[type-var]


def test_networks_are_spread_over_macs_and_always_the_same(tmp_path: Path) -> None:
    device = simulated(tmp_path / "files", own_process=False)
    plan = _plan(device)
    work = {item.file: macs(SPACE.subnet(list(bytes.fromhex(item.genome or "")))) for item in plan.items if item.genome}
    ordered = sorted(work, key=work.__getitem__)
    assert chosen(plan, Energies(networks=3)) == [ordered[0], ordered[2], ordered[5]]
    assert chosen(plan, Energies(networks=99)) == ordered
    assert Energies().facts(plan) == {
        "networks": 6, "windows": 5, "window_s": 10, "seconds_each": 80, "minutes": 8.0,
    }  # fmt: skip
    assert Energies(pulses=True).seconds_each == 91


def _plan(device: Device) -> Plan:
    from harness.bench import plan_of

    return plan_of(SPACE, device=device, runtime="simulated", scope=SCOPE)


@pytest.mark.slow
def test_an_interrupted_one_goes_on_and_measures_none_twice(tmp_path: Path) -> None:
    assert measured(tmp_path, stop_at="energy of network 2") is None
    with journals.open_journal(tmp_path / "run" / JOURNAL) as journal:
        before = journal.windows()
    assert len(before) == 1
    lut = measured(tmp_path)
    with journals.open_journal(tmp_path / "run" / JOURNAL) as journal:
        after = journal.windows()
        assert len(journal.sessions()) == 2
    assert len(after) == 3 and {name: after[name] for name in before} == before
    once = measured(tmp_path / "once")
    assert lut is not None and once is not None
    assert [row.energy_uj for row in lut.networks] == [row.energy_uj for row in once.networks]
    bytes_before = (tmp_path / "run" / TABLE / "networks.csv").read_bytes()
    measured(tmp_path)
    assert (tmp_path / "run" / TABLE / "networks.csv").read_bytes() == bytes_before


@pytest.mark.slow
def test_a_run_that_measured_none_can_still_be_asked_for_it(tmp_path: Path) -> None:
    lut = measured(tmp_path, replace(SCOPE, energy=None))
    assert lut is not None and not lut.energy_sources
    with journals.open_journal(tmp_path / "run" / JOURNAL) as journal:
        assert journal.windows() == {}
    lut = measured(tmp_path)
    assert lut is not None and lut.energy_sources == (SOURCE,)
    assert len(lut.sessions) == 2, "the rounds were not measured again"


@pytest.fixture
def over(device: Device) -> Callable[[Path], Device]:
    def make(root: Path) -> Device:
        variables = {**device.transport.environment, "OFA_AGENT_ROOT": str(root)}  # type: ignore[attr-defined]
        return replace(device, transport=replace(device.transport, environment=variables))  # type: ignore[type-var]

    return make


@pytest.mark.parametrize("dry", [False, True])
def test_a_device_that_cannot_say_it_is_refused_at_once(dry: bool, over: Any, tmp_path: Path) -> None:
    device, told = over(board("bare-container", tmp_path / "container")), []
    facts = {"device": device, "runtime": "onnxruntime", "scope": SCOPE}
    facts["on_progress"] = lambda *step: told.append(step)
    with pytest.raises(MeasurementRefused, match="does not say what it draws") as caught:
        preview(SPACE, **facts) if dry else bench(SPACE, folder=tmp_path / "run", **facts)
    assert "neither an INA3221 nor RAPL" in caught.value.why and any("--pulses" in hint for hint in caught.value.hints)
    assert not told and not (tmp_path / "run").exists()
    windows.refuse_without_source(device, "onnxruntime", Energies(pulses=True))


def test_a_program_that_runs_one_network_is_refused(device: Device) -> None:
    for asked in (Energies(), Energies(pulses=True)):
        with pytest.raises(MeasurementRefused, match="does not say what it draws") as caught:
            windows.refuse_without_source(device, "benchmark_model", asked)
        assert not any("--pulses" in hint for hint in caught.value.hints)


def test_windows_stand_in_a_journal_once_and_are_of_its_plan(plan: Callable[..., Plan], tmp_path: Path) -> None:
    path, found = tmp_path / "journal.sqlite", Windows(session="s", answer=ANSWER)
    with journals.create(path, plan()) as journal:
        assert journal.windows() == {}
        journal.add_windows(f"{1:064x}", found)
        with pytest.raises(FileInvalid):
            journal.add_windows(f"{1:064x}", found)
        assert journal.windows() == {f"{1:064x}": found}
    with journals.open_journal(path) as journal:
        assert journal.windows() == {f"{1:064x}": found}
        journal.add_windows(f"{77:064x}", found)
    with pytest.raises(FileInvalid, match="damaged") as caught:
        journals.open_journal(path)
    assert "energies" in caught.value.why


def test_windows_that_no_device_says_are_damage(plan: Callable[..., Plan], tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with journals.create(path, plan()) as journal:
        journal.add_windows(f"{1:064x}", Windows(session="s", answer=ANSWER.model_copy(update={"reason": None})))
    with pytest.raises(FileInvalid, match="damaged"):
        journals.open_journal(path)


@pytest.mark.slow
def test_the_command_foretells_measures_and_shows_energy(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFA_CACHE", str(tmp_path / "cache"))
    line = ["bench", *LINE, "--out", str(tmp_path / "run"), "--json"]
    code, out, err = run(*line, "--energy-networks", "2")
    assert code == 2 and "measures nothing alone" in err
    code, out, err = run(*line, "--energy", "--energy-networks", "2", "--dry-run")
    assert code == 0, err
    said = json.loads(out)
    assert said["energy"]["networks"] == 2 and said["energy"]["minutes"] == pytest.approx(160 / 60, abs=0.01)
    assert said["minutes"]["most"] >= said["minutes"]["least"] > said["energy"]["minutes"]
    code, out, err = run(*line, "--energy", "--energy-networks", "2")
    assert code == 0, err
    assert json.loads(out)["energy"]["networks"] == 2 and json.loads(out)["simulated"]
    code, out, err = run("lut", "show", str(tmp_path / "run" / "lut"))
    assert code == 0 and SOURCE in out and "energies" in out
    head = (tmp_path / "run" / "lut" / "networks.csv").read_text().splitlines()[0]
    assert head.endswith(",file_bytes,energy_uj,energy_lo,energy_hi,energy_source,energy_averaging_ms")
    assert sum(row.energy_uj is not None for row in checked(tmp_path / "run" / "lut").networks) == 2


@pytest.mark.slow
def test_windows_go_on_where_the_link_breaks(tmp_path: Path) -> None:
    """Real time and the real agent: a worker calls the network for one window, and its answer is taken over once."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    device, link = far(tmp_path)
    link.faults.cut_after.extend([4, 3])
    answer = energy.ask(device, "onnxruntime", "empty", windows=1, idle_s=2, pulses=True)
    assert [window.kind for window in answer.windows] == ["idle", "busy", "idle"] and len(answer.pulses) == 2
    assert answer.windows[1].calls > 100 and link.faults.opened == 3
    assert not list(link.jobs.iterdir())
