"""Runs the agent on a phone that has a Python, over one long-lived 'adb shell', and brings it files that are verified
there."""

from __future__ import annotations

import contextlib
import posixpath
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import device_lost
from harness.transport.adb_client import Client, check_serial, quoted
from harness.transport.child import Ended
from harness.transport.contract import OnBytes, Said, silent
from harness.transport.errors import folder_refused, no_room, phone_path_invalid, phone_too_old
from harness.transport.local import CLOSE_S, LocalChannel, start
from ofa.errors import DeviceLost, MeasurementRefused, OfaError
from ofa.files import sha256_file

MAX_QUERY_BYTES = 1 << 20
MAX_NAME_CHARACTERS = 200
FOREIGN_LINES = 20
KILL_S = 5.0
PUSH_S = 30.0
# Below this a link is taken for dead rather than slow, bytes a second.
SLOWEST_BYTES_S = 200_000
STALL_S = 20.0
SPARE_BYTES = 1 << 20
NO_SHA256SUM = 64
DIFFERS = 65

# What is asked of a phone's shell: POSIX words only, since it is mksh with toybox there, and older ones have less.
PREPARE = f"""command -v sha256sum >/dev/null || exit {NO_SHA256SUM}
mkdir -p "$1" || exit 1
if [ -f "$2" ]; then sha256sum < "$2"; fi
df -k "$1"
exit 0"""
FINISH = f"""found=$(sha256sum < "$1") || exit 1
case "$found" in
"$3"*) mv -f "$1" "$2" ;;
*) exit {DIFFERS} ;;
esac"""
# A process number may be another's by now: the one to be ended carries our token in its environment.
KILL = """grep -q "$2" "/proc/$1/environ" 2>/dev/null || exit 0
kill -9 "-$1" 2>/dev/null || kill -9 "$1\""""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adb:
    """How to start the agent on a phone: its serial, the Python there, the agent's archive, the folder of files here.

    ``folder`` is the phone's folder of ours, absolute. ``server_port`` is that of an adb server that is not at its
    usual one. ``query_s`` bounds every question to the phone that is none of the agent.
    """

    device: str
    serial: str
    python: str
    agent: Path
    files: Path
    folder: str = "/data/local/tmp/ofa-lab"
    environment: dict[str, str] = field(default_factory=dict)
    adb: str = "adb"
    server_port: int | None = None
    query_s: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what could not be named on a phone; raises UsageInvalid."""
        check_serial(self.device, self.serial)
        if not posixpath.isabs(self.folder) or not self.folder.isprintable() or ".." in self.folder.split("/"):
            raise phone_path_invalid(self.device, f"folder '{self.folder}'")
        for name, value in self.environment.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not (value.isprintable() or not value):
                raise phone_path_invalid(self.device, f"environment variable '{name}'")

    @property
    def client(self) -> Client:
        """Return the phone as the program adb reaches it."""
        return Client(device=self.device, serial=self.serial, adb=self.adb, server_port=self.server_port)

    @property
    def remote(self) -> bool:
        """Say that the phone is reached over a link."""
        return True

    @property
    def private(self) -> tuple[str, ...]:
        """Return the serial."""
        return (self.serial,)

    @property
    def there(self) -> str:
        """Return the phone's folder of model files."""
        return posixpath.join(self.folder, "files")

    def ready(self) -> None:
        """Return where the phone answers, after connecting it where that is needed; raises DeviceLost."""
        self.client.ready()

    def shell(self, words: Sequence[str], *, timeout_s: float | None = None, max_bytes: int = MAX_QUERY_BYTES) -> Said:
        """Run one command on the phone and return its exit code and output; raises DeviceLost, also where it gives more
        than ``max_bytes`` or takes longer than ``timeout_s`` (absent: ``query_s``)."""
        return self.client.shell(words, timeout_s=timeout_s or self.query_s, max_bytes=max_bytes)

    def ask(self, words: Sequence[str]) -> str | None:
        """Return the output of a command on the phone as text, None where it failed; raises DeviceLost."""
        said = self.shell(words)
        return said.out.decode("utf-8", "replace") if said.code == 0 else None

    def open(self) -> AdbChannel:
        """Bring the agent and start it; raises DeviceLost, and MeasurementRefused where the phone is too old, does not
        take files or has no room."""
        self.client.ready()
        if "shell_v2" not in self.client.features():
            raise phone_too_old(self.device)
        agent = posixpath.join(self.folder, f"agent-{sha256_file(self.agent)[:16]}.pyz")
        self._bring(self.agent, agent, silent)
        token = f"ofa_{secrets.token_hex(8)}"
        settings = {**self.environment, "OFA_LAB_AGENT": token}
        script = "; ".join(
            [
                f"echo {token} $$",
                f"mkdir -p {quoted([self.there])}",
                # Left by a push whose link was lost; another host's that is on its way is younger.
                f"find {quoted([self.there])} -name '*.part' -mtime +0 -exec rm -f {{}} ';'",
                *(f"export {name}={quoted([value])}" for name, value in settings.items()),
                f"exec {quoted([self.python, agent, '--files', self.there])}",
            ]
        )
        local = start(self.device, self.client.argv("shell", "-T", script), self.client.environment)
        channel = AdbChannel(client=self.client, local=local, token=token)
        try:
            channel.begin(timeout_s=self.query_s)
        except BaseException:
            channel.kill()
            raise
        return channel

    def push(self, path: Path, name: str, *, on_bytes: OnBytes = silent) -> None:
        """Bring a file to the folder the agent reads, under ``name``, whole or not at all.

        One that is there already, byte for byte, is not sent again. Raises DeviceLost; MeasurementRefused where the
        phone has no room, or no way to verify; UsageInvalid for a name that is not plain.
        """
        plain = name.isprintable() and "/" not in name and not name.startswith(("-", "."))
        if not name or not plain or len(name) > MAX_NAME_CHARACTERS:
            raise phone_path_invalid(self.device, f"file name '{name}'")
        self.client.ready()
        self._bring(path, posixpath.join(self.there, name), on_bytes)

    def end(self) -> None:
        """Do nothing: the connection is the adb server's, which others use too."""

    def _bring(self, path: Path, place: str, on_bytes: OnBytes) -> None:
        """Bring a file to a place on the phone, whole or not at all."""
        digest, size_bytes = sha256_file(path), path.stat().st_size
        on_bytes(0, size_bytes)
        said = self.shell(["sh", "-c", PREPARE, "sh", posixpath.dirname(place), place])
        if said.code == NO_SHA256SUM:
            raise folder_refused(self.device, "it has no 'sha256sum', so that nobody could tell what arrived there")
        if said.code != 0:
            raise self._refused(said, size_bytes)
        if not said.out.startswith(digest.encode()):
            free_bytes = free_of(said.out.decode("utf-8", "replace"))
            if free_bytes is not None and free_bytes < size_bytes + SPARE_BYTES:
                raise no_room(self.device, size_bytes, free_bytes, spare_bytes=SPARE_BYTES)
            # Two hosts may bring the same file at once: each draft has a name of its own.
            part = f"{place}.{secrets.token_hex(4)}.part"
            try:
                self._send(path, part, size_bytes, on_bytes)
                self._finish(part, place, digest, size_bytes)
            except BaseException:
                with contextlib.suppress(OfaError):
                    self.shell(["rm", "-f", part], timeout_s=KILL_S)
                raise
        on_bytes(size_bytes, size_bytes)

    def _send(self, path: Path, part: str, size_bytes: int, on_bytes: OnBytes) -> None:
        """Send a file's bytes; raises DeviceLost where it stalls or the link ends, MeasurementRefused for no room."""
        watch = Watch(grown=lambda: self._size(part), size_bytes=size_bytes, on_bytes=on_bytes, device=self.device)
        ended = self.client.run(
            "push", str(path.resolve()), part, timeout_s=PUSH_S + size_bytes / SLOWEST_BYTES_S, on_turn=watch.look
        )
        if ended.code == 0 and not ended.why:
            return
        text = (ended.out + ended.err).decode("utf-8", "replace").strip()
        if "no space left" in text.lower():
            raise no_room(self.device, size_bytes, None)
        # What adb says before that names files of this computer.
        if said := re.search(r"\bremote (.*(?:permission denied|read-only file system).*)", text, re.IGNORECASE):
            raise folder_refused(self.device, said[1])
        # Older versions of adb say on stdout why they failed.
        raise self.client.lost(Ended(code=ended.code, out=b"", err=ended.err or ended.out, why=ended.why))

    def _size(self, part: str) -> int:
        """Return how many bytes of a file have arrived, 0 where nobody can tell."""
        said = self.shell(["stat", "-c", "%s", part], timeout_s=KILL_S)
        return int(said.out) if said.code == 0 and said.out.strip().isdigit() else 0

    def _finish(self, part: str, place: str, digest: str, size_bytes: int) -> None:
        """Compare what arrived with what was sent, and give it its name."""
        # Reading it back takes time, too.
        timeout_s = self.query_s + size_bytes / SLOWEST_BYTES_S
        said = self.shell(["sh", "-c", FINISH, "sh", part, place, digest], timeout_s=timeout_s)
        if said.code == DIFFERS:
            raise device_lost(self.device, "what arrived there is not what was sent")
        if said.code != 0:
            raise self._refused(said, size_bytes)

    def _refused(self, said: Said, size_bytes: int) -> MeasurementRefused:
        """Return why the phone did not let us write."""
        text = (said.err or said.out).decode("utf-8", "replace").strip()
        if "no space left" in text.lower():
            return no_room(self.device, size_bytes, None)
        return folder_refused(self.device, text.splitlines()[-1] if text else f"exit code {said.code}")


