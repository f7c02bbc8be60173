"""What an agent has answered so far, line by line, however it was cut into pieces on its way."""

from __future__ import annotations

from harness.errors import answer_refused


class AnswerLines:
    """Takes any number of bytes and gives back whole lines, none longer than is asked for."""

    __slots__ = ("device", "received")

    def __init__(self, device: str) -> None:
        """Begin with nothing from the device of this name."""
        self.device = device
        self.received = bytearray()

    def __len__(self) -> int:
        """Return how many bytes are kept."""
        return len(self.received)

    def add(self, chunk: bytes) -> None:
        """Take what was read."""
        self.received += chunk

    def take(self, max_bytes: int) -> bytes | None:
        """Return the next line without its end, None where none is whole yet; raises DeviceLost past ``max_bytes``."""
        end = self.received.find(b"\n")
        if end > max_bytes or (end < 0 and len(self.received) > max_bytes):
            raise answer_refused(self.device, f"a line of more than {max_bytes:,} bytes")
        if end < 0:
            return None
        line = bytes(self.received[:end])
        del self.received[: end + 1]
        return line
