"""Brings files to a device over SFTP: whole and checked there, or not at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from harness.errors import answer_refused, device_lost
from harness.transport.contract import OnBytes
from harness.transport.errors import device_lacks, no_room
from harness.transport.sshline import Line, run, shut
from harness.transport.sshlink import Link, Route, bounded
from ofa.errors import OfaError

if TYPE_CHECKING:
    import paramiko

# What a device must keep free beside a file: a disk that is full to the last block breaks more than this.
MARGIN_BYTES = 1 << 20
MOST_LEFT_BYTES = 1 << 18
SLOWEST_BYTES_PER_S = 4 << 20

# Both run on the device, by its Python 3.6 or newer. They print one line of JSON.
HASH = """
import hashlib, json, os, sys, time
def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        part = stream.read(1048576)
        while part:
            digest.update(part)
            part = stream.read(1048576)
    return digest.hexdigest()
"""
LOOK = (
    HASH
    + """
folder, name = sys.argv[1:]
try:
    os.umask(63)
    os.makedirs(folder, exist_ok=True)
    disk = os.statvfs(folder)
    for draft in os.listdir(folder):
        beside = os.path.join(folder, draft)
        # What broke off yesterday; a younger one may be another host's, still on its way.
        if name and draft.startswith(name + ".") and draft.endswith(".part"):
            if time.time() - os.path.getmtime(beside) > 86400:
                os.remove(beside)
    path = os.path.join(folder, name)
    there = sha256(path) if name and os.path.isfile(path) else None
    print(json.dumps({"free_bytes": disk.f_bavail * disk.f_frsize, "sha256": there}))
except OSError as fault:
    print(json.dumps({"refused": fault.strerror}))
"""
)
SETTLE = (
    HASH
    + """
