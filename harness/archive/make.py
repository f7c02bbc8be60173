"""Archives a run: stages what it was made from, makes its files again to see that they are so made, and packs all."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.archive import errors, parts, tarball
from harness.archive.discretion import refuse_private
from harness.archive.listing import ARTEFACTS, LOCK, MOST_BYTES, MOST_FILES, MOST_NAME, NAME, Held, Listing, Part
from harness.archive.packages import installed, lock_text, made_here
from harness.session import OnProgress, quiet
from ofa import files

# A model file is kept where it is small, and while all of them are; the plans name the others by hash.
MOST_ARTEFACT_BYTES = 256 * 1024
MOST_ARTEFACTS_BYTES = 16 * files.MEBIBYTE
RUN = "run.json"


def archive(
    run: Path,
    out: Path,
    *,
    artefacts: Sequence[Path] = (),
    on_progress: OnProgress = quiet,
) -> dict[str, Any]:
    """Write the archive of a run and return what is in it; equal runs give equal bytes.

    ``artefacts`` are folders in which model files may lie. Raises FileInvalid where the run holds nothing that can be
    made again, is damaged, or would tell of people; VerificationFailed where its files are not what is made from it.
    """
    found = parts.parts_of(run)
    with tempfile.TemporaryDirectory() as name:
        stage = Path(name)
        for number, part in enumerate(found.parts, 1):
            parts.stage(run, part, stage)
            made = parts.again(stage, part)
            _refuse_other(run, made)
            for path, data in made.items():
                files.write_atomic(stage / path, data)
            on_progress(number, len(found.parts), part.makes[-1])
        if (run / RUN).is_file():
            files.write_atomic(stage / RUN, files.read_capped(run / RUN, max_bytes=files.MEBIBYTE, what="run file"))
        contents = _contents(stage)
        wanted = parts.artefact_names(stage, found.parts)
    kept, without = _artefacts(wanted, artefacts)
    contents |= {LOCK: lock_text(installed()).encode(), **kept}
    refuse_private(contents)
    listing = _listing(found.parts, contents, left_out=len(wanted) - len(kept))
    data = tarball.packed(listing, contents)
    files.write_atomic(out, data)
    return {
        "archive": str(out),
        "bytes": len(data),
        "sha256": files.sha256_bytes(data),
        "makes": [name for part in found.parts for name in part.makes],
        "seeds": sorted({part.seed for part in found.parts}),
        "files": len(contents),
        "artefacts": len(kept),
        "artefacts_left_out": len(wanted) - len(kept),
        "artefacts_left_out_for": without,
        "left_out": list(found.left_out),
    }


def _refuse_other(run: Path, made: dict[str, bytes]) -> None:
    """Raise VerificationFailed where a run has one of the files made, with other bytes."""
    other = [
        name
        for name, data in made.items()
        if (run / name).is_file() and files.read_capped(run / name, max_bytes=MOST_BYTES, what="file of a run") != data
    ]
    if other:
        raise errors.no_longer_made(run, other)


def _contents(stage: Path) -> dict[str, bytes]:
    """Return every staged file by its name in the archive."""
    found: dict[str, bytes] = {}
    for path in sorted(path for path in stage.rglob("*") if path.is_file()):
        name = path.relative_to(stage).as_posix()
        if not NAME.fullmatch(name) or len(name) > MOST_NAME:
            raise errors.name_refused(name)
        found[name] = files.read_capped(path, max_bytes=MOST_BYTES, what="file of a run")
    return found


def _artefacts(wanted: Mapping[str, int], folders: Sequence[Path]) -> tuple[dict[str, bytes], dict[str, int]]:
    """Return the small ones among the model files that a folder holds, by name in the archive, smallest first; and how
    many others are left out, by reason."""
    found: dict[str, bytes] = {}
    without: Counter[str] = Counter()
    left_bytes = MOST_ARTEFACTS_BYTES
    for digest, size_bytes in sorted(wanted.items(), key=lambda one: (one[1], one[0])):
        path = next((folder / digest for folder in folders if (folder / digest).is_file()), None)
        if size_bytes > MOST_ARTEFACT_BYTES:
            without[errors.larger_than(MOST_ARTEFACT_BYTES)] += 1
        elif size_bytes > left_bytes:
            without[errors.no_room_within(MOST_ARTEFACTS_BYTES)] += 1
        # A damaged file of the cache is as good as none.
        elif path is None or files.sha256_bytes(data := _model(path)) != digest:
            without[errors.NOT_KEPT] += 1
        else:
            found[f"{ARTEFACTS}/{digest}"] = data
            left_bytes -= len(data)
    return found, dict(without)


def _model(path: Path) -> bytes:
    """Read a model file whole."""
    return files.read_capped(path, max_bytes=MOST_BYTES, what="model file")


def _listing(found: tuple[Part, ...], contents: dict[str, bytes], *, left_out: int) -> Listing:
    """Return what the archive says of itself; raises FileInvalid where it would be too large."""
    total_bytes = sum(map(len, contents.values()))
    if total_bytes > MOST_BYTES:
        raise errors.too_large("the run", total_bytes, MOST_BYTES)
    if len(contents) > MOST_FILES:
        raise errors.too_large("the run", len(contents), MOST_FILES)
    return Listing(
        made_with=made_here(),
        parts=found,
        artefacts_left_out=left_out,
        files=tuple(
            Held(path=name, sha256=files.sha256_bytes(data), size_bytes=len(data))
            for name, data in sorted(contents.items())
        ),
    )
