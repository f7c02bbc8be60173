"""A table held against its device again, simulated: as it was, with slower 7 x 7 kernels, slower as a whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from virtual import SPACE, phone

from harness.artefacts import Artefacts
from harness.bench import Scope, bench
from harness.cli import main
from harness.inventory import this_computer
from harness.lab import FOLDER_VARIABLE, LAB
from harness.pace import pace_of_table
from harness.plan import Plan
from harness.recheck import preview, recheck, refuse
from harness.replan import plan_of, protocol_of, reference_of_table
from harness.tables import TABLE
from ofa.errors import FileInvalid, MeasurementRefused, UsageInvalid, VerificationFailed
from ofa.lut import index, validity
from ofa.lut.changes import group_of
from ofa.lut.check import checked
from ofa.lut.format import Header, Lut, read
from ofa.lut.validity import VALIDITY
from ofa.lut.write import write
from ofa.space.ops import parse

SEVENS = "mbconv with 7x7 depthwise kernels"
Facts = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a table of a simulated phone."""
    folder = tmp_path_factory.mktemp("made")
    scope = Scope(fit=6, holdout=8, rounds=3, rounds_most=3, seed=0, memory=False, again=False)
    bench(SPACE, device=phone(folder, seed=1), runtime="simulated", folder=folder / "run", scope=scope)
    return folder / "run" / TABLE


