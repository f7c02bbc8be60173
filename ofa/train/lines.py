"""Text files that grow line by line and survive a kill: each line is on the disk before the next is begun."""

from __future__ import annotations

import os
from pathlib import Path

from ofa.files import write_atomic


def append(path: Path, line: str) -> None:
    """Write one line (without its end) behind the others and wait until it is on the disk."""
    with path.open("ab") as stream:
        stream.write(line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def whole(path: Path) -> list[str]:
    """Return the lines that were written whole; a last line without its end was torn by a kill and is left out."""
    if not path.exists():
        return []
    return path.read_bytes().decode(errors="replace").split("\n")[:-1]


def rewrite(path: Path, lines: list[str]) -> None:
    """Replace the whole file, so that the next ``append`` begins on a line of its own."""
    write_atomic(path, "".join(f"{line}\n" for line in lines))
