"""What a device without an agent must be able to do: run a command, and take a file; and this computer doing so."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import answer_refused, device_lost
from ofa.files import sha256_file

READ_BYTES = 1 << 16


class Said(Protocol):
    """What a command said: its own exit code, and both its outputs."""

    @property
    def code(self) -> int:
        """Return the exit code."""

    @property
    def out(self) -> bytes:
        """Return what it wrote."""

    @property
    def err(self) -> bytes:
        """Return what it complained of; empty where the device cannot tell the two apart."""


class Shell(Protocol):
    """A device's shell, and the folder there that files are brought to."""

    @property
    def there(self) -> str:
        """Return the device's folder of files, absolute."""

    @property
    def private(self) -> tuple[str, ...]:
        """Return the words by which the device is found: no journal or log may hold them."""

    def ready(self) -> None:
        """Return where the device answers; raises DeviceLost."""

    def shell(self, words: Sequence[str], *, timeout_s: float, max_bytes: int) -> Said:
        """Run one command, each word as it is; raises DeviceLost, also where it does not end or says too much."""

    def push(self, path: Path, name: str) -> None:
        """Bring a file to the folder, whole or not at all; one that is there already is not sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command on this computer ended."""

    code: int
    out: bytes
    err: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalShell:
    """This computer as a device without an agent."""

    device: str
    folder: Path

    @property
    def there(self) -> str:
        """Return the folder files are brought to."""
        return str(self.folder)

    @property
    def private(self) -> tuple[str, ...]:
        """Return nothing: this computer has no address here."""
        return ()

    def ready(self) -> None:
        """Make the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def push(self, path: Path, name: str) -> None:
        """Copy a file into the folder, unless it is there byte for byte."""
        place = self.folder / name
        if place.exists() and sha256_file(place) == sha256_file(path):
            return
        part = place.with_name(f".{name}.{os.getpid()}.part")
        try:
            shutil.copyfile(path, part)
            os.replace(part, place)
        finally:
            part.unlink(missing_ok=True)

    def shell(self, words: Sequence[str], *, timeout_s: float, max_bytes: int) -> Ended:
        """Run one command in a process group of its own, which ends with it.

        Raises DeviceLost where it cannot be started, does not end within ``timeout_s``, or says more than
        ``max_bytes``.
        """
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.folder,
                start_new_session=True,
            )
        except OSError as fault:
            raise device_lost(self.device, f"'{words[0]}' cannot be started: {fault.strerror}") from fault
        try:
            out, err = self._heard(process, timeout_s, max_bytes)
            return Ended(code=process.wait(timeout=timeout_s), out=out, err=err)
        except subprocess.TimeoutExpired as fault:
            raise device_lost(self.device, f"a command did not end in {timeout_s:g} s") from fault
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()

    def _heard(self, process: subprocess.Popen[bytes], timeout_s: float, max_bytes: int) -> tuple[bytes, bytes]:
        """Return both outputs once they have ended."""
        assert process.stdout is not None and process.stderr is not None
        kept = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
        deadline_s = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            for handle in kept:
                selector.register(handle, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline_s - time.monotonic()))
                if not ready:
                    raise subprocess.TimeoutExpired(process.args, timeout_s)
                for key, _ in ready:
                    chunk = os.read(key.fd, READ_BYTES)
                    kept[key.fd] += chunk
                    if not chunk:
                        selector.unregister(key.fd)
                    if len(kept[key.fd]) > max_bytes:
                        raise answer_refused(self.device, f"a command said more than {max_bytes:,} bytes")
        out, err = kept.values()
        return bytes(out), bytes(err)