part, path, wanted = sys.argv[1:]
try:
    found = sha256(part)
    if found == wanted:
        handle = os.open(part, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        os.replace(part, path)
    else:
        os.remove(part)
    print(json.dumps({"sha256": found}))
except OSError as fault:
    print(json.dumps({"refused": fault.strerror}))
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder on a device, and how to work in it."""

    line: Line
    route: Route
    python: str
    folder: str


def bring(place: Place, path: Path, name: str, *, sha256: str, on_bytes: OnBytes) -> None:
    """Bring a file to a place under ``name``; nothing is sent where a file of this content is there.

    It is written beside it, checked by its hash on the device, and renamed. Raises DeviceLost, and MeasurementRefused
    where the device has no room, no Python, or refuses.
    """
    size_bytes = path.stat().st_size
    found = look(place, name, size_bytes)
    if found.get("sha256") == sha256:
        on_bytes(size_bytes, size_bytes)
        return
    free_bytes = found.get("free_bytes")
    if not isinstance(free_bytes, int):
        raise answer_refused(place.route.device, "it did not say how much room it has")
    if free_bytes < size_bytes + MARGIN_BYTES:
        raise no_room(place.route.device, size_bytes, free_bytes, spare_bytes=MARGIN_BYTES)
    target = f"{place.folder}/{name}"
    # Two hosts may bring the same file at once.
    part = f"{target}.{token_hex(4)}.part"
    try:
        _put(place, path, part, on_bytes)
        settled = _ask(place, SETTLE, [part, target, sha256], size_bytes)
        if settled.get("sha256") != sha256:
            raise device_lost(place.route.device, f"'{name}' arrived damaged", "try again; then check disk and memory")
    except BaseException:
        with contextlib.suppress(OfaError):
            run(place.line, place.route, ["rm", "-f", part], timeout_s=place.route.connect_s)
        raise


def look(place: Place, name: str = "", size_bytes: int = 0) -> dict[str, Any]:
    """Return ``free_bytes`` of a place, made where it is absent, and the ``sha256`` of a file in it, null for none."""
    return _ask(place, LOOK, [place.folder, name], size_bytes)


def _ask(place: Place, program: str, arguments: list[str], size_bytes: int) -> dict[str, Any]:
    """Run a small program on the device and return what it says; raises DeviceLost, MeasurementRefused."""
    # A line break is refused in what is sent to a shell: the program is one line that holds it.
    command = [place.python, "-I", "-S", "-c", f"exec({json.dumps(program)})", *arguments]
    timeout_s = place.route.silence_s + size_bytes / SLOWEST_BYTES_PER_S
    done = run(place.line, place.route, command, timeout_s=timeout_s)
    if done.status in (126, 127):
        why = f"its python '{place.python}' cannot be run: {done.last_words}"
        hint = "install Python 3.6 or newer there, or correct 'python' of the device in the lab's list"
        raise device_lacks(place.route.device, why, hint)
    try:
        said = json.loads(done.output.splitlines()[-1])
    except (ValueError, IndexError, RecursionError):
        said = None
    if not isinstance(said, dict) and not done.last_words:
        # A Python that fails says why: it was never begun.
        why = f"its login shell ran no command: exit code {done.status}" + _aside(done.output)
        raise device_lacks(place.route.device, why, "give its user a login shell that does, such as: chsh -s /bin/sh")
    if not isinstance(said, dict):
        why = f"exit code {done.status}; its last words: {done.last_words}"
        raise answer_refused(place.route.device, why)
    if "refused" in said:
        why = f"'{place.folder}' cannot be used: {said['refused']}"
        raise device_lacks(place.route.device, why, "check who owns the device's folder, and the disk it is on")
    return said


def _aside(output: bytes) -> str:
    """Return the last line of what came in the place of an answer, where there is one."""
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return f"; it says: {lines[-1].strip()[:200]}" if lines else ", and not a word"


def _put(place: Place, path: Path, part: str, on_bytes: OnBytes) -> None:
    """Send a file; raises DeviceLost, and MeasurementRefused where the device does not take it."""
    import paramiko

    device = place.route.device
    try:
        with _sftp(place) as client:
            client.put(str(path), part, callback=on_bytes)
    except TimeoutError as fault:
        raise device_lost(device, f"it took nothing of '{path.name}' for {place.route.silence_s:g} s") from fault
    except (PermissionError, FileNotFoundError) as fault:
        raise device_lacks(device, f"'{part}' cannot be written: {fault.strerror}") from fault
    except (EOFError, ConnectionError, paramiko.SSHException) as fault:
        raise device_lost(device, f"the connection broke while '{path.name}' was sent") from fault
    except OSError as fault:
        # SFTP has no word for a full disk, and what is refused in the middle of a file may be told by its size only.
        free_bytes = look(place).get("free_bytes", 0)
        if free_bytes < MOST_LEFT_BYTES:
            raise no_room(device, path.stat().st_size, free_bytes) from fault
        raise device_lacks(device, f"it does not take '{path.name}': {fault}") from fault


@contextlib.contextmanager
def _sftp(place: Place) -> Iterator[paramiko.SFTPClient]:
    """Open a conversation about files; raises DeviceLost, MeasurementRefused where the device has none."""
    import paramiko

    link, channel = place.line.session(place.route)
    try:
        channel.settimeout(place.route.silence_s)
        try:
            with bounded(link.transport, place.route.connect_s):
                channel.invoke_subsystem("sftp")
                client = paramiko.SFTPClient(channel)
        except (paramiko.SSHException, EOFError) as fault:
            raise _no_sftp(place, link) from fault
        yield client
    finally:
        shut(link, channel)


def _no_sftp(place: Place, link: Link) -> OfaError:
    """Say why no conversation about files began."""
    if not link.alive:
        return device_lost(place.route.device, "the connection broke, or was silent, while SFTP was asked for")
    hint = "add 'Subsystem sftp internal-sftp' to its sshd_config"
    return device_lacks(place.route.device, "its sshd offers no SFTP, which files are sent by", hint)