@pytest.fixture
def table(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the table that a test may write beside."""
    return Path(shutil.copytree(made, tmp_path / "table"))


def held_against(table: Path, folder: Path, **machine: Any) -> Facts:
    """Recheck a table on a phone that is like its own, but for its luck and what is given."""
    return recheck(table, device=phone(folder, **{"seed": 2, **machine}), out=folder / "recheck")


@pytest.mark.slow
def test_a_device_as_it_was_passes_and_says_so_beside_the_table(table: Path, tmp_path: Path) -> None:
    """None of three; by chance one would be found changed in less than one of twenty."""
    before = read(table)
    for seed in (2, 3, 4):
        found = held_against(table, tmp_path / str(seed), seed=seed)
        assert (found["verdict"], found["found"], found["unsure"]) == ("still true", [], [])
        assert found["measured"] == {"ops": 30, "networks": 8, "company": 100, "rounds": 3, "seed": 0}
        assert abs(found["level"]["hot"]["pct"]) < 2.0 and not found["environment"]
        refuse(found)
    assert found["networks"]["error_pct"] < 2 * found["networks"]["held_out_pct"] + 1
    assert read(table) == before
    (*_, last) = validity.of_table(before, table)
    assert (last.verdict, last.simulated, last.ops, last.networks) == ("still true", True, 30, 8)
    assert len(validity.records(table)) == 3 and validity.warning(before, table) is None


@pytest.mark.slow
def test_a_device_with_slower_7x7_kernels_fails_and_they_are_named(table: Path, tmp_path: Path) -> None:
    found = held_against(table, tmp_path, updated_depthwise7_factor=1.5)
    assert found["verdict"] == "stale"
    first, *rest = found["found"]
    assert first.startswith(f"{SEVENS}: +") and first.endswith("beside the rest (8 of 8 ops)")
    assert [line.partition(":")[0] for line in rest] == ["whole networks"]
    assert all(abs(level["pct"]) < 2.0 for level in found["level"].values()), "the device as a whole is as it was"
    others = [group for group in found["groups"] if group["group"] != SEVENS]
    assert len(others) > 4 and all(abs(group["pct"]) < 3.0 for group in others)
    assert found["networks"]["error_pct"] > 2 * found["networks"]["held_out_pct"]
    with pytest.raises(VerificationFailed, match="is stale") as fault:
        refuse(found)
    assert fault.value.exit_code == 7 and SEVENS in fault.value.why
    said = validity.warning(read(table), table)
    assert said is not None and SEVENS in said


@pytest.mark.slow
def test_a_slower_device_is_told_as_that(table: Path, tmp_path: Path) -> None:
    found = held_against(table, tmp_path, updated_factor=1.1)
    assert found["verdict"] == "stale" and len(found["found"]) == 1
    assert found["found"][0].startswith("the device as a whole: +")
    for state in ("cold", "hot"):
        assert found["level"][state]["pct"] == pytest.approx(10, abs=1.5)
    assert checked(table) == read(table) and (table / VALIDITY).exists()


@pytest.mark.slow
def test_a_device_that_did_other_work_is_not_called_changed(table: Path, tmp_path: Path) -> None:
    busy = phone(tmp_path, seed=2, updated_factor=1.2, foreign_cores=1.5)
    found = recheck(table, device=busy, out=tmp_path / "recheck", allow_load=True)
    assert found["found"] and found["loaded"] and found["verdict"] == "unsure" and found["recorded"] is None
    assert not (table / VALIDITY).exists()
    with pytest.raises(MeasurementRefused, match="nobody can say") as fault:
        refuse(found)
    assert "other work" in fault.value.why and "--tolerance" not in " ".join(fault.value.hints)


@pytest.mark.slow
def test_the_same_call_reads_what_is_finished_and_repeats_no_record(table: Path, tmp_path: Path) -> None:
    first = held_against(table, tmp_path)
    assert held_against(table, tmp_path) == first and len(validity.records(table)) == 1


@pytest.mark.slow
def test_a_device_after_an_update_is_another_environment_and_still_rechecked(table: Path, tmp_path: Path) -> None:
    found = held_against(table, tmp_path, load_ns=4e6)
    assert [entry["path"] for entry in found["environment"]] == ["simulated.load_ns"]
    assert found["environment_id"] != read(table).header.environment_id and found["verdict"] == "still true"
    assert validity.records(table)[0].environment == ({"path": "simulated.load_ns", "a": 3e6, "b": 4e6},)


@pytest.mark.slow
def test_what_is_drawn_is_measured_as_the_table_was(made: Path, tmp_path: Path) -> None:
    lut, device = read(made), phone(tmp_path)
    plan = planned(lut, device)
    assert plan == planned(lut, device) and plan.items != planned(lut, device, seed=1).items
    assert plan.reference.key == lut.header.protocol["reference"] and plan.rounds == 3
    told = {name: value for name, value in plan.protocol.model_dump().items() if name != "rounds_most"}
    assert told.items() <= lut.header.protocol.items()
    drawn = {item.key for item in plan.items if item.kind == "op"}
    assert {item.state for item in plan.items if item.kind == "op"} == {"cold", "hot"} and len(drawn) == 30
    cold = [item for item in plan.items if item.state == "cold" and item.kind in ("op", "company")]
    assert len(cold) == 130, "as many as shared a batch when the table was made"
    assert {group_of(key) for key in drawn} == {group_of(row.key) for row in lut.rows if not row.key.startswith("@")}
    assert {item.split for item in plan.items if item.kind == "network"} == {"verify"}
    assert reference_of_table(lut).id == str(lut.header.protocol["reference"]).rpartition(":")[2]


def planned(lut: Lut, device: Any, seed: int = 0) -> Plan:
    return plan_of(lut, device, Artefacts(device.transport.files), seed=seed)


@pytest.mark.slow
def test_what_would_be_measured_is_foretold_from_the_table(table: Path, tmp_path: Path) -> None:
    said = preview(table, device=phone(tmp_path))
    assert (said["ops"], said["networks"], said["rounds"]) == (30, 8, 3) and sum(said["groups"].values()) == 30
    assert 0 < said["minutes"] < 5 and said["files_to_build"] > 30
    assert not (table / VALIDITY).exists() and not (tmp_path / "recheck").exists()
    lut = read(table)
    pace = pace_of_table(lut, reference_of_table(lut))
    assert pace is not None
    row = max(
        (row for row in lut.rows if row.state == "hot" and not row.key.startswith("@")), key=lambda row: row.ns or 0
    )
    assert pace.call_ns([parse(row.key)], "hot") == pytest.approx(row.ns, rel=0.5)


@pytest.mark.slow
def test_it_is_foretold_where_a_session_broke_off_before_its_first_round_and_bare_networks_failed(
    table: Path, tmp_path: Path
) -> None:
    lut = read(table)
    usual = preview(table, device=phone(tmp_path))["minutes"]
    # Its id comes first, and the reference was measured in no round of it.
    broken_off = {**lut.sessions[0], "id": "20260101T000000Z-0000-0000", "rounds": [], "reference_ns": {}}
    rows = tuple(row for row in lut.rows if not row.key.startswith("@"))
    write(replace(lut, sessions=(broken_off, *lut.sessions), rows=rows), table, allow_simulated=True)
    assert preview(table, device=phone(tmp_path))["minutes"] == pytest.approx(usual, rel=0.1)
    untold = tuple({**session, "reference_ns": {}} for session in lut.sessions)
    write(replace(lut, sessions=untold), table, allow_simulated=True)
    assert preview(table, device=phone(tmp_path))["minutes"] is None


@pytest.mark.slow
def test_tables_of_other_devices_conditions_and_makers_are_refused(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "recheck"
    with pytest.raises(UsageInvalid, match="not rechecked there"):
        recheck(table, device=this_computer(tmp_path / "files"), out=out)
    with pytest.raises(UsageInvalid, match="not rechecked there") as fault:
        recheck(table, device=phone(tmp_path, power_mode="low"), out=out)
    assert "cpu-1t-full" in fault.value.why and "cpu-1t-low" in fault.value.why
    lut = read(table)
    said = lut.header.protocol
    protocols: list[Facts] = [{}, {**said, "name": "rounds-9"}, {**said, "reference": "nowhere:0123"}]
    for protocol in protocols:
        header = lut.header.model_copy(update={"protocol": protocol})
        write(replace(lut, header=header), table, allow_simulated=True)
        with pytest.raises(FileInvalid, match="cannot be rechecked"):
            recheck(table, device=phone(tmp_path), out=out)
    assert not (table / VALIDITY).exists() and not (out / "journal.sqlite").exists()


def test_a_table_of_foreign_rows_has_no_protocol_to_repeat() -> None:
    about = Header(
        device="note10", runtime="unknown", runtime_version="unknown", precision="unknown", conditions="imported",
        environment={"a": 1}, protocol={}, simulated=False, created="2026-01-01",
    )  # fmt: skip
    lut = Lut(header=about, rows=())
    with pytest.raises(FileInvalid, match="cannot be rechecked"):
        protocol_of(lut)


def test_noise_that_hides_is_refused_and_nothing_is_recorded() -> None:
    with pytest.raises(MeasurementRefused, match="nobody can say") as fault:
        refuse({"unsure": ["stem cold is known to ± 40.0 % only"], "table": "t", "verdict": "unsure"})
    assert fault.value.exit_code == 5 and "--tolerance" in fault.value.hints[-1]


@pytest.mark.slow
def test_the_verb_ends_with_7_where_a_table_is_stale(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / LAB).write_text(
        '[devices.updated]\nkind = "simulated-phone"\nsimulation = { seed = 2, updated_depthwise7_factor = 1.5 }\n'
        '[devices.busy]\nkind = "simulated-phone"\nsimulation = { seed = 2, foreign_cores = 1.5 }\n'
    )
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    line = ["lut", "recheck", str(table), "--device", "updated", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        main([*line, "--dry-run", "--json"])
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert not ended.value.code and said["ops"] == 30 and not (tmp_path / "run").exists() and not err
    with pytest.raises(SystemExit) as ended:
        main(["lut", "recheck", str(table), "--device", "busy", "--dry-run", "--json"])
    out, err = capsys.readouterr()
    assert not ended.value.code and json.loads(out) == said
    assert err.startswith("warning: device 'busy': others keep 1.50 of its cores busy") and "would wait" in err
    with pytest.raises(SystemExit) as ended:
        main(line)
    out, err = capsys.readouterr()
    assert ended.value.code == 7 and "Traceback" not in err
    assert f"changed: {SEVENS}: +" in err and "is stale" in err and "error on held-out networks" in out
    with pytest.raises(SystemExit) as ended:
        main([*line, "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert ended.value.code == 7 and facts["recorded"] == str(table / VALIDITY)


@pytest.mark.slow
def test_the_command_says_within_what_a_table_holds_and_what_brings_the_list_up_to_date(
    made: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = Path(shutil.copytree(made, tmp_path / "tables" / read(made).header.place))
    page = tmp_path / "tables" / "README.md"
    page.write_text(f"{index.BEGIN}\n{index.END}\n")
    index.write(tmp_path / "tables")
    (tmp_path / LAB).write_text('[devices.same]\nkind = "simulated-phone"\nsimulation = { seed = 2 }\n')
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    words = ["lut", "recheck", str(place), "--device", "same", "--out", str(tmp_path / "run"), "--tolerance", "20"]
    code, out, err = run(*words)
    assert code == 0 and "still true within 20 %" in out and "ofa lut index tables\n" in err
    assert run("lut", "index", "tables", "--check")[0] == 3
    assert run("lut", "index", "tables")[0] == 0 and run("lut", "index", "tables", "--check")[0] == 0
    assert "still true within 20 %" in page.read_text()
