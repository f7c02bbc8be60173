"""Runs the agent on this computer as a child process: bounded waits, stderr always drained, the whole group killed on
abort."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import device_lost
from harness.transport.answerlines import AnswerLines
from harness.transport.contract import OnBytes, silent
from harness.transport.lastwords import LastWords

CLOSE_S = 5.0
READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """A device whose agent runs on this computer: which archive, and the folder of model files it may read."""

    device: str
    agent: Path
    files: Path

    @property
    def remote(self) -> bool:
        """Say that the agent runs here."""
        return False

    @property
    def private(self) -> tuple[str, ...]:
        """Return nothing: there is no address."""
        return ()

    def push(self, path: Path, name: str, *, on_bytes: OnBytes = silent) -> None:
        """Do nothing: the agent reads this computer's folder."""

    def end(self) -> None:
        """Do nothing: there is no connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Local(Here):
    """How to start the agent for this computer itself: with which Python."""

    python: str
    environment: dict[str, str] = field(default_factory=dict)

    def open(self) -> LocalChannel:
        """Start an agent process; raises DeviceLost where it cannot be started."""
        return start(self.device, [self.python, str(self.agent), "--files", str(self.files)], self.environment)


def start(device: str, command: Sequence[str], environment: Mapping[str, str]) -> LocalChannel:
    """Start a child process that speaks as an agent; raises DeviceLost where it cannot be started."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,  # its own group: Ctrl-C is ours to handle, and abort reaches its children
            bufsize=0,
        )
    except OSError as fault:
        why = f"'{command[0]}' cannot be started: {fault.strerror}"
        raise device_lost(device, why, "check the device's python") from fault
    return LocalChannel(device, process)


class LocalChannel:
    """An open conversation with an agent process."""

    __slots__ = ("complaints", "device", "drain", "process", "received")

    def __init__(self, device: str, process: subprocess.Popen[bytes]) -> None:
        """Take a started process and begin to drain its stderr."""
        self.device = device
        self.process = process
        self.received = AnswerLines(device)
        self.complaints = LastWords()
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        self.drain = threading.Thread(target=self._drain, daemon=True)
        self.drain.start()

    def _drain(self) -> None:
        """Keep the last line of stderr; a full pipe would stop the agent in the middle of a sample."""
        stream = self.process.stderr
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(stream.fileno(), READ_BYTES):
                self.complaints.add(chunk)

    def send(self, line: bytes, *, timeout_s: float) -> None:
        """Write one line; raises DeviceLost where the agent ended or does not read for ``timeout_s``."""
        assert self.process.stdin is not None
        handle = self.process.stdin.fileno()
        deadline_s = time.monotonic() + timeout_s
        rest = memoryview(line)
        while rest:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([], [handle], [], left_s)[1]:
                raise device_lost(self.device, f"the agent read nothing for {timeout_s:g} s")
            try:
                rest = rest[os.write(handle, rest) :]
            except BlockingIOError:
                continue
            except OSError as fault:
                raise device_lost(self.device, self._ending()) from fault

    def receive(self, *, timeout_s: float, max_bytes: int) -> bytes:
        """Return the next line; raises DeviceLost at the end, after ``timeout_s`` of silence, or past ``max_bytes``."""
        assert self.process.stdout is not None
        handle = self.process.stdout.fileno()
        deadline_s = time.monotonic() + timeout_s
        while (line := self.received.take(max_bytes)) is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([handle], [], [], left_s)[0]:
                raise device_lost(self.device, f"nothing was heard for {timeout_s:g} s")
            chunk = os.read(handle, READ_BYTES)
            if not chunk:
                raise device_lost(self.device, self._ending())
            self.received.add(chunk)
        return line

    def _ending(self) -> str:
        """Say how the agent ended, with its last complaint."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=CLOSE_S)
        self.drain.join(timeout=CLOSE_S)
        code = self.process.returncode
        how = "closed its output" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by signal {-code}"
        last = self.complaints.told()
        return f"the agent {how}" + (f"; its last words: {last}" if last else "")

    def close(self) -> None:
        """End the agent by closing its input; kill it where it does not end within a few seconds."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=CLOSE_S)
        self.kill()

    def kill(self) -> None:
        """End the agent and everything it started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=CLOSE_S)
        self.drain.join(timeout=CLOSE_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
