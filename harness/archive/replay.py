"""Makes the files of an archive again, and says of each whether its bytes are the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from harness.archive import errors, packages, parts, tarball
from harness.archive.listing import LOCK, MOST_BYTES, MOST_LISTING_BYTES
from harness.session import OnProgress, quiet
from ofa import files
from ofa.errors import printable

MOST_SHOWN = 160


def replay(archive: Path, *, out: Path | None = None, on_progress: OnProgress = quiet) -> dict[str, Any]:
    """Make the files of an archive again; write them below ``out`` where that is given, and return how they compare.

    "same" says whether all are, byte for byte; each file that is not has the first line that differs. Raises
    FileInvalid, before anything is made, where the archive is damaged or holds what it does not list; UsageInvalid
    where ``out`` is not empty.
    """
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise errors.occupied(out)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listing = tarball.unpack(archive, folder)
        lock = files.read_capped(folder / LOCK, max_bytes=MOST_LISTING_BYTES, what="lock")
        versions = packages.differences(packages.pins(lock, archive), listing.made_with)
        rows = []
        for number, part in enumerate(listing.parts, 1):
            for path, made in parts.again(folder, part).items():
                before = files.read_capped(folder / path, max_bytes=MOST_BYTES, what="file of an archive")
                rows.append({"file": path, "same": made == before, **_first_difference(before, made)})
                if out is not None:
                    files.write_atomic(out / path, made)
            on_progress(number, len(listing.parts), part.makes[-1])
    return {
        "archive": str(archive),
        "same": all(row["same"] for row in rows),
        "files": rows,
        "versions_that_differ": versions,
        "made_with": listing.made_with.model_dump(mode="json"),
        "seeds": sorted({part.seed for part in listing.parts}),
    }


def _first_difference(before: bytes, made: bytes) -> dict[str, Any]:
    """Return the number of the first line that differs, from 1, and what stands there in both; nothing if none does."""
    if before == made:
        return {}
    old, new = before.split(b"\n"), made.split(b"\n")
    count = max(len(old), len(new))
    place = next(at for at in range(count) if old[at : at + 1] != new[at : at + 1])
    return {"line": place + 1, "archived": _shown(old, place), "made": _shown(new, place)}


def _shown(lines: list[bytes], place: int) -> str | None:
    """Return a line as it may be printed, None where there is none."""
    return printable(lines[place].decode(errors="replace")[:MOST_SHOWN]) if place < len(lines) else None
