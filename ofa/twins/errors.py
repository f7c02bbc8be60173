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


def not_a_number(what: str, wanted: str, *, row: int | None = None, value: float | None = None) -> UsageInvalid:
    """Say that samples hold values no measurement gives, and which is the first, counted from 0."""
    return UsageInvalid(
        f"among the {what} is a value that is not {wanted}",
        why="" if row is None else f"row {row}, counted from 0, is {value}",
        hint="drop the failed rows before fitting",
    )


def tells_nothing(error: float, scatter: float) -> str:
    """Warn that an accuracy twin is no better than one number for all networks."""
    return (
        "this twin knows nothing of how networks differ: on labels it had not seen "
        f"it errs by {error:.3g} points (rms), and their own scatter is {scatter:.3g}; "
        "a search by it finds what is cheap, not what is accurate. Train longer, or label more subnets on more images"
    )


def tells_little(coverage: float, half_width: float, scatter: float) -> str:
    """Warn that an accuracy twin's intervals are wider than what it is to tell apart."""
    return (
        f"this twin tells little of which network is better: its {100 * coverage:.0f} % interval is ± {half_width:.3g} "
        f"points, and the labels' own scatter is {scatter:.3g}. Label more subnets, on more images held back"
    )


def tells_sizes(spearman: float) -> str:
    """Warn that an accuracy twin ranks networks of different resolutions only."""
    return (
        f"this twin tells resolutions apart, not networks: inside one it ranks nothing (Spearman {spearman:.2g} on "
        "labels it had not seen). Label more subnets, on more images held back"
    )


def broken(path: Path, why: str) -> FileInvalid:
    """Say that a saved twin cannot be used."""
    return FileInvalid(f"twin '{path}' cannot be used", why=why, hint="fit the twin again; do not edit its files")


def other_space(path: Path, found: str, expected: str) -> SpaceMismatch:
    """Say that a saved twin speaks of another search space."""
    return SpaceMismatch(
        f"twin '{path}' does not belong to '{expected}'",
        why=f"it was fitted on '{found}'",
        hint=("name the space it was fitted on, --width, --channels and --classes too", "or fit a twin on this one"),
    )


def nothing_measured() -> UsageInvalid:
    """Say that a latency twin needs something that was measured."""
    return UsageInvalid(
        "a latency twin needs measured networks, a table of op latencies, or both",
        hint=("measure whole networks", "measure the ops"),
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


def labels_absent(path: Path) -> FileInvalid:
    """Say that there are no labels to fit to."""
    return FileInvalid(
        f"labels '{path}' cannot be read",
        why="there is no such file",
        hint=("check the path", "label subnets: ofa label RUN --data PATH --out LABELS.csv"),
    )


def not_foretold(path: Path, why: str) -> FileInvalid:
    """Say that a file of what was foretold cannot be used."""
    return FileInvalid(
        f"'{path}' cannot be used",
        why=why,
        hint="remove it: the labels stay, and intervals go by cross-validated errors until rounds foretell others",
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


def not_trees(what: str, why: str) -> FileInvalid:
    """Say that a part of a saved twin is no model of trees."""
    return FileInvalid(f"{what} is not a tree model", why=why, hint="fit the twin again")


def trees_of_another(what: str, *, found: int, columns: int) -> FileInvalid:
    """Say that trees read another number of features than the space gives."""
    return FileInvalid(
        f"{what} reads {found} features", why=f"this space gives {columns}", hint="fit the twin again on this space"
    )


def coverage_impossible(coverage: float) -> UsageInvalid:
    """Say that a coverage is no share of cases."""
    return UsageInvalid(f"a coverage of {coverage:g} is not between 0 and 1", hint="0.9 is a usual choice")


def too_few_for_coverage(count: int, coverage: float, *, needed: int) -> UsageInvalid:
    """Say that so few residuals give no bound of this coverage."""
    return UsageInvalid(
        f"{count} residuals are too few for a coverage of {coverage:g}",
        why=f"a bound that holds this often needs at least {needed}",
        hint=("measure more networks", "ask for a lower coverage"),
    )


def too_few_to_choose(count: int, *, offered: int) -> UsageInvalid:
    """Say that more networks are to be chosen than there are, or none."""
    return UsageInvalid(f"{count} of {offered} networks cannot be chosen", hint="offer more networks")


def row_unknown(row: int, *, known: int) -> UsageInvalid:
    """Say that a measured network is none of those that known devices tell of."""
    return UsageInvalid(
        f"network {row} is not among the known ones",
        why=f"known devices tell of {known} networks, counted from 0",
        hint="pass the rows that choose_networks returned for these networks",
    )


def genomes_of_another(space: str, *, shape: tuple[int, ...], kind: object, genes: int) -> SpaceMismatch:
    """Say that an array is not one of genomes of this space, known as data alone."""
    return SpaceMismatch(
        f"genomes of shape {shape} and type {kind} do not belong to '{space}'",
        why=f"this space has rows of {genes} uint8 genes, each at most its number of choices",
        hint="use the space the genomes were made with",
    )
