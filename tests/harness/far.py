"""A device on the far side of a link that breaks on request: a process of this computer with a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.errors import device_lost
from harness.inventory import Device, this_computer
from harness.transport.contract import OnBytes, silent
from harness.transport.local import Local, LocalChannel

ENDS_S = 30

# Gives a line in place of the next one: from what takes the next, those given before, and those kept back.
Take = Callable[[], bytes]
Spoil = Callable[[Take, list[bytes], list[bytes]], bytes]


def stray(take: Take, given: list[bytes], held: list[bytes]) -> bytes:
    return b"Connection to far closed by remote host."


@dataclass(slots=True)
class Faults:
    """What goes wrong: after so many lines of a connection, for so many connections."""

    cut_after: list[int] = field(default_factory=list)
    garbage_after: list[int] = field(default_factory=list)
    garbage: Spoil = stray
    closed: int = 0
    opened: int = 0
    pushed: list[str] = field(default_factory=list)


class Cut:
    """A channel that breaks, or says garbage, after some lines."""

    def __init__(self, inner: LocalChannel, cut: int | None, garbage: int | None, spoil: Spoil) -> None:
        self.inner, self.cut, self.garbage, self.spoil = inner, cut, garbage, spoil
        self.lines = 0
        self.given: list[bytes] = []
        self.held: list[bytes] = []

    def send(self, line: bytes, *, timeout_s: float) -> None:
        self.inner.send(line, timeout_s=timeout_s)

    def receive(self, *, timeout_s: float, max_bytes: int) -> bytes:
        self.lines += 1
        if self.cut is not None and self.lines > self.cut:
            self.inner.kill()
            raise device_lost("far", "the link was cut")

        def take() -> bytes:
            return self.inner.receive(timeout_s=timeout_s, max_bytes=max_bytes)

        spoilt = self.garbage is not None and self.lines > self.garbage
        self.given.append(self.spoil(take, self.given, self.held) if spoilt else take())
        return self.given[-1]

    def close(self) -> None:
        self.inner.close()

    def kill(self) -> None:
        self.inner.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Far:
    """How to reach it: the agent runs on other files than the host's, and what is pushed is copied."""

    inner: Local
    files: Path
    faults: Faults

    @property
    def agent(self) -> Path:
        return self.inner.agent

    @property
    def remote(self) -> bool:
        return True

    @property
    def private(self) -> tuple[str, ...]:
        return ()

    def open(self) -> Cut:
        self.faults.opened += 1
        if self.faults.closed:
            self.faults.closed -= 1
            raise device_lost("far", "nobody answers")
        cut = self.faults.cut_after.pop(0) if self.faults.cut_after else None
        garbage = self.faults.garbage_after.pop(0) if self.faults.garbage_after else None
        return Cut(self.inner.open(), cut, garbage, self.faults.garbage)

    def push(self, path: Path, name: str, *, on_bytes: OnBytes = silent) -> None:
        self.faults.pushed.append(name)
        shutil.copy(path, self.inner.files / name)
        on_bytes(path.stat().st_size, path.stat().st_size)

    def end(self) -> None:
        pass

    @property
    def jobs(self) -> Path:
        """Return the folder of the jobs on the device."""
        return self.inner.files.parent / "jobs"

    def workers(self) -> list[int]:
        """Return the processes of workers that live."""
        return [pid for pid, line in _processes() if "--work" in line and str(self.jobs) in line]

    def no_worker_is_left(self) -> bool:
        """Say whether no worker lives any more; one that has told all may take a while to end on a busy computer."""
        until_s = time.monotonic() + ENDS_S
        while self.workers() and time.monotonic() < until_s:
            time.sleep(0.05)
        return not self.workers()

    def kill_workers(self) -> int:
        """Kill all workers, as a device does that runs out of memory."""
        found = self.workers()
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return len(found)

    def reboot(self) -> None:
        """Kill all workers, and let their journals be from before the last start of the device."""
        # Whoever follows must not find them dead before the device was started anew.
        for pid in self.workers():
            os.kill(pid, signal.SIGSTOP)
        for journal in self.jobs.glob("*/journal.jsonl"):
            first, _, rest = journal.read_bytes().partition(b"\n")
            began = json.loads(first) | {"boot_id": "another"}
            journal.write_bytes(json.dumps(began).encode() + b"\n" + rest)
        self.kill_workers()


def _processes() -> list[tuple[int, str]]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append((int(path.parent.name), path.read_bytes().replace(b"\0", b" ").decode()))
        except OSError:
            continue
    return found


def far(folder: Path) -> tuple[Device, Far]:
    """Return a device behind a link, and its transport with the faults to come."""
    near = this_computer(folder / "files")
    assert isinstance(near.transport, Local)
    device_files = folder / "device" / "files"
    device_files.mkdir(parents=True)
    transport = Far(inner=replace(near.transport, files=device_files), files=near.transport.files, faults=Faults())
    return replace(near, transport=transport), transport
