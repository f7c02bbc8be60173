"""What can be wrong with the samples or the files of a twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ofa.errors import FileInvalid, SpaceMismatch, UsageInvalid


def too_few(count: int, *, needed: int, of: str) -> UsageInvalid:
    """Say that a model cannot be fitted to so few samples."""
    return UsageInvalid(
        f"{count} different {of} are too few to fit a twin", why=f"at least {needed} are needed", hint=f"add more {of}"
    )


def not_parallel(what: str, found: tuple[int, ...], expected: tuple[int, ...]) -> UsageInvalid:
    """Say that two arrays that belong together differ in shape."""
    return UsageInvalid(f"{what} has shape {found}", why=f"{expected} is expected", hint="pass one value for each row")


def not_a_number(what: str, wanted: str) -> UsageInvalid:
    """Say that samples hold values no measurement gives."""
    return UsageInvalid(f"{what} holds a value that is not {wanted}", hint="drop the failed rows before fitting")


def broken(path: Path, why: str) -> FileInvalid:
    """Say that a saved twin cannot be used."""
    return FileInvalid(f"twin '{path}' cannot be used", why=why, hint="fit the twin again; do not edit its files")


def other_space(path: Path, found: str, expected: str) -> SpaceMismatch:
    """Say that a saved twin speaks of another search space."""
    return SpaceMismatch(
        f"twin '{path}' does not belong to '{expected}'",
        why=f"it was fitted on '{found}'",
        hint="fit a twin on this space, or search the space of the twin",
    )


def nothing_measured() -> UsageInvalid:
    """Say that a latency twin needs something that was measured."""
    return UsageInvalid(
        "a latency twin needs measured networks, a table of operator latencies, or both",
        hint=("measure whole networks", "measure the operators"),
    )


def not_calibrated(coverage: float) -> UsageInvalid:
    """Say that a twin without measured networks knows no bound."""
    return UsageInvalid(
        f"this latency twin cannot give a bound of coverage {coverage:g}",
        why="it was not calibrated on measured networks, so its error is not known",
        hint="measure whole networks on the device and fit the twin again",
    )


def not_labelled(run: Path, code: int) -> UsageInvalid:
    """Say that the labels of a round could not be made; the program that makes them has said why."""
    return UsageInvalid(
        f"subnets of '{run}' could not be labelled",
        why=f"'ofa label' ended with exit code {code}, for the reason above",
        hint="mend that and give the same command again: labels that were made are kept",
    )


def rounds_need() -> UsageInvalid:
    """Say what labels of further rounds are made of."""
    return UsageInvalid(
        "further labels need a training and its images",
        why="they are measured, as 'ofa label' does it",
        hint="give '--rounds N --labels LABELS.csv --run RUN --data PATH', all four",
    )


def no_energy(table: str) -> UsageInvalid:
    """Say that no network of a table has its energy measured."""
    return UsageInvalid(
        f"table '{table}' says nothing of energy",
        why="no network of it, of this space and to fit to, has an energy",
        hint="measure on a device with a power rail or a meter, or leave out --energy",
    )


def one_source() -> UsageInvalid:
    """Say that a twin learns from one kind of file."""
    return UsageInvalid(
        "a twin is fitted to labels or to a table",
        why="an accuracy twin learns from --labels, a latency or energy twin from --lut",
        hint="give exactly one of --labels and --lut; --energy goes with --lut, --by-latency with --labels",
    )


def other_format(table: str, runtime: str, taken: str, wanted: str) -> UsageInvalid:
    """Say that a table is of a runtime that does not run the file."""
    return UsageInvalid(
        f"table '{table}' says nothing of {wanted} files",
        why=f"it was measured with {runtime}, which takes {taken} files",
        hint=f"give a table of a runtime that takes {wanted} files, or export as {taken}",
    )


def unlike_precisions(named: Mapping[str, str], assumed: Sequence[str]) -> UsageInvalid:
    """Say that what is put side by side is of several precisions."""
    listed = ", ".join(f"{name} is {value}{' (assumed)' if name in assumed else ''}" for name, value in named.items())
    return UsageInvalid(
        "precisions differ",
        why=listed,
        hint="use labels, tables and files of one precision: an int8 network is another network",
    )
