"""One process at a time, where two would mix what they write."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ofa.errors import at_work_already

TRIES = 10


@contextmanager
def alone(folder: Path, file: str = "") -> Iterator[None]:
    """Keep a folder, or one file in it, to one process at a time; UsageInvalid where another one is at work in it.

    Threads of one process are not kept apart. Its children have no part in the lock: those that load images may
    outlive one that was killed. Folders that were made for it, and in which nothing came to lie, are gone afterwards.
    """
    path = folder / (f".{file}.lock" if file else ".lock")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    handle = _opened(path)
    try:
        if not _locked(handle, path):
            raise at_work_already(folder / file)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)
        # The innermost first; of one that holds anything, the others stay too.
        with suppress(OSError):
            for place in made:
                place.rmdir()


def _opened(path: Path) -> int:
    """Open a file for its lock; its folder is made, once more where another process took away an empty one just now."""
    for _ in range(TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def _locked(handle: int, path: Path) -> bool:
    """Lock a file; say False where another process has it, or took it away with its own lock just now."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    # Some file systems know no locks.
    except OSError:
        return True
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False
