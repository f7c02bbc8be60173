"""Gives a device a part of a CPU only: by the kernel where it lets us, else by stopping it again and again."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from transport.lab import Sshd, signal_to

CGROUPS = Path("/sys/fs/cgroup")
PERIOD_MS, RUNS_MS = 100, 20


def capped(device: Sshd) -> contextlib.AbstractContextManager[None]:
    """Give a device a fifth of a CPU for the length of a block, in the way that is allowed here."""
    return by_quota(device) if may_cap() else by_stops(device)


def may_cap() -> bool:
    """Say whether a quota can be set here."""
    group = _group("trial")
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        _limit(group)
    except OSError:
        return False
    finally:
        group.rmdir()
    return True


def _group(name: str) -> Path:
    """Return where a group of that name is or would be."""
    return (CGROUPS if _is_v2() else CGROUPS / "cpu") / f"ofa-test-{os.getpid()}-{name}"


def _is_v2() -> bool:
    return (CGROUPS / "cgroup.controllers").exists()


def _limit(group: Path) -> None:
    """Let a group run for a part of each period only."""
    if _is_v2():
        (group / "cpu.max").write_text(f"{RUNS_MS * 1000} {PERIOD_MS * 1000}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_MS * 1000))
        (group / "cpu.cfs_quota_us").write_text(str(RUNS_MS * 1000))


@contextlib.contextmanager
def by_quota(device: Sshd) -> Iterator[None]:
    """Let the kernel stop all of a device that has had its part of a period."""
    group = _group(device.token)
    group.mkdir()
    try:
        _limit(group)
        for number in device.processes():
            (group / "cgroup.procs").write_text(str(number))
        yield
    finally:
        device.stop()
        _remove(group)


def _remove(group: Path, most_s: float = 30.0) -> None:
    """Remove a group once the last of its killed processes has ended, which those held back take a while to do."""
    until_s = time.monotonic() + most_s
    while True:
        try:
            return group.rmdir()
        except OSError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def by_stops(device: Sshd) -> Iterator[None]:
    """Stop what measures on a device for most of each period."""
    over = threading.Event()
    stopped: set[int] = set()

    def stop_and_go() -> None:
        while not over.wait(RUNS_MS / 1000):
            found = [number for number, line in device.processes().items() if "agent-" in line]
            stopped.update(found)
            for number in found:
                signal_to(number, signal.SIGSTOP)
            over.wait((PERIOD_MS - RUNS_MS) / 1000)
            for number in found:
                signal_to(number, signal.SIGCONT)

    thread = threading.Thread(target=stop_and_go, daemon=True)
    thread.start()
    try:
        yield
        assert stopped, "nothing was stopped"
    finally:
        over.set()
        thread.join(timeout=10)
        device.thaw()
