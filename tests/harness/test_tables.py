"""A run's table goes to its place: finished or not, never simulated among real ones, never over another environment."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ofa.space as spaces
from harness import journal as journals
from harness import plan as plans
from harness.bench import Scope, bench
from harness.cli import main
from harness.inventory import Device, simulated
from harness.simulation.machine import Machine
from harness.tables import AGAIN_JOURNAL, AGAIN_PLAN, JOURNAL, PLAN, TABLE, build, missing_in
from ofa.errors import FileInvalid, UsageInvalid
from ofa.lut.check import checked
from ofa.lut.write import write

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
SCOPE = Scope(fit=2, holdout=2, rounds=2, rounds_most=2, seed=0)


def phone(folder: Path, **parts: Any) -> Device:
    return simulated(folder / "files", machine=Machine(**parts), own_process=False)


def measured(folder: Path, stop_at: str = "never", scope: Scope = SCOPE, **parts: Any) -> Path:
    """Measure into a folder, or go on there, until something is told; return the run's folder."""

    def stop(done: int, total: int, text: str) -> None:
        if re.sub(" of (at (least|most) )?[0-9]+", "", text) == stop_at:
            raise KeyboardInterrupt

    try:
        bench(SPACE, device=phone(folder, **parts), runtime="simulated", folder=folder / "run", scope=scope,
              on_progress=stop)  # fmt: skip
    except KeyboardInterrupt:
        assert stop_at != "never"
    return folder / "run"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured(tmp_path_factory.mktemp("finished"))


@pytest.mark.slow
def test_why_rows_have_no_time_is_told(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journals.Journal, "failures", lambda _: {0: "it broke", 1: "it is too short", 2: "it broke"})
    with pytest.raises(SystemExit) as ended:
        main(["lut", "build", str(finished), "--into", str(tmp_path), "--allow-simulated"])
    items, said = plans.read(finished / PLAN).items, capsys.readouterr().err
    assert ended.value.code == 0
    assert f"no time is known of 2 rows, such as {items[0].key} ({items[0].state}): it broke" in said
    assert f"no time is known of 1 row, such as {items[1].key} ({items[1].state}): it is too short" in said


@pytest.mark.slow
def test_a_finished_run_goes_to_its_place(finished: Path, tmp_path: Path) -> None:
    facts = build(finished, tmp_path, allow_simulated=True)
    place = tmp_path / "simulated-phone" / "simulated-fp32-cpu-1t-full"
    assert facts["table"] == str(place) and facts["missing"] == [] and not facts["replaced"]
    assert checked(place) == checked(finished / TABLE)
    with pytest.raises(UsageInvalid, match="already"):
        build(finished, tmp_path, allow_simulated=True)
    smaller = replace(checked(place), rows=checked(place).rows[:-3])
    write(smaller, place, allow_simulated=True)
    assert build(finished, tmp_path, allow_simulated=True, replace=True)["rows_lost"] == 0
    assert checked(place) == checked(finished / TABLE)
    first = checked(place).rows[0]._replace(key="@other")
    write(replace(checked(place), rows=(first, *checked(place).rows)), place, allow_simulated=True)
    assert build(finished, tmp_path, allow_simulated=True, replace=True)["rows_lost"] == 1


@pytest.mark.slow
def test_an_unfinished_run_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match="no table yet"):
        build(measured(tmp_path, "round 1"), tmp_path / "tables", allow_simulated=True)
    run = measured(tmp_path, "round 2")
    facts = build(run, tmp_path / "tables", allow_simulated=True)
    assert facts["missing"] == ["1 of 2 rounds", "the second measurement of networks"]
    assert {row.rounds for row in checked(Path(facts["table"])).rows} == {1}
    run = measured(tmp_path, "networks again, round 2")
    facts = build(run, tmp_path / "tables", allow_simulated=True, replace=True)
    assert facts["missing"] == ["1 of 2 rounds of the second measurement of networks"]
    made = checked(Path(facts["table"]))
    assert all(row.again_ns for row in made.networks)
    # Of four, the first was left before its first round was complete: it measured nothing. Those that began in the
    # same second, one in each journal, stand in either order.
    assert sorted(session["rounds"] for session in made.sessions) == [[1], [1], [2]]
    assert facts["rows"] == len(checked(Path(facts["table"])).rows)


@pytest.mark.slow
def test_what_was_left_out_on_purpose_is_not_missing(tmp_path: Path) -> None:
    scope = replace(SCOPE, rounds=1, rounds_most=1, again=False)
    assert list(missing_in(measured(tmp_path, scope=scope))) == []
    scope = replace(SCOPE, again=False)
    assert list(missing_in(measured(tmp_path / "broken off", "round 2", scope))) == ["1 of 2 rounds"]


