"""Model files of ours and of others, measured on a device: beside a table's prediction where one knows the network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from virtual import STILL

import ofa.space as spaces
from harness.appraise import add, appraise, predictions, subnet_of, with_accuracy
from harness.bench import Scope, bench
from harness.inventory import Device, simulated
from harness.lab import FOLDER_VARIABLE, LAB
from harness.simulation.machine import Machine
from ofa.errors import FileInvalid, UsageInvalid
from ofa.lut.format import Lut, read
from ofa.lut.write import write
from ofa.space.core import Subnet
from ofa.space.ops import ops_of
from tests import inputs

pytestmark = pytest.mark.slow

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Device, Lut]:
    """Return a simulated device and a table of it."""
    folder = tmp_path_factory.mktemp("measured")
    device = simulated(folder / "files", machine=Machine(seed=1), own_process=False)
    scope = Scope(fit=12, holdout=4, rounds=3, rounds_most=3, seed=0)
    return device, bench(SPACE, device=device, runtime="simulated", folder=folder / "run", scope=scope)


def model(folder: Path, name: str, subnet: Subnet, *, sidecar: bool = True) -> Path:
    """Write a subnet as the simulated device reads it."""
    path = folder / name
    path.write_text(json.dumps({"ops": [op.key for op in ops_of(subnet)]}))
    if sidecar:
        path.with_name(name + ".json").write_text(json.dumps({"subnet": subnet.to_json()}))
    return path


def test_a_model_of_ours_is_predicted_and_one_of_others_is_not(measured: tuple[Device, Lut], tmp_path: Path) -> None:
    device, lut = measured
    drawn = [SPACE.subnet(genome) for genome in spaces.sample.random(SPACE, 2, np.random.default_rng(7))]
    files = [model(tmp_path, "ours", drawn[0]), model(tmp_path, "theirs", drawn[1], sidecar=False)]
    found = appraise(files, device=device, runtime="simulated", folder=tmp_path / "out", lut=lut, rounds=3).facts()
    ours, theirs = found["verdicts"]
    assert found["table"] == lut.name and found["slower"] == pytest.approx(1.0, abs=0.02)
    assert ours["predicted_ms"] == pytest.approx(ours["measured_ms"], rel=0.1)
    assert theirs["predicted_ms"] is None and theirs["error_pct"] is None
    for verdict in (ours, theirs):
        assert verdict["lo_ms"] <= verdict["measured_ms"] <= verdict["hi_ms"] and verdict["init_ms"] > 0


def test_without_a_table_files_are_measured_alone(measured: tuple[Device, Lut], tmp_path: Path) -> None:
    device, _ = measured
    file = model(tmp_path, "ours", SPACE.corner("min"))
    found = appraise([file], device=device, runtime="simulated", folder=tmp_path / "out", rounds=2).facts()
    (verdict,) = found["verdicts"]
    assert found["table"] is None and found["slower"] == 1.0 and found["floor_pct"] is None
    assert verdict["predicted_ms"] is None and verdict["measured_ms"] == verdict["as_timed_ms"] > 0


def test_a_table_of_few_networks_predicts_by_its_plain_sum(measured: tuple[Device, Lut]) -> None:
    _, lut = measured
    few = Lut(header=lut.header, rows=lut.rows, networks=(), sessions=lut.sessions)
    subnet = SPACE.corner("max")
    plain = sum(row.ns or 0 for op in ops_of(subnet) for row in lut.rows if (row.key, row.state) == (op.key, "cold"))
    assert predictions(few, {"max": subnet})["max"] == pytest.approx(plain / 1e6)
    other = spaces.load("mobilenet_v3_tiny", channels=3, classes=7)
    assert predictions(few, {"max": other.corner("max")}) == {}


def test_what_cannot_be_meant_is_refused(measured: tuple[Device, Lut], tmp_path: Path) -> None:
    device, lut = measured
    (tmp_path / "a").mkdir()
    twice = [model(tmp_path, "one", SPACE.corner("min")), model(tmp_path / "a", "one", SPACE.corner("max"))]
    with pytest.raises(UsageInvalid, match="one name"):
        appraise(twice, device=device, runtime="simulated", folder=tmp_path / "out")
    with pytest.raises(UsageInvalid, match="predicts nothing"):
        appraise(twice[:1], device=device, runtime="onnxruntime", folder=tmp_path / "out", lut=lut)
    for content in ("[]", '{"subnet": 3}'):
        (tmp_path / "one.json").write_text(content)
        with pytest.raises(FileInvalid, match="names no subnet"):
            subnet_of(tmp_path / "one")


def test_sampled_subnets_are_verified_and_become_rows_of_the_table(
    measured: tuple[Device, Lut], tmp_path: Path
) -> None:
    device, lut = measured
    write(lut, tmp_path / "table", allow_simulated=True)
    drawn = [SPACE.subnet(genome) for genome in spaces.sample.random(SPACE, 3, np.random.default_rng(11))]
    there = SPACE.subnet(list(bytes.fromhex(lut.networks[0].genome)))
    options: dict[str, Any] = {
        "device": device,
        "runtime": "simulated",
        "folder": tmp_path / "out",
        "lut": lut,
        "rounds": 3,
    }
    found = appraise([], subnets=[*drawn, there], **options)
    assert [verdict["name"] for verdict in found.facts()["verdicts"]] == [subnet.id for subnet in (*drawn, there)]
    assert add(found, tmp_path / "table").startswith("3 networks")
    made = read(tmp_path / "table")
    added = {row.id: row for row in made.networks if row.split == "verify"}
    assert added.keys() == {subnet.id for subnet in drawn} and len(made.networks) == len(lut.networks) + 3
    for verdict in found.facts()["verdicts"][:3]:
        row = added[verdict["name"]]
        assert row.ns == pytest.approx(verdict["measured_ms"] * 1e6, abs=1) and row.peak_rss_kib and row.p95_ns
        assert verdict["predicted_ms"] > 0
    (session,) = {row.session for row in added.values()}
    (record,) = (record for record in made.sessions if record["id"] == session)
    assert record["verified"] is True and "reference_ns" not in record
    assert add(found, tmp_path / "table").startswith("3 networks"), "of the table as it was read: nothing comes twice"
    assert len(read(tmp_path / "table").networks) == len(made.networks)
    with pytest.raises(UsageInvalid, match="random weights") as caught:
        with_accuracy(found, [], "digits", "simulated")
    assert caught.value.exit_code == 2


def test_networks_are_verified_on_a_device_as_hot_as_for_the_table(tmp_path: Path) -> None:
    """Heat slows the cores: measured cool they would be other networks to the table, and could not be added to it."""
    heat = {"heating_c_per_s": 2.0, "cooling_s": 40.0, "throttle_per_c": 0.02}
    device = simulated(tmp_path / "files", machine=Machine(**STILL | heat), own_process=False)
    scope = Scope(fit=12, holdout=4, rounds=2, rounds_most=2, soak_s=60, seed=0, again=False)
    lut = bench(SPACE, device=device, runtime="simulated", folder=tmp_path / "run", scope=scope)
    write(lut, tmp_path / "table", allow_simulated=True)
    drawn = [SPACE.subnet(genome) for genome in spaces.sample.random(SPACE, 3, np.random.default_rng(11))]
    options: dict[str, Any] = {"device": device, "runtime": "simulated", "folder": tmp_path / "out", "rounds": 3}
    found = appraise([], subnets=drawn, lut=lut, **options)
    (session,) = found.found.sessions
    assert session["environment_id"] == lut.header.environment_id
    assert add(found, tmp_path / "table").startswith("3 networks")


def test_what_was_verified_elsewhere_is_not_added(measured: tuple[Device, Lut], tmp_path: Path) -> None:
    device, lut = measured
    header = lut.header.model_copy(update={"environment": lut.header.environment | {"kernel": "another"}})
    sessions = tuple({**record, "environment_id": header.environment_id} for record in lut.sessions)
    other = Lut(header=header, rows=lut.rows, networks=lut.networks, sessions=sessions)
    options: dict[str, Any] = {"device": device, "runtime": "simulated", "folder": tmp_path / "out", "rounds": 2}
    found = appraise([], subnets=[SPACE.corner("min")], lut=other, **options)
    with pytest.raises(UsageInvalid, match="cannot be added") as caught:
        add(found, tmp_path / "table")
    assert header.environment_id in caught.value.why and not (tmp_path / "table").exists()
    alone = appraise([], subnets=[SPACE.corner("min")], **options)
    with pytest.raises(UsageInvalid, match="names no table"):
        add(alone, None)


def test_what_could_only_fail_in_the_end_is_refused_before_anything_is_measured(run: Any, tmp_path: Path) -> None:
    (tmp_path / "subnets.json").write_text(json.dumps([SPACE.corner("min").to_json()]))
    line = ["verify", "--device", "simulated-phone", "--runtime", "simulated", "--out", str(tmp_path / "out")]
    line += ["--subnets", str(tmp_path / "subnets.json")]
    for options, told in ((["--data", "digits"], "random weights"), (["--add"], "names no table")):
        code, _, err = run(*line, *options)
        assert code == 2 and told in err and not list((tmp_path / "out").glob("*.sqlite"))


def test_the_runtime_is_that_of_the_table(measured: tuple[Device, Lut], run: Any, tmp_path: Path) -> None:
    _, lut = measured
    write(lut, tmp_path / "run" / "lut", allow_simulated=True)
    (tmp_path / "subnets.json").write_text(json.dumps([SPACE.corner("min").to_json()]))
    line = ["verify", "--device", "simulated-phone", "--out", str(tmp_path / "out"), "--rounds", "2", "--json"]
    line += ["--subnets", str(tmp_path / "subnets.json")]
    assert run(*line)[0] == 2, "nobody says it"
    code, out, err = run(*line, "--lut", str(tmp_path / "run"))
    assert code == 0 and json.loads(out)["runtime"] == "simulated", err


def test_a_file_that_nothing_runs_is_no_success(run: Any, tmp_path: Path) -> None:
    inputs.model(tmp_path / "mine.onnx")
    line = ["verify", "--model", str(tmp_path / "mine.onnx"), "--rounds", "2", "--json", "--out"]
    code, out, err = run(*line, str(tmp_path / "a"), "--device", "simulated-phone", "--runtime", "simulated")
    assert code == 3 and json.loads(out)["verdicts"][0]["status"] == "failed"
    assert "simulated did not run the file" in err and "runs no model files" in " ".join(err.split())


def asked_beside(tables: Path, folder: Path, device: str) -> list[str]:
    """Return the line that verifies the smallest subnet beside the tables in a folder."""
    (folder / "subnets.json").write_text(json.dumps([SPACE.corner("min").to_json()]))
    line = ["verify", "--device", device, "--out", str(folder / "out"), "--rounds", "2", "--json"]
    return [*line, "--subnets", str(folder / "subnets.json"), "--lut", str(tables)]


def test_a_device_of_the_list_finds_the_table_of_its_kind_among_others(
    measured: tuple[Device, Lut], run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, lut = measured
    for kind in ("simulated-phone", "other-phone"):
        header = lut.header.model_copy(update={"device": kind})
        write(replace(lut, header=header), tmp_path / "tables" / header.place, allow_simulated=True)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    for listed in ("", 'runtime = "simulated"'):
        unit = f'[devices.board]\nkind = "simulated-phone"\nsimulation = {{ seed = 1 }}\n{listed}\n'
        (tmp_path / LAB).write_text(unit)
        code, out, err = run(*asked_beside(tmp_path / "tables", tmp_path, "board"))
        assert code == 0 and json.loads(out)["table"] == lut.name, err


def test_an_imported_table_of_an_unknown_runtime_is_refused_in_words_of_its_own(
    measured: tuple[Device, Lut], run: Any, tmp_path: Path
) -> None:
    _, lut = measured
    header = lut.header.model_copy(update={"runtime": "unknown"})
    write(replace(lut, header=header), tmp_path / "table", allow_simulated=True)
    code, _, err = run(*asked_beside(tmp_path / "table", tmp_path, "simulated-phone"))
    assert code == 3 and "its runtime is 'unknown'" in err and "nothing can be measured beside" in err
    assert "rechecked" not in err and not list((tmp_path / "out").glob("*.sqlite"))


def test_a_round_in_which_the_device_drifts_is_begun_anew_and_told(tmp_path: Path) -> None:
    heat = {"heating_c_per_s": 200.0, "cooling_s": 5.0, "throttle_c": 40.0, "throttle_per_c": 0.01}
    device = simulated(tmp_path / "files", machine=Machine(**STILL | heat), own_process=False)
    file = model(tmp_path, "ours", SPACE.corner("max"))
    found = appraise([file], device=device, runtime="simulated", folder=tmp_path / "out", rounds=2).found
    assert [session["batches_redone"] for session in found.sessions] == [2]
    assert "moved" in found.verdicts[0].flags


def test_a_table_whose_networks_are_none_of_their_space_is_a_wrong_file(
    measured: tuple[Device, Lut], run: Any, tmp_path: Path
) -> None:
    _, lut = measured
    first = lut.networks[0]
    networks = (first._replace(genome=first.genome[:-2]), *lut.networks[1:])
    hot = tuple(row for row in lut.rows if row.state == "hot")
    spoilt = Lut(header=lut.header, rows=hot, networks=networks, sessions=lut.sessions)
    write(spoilt, tmp_path / "table", allow_simulated=True)
    (tmp_path / "subnets.json").write_text(json.dumps([SPACE.corner("min").to_json()]))
    line = ["verify", "--device", "simulated-phone", "--runtime", "simulated", "--out", str(tmp_path / "out")]
    code, _, err = run(*line, "--subnets", str(tmp_path / "subnets.json"), "--lut", str(tmp_path / "table"))
    assert code == 3 and "networks.csv" in err and not list((tmp_path / "out").glob("*.sqlite"))
