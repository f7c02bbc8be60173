"""Runs a tool of the device: by its place below a root, with a deadline, its output capped, never while something is
timed."""

import os
import select
import signal
import subprocess
import time
from typing import Any, List, NamedTuple, Optional

FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin", "system/bin")
PATIENCE_S = 5.0
MOST_BYTES = 1 << 18
READ_BYTES = 1 << 14


class Said(NamedTuple):
    """What a tool said, and its exit code: None where it had to be ended."""

    code: Optional[int]
    text: str


def find(root: str, name: str) -> Optional[str]:
    """Return where a tool lies below ``root``, or None; a path is never searched, so that no one can slip one in."""
    for folder in FOLDERS:
        path = os.path.join(root, folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def ask(
    root: str,
    words: List[str],
    patience_s: float = PATIENCE_S,
    lines: Optional[int] = None,
    given: Optional[str] = None,
    privileged: bool = False,
) -> Optional[Said]:
    """Run a tool and return what it said, errors too; None where it is not there.

    It is ended after ``patience_s``, or once it has said so many ``lines``: some never end by themselves. ``given`` is
    its input; without one a question of it meets the end of its input. ``privileged`` runs it by "sudo -n" unless this
    process is root already: where a password would be asked for, that fails.
    """
    path = find(root, words[0])
    if path is None:
        return None
    command = [path] + words[1:]
    if privileged and os.geteuid() != 0:
        sudo = find(root, "sudo")
        if sudo is None:
            return None
        command = [sudo, "-n"] + command
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    except OSError:
        return None
    try:
        return _heard(process, time.monotonic() + patience_s, lines, given)
    finally:
        _end(process)


def _heard(process: Any, deadline_s: float, lines: Optional[int], given: Optional[str]) -> Said:
    """Give a process its input and read what it says until it ends, has said enough, or the time is up."""
    try:
        # A few bytes: they fit the pipe, so writing never waits.
        process.stdin.write((given or "").encode("ascii"))
        process.stdin.close()
    except OSError:
        pass
    heard = b""
    handle = process.stdout.fileno()
    while len(heard) < MOST_BYTES and (lines is None or heard.count(b"\n") < lines):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not select.select([handle], [], [], left_s)[0]:
            return Said(None, heard.decode("utf-8", "replace"))
        part = os.read(handle, READ_BYTES)
        if not part:
            break
        heard += part
    try:
        code = process.wait(timeout=max(0.0, min(1.0, deadline_s - time.monotonic()))) if lines is None else None
    except subprocess.TimeoutExpired:
        code = None
    return Said(code, heard.decode("utf-8", "replace"))


def _end(process: Any) -> None:
    """End a process with all it has started, and its pipes."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
    process.stdout.close()
    try:
        process.wait(timeout=1.0)
    # One that cannot even be killed sits in the kernel: it is left there, nothing more can be done.
    except subprocess.TimeoutExpired:
        pass
