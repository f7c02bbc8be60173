"""Each fault of adb in the middle of a batch: no sample is lost, none comes twice, and nobody waits for long."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from transport.lab import command_of, living, signal_to
from unbroken import HALVES, half, idle, measured, notes, once, triples, values, whole, whole_job

from adb.adbd_double import Phone, within
from harness.artefacts import File
from harness.inventory import Device
from harness.plan import Plan
from harness.transport.adb import Adb
from ofa.errors import DeviceLost

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.link.SILENCE_S", 4.0)
    monkeypatch.setattr("harness.link.RETRY_S", 5.0)


@pytest.fixture
def one(phone: Callable[..., Phone]) -> Iterator[Phone]:
    """Return a phone on which no worker is left."""
    made = phone()
    yield made
    for number in workers(made):
        signal_to(number, signal.SIGKILL)


@pytest.fixture
def asked(
    one: Phone, reach: Callable[..., Adb], device: Device, plan: Callable[..., Plan], onnx_files: list[File]
) -> tuple[Device, Plan]:
    """Return the phone as a device, and a plan whose only batch takes a second or two there."""
    return replace(device, transport=reach(one, query_s=10.0)), plan(onnx_files, rounds=1, protocol=HALVES)


def jobs(phone: Phone) -> Path:
    return phone.folder / "ofa-lab" / "jobs"


def workers(phone: Phone) -> list[int]:
    lines = {number: command_of(number) for number, _ in living()}
    return [number for number, line in lines.items() if "--work" in line and str(jobs(phone)) in line]


def end_server(port: int) -> None:
    """End the adb server, as another program does that brings its own version."""
    variables = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(port)}
    subprocess.run([shutil.which("adb") or "adb", "kill-server"], env=variables, capture_output=True, timeout=30)


@pytest.mark.parametrize("fault", ["server killed", "offline", "agent killed"])
def test_what_the_worker_outlives_costs_nothing(
    one: Phone, asked: tuple[Device, Plan], adb_port: int, tmp_path: Path, fault: str
) -> None:
    device, plan = asked

    def strike() -> None:
        if fault == "server killed":
            end_server(adb_port)
        elif fault == "offline":
            one.vanish()
        else:
            lines = {number: command_of(number) for number, _ in living()}
            agents = [
                number for number, line in lines.items()
                if str(one.folder) in line and "agent-" in line and "python" in line.split()[0] and "--work" not in line
            ]  # fmt: skip
            assert agents
            for number in agents:
                signal_to(number, signal.SIGKILL)

    with within():
        with once(lambda: half(jobs(one)), strike):
            journal = measured(device, plan, tmp_path / "journal.sqlite")
        with journal:
            assert triples(journal) == whole(plan) and {row.attempt for row in journal.samples()} == {1}, notes(journal)
    assert idle(lambda: workers(one))


@pytest.mark.parametrize("fault", ["unauthorized", "vanished"])
def test_a_phone_that_is_gone_is_measured_on_later(
    one: Phone, asked: tuple[Device, Plan], tmp_path: Path, fault: str
) -> None:
    device, plan = asked

    def strike() -> None:
        if fault == "vanished":
            one.die()
        else:
            one.authorised = False
            one.vanish()

    with within(), once(lambda: half(jobs(one)), strike), pytest.raises(DeviceLost) as lost:
        measured(device, plan, tmp_path / "journal.sqlite")
    assert {"unauthorized": "key", "vanished": "adb"}[fault] in lost.value.why and lost.value.hints
    before = whole_job(jobs(one))
    if fault == "vanished":
        one.come_back()
    else:
        one.authorised = True
        one.vanish()
        time.sleep(0.5)
    with measured(device, plan, tmp_path / "journal.sqlite") as journal:
        assert triples(journal) == whole(plan) and values(journal) == before
    assert idle(lambda: workers(one))
