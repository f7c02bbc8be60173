"""What can be wrong with the files of a training run."""

from __future__ import annotations

from pathlib import Path

from ofa.errors import FileInvalid, SpaceMismatch


def checkpoint_broken(path: Path, why: str) -> FileInvalid:
    """Say that a checkpoint cannot be used."""
    return FileInvalid(f"checkpoint '{path}' cannot be used", why=why, hint="delete it and train again")


def other_run(path: Path, found: str, expected: str) -> FileInvalid:
    """Say that a folder holds the training of another recipe."""
    return FileInvalid(
        f"checkpoint '{path}' is of another recipe",
        why=f"it was made by recipe '{found}'; this one is '{expected}'",
        hint="train into an empty folder, or delete this one",
    )


def other_space(path: Path, found: str, expected: str) -> SpaceMismatch:
    """Say that a checkpoint holds the weights of another space."""
    return SpaceMismatch(
        f"checkpoint '{path}' does not hold a supernet of '{expected}'",
        why=f"it is one of '{found}'",
        hint="use the space it was trained for",
    )


def not_labels(path: Path, why: str) -> FileInvalid:
    """Say that a file of labels cannot be continued."""
    return FileInvalid(f"labels '{path}' cannot be used", why=why, hint="delete the file; labelling then starts anew")
