"""Messages about a device that cannot be measured on now, or as asked: too hot, too busy, held; settings that cannot be
changed; energy that cannot be known."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from harness.errors import RESUME_HINT, file_invalid
from ofa.errors import FileInvalid, MeasurementRefused, UsageInvalid, printable


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


def tuning_refused(device: str, why: str) -> MeasurementRefused:
    """Say why a device's settings cannot be changed as asked; nothing was changed."""
    return MeasurementRefused(
        f"device '{device}' cannot be tuned",
        why=why,
        hint=("leave '--allow-tuning' out: it is then measured as it is", "or give the agent the rights it lacks"),
    )


def tuning_unknown(word: str, known: Sequence[str]) -> UsageInvalid:
    """Say that nothing of a name can be changed on a device."""
    near = difflib.get_close_matches(word, known, n=1)
    return UsageInvalid(
        f"'--allow-tuning {printable(word)[:60]}' names nothing that is changed",
        why="it takes " + ", ".join(known),
        hint=f"did you mean '{near[0]}'?" if near else "give the option again for each of several",
    )


def tuned_by_another(device: str) -> MeasurementRefused:
    """Say that a device's settings are in another process's hands at present."""
    return MeasurementRefused(
        f"device '{device}' is tuned by another process of this computer",
        why="it puts everything back when it ends, in the middle of what would be measured now",
        hint="wait until it has ended",
    )


def still_tuned(device: str, why: str, record: Path) -> MeasurementRefused:
    """Say that a device's settings were changed and could not be put back."""
    return MeasurementRefused(
        f"device '{device}' is not as it was before it was tuned",
        why=why,
        hint=(
            "run the command again: the next one that reaches the device puts back what is on record there",
            f"the record of this computer is '{record}'",
            "or restart the device: of what is changed, only a power mode outlives that",
        ),
    )


def energy_unknown(device: str, why: str, *, pulses: bool = True) -> MeasurementRefused:
    """Say why nobody can tell what a device draws, and whether it could make ``pulses`` for a meter."""
    beside = ("or put a meter beside it: '--pulses', then 'ofa lut build RUN --meter FILE'",) if pulses else ()
    return MeasurementRefused(
        f"device '{device}' does not say what it draws",
        why=why,
        hint=("leave '--energy' out: latency is then measured alone", *beside),
    )


def energy_not_asked() -> UsageInvalid:
    """Say that networks to measure the energy of were counted, and no energy was asked for."""
    return UsageInvalid("'--energy-networks' measures nothing alone", hint="add '--energy', or '--pulses' for a meter")


def energy_too_small(device: str, source: str, busy_w: float, idle_w: float) -> MeasurementRefused:
    """Say that work drew no more than idling, as far as a source can tell."""
    return MeasurementRefused(
        f"the energy of a network on device '{device}' cannot be told from idling",
        why=f"source '{source}' reads {busy_w:.3f} W at work and {idle_w:.3f} W idle",
        hint=("stop other work on the device", "or measure with longer windows or another source"),
    )


def pulses_not_found(path: Path, why: str) -> FileInvalid:
    """Say that a meter's file does not show when the device worked."""
    return file_invalid(
        "meter's file",
        path,
        why,
        "let the meter record from before the measurement to after it, at least 5 readings a second",
        "check that it meters this device, and nothing else that works",
    )


def no_pulses(folder: Path) -> UsageInvalid:
    """Say that a run did not work in a pattern that a meter's file could show."""
    return UsageInvalid(
        f"run '{folder}' made no pulses for a meter",
        why="without them nothing says when in the meter's file it worked",
        hint="measure with '--pulses' into another folder, the meter recording from before to after it",
    )
