"""What can be wrong with a subnet, its images or its statistics when a network is asked to run."""

from __future__ import annotations

from collections.abc import Sequence

from ofa.errors import FileInvalid, SpaceMismatch, UsageInvalid


def other_space(found: str, expected: str) -> SpaceMismatch:
    """Say that a subnet belongs to another supernet."""
    return SpaceMismatch(
        f"a subnet of '{found}' cannot run in the supernet of '{expected}'",
        hint="use the space the supernet was built for",
    )


def wrong_images(shape: tuple[int, ...], channels: int, resolution: int) -> UsageInvalid:
    """Say that images do not have the subnet's size."""
    return UsageInvalid(
        f"images of shape {shape} do not fit the subnet",
        why=f"it takes [n, {channels}, {resolution}, {resolution}]",
        hint="resize the images to the subnet's resolution",
    )


def other_statistics(found: str, expected: str) -> UsageInvalid:
    """Say that batch-norm statistics are those of another subnet."""
    return UsageInvalid(
        f"statistics of subnet '{found}' cannot serve subnet '{expected}'", hint="calibrate this subnet first"
    )


def no_images() -> UsageInvalid:
    """Say that calibration got nothing to measure."""
    return UsageInvalid("calibration needs at least one image", hint="pass some training images")


def unknown_importance(found: str, known: tuple[str, ...]) -> UsageInvalid:
    """Say that channels cannot be sorted by this measure."""
    return UsageInvalid(f"channels have no importance '{found[:40]}'", hint=f"one of: {', '.join(known)}")


# So many names of a kind are listed, and so many characters of a name: they come from a file.
MOST_NAMES = 10
MOST_CHARACTERS = 100


def weights_unreadable(path: object, why: str) -> FileInvalid:
    """Say that a file holds no published weights that can be read."""
    return FileInvalid(
        f"'{path}' cannot be read as a published checkpoint",
        why=why,
        hint=("download the file again", "or load it where you trust it, and torch.save its 'state_dict' alone"),
    )


def other_weights(
    source: str, space_id: str, *, missing: Sequence[str], extra: Sequence[str], misfits: Sequence[tuple[str, str, str]]
) -> FileInvalid:
    """Say in what the tensors of a file differ from those of a space's supernet; misfits: name, found, expected."""
    found = [f"{_short(name)}: {what[:MOST_CHARACTERS]}, expected {expected}" for name, what, expected in misfits]
    parts = (
        ("missing", [_short(name) for name in missing]),
        ("not known", [_short(name) for name in extra]),
        ("not as expected", found),
    )
    return FileInvalid(
        f"'{source}' does not hold the weights of the supernet of '{space_id}'",
        why="\n       ".join(line for what, names in parts if names for line in _listed(what, names)),
        hint="choose the space and width it was trained for; one specialised network cannot become a supernet",
    )


def _listed(what: str, names: Sequence[str]) -> list[str]:
    """Return how many tensors there are of a kind, and the first of them."""
    rest = [f"  ... and {len(names) - MOST_NAMES:,} more"] if len(names) > MOST_NAMES else []
    count = f"{len(names):,} tensor{'' if len(names) == 1 else 's'}"
    return [f"{count} {what}:", *(f"  {name}" for name in names[:MOST_NAMES]), *rest]


def _short(name: str) -> str:
    """Return a name from a file for a message: on one line, not too long."""
    return repr(name[:MOST_CHARACTERS])
