"""The one connection a device is reached over: made when it is first needed, made anew when it is dead."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import answer_refused, device_lost
from harness.transport.errors import device_unreachable, words_refused
from harness.transport.lastwords import LastWords
from harness.transport.sshlink import Link, Route, bounded, connect

if TYPE_CHECKING:
    import paramiko

READ_BYTES = 1 << 16
MOST_ANSWER_BYTES = 1 << 16
DRAIN_S = 5.0
SESSION_ENDS_S = 2.0


class Line:
    """A connection shared by all conversations with a device, safe to use from several threads."""

    __slots__ = ("link", "lock")

    def __init__(self) -> None:
        """Begin without a connection."""
        self.link: Link | None = None
        self.lock = threading.Lock()

    @property
    def alive(self) -> bool:
        """Say whether there is a connection that nothing has ended."""
        return self.link is not None and self.link.alive

    def linked(self, route: Route) -> Link:
        """Return the connection, made anew where it is dead; raises DeviceLost."""
        with self.lock:
            if self.link is None or not self.link.alive:
                self._drop()
                self.link = connect(route)
            return self.link

    def session(self, route: Route) -> tuple[Link, paramiko.Channel]:
        """Open a session; a connection that fails in this is replaced once. Raises DeviceLost."""
        import paramiko

        link, until_s = self.link, time.monotonic() + SESSION_ENDS_S
        while True:
            fresh = link is None or not link.alive
            link = self.linked(route)
            try:
                return link, link.transport.open_session(timeout=route.connect_s)
            except paramiko.ChannelException as fault:
                # One that has just been closed counts until the server has seen the end of its command.
                if time.monotonic() < until_s:
                    time.sleep(0.1)
                    continue
                why = f"'{route.address}' refuses one more session: {fault.text}"
                raise device_unreachable(route.device, why, "see 'MaxSessions' of its sshd") from fault
            except (paramiko.SSHException, EOFError, OSError) as fault:
                self.drop(link)
                if fresh:
                    why = f"'{route.address}' opened no session: {fault or 'end of file'}"
                    raise device_unreachable(route.device, why, "it may be frozen or overloaded") from fault

    def drop(self, link: Link | None = None) -> None:
        """End the connection; only where it still is ``link``, if one is given."""
        with self.lock:
            if link is None or link is self.link:
                self._drop()

    def _drop(self) -> None:
        """End the connection; the lock is held."""
        link, self.link = self.link, None
        if link:
            link.close()


class Drain:
    """Reads what a command says on stderr, for ever: a full window would stop it; its last line is kept."""

    __slots__ = ("channel", "said", "thread")

    def __init__(self, channel: paramiko.Channel, on_line: Callable[[bytes], bool] | None = None) -> None:
        """Begin to read, in a thread of its own; lines that ``on_line`` takes are not kept."""
        self.channel = channel
        self.said = LastWords(on_line)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        """Read until the channel ends."""
        while True:
            try:
                chunk = self.channel.recv_stderr(READ_BYTES)
            except TimeoutError:
                continue
            except (OSError, EOFError):
                return
            if not chunk:
                return
            self.said.add(chunk)

    def last(self) -> str:
        """Return the last line, once the channel has ended."""
        self.thread.join(timeout=DRAIN_S)
        return self.said.told()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended: its exit status, what it printed, and its last words on stderr."""

    status: int
    output: bytes
    last_words: str


def words(arguments: Sequence[str]) -> str:
    """Return a command line that any shell takes apart into these words again; raises UsageInvalid.

    A line break or another control character is refused: shells differ in what they make of it.
    """
    for argument in arguments:
        if not argument.isprintable():
            raise words_refused(argument)
    return " ".join(map(shlex.quote, arguments))


def begin(route: Route, channel: paramiko.Channel, command: str) -> None:
    """Start a command on a fresh session; raises DeviceLost."""
    import paramiko

    transport = channel.get_transport()
    try:
        with bounded(transport, route.connect_s):
            channel.exec_command(command)
    except (paramiko.SSHException, EOFError, OSError) as fault:
        raise device_lost(route.device, f"'{route.address}' started no command: {fault or 'end of file'}") from fault


def run(
    line: Line, route: Route, arguments: Sequence[str], *, timeout_s: float, most_bytes: int = MOST_ANSWER_BYTES
) -> Finished:
    """Run a command and return how it ended; raises DeviceLost after ``timeout_s``, or for an answer of more than
    ``most_bytes``.

    A status of -1 is a command that was ended by a signal, or a connection that broke.
    """
    command = "exec " + words(arguments)
    link, channel = line.session(route)
    deadline_s = time.monotonic() + timeout_s
    output = bytearray()
    try:
        begin(route, channel, command)
        drain = Drain(channel)
        channel.shutdown_write()
        while True:
            # One that goes on talking is over by the clock, too.
            if (left_s := deadline_s - time.monotonic()) <= 0:
                raise TimeoutError
            channel.settimeout(left_s)
            chunk = channel.recv(READ_BYTES)
            output += chunk
            if len(output) > most_bytes:
                raise answer_refused(route.device, f"'{arguments[0]}' printed more than {most_bytes:,} bytes")
            if not chunk:
                break
        channel.status_event.wait(max(0.05, deadline_s - time.monotonic()))
        return Finished(status=channel.exit_status, output=bytes(output), last_words=drain.last())
    except TimeoutError as fault:
        raise device_lost(route.device, f"'{arguments[0]}' did not end within {timeout_s:g} s") from fault
    except (EOFError, OSError) as fault:
        raise device_lost(route.device, f"the connection broke: {fault or 'end of file'}") from fault
    finally:
        shut(link, channel)


def shut(link: Link, channel: paramiko.Channel) -> None:
    """Close a session, however stuck its connection is."""
    if link.alive:
        with bounded(link.transport, DRAIN_S):
            try:
                channel.close()
            except (EOFError, OSError):
                link.transport.close()
