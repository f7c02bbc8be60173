"""What a search refuses, and how it says so."""

from __future__ import annotations

from pathlib import Path

from ofa.errors import FileInvalid, NoSubnetFits, OfaError, UsageInvalid


def below_floor(name: str, *, at_most: float, floor: float, unit: str, subnet: str) -> NoSubnetFits:
    """Say that one limit lies below the exact minimum of the space."""
    return NoSubnetFits(
        f"no subnet has a {name} of {at_most:g} {unit} or less",
        why=f"the exact minimum of the space is {ceiled(floor)} {unit}, by subnet {subnet}",
        hint=f"allow at least {ceiled(floor)} {unit}",
    )


def below_bound(name: str, *, at_most: float, unit: str) -> NoSubnetFits:
    """Say that one limit lies below what is proven of the space, where the exact minimum is not known."""
    return NoSubnetFits(
        f"no subnet has a {name} of {at_most:g} {unit} or less",
        why="the smallest prediction that its model allows lies above it",
        hint="raise the limit",
    )


def excluded(one: tuple[str, float, str], other: tuple[str, float, str], *, nearest: float) -> NoSubnetFits:
    """Say that two limits (name, largest value, unit) exclude each other, and what the first would have to be."""
    return NoSubnetFits(
        f"no subnet has a {one[0]} of {one[1]:g} {one[2]} and a {other[0]} of {other[1]:g} {other[2]} or less",
        why=f"proven: within the limit of {other[0]} the least {one[0]} is {ceiled(nearest)} {one[2]}",
        hint=(f"allow at least {ceiled(nearest)} {one[2]} of {one[0]}", f"or raise the limit of {other[0]}"),
    )


def nothing_found(missed: str, nearest: str, subnet: str) -> NoSubnetFits:
    """Say that no subnet was found that meets all limits, though none of them is proven impossible."""
    return NoSubnetFits(
        f"no subnet was found within {missed}",
        why=f"the nearest one found, {subnet}, has {nearest}; this is a search's best, not a proof",
        hint="raise the limit that the nearest subnet misses",
    )


def energy_limit_without_source(limit: str) -> UsageInvalid:
    """Say that nothing can hold a limit of energy: nobody measured any."""
    return UsageInvalid(
        f"the energy limit of {limit} cannot be held",
        why="nothing is known that measured energy: the table has none of any network",
        hint=(
            "measure energy on a device that has a source of it ('ofa bench --energy'), or with a meter beside it "
            "('--pulses')",
            "or limit latency instead",
        ),
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
