"""The last word on a search: the best that it found labelled and measured for real, and the choice made on that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ofa.search import errors
from ofa.space.core import Subnet

if TYPE_CHECKING:
    from ofa.search.finding import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was measured of a network, in the unit of the limit it is held against, with its 95 % interval."""

    value: float
    lo: float
    hi: float


Label = Callable[[Sequence[Subnet]], Sequence[float]]
# By the name of each limit that is measured: a reading of every network, None of one that could not be.
Measure = Callable[[Sequence[Subnet]], Mapping[str, Sequence[Reading | None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A network that a search found, with what it is really worth: ``top1`` in percent, readings by name of limit.

    ``over`` names the limits that it exceeds: as measured, or as predicted where nothing measures them, as
    computed sizes are; one that could not be measured is there, too.
    """

    candidate: Candidate
    top1: float
    readings: dict[str, Reading]
    over: tuple[str, ...]


def settle(
    candidates: Sequence[Candidate], at_most: Mapping[str, float], *, label: Label, measure: Measure
) -> list[Tried]:
    """Return the networks that a search found (`Found.top`), tried: the most accurate within every limit comes first.

    ``at_most`` are the limits by name, as the candidates' values are. ``label`` says what each network is worth on
    images, percent, ``measure`` what devices say of it. A prediction decides nothing where a measurement is: what a
    search picks was picked for its prediction, which flatters. Networks that exceed a limit follow, the nearest to it
    first. Raises NoSubnetFits where every one exceeds some limit, and what ``label`` and ``measure`` raise.
    """
    subnets = [candidate.subnet for candidate in candidates]
    readings = measure(subnets)
    tried = [
        _tried(candidate, float(top1), {name: found[place] for name, found in readings.items()}, at_most)
        for place, (candidate, top1) in enumerate(zip(candidates, label(subnets), strict=True))
    ]
    order = sorted(tried, key=lambda one: (_excess(one, at_most), -one.top1))
    if order[0].over:
        raise _none_within(order[0], at_most, len(order))
    return order


def _tried(
    candidate: Candidate, top1: float, readings: Mapping[str, Reading | None], at_most: Mapping[str, float]
) -> Tried:
    """Hold what was measured of a network against every limit."""
    known = {name: reading for name, reading in readings.items() if reading is not None}
    over = tuple(
        name
        for name, most in at_most.items()
        if (name in readings and name not in known) or _value(candidate, known, name) > most
    )
    return Tried(candidate=candidate, top1=top1, readings=known, over=over)


def _value(candidate: Candidate, readings: Mapping[str, Reading], name: str) -> float:
    """Return what counts of a network for a limit: the reading, or else the prediction."""
    return readings[name].value if name in readings else candidate.values[name]


def _excess(tried: Tried, at_most: Mapping[str, float]) -> float:
    """Return by which share a network exceeds its limits, the largest; 0 within all of them."""
    shares = [_value(tried.candidate, tried.readings, name) / at_most[name] - 1.0 for name in tried.over]
    return max(shares, default=0.0) if all(share > 0 for share in shares) else float("inf")


def _none_within(nearest: Tried, at_most: Mapping[str, float], count: int) -> Exception:
    """Build the refusal for networks none of which is within the limits as measured."""
    said = []
    for name in nearest.over:
        value = _value(nearest.candidate, nearest.readings, name)
        known = f"{value:.4g} of {name}, where {at_most[name]:g} is the most"
        said.append(known if value > at_most[name] else f"no {name} that could be measured")
    return errors.none_within_measured(count, nearest.candidate.subnet.id, " and ".join(said))
