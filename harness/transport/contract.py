"""What every way to a device does: start an agent there, exchange lines with it, end it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


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
        """Return the folder of the model files, named by their content."""

    def open(self) -> Channel:
        """Start an agent; raises DeviceLost where it cannot be started."""
