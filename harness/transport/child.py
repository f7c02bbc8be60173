"""A program on this computer, run to its end: bounded in time and in what it says, and ended with all it starts."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

READ_BYTES = 1 << 16
TURN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child process ended; where that was by us, ``why`` says so, and ``too_long`` that it said too much."""

    code: int | None
    out: bytes
    err: bytes
    why: str = ""
    too_long: bool = False


def start(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a program without input, in a process group of its own; raises OSError where it cannot be started."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        cwd=folder,
        start_new_session=True,
    )


def finish(
    process: subprocess.Popen[bytes],
    *,
    timeout_s: float,
    max_bytes: int,
    on_turn: Callable[[], None] = lambda: None,
) -> Ended:
    """Wait at most ``timeout_s`` for the end of a program that `start` gave, keep at most ``max_bytes`` of each output.

    ``on_turn`` is called whenever two seconds bring nothing; what it raises ends the process too.
    """
    try:
        return _drained(process, time.monotonic() + timeout_s, timeout_s, max_bytes, on_turn)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _drained(
    process: subprocess.Popen[bytes], deadline_s: float, timeout_s: float, max_bytes: int, on_turn: Callable[[], None]
) -> Ended:
    """Read both outputs of a process until they end, time is over, or one is too long."""
    assert process.stdout is not None and process.stderr is not None
    kept = {process.stdout: bytearray(), process.stderr: bytearray()}
    why, too_long = "", False
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and not why:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                why = f"there was no end of it in {timeout_s:g} s"
                break
            ready = selector.select(min(left_s, TURN_S))
            if not ready:
                if process.poll() is not None:
                    break  # whatever still holds the pipes is no part of it: a server that it started, say
                on_turn()
            for key, _ in ready:
                chunk = os.read(key.fd, READ_BYTES)
                held = kept[key.fileobj]  # type: ignore[index]
                held += chunk
                if not chunk:
                    selector.unregister(key.fileobj)
                elif len(held) > max_bytes:
                    why, too_long = f"it gave more than {max_bytes:,} bytes", True
    out, err = (bytes(held[:max_bytes]) for held in kept.values())
    if not why:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.1, deadline_s - time.monotonic()))
    return Ended(code=process.poll(), out=out, err=err, why=why, too_long=too_long)
