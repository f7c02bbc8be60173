"""What a device without an agent must be able to do: run a command, and take a file; and this computer doing so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import answer_refused, device_lost
from harness.transport import child
from harness.transport.contract import Said
from ofa.files import sha256_file


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

    def shell(self, words: Sequence[str], *, timeout_s: float, max_bytes: int) -> Said:
        """Run one command in a process group of its own, which ends with it.

        Raises DeviceLost where it cannot be started, does not end within ``timeout_s``, or says more than
        ``max_bytes``.
        """
        try:
            process = child.start(words, folder=self.folder)
        except OSError as fault:
            raise device_lost(self.device, f"'{words[0]}' cannot be started: {fault.strerror}") from fault
        ended = child.finish(process, timeout_s=timeout_s, max_bytes=max_bytes)
        if ended.too_long:
            raise answer_refused(self.device, f"a command said more than {max_bytes:,} bytes")
        if ended.why or ended.code is None:
            raise device_lost(self.device, f"a command did not end in {timeout_s:g} s")
        return Said(code=ended.code, out=ended.out, err=ended.err)
