"""A phone without a Python is held by a lease on itself: two hosts see the same one, and a stale one is taken over."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adb.adbd_double import Phone
from harness import doctor
from harness.appraise import appraise
from harness.inventory import Device, device_named
from harness.lab import FOLDER_VARIABLE, LAB
from harness.lease import ended, held, owner
from harness.native import agent as beside
from harness.native import devices
from harness.native.transport import Native
from harness.session import ready_runtime
from ofa.errors import DeviceLost, MeasurementRefused

LISTED = """
[devices.some-phone]
kind = "this-computer"
adb = "{serial}"
adb_port = {port}
folder = "{folder}"
python = "/nowhere/python3"
"""
# What the runner asks of a program before it is used, and one run of it.
PROGRAM = """#!/bin/sh
if [ "$1" = --help ]; then
  echo "--graph --num_runs --num_threads --use_xnnpack --warmup_runs --min_secs --max_secs --warmup_min_secs"
  exit 0
fi
echo "Inference timings in us: Init: 100, First inference: 90, Warmup (avg): 80, Inference (avg): 75"
echo "count=50 first=90 curr=75 min=70 max=95 avg=75 std=2 p5=71 median=75 p95=90"
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def listed(
    phone: Callable[..., Phone], adb_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Phone, Callable[[str], Device]]:
    """Return the phone of the lab's list, and a function that returns it as a host sees it that has its own home."""
    one = phone()

    def seen_by(host: str) -> Device:
        home = tmp_path / host
        home.mkdir(exist_ok=True)
        text = LISTED.format(serial=one.serial, port=adb_port, folder=one.folder / "ofa-lab")
        (home / LAB).write_text(text)
        monkeypatch.setenv(FOLDER_VARIABLE, str(home))
        monkeypatch.setenv("OFA_CACHE", str(home / "cache"))
        program = home / "benchmark_model"
        program.write_text(PROGRAM)
        return devices.native("some-phone", home / "files", runtime="benchmark_model", program=program)

    return one, seen_by


def test_of_two_hosts_one_holds_the_phone(
    listed: tuple[Phone, Callable[[str], Device]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, seen_by = listed
    lease = one.folder / "ofa-lab" / "lease.json"
    with held(seen_by("first"), tmp_path / "run") as mine:
        assert mine.lease is not None and json.loads(lease.read_text())["token"] == mine.lease
        with pytest.raises(MeasurementRefused, match=r"device 'some-phone' is held by .* on ") as refused:
            held(seen_by("second"), tmp_path / "run").__enter__()
        assert refused.value.exit_code == 5 and "ofa devices release some-phone" in refused.value.hints[1]
        with pytest.raises(MeasurementRefused, match=r"device 'some-phone' is held by .* on "):
            appraise([written(tmp_path, "model")], device=seen_by("second"), runtime="benchmark_model", folder=tmp_path)
    assert not lease.exists()
    with held(seen_by("second"), tmp_path / "run"):
        found = json.loads(lease.read_text())
        lease.write_text(json.dumps(found | {"until_s": 1.0, "owner": "ann on a host"}))
        # The second host was killed, say, and its lease ran out.
        with held(seen_by("first"), tmp_path / "run"):
            said = " ".join(capsys.readouterr().err.split())
            assert "took device 'some-phone' over from ann on a host, whose lease ran out" in said


def test_a_lease_is_renewed_while_programs_run_and_work_ends_where_it_is_lost(
    listed: tuple[Phone, Callable[[str], Device]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, seen_by = listed
    monkeypatch.setattr(beside, "RENEW_S", 0.0)
    lease = one.folder / "ofa-lab" / "lease.json"
    with held(seen_by("first"), tmp_path / "run") as mine:
        before = json.loads(lease.read_text())
        assert isinstance(mine.transport, Native)
        monkeypatch.setattr(Native, "path_of", lambda self, name: written(tmp_path, name))
        hello, _ = ready_runtime(mine, "benchmark_model")
        after = json.loads(lease.read_text())
        assert hello.boot_id == after["boot_id"] and after["until_s"] > before["until_s"]
        lease.write_text(json.dumps(after | {"token": "b" * 32, "owner": "bob"}))
        with pytest.raises(DeviceLost) as lost:
            ready_runtime(mine, "benchmark_model")
        assert "not held by this host any more" in lost.value.why
    assert json.loads(lease.read_text())["owner"] == "bob", "what is another's is not given back"


def test_a_lease_of_a_process_of_ours_that_is_no_more_is_told_from_others() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = owner().rpartition("(")[0]
    assert ended(f"{mine}(process {gone.pid})") and not ended(owner())
    assert not ended(f"bob on elsewhere (process {gone.pid})") and not ended(f"{mine}(process ../{gone.pid})")


def written(folder: Path, name: str) -> Path:
    """Return a file whose content is what its name says: any will do for a program that does not read it."""
    from ofa.files import sha256_bytes

    path = folder / sha256_bytes(name.encode())
    path.write_bytes(name.encode())
    return path


def test_a_lease_is_broken_without_a_python_on_the_phone(
    listed: tuple[Phone, Callable[[str], Device]], tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    one, seen_by = listed
    with held(seen_by("first"), tmp_path / "run") as mine:
        seen_by("second")
        checks = {check.what: check for check in doctor.of_device(lambda: device_named("some-phone", tmp_path / "f"))}
        assert not checks["agent"].fine and not checks["lease"].fine
        assert "held by" in checks["lease"].seen and "ofa devices release some-phone" in checks["lease"].remedy
        code, out, err = run("devices", "release", "some-phone", "--json")
        assert code == 0 and "(process " in json.loads(out)["was_held_by"], err
        with pytest.raises(DeviceLost):
            ready_runtime(replace(mine), "benchmark_model")
    code, out, _ = run("devices", "release", "some-phone", "--json")
    assert code == 0 and json.loads(out)["was_held_by"] is None
    assert sorted(path.name for path in (one.folder / "ofa-lab").glob("lease*")) == []
