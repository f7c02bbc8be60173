"""What a search found, from its ``front.json``: of the demo, or of `ofa search` with a front or one best network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.report import reasons
from harness.report.parse import listed, mapped, number
from harness.report.reasons import Why
from harness.report.words import COUNTS, amount, figures3
from ofa.search.front import pareto as rows_of

# What limits are of, by the words that people use.
OF = {"activation": "activations", "size": "file"}
_SHOWN = ("points", "best", "top", "chosen", "why", "extremes_ms", "parents")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A network a search found: predicted accuracy, percent, and predicted latency, ms.

    ``budget_ms`` is the limit it was found under, and ``bound`` the accuracy, percent, that no network under that limit
    is predicted above, where the search could prove one; ``lo`` to ``hi`` is the interval of its accuracy.
    """

    id: str
    accuracy: float
    latency_ms: float
    subnet: dict[str, Any]
    budget_ms: float | None = None
    bound: float | None = None
    lo: float | None = None
    hi: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What a search found: the front by rising latency, the chosen points, and the proven extremes, ms.

    ``device`` names whose latency it is along, where the search was for several; ``within`` are its other limits, in
    words; ``bound_reason`` says how the bounds were proven, or why there are none, ``why`` is what speaks for the
    choice, and ``about`` is what else the search says of itself.
    """

    points: tuple[Point, ...]
    chosen: tuple[Point, ...]
    extremes_ms: tuple[float, float] | None
    device: str = ""
    within: tuple[str, ...] = ()
    bound_reason: str = ""
    why: Why | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def bounded(self) -> tuple[Point, ...]:
        """Return the points of the front with a bound, or else the chosen ones that have one."""
        found = [tuple(point for point in part if point.bound is not None) for part in (self.points, self.chosen)]
        return found[0] or found[1]

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Return each limit, ms, with the accuracy, percent, that none under it exceeds, by rising limit."""
        return sorted(
            (point.latency_ms if point.budget_ms is None else point.budget_ms, point.bound)
            for point in self.bounded
            if point.bound is not None
        )

    @property
    def gap_points(self) -> float | None:
        """Return how far at most the bound is above what was found under the same limit; None without a bound."""
        return max((point.bound - point.accuracy for point in self.bounded if point.bound is not None), default=None)


def front(facts: dict[str, Any] | None) -> Front | None:
    """Return a search's front; None where the facts are of none.

    Chosen entries are points with their budget, or ids of points. Of a search for several devices the front is along
    the latency that its limits were set on.
    """
    if facts is None or not {"points", "best"} & facts.keys():
        return None
    best = facts.get("best")
    if "points" not in facts and isinstance(best, dict):
        facts = _of_best(best, facts)
    entries = facts.get("points")
    device = _swept(entries)
    points = _points(entries, device)
    by_id = {point.id: point for point in points}
    named = listed(facts.get("chosen"))
    chosen = [by_id[entry] for entry in named if isinstance(entry, str) and entry in by_id]
    # A search for one network says the bound of its one limit once, beside what it chose.
    shared = {"upper_bound": facts.get("upper_bound")}
    chosen += _points([shared | entry for entry in named if isinstance(entry, dict)], device)
    ends = facts.get("extremes_ms")
    low, high = (number(end) for end in ends) if isinstance(ends, list) and len(ends) == 2 else (None, None)
    return Front(
        points=tuple(sorted(points, key=lambda point: point.latency_ms)),
        chosen=tuple(chosen),
        extremes_ms=None if low is None or high is None else (low, high),
        device=device,
        within=_within(facts.get("request"), device),
        bound_reason=str(facts.get("bound_reason") or ""),
        why=reasons.why(facts.get("why")),
        about={name: value for name, value in facts.items() if name not in _SHOWN},
    )


def _of_best(best: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of a search for one network as a front: the best, with others that differ from it."""
    top = facts.get("top")
    rest = [entry for entry in top if entry != best] if isinstance(top, list) else []
    chosen = best | {"upper_bound": facts.get("upper_bound")}
    return {**facts, "points": [chosen, *rest], "chosen": [chosen]}


def _within(request: Any, device: str) -> tuple[str, ...]:
    """Return what else a search was limited by than the latency its front is along, of its request."""
    asked = mapped(request)
    targets = [one for one in listed(asked.get("targets")) if isinstance(one, dict)]
    own = device or (targets[0].get("name") if targets else "")
    said = [
        f"{figures3(ms)} ms on {one.get('name')}"
        for one in targets
        if one.get("name") != own and (ms := number(one.get("at_most_ms"))) is not None
    ]
    for kind, most in mapped(asked.get("limits")).items():
        if (value := number(most)) is not None:
            said.append(f"{amount(kind, value)}{' ' if kind in COUNTS else ' of '}{OF.get(kind, kind)}")
    return tuple(said)


def _points(entries: Any, device: str) -> list[Point]:
    """Return the entries that hold an accuracy and a latency."""
    found = []
    for entry in listed(entries):
        facts = mapped(entry)
        ms = facts.get("latency_ms")
        accuracy, latency_ms = number(facts.get("accuracy")), number(ms.get(device) if isinstance(ms, dict) else ms)
        if accuracy is None or latency_ms is None:
            continue
        subnet = mapped(facts.get("subnet"))
        budget_ms = number(facts.get("budget_ms"))
        found.append(
            Point(
                id=str(facts.get("id") or subnet.get("id") or ""),
                accuracy=accuracy,
                latency_ms=latency_ms,
                subnet=subnet,
                budget_ms=number(facts.get("under")) if budget_ms is None else budget_ms,
                bound=number(facts.get("upper_bound")),
                lo=number(facts.get("accuracy_lo")),
                hi=number(facts.get("accuracy_hi")),
            )
        )
    return found


def _swept(entries: Any) -> str:
    """Return the device of several whose limit rose along the front: the one whose latencies come nearest to it."""
    found = [entry for entry in listed(entries) if isinstance(entry, dict)]
    told = [entry["latency_ms"] for entry in found if isinstance(entry.get("latency_ms"), dict)]
    if not told:
        return ""
    names = [str(name) for name in told[0]]
    return min(names, key=lambda name: _distance(found, name), default="")


def _distance(entries: Sequence[dict[str, Any]], name: str) -> float:
    """Return how far the limit's values of a device are from the limits that rose, as a mean share of them."""
    shares = []
    for entry in entries:
        values = entry.get("limits")
        under, value = number(entry.get("under")), number(values.get(name) if isinstance(values, dict) else None)
        if under and value is not None:
            shares.append(abs(under - value) / under)
    return sum(shares) / len(shares) if shares else 1.0


def pareto(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points that no other one beats on both, by rising latency; equal ones appear once."""
    values = np.array([(point.accuracy, point.latency_ms) for point in points], dtype=np.float64).reshape(-1, 2)
    return tuple(points[row] for row in rows_of(values[:, 0], values[:, 1]))