def free_of(text: str) -> int | None:
    """Return the bytes that are free by what 'df -k' says (toybox, busybox, GNU), None where it cannot be told."""
    lines = [line for line in text.splitlines() if line.strip()]
    # A long name of a file system may stand on a line of its own: what counts are the fields before the share in use.
    found = re.search(r"\s(\d+)\s+\d{1,3}%\s", lines[-1] + " ") if lines else None
    return int(found[1]) * 1024 if found else None


@dataclass(slots=True, kw_only=True)
class Watch:
    """Looks how far a file has come, and gives it up where it stays where it is."""

    grown: Callable[[], int]
    size_bytes: int
    on_bytes: OnBytes
    device: str
    most_bytes: int = 0
    since_s: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        """Tell how many bytes are there; raises DeviceLost where no more came for twenty seconds."""
        now_bytes = 0
        with contextlib.suppress(DeviceLost):
            now_bytes = min(self.grown(), self.size_bytes)
        if now_bytes > self.most_bytes:
            self.most_bytes, self.since_s = now_bytes, time.monotonic()
            self.on_bytes(now_bytes, self.size_bytes)
        elif now_bytes < self.size_bytes and time.monotonic() - self.since_s > STALL_S:
            raise device_lost(self.device, f"no byte more arrived there in {STALL_S:g} s")


