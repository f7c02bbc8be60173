"""Model files of ours and of others, measured on a device: beside a table's prediction where one knows the network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ofa.space as spaces
from harness.appraise import appraise, predictions, subnet_of
from harness.bench import Scope, bench
from harness.inventory import Device, simulated
from harness.simulation.machine import Machine
from ofa.errors import FileInvalid, UsageInvalid
from ofa.lut.format import Lut
from ofa.space.core import Subnet
from ofa.space.ops import ops_of

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
    found = appraise(files, device=device, runtime="simulated", folder=tmp_path / "out", lut=lut, rounds=3)
    ours, theirs = found["verdicts"]
    assert found["table"] == lut.name and found["slower"] == pytest.approx(1.0, abs=0.02)
    assert ours["predicted_ms"] == pytest.approx(ours["measured_ms"], rel=0.1)
    assert theirs["predicted_ms"] is None and theirs["error_pct"] is None
    for verdict in (ours, theirs):
        assert verdict["lo_ms"] <= verdict["measured_ms"] <= verdict["hi_ms"] and verdict["init_ms"] > 0


def test_without_a_table_files_are_measured_alone(measured: tuple[Device, Lut], tmp_path: Path) -> None:
    device, _ = measured
    file = model(tmp_path, "ours", SPACE.corner("min"))
    found = appraise([file], device=device, runtime="simulated", folder=tmp_path / "out", rounds=2)
    (verdict,) = found["verdicts"]
    assert found["table"] is None and found["slower"] == 1.0 and found["floor_pct"] is None
    assert verdict["predicted_ms"] is None and verdict["measured_ms"] == verdict["as_timed_ms"] > 0


def test_a_table_of_few_networks_predicts_by_its_plain_sum(measured: tuple[Device, Lut]) -> None:
    _, lut = measured
    few = Lut(header=lut.header, rows=lut.rows, networks=(), sessions=lut.sessions)
    subnet = SPACE.corner("max")
    plain = sum(row.ns or 0 for op in ops_of(subnet) for row in lut.rows if (row.key, row.state) == (op.key, "cold"))
    assert predictions(few, {"max": subnet}, seed=0)["max"] == pytest.approx(plain / 1e6)
    other = spaces.load("mobilenet_v3_tiny", channels=3, classes=7)
    assert predictions(few, {"max": other.corner("max")}, seed=0) == {}


def test_what_cannot_be_meant_is_refused(measured: tuple[Device, Lut], tmp_path: Path) -> None:
    device, lut = measured
    (tmp_path / "a").mkdir()
    twice = [model(tmp_path, "one", SPACE.corner("min")), model(tmp_path / "a", "one", SPACE.corner("max"))]
    with pytest.raises(UsageInvalid, match="one name"):
        appraise(twice, device=device, runtime="simulated", folder=tmp_path / "out")
    with pytest.raises(UsageInvalid, match="predicts nothing"):
        appraise(twice[:1], device=device, runtime="onnxruntime", folder=tmp_path / "out", lut=lut)
    environment = {**lut.header.environment, "kernels": "builtin"}
    builtin = replace(lut, header=lut.header.model_copy(update={"environment": environment}))
    with pytest.raises(UsageInvalid, match="predicts nothing that is measured"):
        appraise(twice[:1], device=device, runtime="simulated", folder=tmp_path / "out", lut=builtin)
    for content in ("[]", "{}", '{"subnet": 3}'):
        (tmp_path / "one.json").write_text(content)
        with pytest.raises(FileInvalid, match="names no subnet"):
            subnet_of(tmp_path / "one")
