"""A device that others keep busy is waited for, then refused, and measured all the same where that is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from virtual import OPS, STILL, measure, phone, plan_of, true_ns

from harness import gate
from harness import journal as journals
from harness.gate import quieten
from harness.inventory import Calm, Device, this_computer
from harness.lab import FOLDER_VARIABLE, LAB
from harness.plan import Plan
from harness.protocol import Conversation
from harness.reduce import conditions, table
from harness.session import run as carry_out
from harness.simulation.machine import Machine
from harness.waits import is_wait
from ofa.errors import MeasurementRefused
from ofa.lut.check import checked

SCOPE = ["--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10", "--runtime", "simulated"]
SCOPE += ["--fit", "2", "--holdout", "0", "--rounds", "2", "--rounds-most", "2", "--no-again"]
BUSY: dict[str, Any] = {"foreign_cores": 1.9, "preempted_per_s": 40.0}


def rounds_of(device: Device, plan: Plan, path: Path, **options: Any) -> list[str]:
    """Measure a plan with the gate, and return what was told meanwhile."""
    told: list[str] = []
    with journals.resume(path, plan) as journal:
        carry_out(
            plan, device=device, journal=journal, on_progress=lambda done, total, text: told.append(text),
            **{"allow_load": False, **options},
        )  # fmt: skip
    return [text for text in told if "other work" in text]


@pytest.mark.slow
def test_load_that_ends_is_waited_for(tmp_path: Path) -> None:
    device = phone(tmp_path, **STILL | BUSY | {"foreign_until_s": 60.0})
    plan = plan_of(device, OPS[:4])
    told = rounds_of(device, plan, tmp_path / "journal.sqlite")
    assert told[0] == (
        "round 1 of 2, waiting: other work keeps 1.90 cores busy, 0.25 are allowed "
        "(for at most 10 minutes; --allow-load measures anyway)"
    )
    assert all(map(is_wait, told))
    # 0.3 s, then 2, 4, 8, 15, 15 and 15 s, the last of them half over: rests that grow, and one round that waits.
    assert 6 <= len(told) <= 8
    with journals.open_journal(tmp_path / "journal.sqlite") as journal:
        lut = table(journal)
        assert conditions(journal).foreign_cores == pytest.approx(0.0, abs=1e-9)
    assert all(row.status == "ok" and "loaded" not in row.flags for row in lut.rows)


@pytest.mark.slow
def test_what_is_waited_for_ends_with_the_first_word_of_the_batch_after_it(tmp_path: Path) -> None:
    """Else all that a batch does before it says how far it is would count as waited for, too."""
    device = phone(tmp_path, **STILL | BUSY | {"foreign_until_s": 3.0})
    plan = plan_of(device, OPS[:4])
    told: list[tuple[int, str]] = []
    with journals.resume(tmp_path / "journal.sqlite", plan) as journal:
        carry_out(
            plan, device=device, journal=journal, allow_load=False,
            on_progress=lambda done, total, text: told.append((done, text)),
        )  # fmt: skip
    last = max(place for place, (_, text) in enumerate(told) if is_wait(text))
    assert told[last + 1] == (0, "round 1 of 2")


@pytest.mark.slow
def test_load_that_stays_is_refused_and_what_is_measured_is_kept(tmp_path: Path) -> None:
    quiet_phone = phone(tmp_path, **STILL | BUSY | {"foreign_cores": 0.0})
    plan = plan_of(quiet_phone, OPS[:4])

    def leave(done: int, total: int, text: str) -> None:
        if text.startswith("round 2"):
            raise KeyboardInterrupt

    with journals.resume(tmp_path / "journal.sqlite", plan) as journal, pytest.raises(KeyboardInterrupt):
        carry_out(plan, device=quiet_phone, journal=journal, allow_load=False, on_progress=leave)
    busy_phone = phone(tmp_path, **STILL | BUSY)
    with pytest.raises(MeasurementRefused) as refused:
        rounds_of(busy_phone, plan, tmp_path / "journal.sqlite")
    assert refused.value.exit_code == 5 and "1.90 of its cores" in refused.value.why and "0.25" in refused.value.why
    assert any("--allow-load" in hint for hint in refused.value.hints)
    assert rounds_of(busy_phone, plan, tmp_path / "journal.sqlite", allow_load=True) == []
    with journals.open_journal(tmp_path / "journal.sqlite") as journal:
        assert {row.round: row.attempt for row in journal.samples()} == {0: 1, 1: 3}


@pytest.mark.slow
def test_beside_load_the_cpu_clock_tells_the_truth_and_every_row_says_so(tmp_path: Path) -> None:
    """Other work takes the core so often that wall time is far off."""
    device = phone(tmp_path, **STILL | BUSY | {"preempted_per_s": 1e5})
    lut = measure(device, plan_of(device, OPS[:8], rounds=3), tmp_path)
    assert lut.header.protocol["statistic"] == "cpu_min_ns" and lut.sessions[0]["foreign_cores"] > 1.8
    for row in lut.rows:
        assert {"cpu", "loaded"} <= set(row.flags)
        assert row.ns == pytest.approx(true_ns(Machine(**STILL), row), rel=2e-3, abs=2), row.key
    assert any((row.wall_ns or 0) > 1.05 * (row.ns or 1) for row in lut.rows)


@pytest.mark.slow
def test_equal_seeds_give_equal_tables_through_waits_and_resumes(tmp_path: Path) -> None:
    """A session that is cut off and resumed looks again, at the moment of its round: virtual time is the same."""
    made = []
    for name, cuts in (("whole", 0), ("cut", 2)):
        device = phone(tmp_path / name, seed=5, **BUSY | {"foreign_until_s": 40.0})
        plan, path = plan_of(device, OPS[:6], rounds=3), tmp_path / name / "journal.sqlite"
        for cut in range(cuts):

            def leave(done: int, total: int, text: str, cut: int = cut) -> None:
                if text.startswith(f"round {cut + 2}"):
                    raise KeyboardInterrupt

            with journals.resume(path, plan) as journal, pytest.raises(KeyboardInterrupt):
                carry_out(plan, device=device, journal=journal, allow_load=False, on_progress=leave)
        rounds_of(device, plan, path)
        with journals.open_journal(path) as journal:
            made.append([row._replace(session="") for row in table(journal).rows])
    assert made[0] == made[1]


def test_a_device_that_does_not_tell_its_load_passes(stand_in: Callable[..., Device]) -> None:
    device = stand_in()
    told: list[float] = []
    channel = device.transport.open()
    assert quieten(device, Conversation(channel, device.name), (0, 0, 0), on_rest=told.append) == {} and not told
    channel.close()


@pytest.fixture
def lab_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the settings of a lab whose one device is kept busy by others."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / LAB).write_text(
        '[devices.busy]\nkind = "simulated-phone"\nsimulation = { foreign_cores = 1.5, round_noise = 0.1 }\n'
    )
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    monkeypatch.setenv("OFA_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.mark.slow
def test_the_command_refuses_by_its_exit_code_and_measures_where_it_is_told_to(
    run: Any, lab_of_one: Path, tmp_path: Path
) -> None:
    words = ["bench", *SCOPE, "--device", "busy", "--out", str(tmp_path / "run")]
    code, _, err = run(*words)
    said = "others keep 1.50 of its cores busy, its profile allows 0.25"
    assert code == 5 and said in err and "--allow-load" in err
    code, out, _ = run("devices", "check", "busy", "--json")
    (work,) = [one for one in json.loads(out) if not one["fine"]]
    assert code == 5 and (work["check"], work["seen"]) == ("other work there", said) and "--allow-load" in work["try"]
    assert not (tmp_path / "run" / "lut").exists()
    code, _, err = run(*words, "--resume", "--allow-load")
    assert code == 0, err
    lut = checked(tmp_path / "run" / "lut")
    assert all("loaded" in row.flags for row in lut.rows) and all("loaded" in row.flags for row in lut.networks)
    noisy = sum(row.status == "noisy" for row in lut.rows)
    # Its processes differ by 10 %: two rounds tell most rows to worse than 3 %, and both verbs say so.
    assert 2 * noisy > len(lut.rows) and "rows are noisy" in err and "the device did other work" in err
    code, _, err = run("lut", "build", str(tmp_path / "run"), "--into", str(tmp_path / "to"), "--allow-simulated")
    assert code == 0 and "rows are noisy" in err and "the device did other work" in err


@pytest.mark.slow
def test_a_dry_run_says_what_other_work_does_to_the_minutes(run: Any, lab_of_one: Path, tmp_path: Path) -> None:
    (lab_of_one / LAB).write_text((lab_of_one / LAB).read_text() + '[devices.calm]\nkind = "simulated-phone"\n')
    words = ["bench", *SCOPE, "--out", str(tmp_path / "run"), "--dry-run", "--json", "--device"]
    said = "warning: device 'busy': others keep 1.50 of its cores busy, its profile allows 0.25; the minutes are for a "
    waits = "a measurement would wait before each round until it is, for at most 10 minutes each time; --allow-load"
    code, out, err = run(*words, "busy")
    assert code == 0 and json.loads(out)["minutes"] and f"{said}quiet one, and {waits} measures anyway\n" in err
    code, out, err = run(*words, "busy", "--device", "calm", "--allow-load")
    assert code == 0 and json.loads(out).keys() == {"busy", "calm"} and err.count("warning") == 1
    assert f"{said}quiet one, and beside that work a measurement may take longer\n" in err and "wait" not in err
    code, _, err = run(*words, "calm")
    assert code == 0 and "warning" not in err


@pytest.mark.slow
def test_files_are_verified_on_a_device_that_does_nothing_else(run: Any, lab_of_one: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_text(json.dumps({"ops": [op.key for op in OPS[:3]]}))
    words = ["verify", "--device", "busy", "--runtime", "simulated", "--model", str(model), "--rounds", "2"]
    words += ["--out", str(tmp_path / "run")]
    code, _, err = run(*words)
    assert code == 5 and "others keep 1.50 of its cores busy" in err and not (tmp_path / "run" / "verify.json").exists()
    code, _, err = run(*words, "--allow-load")
    assert code == 0, err
    [verdict] = json.loads((tmp_path / "run" / "verify.json").read_text())["verdicts"]
    assert "loaded" in verdict["flags"] and verdict["measured_ms"] > 0


@contextmanager
def burning(cores: int) -> Iterator[None]:
    """Keep cores busy with work that is none of ours to measure, in a session of its own.

    A container's scheduler may count the work of one session as one: it then gets half of the machine at most.
    """
    work = [sys.executable, "-c", "while True: pass"]
    started = [subprocess.Popen(work, start_new_session=True) for _ in range(cores)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_work_on_this_computer_is_seen_and_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.path.exists("/proc/stat"):
        pytest.skip("this system does not tell how busy its cores are")
    monkeypatch.setattr(gate, "LOAD_PATIENCE_S", 0.5)
    monkeypatch.setattr(gate, "FIRST_REST_S", 1.0)
    device = this_computer(tmp_path / "files")
    told: list[float] = []
    channel = device.transport.open()
    try:
        with burning(1), pytest.raises(MeasurementRefused, match="busy with other work") as refused:
            quieten(device, Conversation(channel, device.name), (0, 0, 0), on_rest=told.append)
        # A computer that has as many cores as others may keep busy is never busy.
        calm = device.profile.model_copy(update={"calm": Calm(max_foreign_cores=1024)})
        quieten(replace(device, profile=calm), Conversation(channel, device.name), (0, 0, 0))
    finally:
        channel.kill()
    assert told and told[0] > 0.25 and "its profile allows 0.25" in refused.value.why
