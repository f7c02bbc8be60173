"""Every error a user can meet: what happened, why we think so, what to try; each class is one exit code.

OfaError                   1    a fault of ours
├── UsageInvalid           2    the command line cannot be understood
├── FileInvalid            3    a file we were given is wrong: inventory, profile, table, plan, journal, checkpoint
│   └── SpaceMismatch      3    a subnet, genome or table does not belong to the search space it is used with
├── DeviceLost             4    a device cannot be reached or stopped answering
│   ├── DeviceBarred       4    a device will not have us: trying again does not help before something is changed
│   │   └── DeviceFull     4    a device has no room left for what it is to keep
│   └── DeviceAway         4    a device did not come back while it was waited for
├── MeasurementRefused     5    a device is too hot, too noisy, or lacks what the measurement needs
├── NoSubnetFits           6    no subnet of the space meets the limits
├── VerificationFailed     7    a measured value or a numerical check is outside its tolerance
├── PackageMissing         8    an optional package is not installed
└── Interrupted          130    stopped by Ctrl-C; can be resumed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

RESUME = "run the same command again: what was finished is kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a hint asks for, as data: by name, where it is a limit with the least ``value`` that it has to allow, in
    ``unit``. Verbs turn it into an option, which means nothing to who calls a function."""

    name: str
    value: float | None = None
    unit: str = ""


class OfaError(Exception):
    """An error with its three parts; ``str()`` gives what a user reads."""

    exit_code = 1

    def __init__(
        self, what: str, *, why: str = "", hint: str | Sequence[str] = (), needs: Sequence[Need | None] = ()
    ) -> None:
        """Take what happened, why we think so, one or more things to try, and what the first of these ask for."""
        self.what = what
        self.why = why
        self.hints: tuple[str, ...] = (hint,) if isinstance(hint, str) else tuple(hint)
        self.needs: tuple[Need | None, ...] = tuple(needs)
        super().__init__(what)

    def __str__(self) -> str:
        """Return the message as printed, one part a line."""
        lines = [f"error: {self.what}"]
        if self.why:
            lines.append(f"  why: {self.why}")
        for number, hint in enumerate(self.hints):
            lines.append(("  try: " if number == 0 else "       ") + hint)
        return "\n".join(lines)


class UsageInvalid(OfaError):
    """The command line cannot be understood."""

    exit_code = 2


class FileInvalid(OfaError):
    """A file we were given is wrong."""

    exit_code = 3


class SpaceMismatch(FileInvalid):
    """A subnet, genome or table does not belong to the search space it is used with."""


class DeviceLost(OfaError):
    """A device cannot be reached or stopped answering."""

    exit_code = 4


class DeviceBarred(DeviceLost):
    """A device will not have us; trying again does not help before something is changed."""


class DeviceFull(DeviceBarred):
    """A device has no room left for what it is to keep."""


class DeviceAway(DeviceLost):
    """A device did not come back while it was waited for."""


class MeasurementRefused(OfaError):
    """A device is too hot, too noisy, or lacks what the measurement needs."""

    exit_code = 5


class NoSubnetFits(OfaError):
    """No subnet of the space meets the limits."""

    exit_code = 6


class VerificationFailed(OfaError):
    """A measured value or a numerical check is outside its tolerance."""

    exit_code = 7


class PackageMissing(OfaError):
    """An optional package is not installed."""

    exit_code = 8


class Interrupted(OfaError):
    """Stopped by Ctrl-C; ``hint`` is the command that resumes."""

    exit_code = 130


def printable(text: str) -> str:
    """Return a text with its control characters as escapes: what comes from a file must not steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_invalid(fault: ValidationError, whole: str) -> tuple[str, str]:
    """Return where the first thing wrong with a checked value stands, ``whole`` for all of it, and what is wrong."""
    first = fault.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(str(part) for part in first["loc"]) or whole, first["msg"]


def install(extra: str) -> str:
    """Return the command that brings an extra of ofa-lab: nothing was released, so it is a checkout that is installed,
    the one that runs or the one that this copy came from.
    """
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        return f"pip install -e '{checkout}[{extra}]'"
    return f"pip install '.[{extra}]' in the checkout that ofa-lab was installed from"


def package_missing(package: str, *, extra: str, needed_for: str) -> PackageMissing:
    """Say which extra of ofa-lab brings ``package``."""
    return PackageMissing(
        f"the package '{package}' is not installed",
        why=f"it is needed for {needed_for}",
        hint=install(extra),
    )


def interrupted(what: str = "interrupted", *, resume: str = RESUME) -> Interrupted:
    """Say that a person stopped what ran, and how it is gone on with."""
    return Interrupted(what, hint=resume)


def not_written(path: Path, fault: OSError) -> FileInvalid:
    """Say that the system refused to write a file."""
    return FileInvalid(
        f"'{path}' cannot be written",
        why=fault.strerror or str(fault),
        hint="check the path, its permissions and the space left, then run the same command again",
    )


def not_read(what: str, path: Path, fault: OSError) -> FileInvalid:
    """Say that a file of kind ``what`` is absent, or no file that can be read."""
    return FileInvalid(
        f"{what} '{path}' cannot be read", why=fault.strerror or str(fault), hint="check the path and its permissions"
    )


def too_large(what: str, path: Path, *, size_bytes: int, max_bytes: int) -> FileInvalid:
    """Say that a file of kind ``what`` is larger than any that is read."""
    return FileInvalid(
        f"{what} '{path}' is too large",
        why=f"it has {size_bytes:,} bytes; at most {max_bytes:,} are read",
        hint="check that this is the file you meant",
    )


def not_json(what: str, path: Path, fault: Exception) -> FileInvalid:
    """Say that a file of kind ``what`` is not JSON, or holds what no JSON file can keep."""
    return FileInvalid(
        f"{what} '{path}' is not valid JSON", why=str(fault), hint="write it again; it may have been cut short"
    )


def at_work_already(path: Path) -> UsageInvalid:
    """Say that a folder or file is in another process's hands."""
    return UsageInvalid(
        f"another process is at work in '{path}'",
        why="two at once would disturb each other's measurements and mix what they write",
        hint="wait until it has ended, or choose another place",
    )


def no_space() -> UsageInvalid:
    """Say that a verb was given no search space."""
    return UsageInvalid(
        "no search space is named", why="the command works on one", hint="--space NAME; see 'ofa space list'"
    )


def two_spaces(bare: str, option: str) -> UsageInvalid:
    """Say that a verb was given two search spaces."""
    return UsageInvalid(
        f"two search spaces are named: '{printable(bare)[:60]}' and '{printable(option)[:60]}'",
        why="the command works on one",
        hint="leave the one without '--space' out",
    )
