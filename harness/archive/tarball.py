"""An archive as a file: a ustar tape in gzip, in one order and without times, so that equal runs give equal bytes.

It is read without a library for tapes: plain files alone, each as long and with the hash that the listing at its
beginning says, so that nothing is unpacked which was not announced.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from harness.archive import errors
from harness.archive.listing import ARTEFACTS, LISTING, MOST_BYTES, MOST_LISTING_BYTES, NAME, Held, Listing, parsed
from ofa import files

BLOCK = tarfile.BLOCKSIZE
# Good enough, and a third of the time of the best.
LEVEL = 6


def packed(listing: Listing, contents: Mapping[str, bytes]) -> bytes:
    """Return the bytes of an archive of some files by name; equal files give equal bytes."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=LEVEL, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tape,
    ):
        for name in (LISTING, *(held.path for held in listing.files)):
            data = files.readable_json(listing.content()).encode() if name == LISTING else contents[name]
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tape.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def unpack(archive: Path, into: Path) -> Listing:
    """Check a whole archive and write its files, but for those of models, below a folder; return its listing.

    Raises FileInvalid where it is cut short, holds anything but the files of its listing, or one with another content.
    """
    data = files.read_capped(archive, max_bytes=MOST_BYTES, what="archive")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            size_bytes = _begun(stream, archive, LISTING)
            if size_bytes > MOST_LISTING_BYTES:
                raise errors.broken(archive, f"its {LISTING} has {size_bytes:,} bytes; {MOST_LISTING_BYTES:,} are read")
            listing = parsed(_content(stream, archive, LISTING, size_bytes), archive)
            for held in listing.files:
                content = _checked(stream, archive, held)
                if not held.path.startswith(f"{ARTEFACTS}/"):
                    files.write_atomic(into / held.path, content)
            _ended(stream, archive)
    except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
        raise errors.broken(archive, f"it is no gzip file, or cut short: {fault}") from fault
    return listing


def _begun(stream: gzip.GzipFile, archive: Path, name: str) -> int:
    """Read the head of the file that must come next and return its size in bytes."""
    block = stream.read(BLOCK)
    try:
        entry = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as fault:
        raise errors.broken(archive, f"where '{name}' should begin stands no file: {fault}") from fault
    if entry.type != tarfile.REGTYPE:
        raise errors.broken(archive, f"'{entry.name[:100]}' is a link, a folder or a device, no plain file")
    if not NAME.fullmatch(entry.name) or entry.name != name:
        raise errors.broken(archive, f"'{entry.name[:100]}' stands where '{name}' should")
    if not 0 <= entry.size <= MOST_BYTES:
        raise errors.broken(archive, f"'{name}' claims {entry.size:,} bytes")
    return int(entry.size)


def _content(stream: gzip.GzipFile, archive: Path, name: str, size_bytes: int) -> bytes:
    """Read so many bytes and what fills up their last block."""
    data = stream.read(size_bytes)
    fill = stream.read(-size_bytes % BLOCK)
    if len(data) < size_bytes or any(fill) or (size_bytes + len(fill)) % BLOCK:
        raise errors.broken(archive, f"'{name}' is cut short")
    return data


def _checked(stream: gzip.GzipFile, archive: Path, held: Held) -> bytes:
    """Read the next file, which must be as the listing says."""
    size_bytes = _begun(stream, archive, held.path)
    if size_bytes != held.size_bytes:
        raise errors.broken(archive, f"'{held.path}' has {size_bytes:,} bytes, {LISTING} says {held.size_bytes:,}")
    data = _content(stream, archive, held.path, size_bytes)
    if files.sha256_bytes(data) != held.sha256:
        raise errors.broken(archive, f"'{held.path}' is not the file that {LISTING} names: its SHA-256 differs")
    return data


def _ended(stream: gzip.GzipFile, archive: Path) -> None:
    """Refuse anything but the two empty blocks that end a tape, and what fills up its last record."""
    most_bytes = 2 * BLOCK + tarfile.RECORDSIZE
    rest = stream.read(most_bytes + 1)
    if any(rest) or not 2 * BLOCK <= len(rest) <= most_bytes:
        raise errors.broken(archive, f"more follows the files of {LISTING}, or its end is missing")
