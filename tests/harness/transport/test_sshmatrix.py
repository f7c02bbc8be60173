"""Each fault of a lab in the middle of a batch over a real OpenSSH server: no sample is lost, none comes twice, and
nobody waits for long."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from transport.lab import BOOT_ID, MISSING, SSHD, Link, Sshd, make_key, may_link, may_unshare, signal_to
from transport.test_sshfaults import told
from transport.wire import TUN, Wire
from unbroken import HALVES, half, idle, measured, notes, once, triples, values, whole, whole_job

from harness.artefacts import File
from harness.inventory import AGENT_ENVIRONMENT, Device
from harness.plan import Plan, Rounds, write
from harness.transport.ssh import Ssh

pytestmark = pytest.mark.slow

MONTH_S = 30 * 86400
# The device's Python: it may say garbage before it is the agent, and its clock may be set.
PYTHON = """#!/bin/sh
case "$*" in *--files*) if [ -e '{home}/garbage' ]; then
  rm '{home}/garbage'; head -c 100000000 /dev/zero | tr '\\0' g
fi ;; esac
exec '{python}' "$@"
"""
CLOCK = """
import time
real = time.time
def told():
    with open({offset!r}) as stream:
        return real() + float(stream.read() or 0)
time.time = told
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.link.SILENCE_S", 4.0)
    monkeypatch.setattr("harness.link.RETRY_S", 4.0)


@pytest.fixture
def over(
    tmp_path: Path, way: Callable[..., Ssh], device: Device, plan: Callable[..., Plan], onnx_files: list[File]
) -> Callable[[Sshd], tuple[Device, Plan]]:
    """Return what gives a device reached over SSH, and a plan whose only batch takes a second or two there."""

    def make(sshd: Sshd) -> tuple[Device, Plan]:
        python, clock = tmp_path / "python", tmp_path / "clock"
        python.write_text(PYTHON.format(home=sshd.home, python=sys.executable))
        python.chmod(0o755)
        clock.mkdir()
        (clock / "offset").write_text("0")
        (clock / "sitecustomize.py").write_text(CLOCK.format(offset=str(clock / "offset")))
        settings = {**AGENT_ENVIRONMENT, "PYTHONPATH": str(clock)}
        ssh = way(sshd, python=str(python), environment=settings, connect_s=3.0, silence_s=4.0)
        return replace(device, transport=ssh), plan(onnx_files, rounds=1, protocol=HALVES)

    return make


def set_clock(folder: Path, seconds: float) -> None:
    (folder / "clock" / "offset").write_text(str(seconds))


def end(numbers: list[int]) -> None:
    """Kill some processes of the device, of which there must be one."""
    assert numbers
    for number in numbers:
        signal_to(number, signal.SIGKILL)


def server_killed(sshd: Sshd, folder: Path) -> None:
    sshd.kill()
    time.sleep(1.5)
    sshd.serve()


def agent_killed(sshd: Sshd, folder: Path) -> None:
    end(sshd.followers())


def garbage(sshd: Sshd, folder: Path) -> None:
    (sshd.home / "garbage").touch()
    end(sshd.followers())
    deadline_s = time.monotonic() + 20
    while (sshd.home / "garbage").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not (sshd.home / "garbage").exists(), "nobody said it"


def frozen_a_while(sshd: Sshd, folder: Path) -> None:
    sshd.freeze()
    time.sleep(5.0)
    sshd.thaw()


def clock_forward(sshd: Sshd, folder: Path) -> None:
    set_clock(folder, MONTH_S)


def clock_back(sshd: Sshd, folder: Path) -> None:
    set_clock(folder, -MONTH_S)


@pytest.mark.parametrize(
    "fault", [server_killed, agent_killed, garbage, frozen_a_while, clock_forward, clock_back], ids=lambda f: f.__name__
)
def test_what_the_worker_outlives_costs_nothing(
    sshd: Sshd, over: Callable[..., tuple[Device, Plan]], tmp_path: Path, fault: Callable[[Sshd, Path], None]
) -> None:
    device, plan = over(sshd)
    began_s = time.monotonic()
    with once(lambda: half(sshd.jobs), lambda: fault(sshd, tmp_path)):
        journal = measured(device, plan, tmp_path / "journal.sqlite")
    with journal:
        assert time.monotonic() - began_s < 60
        assert triples(journal) == whole(plan) and {row.attempt for row in journal.samples()} == {1}, notes(journal)
    assert idle(sshd.workers)


