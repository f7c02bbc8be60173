"""The only writer of tables: validates what it is given as a reader would, then replaces the four files together; and
of the records of rechecks beside them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from ofa.files import write_atomic
from ofa.lut import errors, format, heldout, validity
from ofa.lut.format import HEADER, Lut
from ofa.lut.validity import VALIDITY, Record

REAL = "luts"


def write(lut: Lut, path: Path, *, allow_simulated: bool = False) -> None:
    """Write a table to a folder, sorted; a table already there is replaced, other files in the folder stay.

    Simulated values need ``allow_simulated`` and are never written under a folder named `luts`; a table under one goes
    where its header says. Raises FileInvalid where a row, network, session or the place is wrong, before anything is
    written; UsageInvalid for simulated values not asked for. Any exception leaves the folder as it was. A process
    killed between the last renames leaves a mixture that the reader refuses: the header, which names the other files
    by hash, goes last.
    """
    folder = Path(path)
    refuse_place(lut, folder, allow_simulated=allow_simulated)
    if folder.exists() and not folder.is_dir():
        raise errors.not_a_table(folder, "it is no folder")
    ordered = lut.sorted()
    try:
        contents = format.render(ordered, heldout.of_table(ordered))
    except (TypeError, ValueError, RecursionError) as fault:
        raise errors.not_written(folder, fault) from fault
    if format.parse(contents, folder) != ordered:
        raise errors.reads_back_otherwise(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent) as name:
        fresh = Path(name) / folder.name
        for part, data in contents.items():
            write_atomic(fresh / part, data)
        if folder.exists():
            _replace(fresh, folder, [part for part in contents if part != HEADER])
        else:
            os.rename(fresh, folder)


def certify(folder: Path, record: Record) -> None:
    """Append the record of a recheck to those beside the table in a folder; one that is there already is not repeated.

    The table's own four files are not touched. Raises FileInvalid where the record is of another table than stands
    there, or one of them is simulated and the other is not: then nothing is written.
    """
    lut = format.read(folder)
    refuse_place(lut, folder, allow_simulated=True)
    if record.simulated != lut.simulated:
        kinds = ("a measured", "a simulated")
        why = f"{kinds[record.simulated]} device says nothing of {kinds[lut.simulated]} table"
        raise errors.recheck_of_others(folder, why)
    if record.table != validity.identity(lut):
        raise errors.recheck_of_others(
            folder, "its measured rows are others than those that were held against the device"
        )
    known = validity.records(folder)
    if all(one.id != record.id for one in known):
        write_atomic(folder / VALIDITY, validity.render([*known, record]))


def refuse_place(lut: Lut, folder: Path, *, allow_simulated: bool) -> None:
    """Raise FileInvalid where a table cannot stand in a folder under `luts`: it is simulated, or its header names
    another one; UsageInvalid for simulated values elsewhere unless allowed.
    """
    if lut.simulated and under_luts(folder):
        raise errors.simulated_among_real(folder)
    if lut.simulated and not allow_simulated:
        raise errors.simulated_refused(folder)
    parts = folder.resolve().parts
    places = [index for index, part in enumerate(parts) if part.lower() == REAL]
    if places and PurePosixPath(*parts[places[-1] + 1 :]) != lut.header.place:
        raise errors.misplaced(folder, Path(*parts[: places[-1] + 1], str(lut.header.place)))


def refuse_occupied(folder: Path, *, replace: bool) -> None:
    """Raise UsageInvalid where a folder holds a table, unless it may be replaced, or anything that is no table."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / HEADER).exists():
        raise errors.folder_of_others(folder)
    if not replace:
        raise errors.table_there(folder)


def under_luts(folder: Path) -> bool:
    """Say whether a path leads, by its own name or by a link, under a folder named `luts`."""
    names = (*Path(os.path.abspath(folder)).parts, *folder.resolve().parts)
    return any(name.lower() == REAL for name in names)


def _replace(fresh: Path, folder: Path, parts: list[str]) -> None:
    """Move new files over old ones, the header last; put the old ones back where an exception comes between."""
    kept = fresh.with_name(f"{folder.name}.kept")
    kept.mkdir()
    for part in (*parts, HEADER):
        if (folder / part).exists():
            shutil.copyfile(folder / part, kept / part)
    try:
        for part in (*parts, HEADER):
            os.replace(fresh / part, folder / part)
    except BaseException:
        for part in (*parts, HEADER):
            if (kept / part).exists():
                os.replace(kept / part, folder / part)
            else:
                (folder / part).unlink(missing_ok=True)
        raise
