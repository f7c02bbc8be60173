"""What every way to a device does: start an agent there, exchange lines with it, end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

OnBytes = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Tell nobody how many of how many bytes are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command on a device said: its own exit code, its output, and its stderr where the device has it apart."""

    code: int
    out: bytes
    err: bytes = b""


class Channel(Protocol):
    """An open conversation with an agent."""

    def send(self, line: bytes, *, timeout_s: float) -> None:
        """Write one line; raises DeviceLost where the agent ended or does not read for ``timeout_s``."""

    def receive(self, *, timeout_s: float, max_bytes: int) -> bytes:
        """Return the next line; raises DeviceLost at the end, after ``timeout_s`` of silence, or past ``max_bytes``."""

    def close(self) -> None:
        """End the agent, with a little patience."""

    def kill(self) -> None:
        """End the agent and everything it started, now."""


class Transport(Protocol):
    """How to start the agent on a device, and the folder of model files it reads."""

    @property
    def agent(self) -> Path:
        """Return the agent's archive."""

    @property
    def files(self) -> Path:
        """Return the folder on this computer of the model files, named by their content."""

    @property
    def remote(self) -> bool:
        """Say whether the device is reached over a link: files must be brought to it, and work outlives the link."""

    @property
    def private(self) -> tuple[str, ...]:
        """Return the words by which the device is found, such as its address: no journal or log may hold them."""

    def open(self) -> Channel:
        """Start an agent; raises DeviceLost where it cannot be started."""

    def push(self, path: Path, name: str, *, on_bytes: OnBytes = silent) -> None:
        """Bring a file to the folder the agent reads, under ``name``, whole or not at all.

        ``on_bytes`` is told how many of how many bytes are there. Raises DeviceLost, and MeasurementRefused where the
        device has no room for it. Nothing happens where the device reads this computer's folder itself.
        """

    def end(self) -> None:
        """Leave the device: end its connection, where there is one. The transport can be opened again."""
