"""`ofa bench` of the demo's space by the agent on a phone over adb: the real client, the double of a phone's daemon."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import ofa.space as spaces
from adb.adbd_double import Phone
from harness import bench as benches
from harness.cli import main
from harness.lab import FOLDER_VARIABLE, LAB
from harness.plan import Rounds
from harness.tables import TABLE
from ofa.lut.check import check
from ofa.lut.format import read
from ofa.space.index import ops_in

HERE = sorted(os.sched_getaffinity(0))
LISTED = """
[devices.some-phone]
kind = "this-computer"
adb = "{serial}"
adb_port = {port}
folder = "{folder}"
python = "{python}"
environment = {{ OFA_AGENT_ROOT = "{root}" }}
"""


@pytest.mark.slow
@pytest.mark.skipif(len(HERE) < 2, reason="one core alone is neither big nor little")
def test_the_demos_ops_and_networks_are_measured_by_the_agent_on_a_phones_big_cores(
    phone: Callable[..., Phone], adb_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one core is faster is what a tree says; that the worker was kept to it is true."""
    for package in ("onnxruntime", "onnx"):
        pytest.importorskip(package, reason=f"the package '{package}' is not installed")
    monkeypatch.setattr(benches, "Rounds", partial(Rounds, drift_most=10.0, cold_cycles=4, hot_bursts=1, burst_us=50))
    one = phone()
    one.tool("dumpsys", "echo 'Thermal Status: 0'")
    root = tmp_path / "root"
    for core in HERE:
        path = root / f"sys/devices/system/cpu/cpu{core}/cpu_capacity"
        path.parent.mkdir(parents=True)
        path.write_text("1024\n" if core == HERE[-1] else "400\n")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "lab"))
    monkeypatch.setenv("OFA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "lab").mkdir()
    folder = one.folder / "ofa-lab"
    text = LISTED.format(serial=one.serial, port=adb_port, folder=folder, python=sys.executable, root=root)
    (tmp_path / "lab" / LAB).write_text(text)
    words = ["bench", "--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10", "--device", "some-phone"]
    words += ["--runtime", "onnxruntime", "--out", str(tmp_path / "run"), "--fit", "2", "--holdout", "1"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--rounds", "1", "--rounds-most", "1", "--no-again", "--allow-load"])
    assert not ended.value.code
    lut = read(tmp_path / "run" / TABLE)
    assert check(tmp_path / "run" / TABLE)["valid"]
    space = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    wanted = {(op.key, state) for op in ops_in(space) for state in ("cold", "hot")}
    assert {(row.key, row.state) for row in lut.rows} == wanted | {("@session", "hot"), ("@io", "hot")}
    assert all(row.ns for row in lut.rows) and [row.split for row in lut.networks].count("fit") == 2
    environment = lut.header.environment
    assert environment["pinned"] == "big cores" and environment["tiers"].split()[0] == str(HERE[-1])  # type: ignore[union-attr]
    assert lut.header.conditions == "cpu-1t-big" and lut.sessions[0]["on_cores"] == str(HERE[-1])
    # The files were brought to the phone's folder; nothing that was kept here leads to the phone.
    assert len(list((folder / "files").iterdir())) > len(ops_in(space))
    kept = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert one.serial.encode() not in kept