@dataclass(slots=True, kw_only=True)
class AdbChannel:
    """An open conversation with an agent on a phone, through adb as a child process."""

    client: Client
    local: LocalChannel
    token: str
    process: str | None = None

    def begin(self, *, timeout_s: float) -> None:
        """Wait for the shell to say the number of the process that becomes the agent; raises DeviceLost."""
        deadline_s = time.monotonic() + timeout_s
        for _ in range(FOREIGN_LINES):
            left_s = max(0.0, deadline_s - time.monotonic())
            line = self.receive(timeout_s=left_s, max_bytes=MAX_QUERY_BYTES)
            found = re.fullmatch(re.escape(self.token.encode()) + rb" ([0-9]{1,10})\s*", line)
            if found:
                self.process = found[1].decode()
                return
        raise device_lost(self.client.device, "its shell says other things than it is asked")

    def send(self, line: bytes, *, timeout_s: float) -> None:
        """Write one line; raises DeviceLost where the agent ended or does not read for ``timeout_s``."""
        try:
            self.local.send(line, timeout_s=timeout_s)
        except DeviceLost as fault:
            raise self.client.explained(fault) from fault

    def receive(self, *, timeout_s: float, max_bytes: int) -> bytes:
        """Return the next line; raises DeviceLost at the end, after ``timeout_s`` of silence, or past ``max_bytes``."""
        try:
            return self.local.receive(timeout_s=timeout_s, max_bytes=max_bytes)
        except DeviceLost as fault:
            raise self.client.explained(fault) from fault

    def close(self) -> None:
        """End the agent by closing its input; kill it where it does not end within a few seconds."""
        stdin = self.local.process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError):
            stdin.close()
        try:
            self.local.process.wait(timeout=CLOSE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            self.local.kill()

    def kill(self) -> None:
        """End the agent and everything it started, now: adb here, and over another shell the process there."""
        self.local.kill()
        if self.process is not None:
            with contextlib.suppress(OfaError):
                self.client.shell(["sh", "-c", KILL, "sh", self.process, self.token], timeout_s=KILL_S)