@pytest.fixture
def booting(tmp_path: Path) -> Iterator[Sshd]:
    """Return a device whose restarts can be told apart, as a real one's."""
    if not SSHD.exists():
        pytest.skip(MISSING)
    (tmp_path / "probe").write_text("x\n")
    if not may_unshare("--bind", str(tmp_path / "probe"), BOOT_ID):
        pytest.skip("mount namespaces need root and the package 'util-linux'")
    device = Sshd(tmp_path / "device", boots=True)
    try:
        yield device.start()
    finally:
        device.stop()


@pytest.mark.parametrize(("reboots", "said"), [(True, "started anew"), (False, "in the middle of it")])
def test_what_the_worker_does_not_outlive_is_measured_again(
    booting: Sshd, over: Callable[..., tuple[Device, Plan]], tmp_path: Path, reboots: bool, said: str
) -> None:
    device, plan = over(booting)
    strike = booting.start if reboots else lambda: end(booting.workers())
    began_s = time.monotonic()
    with once(lambda: half(booting.jobs), strike):
        journal = measured(device, plan, tmp_path / "journal.sqlite")
    with journal:
        assert time.monotonic() - began_s < 60
        assert triples(journal) == whole(plan) and {row.attempt for row in journal.samples()} == {2}
        (note,) = notes(journal)
        assert "lost its worker (attempt 1)" in note and said in note
    assert idle(booting.workers)


def new_host_key(sshd: Sshd) -> None:
    sshd.kill()
    make_key(sshd.folder / "host")
    sshd.serve()


def key_revoked(sshd: Sshd) -> None:
    (sshd.folder / "authorized").write_text("")
    sshd.kill()
    sshd.serve()


def key_given_back(sshd: Sshd) -> None:
    shutil.copy(sshd.folder / "login.pub", sshd.folder / "authorized")


@pytest.mark.parametrize(
    ("strike", "said", "mend"),
    [
        (new_host_key, ("is not the one that was trusted", "--replace"), lambda sshd: sshd.known_hosts),
        (key_revoked, ("took none of 1 keys",), key_given_back),
        (Sshd.freeze, ("stopped answering",), Sshd.thaw),
    ],
    ids=["host key changed", "key revoked", "frozen"],
)
def test_who_cannot_go_on_says_so_and_goes_on_later(
    sshd: Sshd, over: Callable[..., tuple[Device, Plan]], tmp_path: Path,
    strike: Callable[[Sshd], None], said: tuple[str, ...], mend: Callable[[Sshd], object],
) -> None:  # fmt: skip
    device, plan = over(sshd)
    with once(lambda: half(sshd.jobs), lambda: strike(sshd)), told(60, *said):
        measured(device, plan, tmp_path / "journal.sqlite")
    mend(sshd)
    measured_meanwhile = whole_job(sshd.jobs)
    # A device without a battery for its clock finds the date meanwhile: what it holds is not a month old.
    set_clock(tmp_path, MONTH_S)
    with measured(device, plan, tmp_path / "journal.sqlite") as journal:
        assert triples(journal) == whole(plan) and values(journal) == measured_meanwhile
    assert idle(sshd.workers)


@pytest.fixture
def behind(link: Link, tmp_path: Path) -> Iterator[Sshd]:
    """Return a device behind a link that can be cut."""
    device = Sshd(tmp_path / "device", link=link)
    try:
        yield device.start()
    finally:
        device.stop()


