"""What can be wrong with a bundle and with where it is to be written."""

from __future__ import annotations

from pathlib import Path

from ofa.errors import UsageInvalid, VerificationFailed


def model_there(path: Path) -> UsageInvalid:
    """Say that a model is there already."""
    return UsageInvalid(
        f"'{path}' is there already",
        why="a model may be in use somewhere, and is not replaced without being told",
        hint=("add --replace to write over it", "or give another folder with --out"),
    )


def bundle_there(folder: Path) -> UsageInvalid:
    """Say that a bundle is there already."""
    return UsageInvalid(
        f"'{folder}' holds a bundle already",
        why="it may have been handed over, and is not replaced without being told",
        hint=("add --replace to put the new one in its place", "or give another folder with --out"),
    )


def folder_of_others(folder: Path) -> UsageInvalid:
    """Say that a folder holds what is no bundle's."""
    return UsageInvalid(
        f"'{folder}' holds files that are no bundle's",
        why="a bundle is a folder of its own: whoever gets it must not get other files with it",
        hint="give an empty or a new folder with --out",
    )


def only_with_bundle(option: str) -> UsageInvalid:
    """Say that an option says something of bundles alone."""
    return UsageInvalid(
        f"{option} cannot be used without --bundle",
        why="what is expected of a model stands in the bundle.json of a bundle",
        hint=f"add --bundle, or leave out {option}",
    )


def check_fails(folder: Path, said: str) -> VerificationFailed:
    """Say that a bundle does not pass the check it was to be handed over with."""
    return VerificationFailed(
        f"bundle '{folder}' was not written: it fails its own check",
        why=" ".join(said.split())[:500] or "its check ended without a word",
        hint="report it with the run and the subnet: this is a fault of ours, or of the runtime",
    )


def prepared_otherwise(levels: float, most: float) -> VerificationFailed:
    """Say that the rules of a bundle are not what training does."""
    return VerificationFailed(
        "the bundle was not written: its rules do not prepare images as training does",
        why=f"a pixel is off by {levels:.2f} of 255 levels; at most {most:g} is allowed",
        hint="report it with the versions of torch and pillow: this is a fault of ours, or theirs",
    )
