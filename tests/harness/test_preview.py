"""What is said before anything runs is what then happens: rows, files, minutes of the device's own clock."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from harness import journal as journals
from harness.bench import Scope, bench
from harness.cli import main
from harness.inventory import Device, simulated
from harness.pace import Pace
from harness.preview import preview
from harness.simulation.machine import Machine
from harness.simulation.process import MOMENTS
from harness.tables import AGAIN_JOURNAL, JOURNAL
from ofa.lut.check import checked
from ofa.space.index import ops_in

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
SCOPE = Scope(fit=4, holdout=4, rounds=2, rounds_most=6, seed=0)


def phone(folder: Path, **parts: Any) -> Device:
    return simulated(folder / "files", machine=Machine(**parts), own_process=False)


def foretold(device: Device, scope: Scope = SCOPE) -> dict[str, Any]:
    return preview(SPACE, device=device, runtime="simulated", scope=scope)


@pytest.mark.slow
@pytest.mark.parametrize("speed", [1.0, 0.2], ids=["quick", "slow"])
def test_minutes_are_those_of_the_device(tmp_path: Path, speed: float) -> None:
    device = phone(tmp_path, macs_per_ns=speed, heating_c_per_s=0.0, power_mode="full")
    scope = replace(SCOPE, rounds_most=2)
    said = foretold(device, scope)
    bench(SPACE, device=device, runtime="simulated", folder=tmp_path / "run", scope=scope)
    moments = json.loads((device.transport.files / MOMENTS).read_text())
    taken_min = max(row[3] for row in moments) / 60
    assert said["minutes"]["least"] == said["minutes"]["most"]
    assert taken_min / 2 < said["minutes"]["least"] < taken_min * 2


@pytest.mark.slow
def test_what_is_said_is_what_is_measured(tmp_path: Path) -> None:
    device = phone(tmp_path)
    said = foretold(device)
    assert said["rounds"] == {"least": 2, "most": 6}
    assert said["minutes"]["most"] == pytest.approx(3 * said["minutes"]["least"], rel=0.1)
    assert said["files_to_build"] > 200 and said["batch_memory_mib"] > 0
    assert not (tmp_path / "run").exists()
    lut = bench(SPACE, device=device, runtime="simulated", folder=tmp_path / "run", scope=replace(SCOPE, rounds_most=2))
    assert (said["rows"], said["networks"], said["networks_again"]) == (len(lut.rows), 8, 8)
    again = foretold(device)
    assert again["files_to_build"] == 0 and again["files"] == said["files"]
    with journals.open_journal(tmp_path / "run" / JOURNAL) as journal:
        assert max(batch for _, batch, _ in journal.batches()) + 1 == said["batches_a_round"]
    assert (tmp_path / "run" / AGAIN_JOURNAL).exists()
    part = replace(checked(tmp_path / "run" / "lut"), rows=lut.rows[10:])
    missing = foretold(device, replace(SCOPE, fit=0, holdout=0, rounds_most=2, missing_from=part))
    assert missing["rows"] == 10 and missing["networks"] == missing["networks_again"] == 0 and missing["company"] > 50
    assert missing["minutes"]["least"] < said["minutes"]["least"]


def test_a_pace_grows_with_work_and_keeps_to_its_probes() -> None:
    ops = sorted(ops_in(SPACE), key=lambda op: op.macs)
    least, most = ops[0], ops[-1]
    pace = Pace(
        op_macs=np.array([least.macs, most.macs], dtype=float),
        op_ns={"hot": np.array([1e3, 1e5]), "cold": np.array([2e3, 3e5])},
        op_load_ns=np.array([1e6, 2e6]), network_macs=1e6, network_ns={"hot": 5e5, "cold": 6e5}, network_load_ns=7e6,
        bare_ns={}, canary_ns={}, start_s=0.0, rss_mib=0.0,
    )  # fmt: skip
    assert pace.call_ns([least], "hot") == pytest.approx(1e3) and pace.call_ns([most], "cold") == pytest.approx(3e5)
    between = pace.call_ns([ops[len(ops) // 2]], "hot")
    assert 1e3 < between < 1e5 and pace.load_ns([most]) == pytest.approx(2e6)
    assert pace.call_ns([least, most], "hot") == pytest.approx(5e5 * (least.macs + most.macs) / 1e6)


@pytest.mark.slow
def test_the_command_writes_nothing(tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OFA_CACHE", str(tmp_path / "cache"))
    options = ["--runtime", "simulated", "--device", "simulated-phone", "--channels", "1", "--classes", "10"]
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--space", "mobilenet_v3_tiny", *options, "--out", str(tmp_path / "out"), "--dry-run", "--json"])
    assert not ended.value.code and not (tmp_path / "out").exists()
    said = json.loads(capsys.readouterr().out)
    assert (said["networks"], said["rounds"]) == (20 + 12, {"least": 5, "most": 15}) and "factor of 2" in said["rough"]
