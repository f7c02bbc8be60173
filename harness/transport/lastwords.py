"""What a process said last on stderr, however it was cut into pieces on its way."""

from __future__ import annotations

from collections.abc import Callable

MOST_LINE_BYTES = 400


class LastWords:
    """Keeps the last line that is not blank out of any number of bytes; shells write a line in several pieces."""

    __slots__ = ("line", "on_line", "rest")

    def __init__(self, on_line: Callable[[bytes], bool] | None = None) -> None:
        """Begin with nothing; lines that ``on_line`` takes are not kept."""
        self.on_line = on_line
        self.line = b""
        self.rest = b""

    def add(self, chunk: bytes) -> None:
        """Take what was read."""
        *lines, rest = (self.rest + chunk).split(b"\n")
        self.rest = rest[:MOST_LINE_BYTES]
        for line in lines:
            self._keep(line)

    def _keep(self, line: bytes) -> None:
        """Remember a whole line, or let it be taken."""
        if line.strip() and not (self.on_line and self.on_line(line)):
            self.line = line[:MOST_LINE_BYTES]

    def told(self) -> str:
        """Return the last line, whole or not."""
        last = self.rest if self.rest.strip() else self.line
        return last.decode("utf-8", "replace").strip()
