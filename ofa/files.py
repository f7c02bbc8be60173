"""How a file is written, read and named by content: the only way this project touches a disk."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.errors import not_json, not_read, not_written, too_large

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEBIBYTE = 1 << 20
MOST_DIGITS = 300


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a whole file or nothing: temporary file, fsync, rename, fsync of the folder.

    A reader never sees half a file, and an interrupted write leaves the old one as it was.
    """
    path = Path(path)
    try:
        replace_whole(path, content.encode() if isinstance(content, str) else content)
    except OSError as fault:
        raise not_written(path, fault) from fault


def replace_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a whole file with the permissions ``mode``, or raise OSError and leave what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that takes its place once the block ends; after an exception nothing stays.

    Where a folder that is not empty is there, it goes once the new one is whole, if ``replace`` says so; else OSError.
    """
    path = Path(os.path.abspath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as name:
        fresh, old = Path(name) / "fresh", Path(name) / "old"
        fresh.mkdir()
        yield fresh
        if replace and path.exists():
            path.rename(old)
        try:
            fresh.rename(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise
        _sync(path.parent)


def read_capped(path: Path, *, max_bytes: int, what: str) -> bytes:
    """Read a file of at most ``max_bytes``; raise FileInvalid where it is absent, larger, or a folder, pipe or device.

    ``what`` names the kind of file in the message ("table", "plan").
    """
    path = Path(path)
    try:
        # Asked before it is opened: a pipe that nobody writes to would wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("it is a folder, a pipe or a device, not a plain file")
        with path.open("rb") as stream:
            size_bytes = os.fstat(stream.fileno()).st_size
            if size_bytes > max_bytes:
                raise too_large(what, path, size_bytes=size_bytes, max_bytes=max_bytes)
            # What is appended meanwhile is not read: a file may grow without end.
            return stream.read(size_bytes)
    except OSError as fault:
        raise not_read(what, path, fault) from fault


def read_json(path: Path, *, max_bytes: int, what: str) -> Any:
    """Read a JSON file of at most ``max_bytes``; raise FileInvalid for what no JSON file can keep as well.

    That is NaN and Infinity, a number that no float holds (1e999), and half of a surrogate pair.
    """
    raw = read_capped(path, max_bytes=max_bytes, what=what)

    def refuse(constant: str) -> Any:
        raise ValueError(f"'{constant}' is not a number JSON knows")

    def whole(digits: str) -> int:
        if len(digits) > MOST_DIGITS:
            raise ValueError(f"a number has {len(digits):,} digits; at most {MOST_DIGITS} are read")
        return int(digits)

    try:
        found = json.loads(raw.decode(), parse_constant=refuse, parse_int=whole)
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
        return found
    except (ValueError, RecursionError) as fault:
        raise not_json(what, path, fault) from fault


def npz_arrays(data: bytes, *, max_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of an npz file by name; nothing is unpickled.

    Raises ValueError for one that unpacks to more than ``max_bytes``, and for a damaged one whatever comes of it:
    BadZipFile, zlib.error, MemoryError where a header claims too much.
    """
    import numpy as np

    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        if sum(part.file_size for part in stored.zip.infolist()) > max_bytes:
            raise ValueError(f"it unpacks to more than {max_bytes:,} bytes")
        return {name: stored[name] for name in stored.files}


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN; what hashes are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def readable_json(value: Any) -> str:
    """Return JSON for people and diffs: sorted keys, two spaces, a final newline."""
    return json.dumps(value, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _sync(folder: Path) -> None:
    """Let what was renamed in a folder reach the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parent(path: Path, *, relative_to: Path) -> dict[str, str]:
    """Name a file that another file was made from: its path and content hash."""
    return {"path": os.path.relpath(path, relative_to), "sha256": sha256_file(path)}
