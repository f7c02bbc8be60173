"""What can be wrong with a subnet, its images or its statistics when a network is asked to run."""

from __future__ import annotations

from ofa.errors import SpaceMismatch, UsageInvalid


def no_network(space_id: str, family: str) -> UsageInvalid:
    """Say that a family of spaces has no elastic network."""
    return UsageInvalid(
        f"there is no elastic network for '{space_id}'",
        why=f"its blocks are of the '{family}' family; the elastic network has 'mbconv' blocks",
        hint="choose a space of inverted residual blocks, such as mobilenet_v3",
    )


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
