"""What can be wrong with the name of a space, a genome, a subnet in a file or the key of an op."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from ofa.errors import FileInvalid, SpaceMismatch, UsageInvalid

SAMPLE = "see 'ofa space sample SPACE --json'"


def shown(value: Any) -> str:
    """Return a value from a file for a message: short, however large or deeply nested it is."""
    return reprlib.repr(value)


def space_unknown(name: str, known: Sequence[str]) -> UsageInvalid:
    """Say that no space has this name, and which one resembles it."""
    near = difflib.get_close_matches(name, known, n=1)
    return UsageInvalid(
        f"there is no search space '{name}'",
        why=f"there are {', '.join(known)}",
        hint=f"did you mean '{near[0]}'?" if near else "ofa space list",
    )


def width_unknown(name: str, multiplier: float, widest: float) -> UsageInvalid:
    """Say that no space has this width multiplier, and which is the nearest."""
    return UsageInvalid(
        f"'{name}' has no width multiplier {multiplier:g}",
        why=f"a multiplier is a whole number of tenths from 0.1 to {widest:g}",
        hint=f"--width {min(max(0.1, round(multiplier, 1)), widest):g}",
    )


def count_out_of_range(name: str, what: str, value: int, *, least: int, most: int) -> UsageInvalid:
    """Say that a space cannot have so many channels or classes."""
    return UsageInvalid(
        f"'{name}' cannot have {value:,} {what}",
        why=f"{least} to {most:,} are possible",
        hint=f"choose a number of {what} in this range",
    )


def id_unknown(identity: str, known: Sequence[str], why: str = "") -> SpaceMismatch:
    """Say that an id names no space."""
    return SpaceMismatch(
        f"'{identity[:80]}' is not the id of a search space",
        why=why or f"an id is a name ({', '.join(known)}), a width and what differs from ImageNet",
        hint="such as 'mobilenet_v3-w1.0' or 'mobilenet_v3_tiny-w1.0-c1-n10'",
    )


def genomes_misshapen(space: str, *, shape: tuple[int, ...], kind: object, genes: int) -> SpaceMismatch:
    """Say that an array is not one of genomes of this space."""
    return SpaceMismatch(
        f"genomes of shape {shape} and type {kind} do not belong to '{space}'",
        why=f"this space has rows of {genes} uint8 genes",
        hint="use the space the genomes were made with",
    )


def genome_not_canonical(space: str, row: int, *, gene: str, value: int) -> SpaceMismatch:
    """Say which gene of a genome is in use and 0, not in use and not 0, or picks what is not offered."""
    return SpaceMismatch(
        f"genome {row} is not a canonical genome of '{space}'",
        why=f"gene '{gene}' has value {value}",
        hint="pass genomes through SearchSpace.canonical, or use the space they were made with",
    )


def corner_unknown(space: str, name: str, known: Iterable[str]) -> SpaceMismatch:
    """Say that a space has no corner of this name."""
    return SpaceMismatch(f"'{space}' has no corner '{name}'", hint=f"one of: {', '.join(known)}")


def subnet_of_another(space: str, facts: Any) -> SpaceMismatch:
    """Say that the JSON of a subnet names another space, or is no object that could name one."""
    found = shown(facts.get("space")) if isinstance(facts, dict) else type(facts).__name__
    return SpaceMismatch(
        f"a subnet of {found} is not one of '{space}'",
        why="a subnet belongs to the space it names",
        hint=f'write "space": "{space}"',
    )


def subnet_key_unknown(space: str, key: str, known: Collection[str], see: str) -> SpaceMismatch:
    """Say that the JSON of a subnet has a key that no subnet of the space has."""
    return SpaceMismatch(
        f"unknown key {shown(key)} in a subnet of '{space}'", why=f"its keys are {', '.join(sorted(known))}", hint=see
    )


def subnet_key_differs(space: str, key: str, *, depths: Sequence[int], value: Any) -> SpaceMismatch:
    """Say that the JSON of a subnet says more or less of one key than its depths have blocks for."""
    return SpaceMismatch(
        f"'{key}' is not what a subnet of '{space}' with depths {list(depths)} has",
        why=f"what it has is {value}",
        hint="give one kernel and one expand ratio for each block in use, and nothing else",
    )


def subnet_id_differs(found: Any, identity: str) -> SpaceMismatch:
    """Say that the JSON of a subnet names it by the id of another one."""
    return SpaceMismatch(
        f"subnet id {shown(found)} does not name this subnet",
        why=f"its id is '{identity}'",
        hint="leave the id out, or take the subnet from where its id comes from again",
    )


def choice_not_offered(space: str, gene: str, value: Any, choices: Iterable[float]) -> SpaceMismatch:
    """Say that the JSON of a subnet has a value that its gene cannot take."""
    return SpaceMismatch(
        f"'{gene}' is {shown(value)}, which '{space}' does not offer",
        why=f"a subnet of '{space}' takes each value from a list",
        hint=f"one of: {', '.join(f'{choice:g}' for choice in choices)}",
    )


def choice_absent(space: str, gene: str, see: str) -> SpaceMismatch:
    """Say that the JSON of a subnet has no value for a gene in use."""
    return SpaceMismatch(
        f"a subnet of '{space}' lacks '{gene}'", why="every block in use has its values, by stage", hint=see
    )


def no_op_key(key: str, why: str) -> FileInvalid:
    """Say that a text names no op."""
    return FileInvalid(f"'{key[:80]}' is no op key", why=why, hint="take keys from 'ofa space ops'")


def no_subnet_in(path: Path) -> FileInvalid:
    """Say that a file of subnets is an empty list."""
    return FileInvalid(f"'{path}' holds no subnet", why="its list is empty", hint=SAMPLE)


def entry_no_subnet(path: Path, number: int) -> FileInvalid:
    """Say which entry of a file is no subnet."""
    return FileInvalid(
        f"entry {number} of '{path}' is no subnet", why='a subnet is an object that names its "space"', hint=SAMPLE
    )


def entry_invalid(path: Path, number: int, fault: FileInvalid) -> FileInvalid:
    """Say which entry of a file of subnets has a fault."""
    return type(fault)(f"entry {number} of '{path}': {fault.what}", why=fault.why, hint=fault.hints)
