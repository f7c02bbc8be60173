"""The networks of a search that `ofa choose` tried: the file that it writes, as frozen rows."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from harness.report.parse import Choice, listed, mapped, number
from harness.report.words import DASH, amount, figures3

CHOICE = "choice.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A limit and what counts for it, in one unit: as ``measured``, with its interval, or as predicted where it is not
    measured; None where not known. ``timed``: it is one of latency, in ms."""

    name: str
    timed: bool
    at_most: float
    predicted: float | None
    measured: float | None
    lo: float | None
    hi: float | None

    def said(self, value: float | None) -> str:
        """Return a value of it as people read it."""
        return DASH if value is None else f"{figures3(value)} ms" if self.timed else amount(self.name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A network: accuracies in percent, what counts for each limit, and the names of those it exceeds."""

    id: str
    subnet: dict[str, Any]
    predicted_top1: float | None
    predicted_lo_top1: float | None
    predicted_hi_top1: float | None
    measured_top1: float | None
    held: tuple[Held, ...]
    over: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """All networks that were tried, the choice first; ``device`` and ``runtime`` of each target by its name."""

    networks: tuple[Tried, ...]
    places: dict[str, tuple[str, str]]

    def choices(self) -> tuple[Choice, ...]:
        """Return the networks as figures draw them, by the latency of the one target; none of several targets."""
        if len(self.places) != 1:
            return ()
        [(target, (device, runtime))] = self.places.items()
        return tuple(
            _choice(one, held, device, runtime) for one in self.networks for held in one.held if held.name == target
        )


def trial(facts: dict[str, Any] | None) -> Trial | None:
    """Return what was tried; None where the facts are of nothing that could be shown."""
    if facts is None:
        return None
    limits = mapped(facts.get("at_most"))
    places = {
        str(name): (str(mapped(found).get("device") or ""), str(mapped(found).get("runtime") or ""))
        for name, found in mapped(facts.get("devices")).items()
    }
    networks = [_tried(mapped(entry), limits, places) for entry in listed(facts.get("networks"))]
    known = tuple(one for one in networks if one.id)
    return Trial(networks=known, places=places) if known else None


def _tried(entry: dict[str, Any], limits: dict[str, Any], places: Container[str]) -> Tried:
    predicted, measured = mapped(entry.get("predicted")), mapped(entry.get("measured"))
    held = []
    for name, most in limits.items():
        at_most, reading = number(most), mapped(mapped(measured.get("limits")).get(name))
        if at_most is not None:
            held.append(
                Held(
                    name=str(name),
                    timed=str(name) in places,
                    at_most=at_most,
                    predicted=number(mapped(predicted.get("limits")).get(name)),
                    measured=number(reading.get("value")),
                    lo=number(reading.get("lo")),
                    hi=number(reading.get("hi")),
                )
            )
    return Tried(
        id=str(entry.get("id") or ""),
        subnet=mapped(entry.get("subnet")),
        predicted_top1=number(predicted.get("top1")),
        predicted_lo_top1=number(predicted.get("top1_lo")),
        predicted_hi_top1=number(predicted.get("top1_hi")),
        measured_top1=number(measured.get("top1")),
        held=tuple(held),
        over=tuple(str(name) for name in listed(entry.get("over"))),
    )


def _choice(one: Tried, held: Held, device: str, runtime: str) -> Choice:
    return Choice(
        device=device,
        runtime=runtime,
        subnet=one.subnet,
        id=one.id,
        budget_ms=held.at_most,
        predicted_ms=held.predicted,
        measured_ms=held.measured,
        measured_lo_ms=held.lo,
        measured_hi_ms=held.hi,
        other_ms=None,
        predicted_top1=one.predicted_top1,
        predicted_lo_top1=one.predicted_lo_top1,
        predicted_hi_top1=one.predicted_hi_top1,
        measured_top1=one.measured_top1,
    )