@pytest.mark.slow
def test_a_second_measurement_that_is_asked_for_no_more_is_not_missing_unless_it_has_begun(tmp_path: Path) -> None:
    without = replace(SCOPE, again=False)
    run = measured(tmp_path / "before", "round 2")
    assert list(missing_in(run)) == ["1 of 2 rounds", "the second measurement of networks"]
    measured(tmp_path / "before", scope=without)
    assert list(missing_in(run)) == [] and not (run / AGAIN_PLAN).exists()
    run = measured(tmp_path / "begun", "networks again, round 2")
    measured(tmp_path / "begun", scope=without)
    assert list(missing_in(run)) == ["1 of 2 rounds of the second measurement of networks"]


@pytest.mark.slow
def test_a_second_journal_of_another_plan_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run = measured(tmp_path, "round 2")
    (run / AGAIN_PLAN).unlink()
    journals.create(run / AGAIN_JOURNAL, plans.read(run / PLAN)).close()
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(FileInvalid, match="another plan"):
        measured(tmp_path)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.slow
def test_what_is_not_known_well_is_missing_too(tmp_path: Path) -> None:
    run = measured(tmp_path, "round 3", replace(SCOPE, rounds_most=6, fit=0, holdout=0), round_noise=0.05)
    (said,) = missing_in(run)
    assert said.startswith("more rounds: ") and "± 1 %" in said


@pytest.mark.slow
def test_simulated_tables_stay_out_of_luts(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageInvalid, match="no simulated table"):
        build(finished, tmp_path / "tables")
    for allowed in (False, True):
        with pytest.raises(FileInvalid, match="under 'luts'"):
            build(finished, tmp_path / "luts", allow_simulated=allowed)
    assert not (tmp_path / "luts").exists() and not (tmp_path / "tables").exists()


@pytest.mark.slow
def test_a_table_of_another_environment_is_never_replaced(finished: Path, tmp_path: Path) -> None:
    facts = build(finished, tmp_path / "tables", allow_simulated=True)
    place = Path(facts["table"])
    run = measured(tmp_path, scope=replace(SCOPE, fit=0, holdout=0, rounds=1, rounds_most=1), macs_per_ns=3.0)
    before = (place / "ops.csv").read_bytes()
    for replaced in (False, True):
        with pytest.raises(UsageInvalid, match="another environment") as fault:
            build(run, tmp_path / "tables", allow_simulated=True, replace=replaced)
        assert "macs_per_ns" in fault.value.why
        # Under another name below 'luts' the old one would be a misplaced table.
        assert "out of 'luts'" in " ".join(fault.value.hints)
    assert (place / "ops.csv").read_bytes() == before


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / PLAN).write_text("{}")
    with pytest.raises(FileInvalid, match="holds no run") as fault:
        build(tmp_path, tmp_path / "tables")
    assert JOURNAL in fault.value.why and PLAN not in fault.value.why


@pytest.mark.slow
def test_the_command_says_where_and_what_is_missing(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / AGAIN_JOURNAL).unlink()
    journals.create(run / AGAIN_JOURNAL, plans.read(run / AGAIN_PLAN)).close()
    options = ["lut", "build", str(run), "--into", str(tmp_path / "tables"), "--allow-simulated"]
    with pytest.raises(SystemExit) as ended:
        main(options)
    said = capsys.readouterr().err
    assert not ended.value.code and "rounds of the second measurement of networks" in said and "wrote" in said
    with pytest.raises(SystemExit) as ended:
        main([*options, "--replace", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert not ended.value.code and facts["replaced"] and facts["rows_lost"] == 0
    with pytest.raises(SystemExit) as ended:
        main(["lut", "build", str(run), "--into", str(tmp_path / "luts")])
    assert ended.value.code == 3 and "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_goes_on_only_where_it_is_told_to(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [
        "bench",
        "--space",
        "mobilenet_v3_tiny",
        "--channels",
        "1",
        "--classes",
        "10",
        "--device",
        "simulated-phone",
    ]
    line += ["--runtime", "simulated", "--fit", "2", "--holdout", "2", "--rounds", "2", "--rounds-most", "2"]
    line += ["--out", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", ["ofa", *line])
    with monkeypatch.context() as patched:
        patched.setattr("harness.footprint.run", interrupted)
        code, _, err = run(*line)
    assert code == 130 and f"{tmp_path}/run --resume" in err.replace("\n", "").replace(" │", "")
    before = (tmp_path / "run" / JOURNAL).read_bytes()
    code, _, err = run(*line)
    assert code == 2 and "holds a measurement already" in err and (tmp_path / "run" / JOURNAL).read_bytes() == before
    code, _, err = run(*line, "--resume")
    assert code == 0, err
    assert not list(missing_in(tmp_path / "run")) and checked(tmp_path / "run" / TABLE).rows


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt
