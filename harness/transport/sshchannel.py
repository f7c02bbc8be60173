"""A conversation with an agent that runs at the other end of an SSH session."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

from harness.errors import device_lost
from harness.transport.answerlines import AnswerLines
from harness.transport.sshline import DRAIN_S, READ_BYTES, Drain, Line, run, shut
from harness.transport.sshlink import Link, Route, bounded
from ofa.errors import OfaError

if TYPE_CHECKING:
    import paramiko

CLOSE_S = 5.0
MARK = "ofa-agent-pid"
# The login shell gives way to this one, which names itself and gives way to the agent: all three are one process, the
# first of the group that sshd made for the session.
START = f'echo "{MARK} $$" >&2; exec "$@"'
# Only where the process still is our agent: after a restart of the device its number may be anybody's. Shells do not
# agree on how a group is named to 'kill'.
KILL = (
    'case "$(tr "\\0" " " 2>/dev/null < "/proc/$1/cmdline")" in ""|*"$2"*) '
    '{ kill -s KILL -- "-$1" || kill -9 "-$1" || kill -9 "$1"; } 2>/dev/null;; esac; :'
)
NOT_THERE = {126: "cannot be run", 127: "is not there"}


class SshChannel:
    """An open conversation with an agent on a device; one thread at a time sends and receives."""

    __slots__ = ("channel", "drain", "line", "link", "mark", "pid", "received", "route")

    def __init__(self, route: Route, line: Line, link: Link, channel: paramiko.Channel, *, mark: str) -> None:
        """Take a started agent whose command line holds ``mark``, and begin to drain its stderr."""
        self.route = route
        self.line = line
        self.link = link
        self.channel = channel
        self.mark = mark
        self.pid: str | None = None
        self.received = AnswerLines(route.device)
        self.drain = Drain(channel, on_line=self._named)

    def _named(self, line: bytes) -> bool:
        """Take the number of the process from the line that names it, and say that the line is no complaint."""
        found = re.fullmatch(MARK.encode() + rb" ([1-9][0-9]{0,9})\s*", line) if self.pid is None else None
        if found:
            self.pid = found.group(1).decode()
        return found is not None

    def send(self, line: bytes, *, timeout_s: float) -> None:
        """Write one line; raises DeviceLost where the agent ended or does not read for ``timeout_s``."""
        deadline_s = time.monotonic() + timeout_s
        rest = memoryview(line)
        # A long line fills the socket too, and how long that takes no setting of the session bounds.
        long = bounded(self.link.transport, timeout_s) if len(line) > READ_BYTES else contextlib.nullcontext()
        try:
            with long:
                while rest:
                    self.channel.settimeout(max(0.0, deadline_s - time.monotonic()))
                    rest = rest[self.channel.send(bytes(rest[:READ_BYTES])) :]
        except TimeoutError as fault:
            raise device_lost(self.route.device, f"the agent read nothing for {timeout_s:g} s") from fault
        except (OSError, EOFError) as fault:
            raise device_lost(self.route.device, self._ending()) from fault
        finally:
            self.channel.settimeout(DRAIN_S)

    def receive(self, *, timeout_s: float, max_bytes: int) -> bytes:
        """Return the next line; raises DeviceLost at the end, after ``timeout_s`` of silence, or past ``max_bytes``."""
        deadline_s = time.monotonic() + timeout_s
        while (line := self.received.take(max_bytes)) is None:
            self.received.add(self._read(max(0.0, deadline_s - time.monotonic()), timeout_s))
        return line

    def _read(self, left_s: float, timeout_s: float) -> bytes:
        """Return what has come, waiting for ``left_s`` of the ``timeout_s``; raises DeviceLost."""
        try:
            self.channel.settimeout(left_s)
            chunk = self.channel.recv(READ_BYTES)
        except TimeoutError as fault:
            raise device_lost(self.route.device, f"nothing was heard for {timeout_s:g} s") from fault
        except (OSError, EOFError) as fault:
            raise device_lost(self.route.device, self._ending()) from fault
        finally:
            # The thread that reads stderr waits by the same setting.
            self.channel.settimeout(DRAIN_S)
        if not chunk:
            raise device_lost(self.route.device, self._ending())
        return chunk

    def _ending(self) -> str:
        """Say how the agent ended, with its last complaint."""
        self.channel.status_event.wait(CLOSE_S)
        last = self.drain.last()
        status = self.channel.exit_status
        how = f"ended with exit code {status}"
        if status < 0:
            how = "was ended by a signal" if self.link.outlives() else "is out of reach: the connection broke"
        elif status in NOT_THERE:
            how = f"did not start: the device's python {NOT_THERE[status]}"
        return f"the agent {how}" + (f"; its last words: {last}" if last else "")

    def close(self) -> None:
        """End the agent by closing its input; kill it where it does not end within a few seconds."""
        if self.link.alive:
            with contextlib.suppress(OSError, EOFError), bounded(self.link.transport, CLOSE_S):
                self.channel.shutdown_write()
            self.channel.status_event.wait(CLOSE_S)
        self.kill()

    def kill(self) -> None:
        """End the agent and everything it started, now: over a new connection where this one is dead."""
        # An agent that has just been started may not have been heard of yet.
        until_s = time.monotonic() + CLOSE_S
        while self.pid is None and self.drain.thread.is_alive() and time.monotonic() < until_s:
            time.sleep(0.01)
        if self.pid is not None and self.channel.exit_status != 0:
            # The connection may be at its last session: a second one then reaches the device.
            for line in (self.line, Line()):
                try:
                    command = ["sh", "-c", KILL, "sh", self.pid, self.mark]
                    run(line, self.route, command, timeout_s=self.route.connect_s)
                    break
                except OfaError:
                    # Where not even the first is there, another is not either.
                    if line.link is None or not line.link.alive:
                        break
                finally:
                    if line is not self.line:
                        line.drop()
        shut(self.link, self.channel)
        self.drain.thread.join(timeout=CLOSE_S)