def test_a_link_that_is_down_for_ten_seconds(
    link: Link, behind: Sshd, over: Callable[..., tuple[Device, Plan]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.link.RETRY_S", 20.0)
    device, plan = over(behind)

    def cut() -> None:
        link.down()
        time.sleep(10.0)
        link.up()

    with once(lambda: half(behind.jobs), cut):
        journal = measured(device, plan, tmp_path / "journal.sqlite")
    with journal:
        assert triples(journal) == whole(plan) and {row.attempt for row in journal.samples()} == {1}, notes(journal)
    assert idle(behind.workers)


def test_a_link_that_is_down_for_ever(
    link: Link, behind: Sshd, over: Callable[..., tuple[Device, Plan]], tmp_path: Path
) -> None:
    device, plan = over(behind)
    with once(lambda: half(behind.jobs), link.down), told(30, "stopped answering"):
        measured(device, plan, tmp_path / "journal.sqlite")
    measured_meanwhile = whole_job(behind.jobs)
    link.up()
    with measured(device, plan, tmp_path / "journal.sqlite") as journal:
        assert triples(journal) == whole(plan) and values(journal) == measured_meanwhile
    assert idle(behind.workers)


def test_a_slow_link_that_loses_packets(over: Callable[..., tuple[Device, Plan]], tmp_path: Path) -> None:
    wire = Wire(delay_ms=10.0, loss=0.01, seed=5)
    if not SSHD.exists():
        pytest.skip(MISSING)
    if not Path(TUN).exists() or not may_link(wire):
        pytest.skip(f"a slow link needs root, {TUN} and the package 'iproute2'")
    link = Link(wire)
    sshd = Sshd(tmp_path / "device", link=link)
    try:
        link.start()
        device, plan = over(sshd.start())
        plan = plan.model_copy(update={"rounds": 3, "protocol": Rounds(rounds_most=3, drift_most=10.0)})
        with measured(device, plan, tmp_path / "journal.sqlite") as journal:
            assert triples(journal) == whole(plan) and {row.attempt for row in journal.samples()} == {1}, notes(journal)
        assert idle(sshd.workers)
    finally:
        sshd.stop()
        link.stop()
    assert wire.lost and wire.carried > 100


HOST = """
    import pathlib
    from harness import inventory, journal, plan, session
    from harness.transport.ssh import Ssh
    from harness.transport.sshconfig import Address
    folder = pathlib.Path({folder!r})
    the_plan = plan.read(folder / "plan.json")
    address = Address(host={host!r}, port={port}, user={user!r}, identities=(pathlib.Path({identity!r}),))
    ssh = Ssh(device="board", address=address, python={python!r}, known_hosts=pathlib.Path({known_hosts!r}),
              agent=pathlib.Path({agent!r}), files=folder / "files", environment={environment!r})
    device = inventory.Device(profile=inventory.load_profile("this-computer"), transport=ssh)
    with journal.resume(folder / "journal.sqlite", the_plan) as opened:
        session.run(the_plan, device=device, journal=opened)
"""


def test_a_host_that_is_killed_finds_what_was_measured_without_it(
    sshd: Sshd, over: Callable[..., tuple[Device, Plan]], tmp_path: Path
) -> None:
    device, plan = over(sshd)
    ssh = device.transport
    assert isinstance(ssh, Ssh)
    write(plan, tmp_path / "plan.json")
    program = textwrap.dedent(HOST).format(
        folder=str(tmp_path), host=sshd.host, port=sshd.port, user=sshd.user, identity=str(sshd.folder / "login"),
        python=ssh.python, known_hosts=str(ssh.known_hosts), agent=str(ssh.agent), environment=ssh.environment,
    )  # fmt: skip
    host = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    try:
        with once(lambda: half(sshd.jobs), host.kill):
            assert host.wait(timeout=40) == -signal.SIGKILL
    finally:
        host.kill()
        host.wait()
    measured_meanwhile = whole_job(sshd.jobs)
    deadline_s = time.monotonic() + 10
    while sshd.agents() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not sshd.agents(), "its agent ends with it, and the worker with its work"
    with measured(device, plan, tmp_path / "journal.sqlite") as journal:
        assert triples(journal) == whole(plan) and values(journal) == measured_meanwhile


def test_a_disk_that_fills_up_in_the_middle(tmp_path: Path, over: Callable[..., tuple[Device, Plan]]) -> None:
    if not SSHD.exists():
        pytest.skip(MISSING)
    if not may_unshare():
        pytest.skip("mount namespaces need root and the package 'util-linux'")
    sshd = Sshd(tmp_path / "device", home_mib=8)
    try:
        device, plan = over(sshd.start())
        # Records of more than one block of the disk, in as much time.
        items = tuple(
            item.model_copy(update={"key": f"op{number}.n1"})
            for number in range(48) for item in plan.items[:2]
        )  # fmt: skip
        protocol = plan.protocol.model_copy(update={"hot_bursts": 40})
        plan = plan.model_copy(update={"items": items, "protocol": protocol})
        filler, given_up = sshd.jobs.parents[2] / "filler", threading.Event()

        def keep_full() -> None:
            """Take the last byte while the worker waits, and whatever a job that is removed gives back."""
            held = sshd.workers()
            for number in held:
                signal_to(number, signal.SIGSTOP)
            fill(filler)
            for number in held:
                signal_to(number, signal.SIGCONT)
            while not given_up.wait(0.01):
                fill(filler)

        with once(lambda: half(sshd.jobs), keep_full):
            try:
                with told(60, "No space left"):
                    measured(device, plan, tmp_path / "journal.sqlite")
            finally:
                given_up.set()
        filler.unlink()
        with measured(device, plan, tmp_path / "journal.sqlite") as journal:
            assert triples(journal) == whole(plan)
        assert idle(sshd.workers)
    finally:
        sshd.stop()


def fill(path: Path) -> None:
    """Write until the disk takes no byte more."""
    with path.open("ab", buffering=0) as stream, contextlib.suppress(OSError):
        for size_bytes in (1 << 16, 1 << 9, 1):
            with contextlib.suppress(OSError):
                while stream.write(b"x" * size_bytes):
                    pass
