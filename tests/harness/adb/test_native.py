"""`ofa bench` by a program on a phone over adb: the double of a phone, and a stand-in that truly runs the networks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from adb.adbd_double import Phone
from harness import bench as benches
from harness.cli import main
from harness.lab import FOLDER_VARIABLE, LAB
from harness.native import devices
from harness.native.transport import Native
from harness.plan import Rounds
from harness.tables import TABLE
from harness.transport.adb import Adb
from harness.transport.ssh import Ssh
from ofa.errors import DeviceLost, UsageInvalid
from ofa.files import sha256_file
from ofa.lut.format import read

STAND_IN = Path(__file__).parents[1] / "native" / "stand_in_benchmark_model.py"
LISTED = """
[devices.some-phone]
kind = "this-computer"
adb = "{serial}"
adb_port = {port}
folder = "{folder}"
[devices.board]
kind = "this-computer"
ssh = "lab@127.0.0.1:2222"
"""
HEAT = "IsStatusOverride: false\nThermal Status: 0\nCurrent temperatures from HAL:\n" + (
    "        Temperature{mValue=33.5, mType=0, mName=AP, mStatus=0}\n"
)


@pytest.fixture
def listed(
    phone: Callable[..., Phone], adb_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Phone]:
    """Return a maker of the phone that the lab's list has."""

    def make() -> Phone:
        one = phone()
        one.tool("dumpsys", f"if [ $1 = thermalservice ]; then cat <<'END'\n{HEAT}END\nelse echo 'level: 80'; fi")
        one.tool("getprop", "echo '[ro.product.model]: [A made-up phone]'")
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "lab"))
        monkeypatch.setenv("OFA_CACHE", str(tmp_path / "cache"))
        (tmp_path / "lab").mkdir()
        text = LISTED.format(serial=one.serial, port=adb_port, folder=one.folder / "ofa-lab")
        (tmp_path / "lab" / LAB).write_text(text)
        return one

    return make


@pytest.fixture
def program(tmp_path: Path) -> Path:
    for package in ("ai_edge_litert", "flatbuffers"):
        pytest.importorskip(package, reason=f"the package '{package}' is not installed")
    path = tmp_path / "benchmark_model"
    path.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    return path


@pytest.mark.slow
def test_a_program_on_a_phone_measures_networks_into_a_table(
    listed: Callable[[], Phone], program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benches, "Rounds", partial(Rounds, drift_most=10.0, hot_bursts=1))
    monkeypatch.setattr(devices, "Native", partial(Native, warm_s=0.01, run_s=0.02))
    one = listed()
    words = ["bench", "--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10", "--device", "some-phone"]
    words += ["--runtime", "benchmark_model", "--program", str(program), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        main(
            [
                *words,
                "--fit",
                "2",
                "--holdout",
                "0",
                "--rounds",
                "1",
                "--rounds-most",
                "1",
                "--no-again",
                "--allow-load",
            ]
        )
    assert not ended.value.code
    lut = read(tmp_path / "run" / TABLE)
    assert len(lut.networks) == 2 and all(row.ns and "summary" in row.flags for row in lut.networks)
    environment = lut.header.environment
    assert environment["model"] == "A made-up phone" and environment["program_sha256"] == sha256_file(program)
    assert lut.sessions[0]["temperature_c"] == {"AP": 33.5}
    assert not (one.folder / "ofa-lab" / "lease.json").exists(), "it was given back"
    # The program and the networks were brought to the phone's folder, and nothing of a run is left there.
    there = sorted(path.name for path in (one.folder / "ofa-lab" / "files").iterdir())
    assert any(name.startswith("benchmark_model-") for name in there) and any(n.endswith(".tflite") for n in there)
    assert not [name for name in there if name.startswith("result-") or name.endswith(".part")]
    kept = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert one.serial.encode() not in kept


@pytest.mark.slow
def test_a_phone_that_vanishes_is_a_lost_device(listed: Callable[[], Phone], program: Path, tmp_path: Path) -> None:
    one = listed()
    device = devices.native("some-phone", tmp_path / "files", runtime="benchmark_model", program=program)
    assert isinstance(device.transport, Native) and isinstance(device.transport.shell, Adb)
    assert device.transport.private == (one.serial,) and not device.transport.remote
    channel = device.transport.open()
    one.bytes_until_gone = 200
    channel.send(b'{"id": 1, "do": "hello", "runtimes": ["benchmark_model"]}', timeout_s=1)
    with pytest.raises(DeviceLost) as fault:
        channel.receive(timeout_s=1, max_bytes=1 << 16)
    assert one.serial not in f"{fault.value.what}: {fault.value.why}"


def test_a_board_over_ssh_takes_a_program_and_a_simulated_device_none(
    listed: Callable[[], Phone], program: Path, tmp_path: Path
) -> None:
    pytest.importorskip("paramiko", reason="the package 'paramiko' is not installed")
    listed()
    board = devices.native("board", tmp_path / "files", runtime="benchmark_model", program=program)
    assert isinstance(board.transport, Native) and isinstance(board.transport.shell, Ssh)
    with pytest.raises(UsageInvalid, match="not measured on device 'simulated-phone'"):
        devices.native("simulated-phone", tmp_path / "files", runtime="benchmark_model", program=program)


@pytest.mark.slow
def test_a_check_of_a_phone_without_python_says_what_can_be_brought(
    listed: Callable[[], Phone], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    listed()
    path = tmp_path / "lab" / LAB
    path.write_text(path.read_text().replace('kind = "this-computer"\nadb', 'kind = "pixel-7"\npython = "none"\nadb'))
    with pytest.raises(SystemExit) as ended:
        main(["devices", "check", "some-phone", "--json"])
    found = {one["check"]: one for one in json.loads(capsys.readouterr().out)}
    assert ended.value.code == 4 and not found["agent"]["fine"]
    assert found["shell"]["fine"] and "A made-up phone" in found["shell"]["seen"]
    for program in ("benchmark_model", "ort_perf_test"):
        assert "'--program FILE' brings your build" in found[f"program {program}"]["seen"]
    assert "npu" in found["program benchmark_model"]["seen"]
    assert found["temperature"]["fine"] and "33.5" in found["temperature"]["seen"] and found["cores"]["fine"]
