"""Messages about a device that is not to be measured on now: too hot, too busy, or held by somebody else."""

from __future__ import annotations

from harness.errors import RESUME_HINT
from ofa.errors import MeasurementRefused, UsageInvalid


def too_hot(device: str, hottest_c: float | None, limit_c: float) -> MeasurementRefused:
    """Say that a device is above its limit, or that nobody can tell."""
    why = "no temperature can be read" if hottest_c is None else f"its hottest sensor reads {hottest_c:g} °C"
    return MeasurementRefused(
        f"device '{device}' is not cool enough to be measured",
        why=f"{why}, its profile allows {limit_c:g} °C",
        hint=(
            f"let it cool and {RESUME_HINT}",
            "or change 'max_temp_c' in its profile",
        ),
    )


def too_busy(device: str, cores: float, limit: float) -> MeasurementRefused:
    """Say how much other work a device does, and how to measure all the same."""
    return MeasurementRefused(
        f"device '{device}' is busy with other work",
        why=f"others keep {cores:.2f} of its cores busy, its profile allows {limit:g}",
        hint=(
            f"end what runs there and {RESUME_HINT}",
            "or measure all the same: add --allow-load (and --resume); the table then carries the flag 'loaded'",
            "or change 'max_foreign_cores' in its profile",
        ),
    )


def device_held(device: str, owner: str, left_s: float) -> MeasurementRefused:
    """Say who holds a device at present."""
    return MeasurementRefused(
        f"device '{device}' is held by {owner}",
        why=f"the lease on it runs for another {left_s:.0f} s, and longer while they measure",
        hint=("wait, or ask them", f"or break the lease: ofa devices release {device}"),
    )


def no_lease(device: str) -> UsageInvalid:
    """Say that a device is this computer, or lives in it."""
    return UsageInvalid(
        f"device '{device}' has no lease",
        why="it is this computer, where a run's folder is locked instead",
        hint="name a device that is reached by SSH or ADB",
    )
