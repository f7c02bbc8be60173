"""A double of adbd, the daemon on a phone, for the real program adb: this is test code and no device.

It speaks as much of adb's protocol over TCP as the tests need: connect, refuse a key, a shell with and without
shell_v2, and a push. Its shell runs commands of this computer in a folder of its own, and its sync service writes
below that folder only. Nothing it says is a measurement.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

HEADER = struct.Struct("<6I")
PACKET = struct.Struct("<BI")
SYNC = struct.Struct("<4sI")
MOST_BYTES = 1 << 18
VERSION = 0x01000001  # from this version on nobody checks sums


def word(name: bytes) -> int:
    return int.from_bytes(name, "little")


CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (word(name) for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE"))
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


Serve = Callable[["Phone", "Stream", bool, bytes], None]


@contextlib.contextmanager
def within(most_s: float = 60.0) -> Iterator[None]:
    """Fail where the block takes longer than that: every wait has an end."""
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < most_s


class Gone(Exception):
    """The other side is no longer there."""


class Phone:
    """One phone: what it can do and what goes wrong with it are set before, or while, adb speaks to it."""

    def __init__(self, folder: Path, *, shell_v2: bool = True, authorised: bool = True, greets: bool = True) -> None:
        """Listen on a port of the loopback interface that the system chooses."""
        self.folder = folder.resolve()
        self.shell_v2, self.authorised, self.greets = shell_v2, authorised, greets
        self.tools = self.folder / "bin"
        self.tools.mkdir(parents=True, exist_ok=True)
        # Faults: bytes of streams until the daemon dies (or freezes), and bytes that its storage still takes.
        self.bytes_until_gone: int | None = None
        self.freezes = False
        self.room_bytes: int | None = None
        self.refuses = ""
        self.spoils = False
        self.hangs_up = True
        self.frozen = threading.Event()
        self.links: set[Link] = set()
        self.children: set[subprocess.Popen[bytes]] = set()
        self.guard = threading.Lock()
        self.port = 0
        self.come_back()

    def come_back(self) -> None:
        """Answer again where it answered before, after `die`."""
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def tool(self, name: str, script: str) -> None:
        """Put a program on the phone's path, before those of this computer."""
        path = self.tools / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def says(self, name: str, text: str) -> None:
        """Put a program on the phone's path that prints a text."""
        (self.tools / f"{name}.txt").write_text(text)
        self.tool(name, f'cat "{self.tools / name}.txt"')

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                link = Link(self, connection)
                self.links.add(link)
                threading.Thread(target=link.serve, daemon=True).start()

    def vanish(self) -> None:
        """Drop every connection, as where a cable is pulled; a new one is answered."""
        for link in list(self.links):
            link.cut()

    def die(self) -> None:
        """End the daemon: nothing is answered any more."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.vanish()

    def close(self) -> None:
        """End everything that was started."""
        self.frozen.clear()
        self.die()
        for child in list(self.children):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait(timeout=10)

    def spend(self, count: int) -> None:
        """Count bytes of streams; the daemon dies where it was told to after so many."""
        with self.guard:
            if self.bytes_until_gone is None:
                return
            self.bytes_until_gone -= count
            over = self.bytes_until_gone < 0
        if over and self.freezes:
            self.frozen.set()
        elif over:
            self.die()
            raise Gone


class Link:
    """One connection of an adb server to the phone."""

    def __init__(self, phone: Phone, connection: socket.socket) -> None:
        self.phone, self.connection = phone, connection
        self.sending = threading.Lock()
        self.streams: dict[int, Stream] = {}
        self.most_bytes = 4096
        self.opened = 0

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = HEADER.pack(command, first, second, len(data), 0, command ^ 0xFFFFFFFF)
        try:
            with self.sending:
                self.connection.sendall(head + data)
        except OSError as fault:
            raise Gone from fault

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            chunk = self.connection.recv(count - len(data))
            if not chunk:
                raise Gone
            data += chunk
        return bytes(data)

    def serve(self) -> None:
        """Answer until the connection ends."""
        with contextlib.suppress(Gone, OSError):
            while True:
                command, first, second, count, _, magic = HEADER.unpack(self._exactly(HEADER.size))
                data = self._exactly(count)
                while self.phone.frozen.is_set():
                    threading.Event().wait(0.05)
                if magic != command ^ 0xFFFFFFFF:
                    raise Gone
                self._take(command, first, second, data)
        for stream in list(self.streams.values()):
            stream.end()
        self.connection.close()
        self.phone.links.discard(self)

    def _take(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == CNXN:
            self.most_bytes = min(second, MOST_BYTES)
            if not self.phone.authorised:
                self.send(AUTH, 1, 0, os.urandom(20))
            elif self.phone.greets:
                features = "cmd" + (",shell_v2" if self.phone.shell_v2 else "")
                self.send(CNXN, VERSION, MOST_BYTES, b"device::ro.product.model=Double;features=" + features.encode())
        elif command == AUTH and first == 2:  # a signature, which is never good enough; a key (3) is never confirmed
            self.send(AUTH, 1, 0, os.urandom(20))
        elif command == OPEN:
            self._open(first, data.rstrip(b"\0"))
        elif command in (OKAY, WRTE, CLSE):
            stream = self.streams.get(second)
            if stream is None:
                if command == WRTE:
                    self.send(CLSE, 0, first)
            elif command == OKAY:
                stream.free.set()
            elif command == WRTE:
                self.phone.spend(len(data))
                stream.incoming.put(data)
                self.send(OKAY, second, first)
            else:
                stream.end()

    def _open(self, remote: int, service: bytes) -> None:
        kind, _, argument = service.partition(b":")
        options = kind.split(b",")
        if options[0] not in (b"shell", b"sync"):
            self.send(CLSE, 0, remote)
            return
        self.opened += 1
        stream = Stream(self, self.opened, remote)
        self.streams[stream.local] = stream
        self.send(OKAY, stream.local, remote)
        serve = shell if options[0] == b"shell" else sync
        arguments = (self.phone, stream, b"v2" in options, argument)
        threading.Thread(target=stream.run, args=(serve, arguments), daemon=True).start()


class Stream:
    """One stream of a link: bytes come in by a queue, one packet at a time goes out."""

    def __init__(self, link: Link, local: int, remote: int) -> None:
        self.link, self.local, self.remote = link, local, remote
        self.incoming: queue.Queue[bytes | None] = queue.Queue()
        self.held = b""
        self.free = threading.Event()
        self.free.set()
        self.over = False

    def run(self, serve: Serve, arguments: tuple[Phone, Stream, bool, bytes]) -> None:
        with contextlib.suppress(Gone, OSError):
            serve(*arguments)
        with contextlib.suppress(Gone, OSError):
            self.free.wait(timeout=5)
            self.link.send(CLSE, self.local, self.remote)
        self.link.streams.pop(self.local, None)

    def end(self) -> None:
        self.over = True
        self.incoming.put(None)
        self.free.set()

    def some(self) -> bytes:
        """Return what came, b"" at the end."""
        data, self.held = self.held, b""
        if not data and not self.over:
            data = self.incoming.get() or b""
        return data or (b"" if self.incoming.empty() else self.incoming.get() or b"")

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = self.some()
            if not chunk:
                raise Gone
            data += chunk
        self.held = data[count:] + self.held
        return data[:count]

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), self.link.most_bytes):
            chunk = data[start : start + self.link.most_bytes]
            self.link.phone.spend(len(chunk))
            self.free.wait()
            if self.over:
                raise Gone
            self.free.clear()
            self.link.send(WRTE, self.local, self.remote, chunk)


def shell(phone: Phone, stream: Stream, packets: bool, command: bytes) -> None:
    """Run a command of this computer: with shell_v2 in packets that name the output, without it as on old phones."""
    merged = subprocess.PIPE if packets else subprocess.STDOUT
    child = subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=phone.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=merged, start_new_session=True,
        env={**os.environ, "PATH": f"{phone.tools}:{os.environ['PATH']}"},
    )  # fmt: skip
    phone.children.add(child)
    threading.Thread(target=_type, args=(phone, stream, packets, child), daemon=True).start()
    writing = threading.Lock()

    def forward(source: IO[bytes], kind: int) -> None:
        with contextlib.suppress(Gone, OSError):
            while data := os.read(source.fileno(), 1 << 15):
                with writing:
                    # An old phone's terminal turns each end of line into two characters.
                    stream.write(PACKET.pack(kind, len(data)) + data if packets else data.replace(b"\n", b"\r\n"))

    assert child.stdout is not None
    threads = [threading.Thread(target=forward, args=(child.stdout, STDOUT), daemon=True)]
    if packets:
        threads.append(threading.Thread(target=forward, args=(child.stderr, STDERR), daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    code = child.wait()
    phone.children.discard(child)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    if packets:
        stream.write(PACKET.pack(EXIT, 1) + bytes([code if code >= 0 else 128 - code]))


def _type(phone: Phone, stream: Stream, packets: bool, child: subprocess.Popen[bytes]) -> None:
    """Give a command what is typed, and hang up on it where the stream ends before it does."""
    assert child.stdin is not None
    with contextlib.suppress(Gone, OSError, ValueError):
        while True:
            if not packets:
                data = stream.some()
                if not data:
                    break
            else:
                kind, count = PACKET.unpack(stream.exactly(PACKET.size))
                data = stream.exactly(count)
                if kind == CLOSE_STDIN:
                    child.stdin.close()
                if kind != STDIN:
                    continue
            child.stdin.write(data)
            child.stdin.flush()
    with contextlib.suppress(OSError):
        child.stdin.close()
    if phone.hangs_up and child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGHUP)


def sync(phone: Phone, stream: Stream, _: bool, __: bytes) -> None:
    """Say what a path is, and take files."""
    while True:
        kind, count = SYNC.unpack(stream.exactly(SYNC.size))
        path = stream.exactly(count).decode()
        if kind == b"STAT":
            found = Path(path).stat() if Path(path).exists() else None
            numbers = (found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime)) if found else (0, 0, 0)
            stream.write(struct.pack("<4s3I", b"STAT", *numbers))
        elif kind == b"SEND":
            why = _take_file(phone, stream, Path(path.rpartition(",")[0]))
            stream.write(SYNC.pack(b"FAIL", len(why)) + why.encode() if why else SYNC.pack(b"OKAY", 0))
        else:
            return


def _take_file(phone: Phone, stream: Stream, path: Path) -> str:
    """Write a file as it comes; return why not."""
    own = path.resolve().is_relative_to(phone.folder)
    refusal = phone.refuses or ("" if own else "the double writes in its own folder only")
    room = phone.room_bytes
    with open(os.devnull, "wb") if refusal else path.open("wb") as file:
        why = refusal
        while True:
            kind, count = SYNC.unpack(stream.exactly(SYNC.size))
            if kind == b"DONE":
                return why
            data = stream.exactly(count)
            if room is not None:
                room -= count
                why = "write failed: No space left on device" if room < 0 else refusal
            if not why:
                file.write(data[::-1] if phone.spoils else data)
