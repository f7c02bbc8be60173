"""The names of a million files in little memory: one run of bytes and where each name ends in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Names:
    """Names by number; ``ends`` is int64[n]."""

    text: bytes
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        """Return a name as the system wants it; one that is no UTF-8 survives."""
        start = int(self.ends[index - 1]) if index else 0
        return self.text[start : int(self.ends[index])].decode(errors="surrogateescape")


def packed(names: Sequence[bytes]) -> Names:
    """Return names packed."""
    return Names(text=b"".join(names), ends=np.cumsum([len(name) for name in names], dtype=np.int64))


def joined(parts: Sequence[Names]) -> Names:
    """Return the names of all parts, one part behind the other."""
    starts = np.cumsum([0, *(len(part.text) for part in parts)])
    ends = [part.ends + start for part, start in zip(parts, starts, strict=False)]
    return Names(text=b"".join(part.text for part in parts), ends=np.concatenate([np.zeros(0, np.int64), *ends]))


def printable(path: str) -> str:
    """Return a path that any terminal and JSON file takes, where its bytes are no UTF-8."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
