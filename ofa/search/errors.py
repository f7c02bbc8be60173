"""What a search refuses, and how it says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path

from ofa.errors import FileInvalid, Need, NoSubnetFits, OfaError, SpaceMismatch, UsageInvalid

# The option of each limit, by the name it is asked for and the one it is told by.
OPTIONS = {
    "latency": "--under",
    "energy": "--under-energy",
    "activation": "--under-activation",
    "activation memory": "--under-activation",
    "resident memory": "--under-rss",
    "parameters": "--under-params",
    "MACs": "--under-macs",
    "size": "--under-size",
}
# What a command line gives where a hint asks for something else than a larger limit.
GIVEN = {
    "energy": "'ofa bench --energy', or '--pulses' for the meter",
    "memory": "'ofa bench --fit N' measures the memory of N networks, too",
    "activation": OPTIONS["activation"],
    "networks": "'ofa search --top N'",
    "target": "the NAME of --target NAME=PATH:25ms",
    "width": "--width 1.2",
}


def below_floor(name: str, *, at_most: float, floor: float, unit: str, subnet: str) -> NoSubnetFits:
    """Say that one limit lies below the exact minimum of the space."""
    return NoSubnetFits(
        f"no subnet has {_at_most(name, at_most, unit)}",
        why=f"the exact minimum of the space is {least_said(floor, unit)}, by subnet {subnet}",
        hint=allowing(name, floor, unit),
        needs=[Need(name=name, value=floor, unit=unit)],
    )


def below_bound(name: str, *, at_most: float, unit: str) -> NoSubnetFits:
    """Say that one limit lies below what is proven of the space, where the exact minimum is not known."""
    return NoSubnetFits(
        f"no subnet has {_at_most(name, at_most, unit)}",
        why="the smallest prediction that its model allows lies above it",
        hint="raise the limit",
    )


def excluded(one: tuple[str, float, str, float], other: tuple[str, float, str, float]) -> NoSubnetFits:
    """Say that two limits exclude each other: of each its name, largest value, unit, and least value within the other.

    Each least value is proven, and named as what the limit would have to be.
    """
    said = [_at_most(name, at_most, unit) for name, at_most, unit, _ in (one, other)]
    least = [least_said(value, unit) for _, _, unit, value in (one, other)]
    return NoSubnetFits(
        f"no subnet has both {said[0]} and {said[1]}",
        why=f"proven: within the limit of {other[0]} the {one[0]} is at least {least[0]}; "
        f"within that of {one[0]} the {other[0]} is at least {least[1]}",
        hint=(allowing(one[0], one[3], one[2]), f"or {allowing(other[0], other[3], other[2])}"),
        needs=[Need(name=name, value=value, unit=unit) for name, _, unit, value in (one, other)],
    )


def _at_most(name: str, at_most: float, unit: str) -> str:
    """Return a limit in words: "latency at or below 5 ms"; a count has no unit."""
    return f"{name} at or below {said(at_most, unit)}"


def said(value: float, unit: str) -> str:
    """Return a value with its unit as people write it: "36 MB", "0.4 ms", and a count in plain digits."""
    shown, factor = _scaled(value, unit)
    return f"{value / factor:.12g} {shown}".rstrip()


def least_said(value: float, unit: str) -> str:
    """Return a value in the same way, rounded up to four digits: itself a limit that can be met."""
    shown, factor = _scaled(value, unit)
    # A count that is whole can be said as it is.
    whole = not unit and float(value).is_integer()
    return f"{value:.0f}" if whole else f"{ceiled(value / factor)} {shown}".rstrip()


def allowing(name: str, value: float, unit: str) -> str:
    """Return the hint that allows a value of a limit: "at least 5 ms of latency"; what is counted is its own unit."""
    return f"allow at least {least_said(value, unit)} {'of ' if unit else ''}{name}"


@contextmanager
def as_typed(*, by_target: bool = False) -> Iterator[None]:
    """Let an error of the block say beside its hints how a command line gives what they ask for, as it can be pasted;
    ``by_target`` says that devices were named by --target."""
    try:
        yield
    except OfaError as fault:
        pairs = zip(fault.hints, chain(fault.needs, repeat(None)), strict=False)
        fault.hints = tuple(hint if need is None else hint + _given(need, by_target=by_target) for hint, need in pairs)
        raise


def _given(need: Need, *, by_target: bool) -> str:
    """Return how a command line gives what a hint asks for; empty where no option does."""
    if need.value is None:
        return f": {GIVEN[need.name]}"
    value = least_said(need.value, need.unit).replace(" ", "")
    if need.unit == "ms" and by_target:
        return f": its --target ends with ':{value}'"
    # Of what every device has its own of, one option limits all.
    option = OPTIONS.get(need.name.partition(" on ")[0])
    return "" if option is None else f": {option} {value}"


def _scaled(value: float, unit: str) -> tuple[str, float]:
    """Return the unit that a value is said in, and how many of the given one that is."""
    if unit != "B":
        return unit, 1.0
    return next((found for found in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if value >= found[1]), (unit, 1.0))


def nothing_found(held: Sequence[tuple[str, float, str, float]], subnet: str) -> NoSubnetFits:
    """Say that no subnet was found that meets all limits, though none of them is proven impossible: of each its name,
    largest value, unit, and what the nearest subnet has."""
    within = " and ".join(f"{said(at_most, unit)} {name}" for name, at_most, unit, _ in held)
    nearest = ", ".join(f"{name} {least_said(value, unit)}" for name, _, unit, value in held)
    missed = [(name, value, unit) for name, at_most, unit, value in held if value > at_most]
    return NoSubnetFits(
        f"no subnet was found within {within}",
        why=f"the nearest one found, {subnet}, has {nearest}; this is a search's best, not a proof",
        hint=tuple(allowing(*one) for one in missed),
        needs=[Need(name=name, value=value, unit=unit) for name, value, unit in missed],
    )


def none_within_measured(count: int, nearest: str, has: str) -> NoSubnetFits:
    """Say that of networks that were predicted within the limits none is, as measured."""
    what = "the one network is not" if count == 1 else f"none of the {count} networks is"
    return NoSubnetFits(
        f"{what} within the limits as measured",
        why=f"the nearest one, {nearest}, has {has}",
        hint="search again under a lower limit, or for more networks",
        needs=[Need(name="networks")],
    )


def energy_limit_without_source(limit: str) -> UsageInvalid:
    """Say that nothing can hold a limit of energy: nobody measured any."""
    return UsageInvalid(
        f"the energy limit of {limit} cannot be held",
        why="nothing is known that measured energy: the table has none of any network",
        hint=(
            "measure energy on a device that has a source of it, or with a meter beside it",
            "or limit latency instead",
        ),
        needs=[Need(name="energy")],
    )


def memory_limit_without_source(limit: str) -> UsageInvalid:
    """Say that nothing can hold a limit of resident memory: too few networks were measured for it."""
    return UsageInvalid(
        f"the limit of {limit} resident memory cannot be held",
        why="no table given has the peak memory of enough networks of this space",
        hint=("give a table with more of them", "or limit activation memory, which is computed"),
        needs=[Need(name="memory"), Need(name="activation")],
    )


def no_quantity(text: str, kind: str, units: Sequence[str], *, of: str) -> UsageInvalid:
    """Say that a text is no quantity of a kind, and which option it was given to."""
    # Of a count, "B" would read as bytes.
    named = ["B (10^9)" if kind == "count" and unit == "B" else unit or "none" for unit in units]
    return UsageInvalid(
        f"{of}: '{text}' is not a quantity of {kind}",
        why="it is a number with its unit, such as "
        + {"latency": "25ms", "energy": "8mJ", "memory": "4MB"}.get(kind, "4M"),
        hint="units are " + ", ".join(named),
    )


def no_target(text: str) -> UsageInvalid:
    """Say that a text names no device with its tables and its limit."""
    return UsageInvalid(
        f"'{text}' is no target",
        why="a target is NAME=PATH[,PATH...]:LIMIT",
        hint="for example --target phone=luts/phone/litert-fp32-xnnpack-4t:25ms",
    )


def no_predictor(spec: str) -> FileInvalid:
    """Say that nothing predicts accuracy."""
    return FileInvalid(
        f"'{spec}' is no predictor of accuracy",
        why="it is neither the folder of a saved twin nor 'ofa-mlp:FILE.npz', the published predictor",
        hint="check the path",
    )


def no_device(further: Sequence[str]) -> UsageInvalid:
    """Say that a search was given neither a table nor a target, though it may have ``further`` limits."""
    if not further:
        return UsageInvalid("nothing says what a subnet costs", hint="give --lut PATH --under 25ms, or --target")
    return UsageInvalid(
        "a search needs a device's table",
        why=f"a limit on {further[0]} is held without one, but every answer tells what its networks take on a device",
        hint="give --lut PATH; with another limit it needs no --under",
    )


def named_twice(name: str) -> UsageInvalid:
    """Say that two limits have one name, by which the answer tells what each has."""
    return UsageInvalid(
        f"two limits are called '{name}'",
        why="an answer tells each limit's value by its name: a device's, or what is limited",
        hint="give each device a name of its own, which no other limit has",
        needs=[Need(name="target")],
    )


def target_and_table() -> UsageInvalid:
    """Say that two ways to name a device were used at once."""
    return UsageInvalid(
        "--lut and --target were both given", why="--lut with --under is one target", hint="use --target for each"
    )


def not_of_a_front(options: Sequence[str]) -> UsageInvalid:
    """Say that options of a search for one subnet were given to one for a front."""
    return UsageInvalid(
        f"{' and '.join(options)} {'says' if len(options) == 1 else 'say'} nothing of a front",
        why="a front is one short search for each of its limits",
        hint=("leave --front out to search for one subnet", f"leave out {' and '.join(options)}"),
    )


def limit_without_table() -> UsageInvalid:
    """Say that a limit of latency has no table to be held with."""
    return UsageInvalid("--under was given without --lut", hint="give the table: --lut PATH --under 25ms")


def no_limit() -> UsageInvalid:
    """Say that a table was given and no limit to hold with it."""
    return UsageInvalid(
        "--lut was given without any limit", hint="give the most it may take: --under 25ms, or another limit"
    )


def no_resolution(space: str, devices: Mapping[str, Sequence[int]], predictor: Sequence[int]) -> SpaceMismatch:
    """Say that no resolution is priced by every device and known to the predictor."""
    priced = "; ".join(f"{name} has {', '.join(map(str, px))}" for name, px in devices.items())
    return SpaceMismatch(
        f"no resolution of '{space}' can be searched",
        why=f"{priced}; the predictor has {', '.join(map(str, predictor))} px",
        hint="give tables that have a resolution in common",
    )


def not_one_each(what: str, found: tuple[int, ...], count: int) -> OfaError:
    """Say that a predictor did not return one value for each genome."""
    return OfaError(
        f"the predictor of {what} returned an array of shape {found} for {count} genomes",
        why=f"one value for each is needed, float64[{count}]",
        hint="return one number for each row of the genomes, uint8[n, G]",
    )


def not_a_number(what: str) -> OfaError:
    """Say that a predictor returned something a search cannot rank."""
    return OfaError(
        f"the predictor of {what} returned a value that is not a finite number",
        why="every prediction must be comparable with every other",
        hint="check the model or table behind it",
    )


def ceiled(value: float) -> str:
    """Return a value with four digits, rounded up, so that the number shown is itself a limit that can be met."""
    from math import ceil, floor, log10

    if value <= 0:
        return "0"
    digits = max(0, 3 - floor(log10(value)))
    scaled = ceil(value * 10**digits - 1e-9)
    return f"{scaled / 10**digits:.{digits}f}"


def state_of_another(path: Path, what: str) -> FileInvalid:
    """Say that a written search is not the one that was asked for."""
    return FileInvalid(
        f"'{path}' holds another search",
        why=f"its {what} differs from what was asked for",
        hint="give the same arguments to go on with it, or another file to begin anew",
    )


def state_broken(path: Path, why: str) -> FileInvalid:
    """Say that a file holds no search that can be taken up."""
    return FileInvalid(
        f"'{path}' is not a search that can be taken up", why=why, hint="remove it to begin anew; it may be cut short"
    )


def folder_of_another(folder: Path) -> UsageInvalid:
    """Say that a run folder holds a search that was asked something else."""
    return UsageInvalid(
        f"run folder '{folder}' holds another search",
        why="its request.json differs from what was asked for, in an option or in the content of an input, and has its "
        "answer beside it",
        hint="give another folder with --out",
    )


def request_broken(path: Path, why: str) -> FileInvalid:
    """Say that a file holds no request of a search."""
    return FileInvalid(
        f"request '{path}' cannot be used", why=why, hint="search again into a new folder: a request is not edited"
    )


def input_changed(path: Path) -> FileInvalid:
    """Say that an input of a search is no longer what it was when the search was asked."""
    return FileInvalid(
        f"'{path}' is not the file that was searched with",
        why="its SHA-256 is not the one that request.json names",
        hint="search again into a new folder; inputs of a run are not edited",
    )


def limit_unusable(name: str, *, at_most: float, unit: str) -> UsageInvalid:
    """Say that no value can be compared with a limit."""
    return UsageInvalid(
        f"a limit of {said(at_most, unit)} on {name} cannot be searched for",
        why="a limit is a finite number above zero",
        hint=f"give the largest {name} the subnet may have",
    )


def not_published(path: Path, fault: Exception, *, inputs: int) -> FileInvalid:
    """Say that a file does not hold the arrays of the published accuracy predictor."""
    return FileInvalid(
        f"'{path}' is not the published accuracy predictor",
        why=str(fault) or type(fault).__name__,
        hint=f"it holds '0.weight', '0.bias' and so on of a network of {inputs} inputs, as an npz file",
    )


def space_unpublished(space: str) -> SpaceMismatch:
    """Say that the published accuracy predictor was made for another space."""
    return SpaceMismatch(
        f"the published accuracy predictor knows nothing of '{space}'",
        why="it was made for MobileNetV3 at width 1.2: five stages of up to four blocks",
        hint="give a twin of this space, or search mobilenet_v3 at width 1.2",
        needs=[Need(name="width")],
    )


def resolution_unpublished(px: int, *, first: int, last: int, step: int) -> SpaceMismatch:
    """Say that the published accuracy predictor lacks a resolution, px, and which ones it has."""
    return SpaceMismatch(
        f"the published accuracy predictor knows no resolution of {px} px",
        why=f"it knows {first} to {last} px in steps of {step}",
        hint="search fewer resolutions",
    )
