"""Messages about archives: what cannot be archived, and archives that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ofa.errors import FileInvalid, UsageInvalid, VerificationFailed, printable


def nothing_to_archive(run: Path) -> FileInvalid:
    """Say that a folder holds nothing that can be made again."""
    return FileInvalid(
        f"run folder '{run}' holds nothing that could be made again",
        why="neither it nor a folder in it has plan.json with journal.sqlite, or request.json with front.json",
        hint="name the folder that 'ofa bench', 'ofa search --out' or 'ofa demo' wrote",
    )


def name_refused(name: str) -> FileInvalid:
    """Say that a folder or file has a name that an archive does not take."""
    return FileInvalid(
        f"'{printable(name)[:100]}' cannot be archived under its name",
        why="names in an archive are of letters, digits and '._+-', begin with no dot, and are not long",
        hint="rename the folder, then archive again",
    )


def gives_away(name: str, word: str) -> FileInvalid:
    """Say that a file names a folder of somebody, which an archive must not hold."""
    return FileInvalid(
        f"'{name}' would give away a path of this computer",
        why=f"it holds '{printable(word)[:100]}'; archives hold no home folders and no names of users",
        hint=(
            "make that file again from a folder below the one you work in, with relative paths",
            "then archive again",
        ),
    )


def too_large(what: str, size_bytes: int, most_bytes: int) -> FileInvalid:
    """Say that a run is too large for an archive."""
    return FileInvalid(
        f"{what} is too large to be archived",
        why=f"it has {size_bytes:,} bytes; at most {most_bytes:,} are archived",
        hint="archive its parts one by one: name a folder of the run",
    )


def no_longer_made(run: Path, names: Sequence[str]) -> VerificationFailed:
    """Say that files of a run are not what this version makes from the run."""
    return VerificationFailed(
        f"run folder '{run}' does not make its own files: {', '.join(names[:4])}",
        why="made again from the journal or the request beside them they have other bytes: they were changed, or "
        "another version made them",
        hint=(
            "if 'ofa choose --add' or 'ofa verify --add' of an earlier version added networks to the table: the same "
            "line once more keeps them",
            "make them again with this version ('ofa bench … --resume', 'ofa search … --out')",
            "then archive again",
        ),
    )


NOT_KEPT = "not kept on this computer any more"


def larger_than(size_bytes: int) -> str:
    """Say why one model file is left out of an archive."""
    return f"larger than {size_bytes // 1024} KiB"


def no_room_within(size_bytes: int) -> str:
    """Say why a model file is left out of an archive that holds others."""
    return f"beyond the {size_bytes // 1024**2} MiB that an archive takes of them"


def broken(archive: Path, why: str) -> FileInvalid:
    """Say that a file is no archive that can be used."""
    return FileInvalid(
        f"archive '{archive}' cannot be used",
        why=printable(why),
        hint="fetch it again, and compare its SHA-256 with the one that 'ofa archive' told",
    )


def not_the_same(archive: Path, names: Sequence[str]) -> VerificationFailed:
    """Say that what was made again is not what the archive holds."""
    return VerificationFailed(
        f"archive '{archive}' does not make its files again: {', '.join(names[:4])}",
        why="made again from what it holds they have other bytes; the first line that differs is told above",
        hint=(
            "compare the versions told above with those of the archive's lock.txt: pip install -r lock.txt",
            "where only last digits of a front differ: another kind of CPU rounds float32 predictors otherwise",
            "give --out FOLDER to have what was made now, and compare it",
        ),
    )


def occupied(folder: Path) -> UsageInvalid:
    """Say that a folder for what is made again holds something."""
    return UsageInvalid(f"folder '{folder}' is not empty", hint="give a new one with --out")


def no_lock(archive: Path) -> FileInvalid:
    """Say that an archive does not say with which packages it was made."""
    return broken(archive, "its lock.txt is not lines of name==version")
