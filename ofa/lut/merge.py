"""Two tables of one environment made one: rows of both combined, sessions of both kept, a reason where it cannot be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from pydantic import JsonValue

from ofa.files import canonical_json, sha256_bytes
from ofa.lut import errors, student
from ofa.lut.combine import AnyRow, combine
from ofa.lut.diff import about, differing, identity
from ofa.lut.format import Lut
from ofa.lut.header import FILLED, Header
from ofa.lut.heldout import held_out
from ofa.lut.rows import NANOSECONDS_PER_MS, NetworkRow, Row

MOST_REFERENCE_RATIO = 1.02
# How often and in which order, but not how a call is timed.
MAY_DIFFER = ("rounds", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """The merged table, to be written by `ofa.lut.write`, and plain facts for `ofa.lut.pullrequest.merged`."""

    lut: Lut
    facts: dict[str, Any]


def merge(
    a: Lut,
    b: Lut,
    *,
    names: tuple[str, str] = ("a", "b"),
    allow_unknown_reference: bool = False,
    other_unit: bool = False,
) -> Merge:
    """Merge two tables of one environment, measured by one protocol; the table is the same whichever comes first.

    Rows of both are combined by `ofa.lut.combine.combine`; rows of one are taken as they are; modelled rows are left
    out, because a model should see the merged table. The reference network of the sessions must have taken the same
    time within 2 % in every state that both measured; nothing is rescaled. ``allow_unknown_reference`` merges where
    sessions do not say how long it took. Units are counted by the "unit" that sessions name; where they name none, the
    two tables are taken to be of the same units unless ``other_unit``.
    Raises FileInvalid where the tables are not alike, share a session, or differ in the reference.
    """
    _refuse_unlike(a, b)
    if shared := sorted(_all_sessions(a) & _all_sessions(b)):
        raise errors.session_twice(shared[0], len(shared))
    ratios = _reference_ratios(a, b, allow_unknown=allow_unknown_reference)
    records = _Records(a, b)
    ops, ops_facts = _merged(a.rows, b.rows, records)
    networks, network_facts = _merged(a.networks, b.networks, records)
    units, units_known = _units(a, b, other_unit=other_unit)
    lut = Lut(
        header=_header(a.header, b.header, units),
        rows=tuple(row for row in ops if isinstance(row, Row)),
        networks=tuple(row for row in networks if isinstance(row, NetworkRow)),
        sessions=records.needed({row.session for part in (ops, networks) for row in part}),
    ).sorted()
    facts = {
        "a": about(a, names[0]),
        "b": about(b, names[1]),
        "merged": about(lut, "merged"),
        "units_known": units_known,
        "reference_ratio": ratios,
        "ops": ops_facts,
        "networks": network_facts,
        "held_out": {"a": held_out(a), "b": held_out(b), "merged": held_out(lut)},
    }
    return Merge(lut=lut, facts=facts)


def _refuse_unlike(a: Lut, b: Lut) -> None:
    """Raise FileInvalid where two tables are not of the same conditions, naming the first differences."""
    if a.simulated != b.simulated:
        raise errors.simulated_with_measured()
    free = {FILLED} | {name for name in MAY_DIFFER if all(_numbers(lut.header.protocol, name) for lut in (a, b))}
    if found := list(differing(_alike(a, free), _alike(b, free))):
        raise errors.tables_unlike(found)


def _alike(lut: Lut, free: set[str]) -> dict[str, Any]:
    """Return what must be the same in two tables that are merged; the protocol less what is ``free`` to differ."""
    return {
        **{name: value for name, value in identity(lut).items() if name not in ("units", "simulated")},
        "environment": lut.header.environment,
        "protocol": {name: value for name, value in lut.header.protocol.items() if name not in free},
    }


def _reference_ratios(a: Lut, b: Lut, *, allow_unknown: bool) -> dict[str, float]:
    """Return by how much longer the reference took in ``b``, by state; raises FileInvalid beyond 2 % or unknown.

    A table's value is the median over its sessions.
    """
    states = {row.state for row in a.rows if student.measured(row)} & {
        row.state for row in b.rows if student.measured(row)
    }
    if any(map(student.measured, a.networks)) and any(map(student.measured, b.networks)):
        states.add("hot")
    times = [_reference_ns(lut) for lut in (a, b)]
    unknown = sorted(state for state in states if not all(state in side for side in times))
    if unknown and not allow_unknown:
        raise errors.reference_unknown(unknown)
    ratios = {state: times[1][state] / times[0][state] for state in sorted(states - set(unknown))}
    apart = [state for state, ratio in ratios.items() if max(ratio, 1 / ratio) > MOST_REFERENCE_RATIO]
    if apart:
        worst = max(apart, key=lambda state: max(ratios[state], 1 / ratios[state]))
        raise errors.reference_moved(worst, times[0][worst], times[1][worst], MOST_REFERENCE_RATIO)
    return {state: round(ratio, 5) for state, ratio in ratios.items()}


def _reference_ns(lut: Lut) -> dict[str, float]:
    """Return the reference's time by state, ns: the median over the sessions that say it."""
    found: dict[str, list[float]] = {}
    for session in lut.sessions:
        said = session.get("reference_ns")
        for state, value in said.items() if isinstance(said, dict) else ():
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e18:
                found.setdefault(state, []).append(float(value))
    return {state: median(values) for state, values in found.items()}


class _Records:
    """The sessions of two tables, and a record for each set of sessions that a combined row rests on."""

    def __init__(self, a: Lut, b: Lut) -> None:
        sessions = (*a.sessions, *b.sessions)
        self.measuring = [session for session in sessions if not _merged_from(session)]
        self.merged = {str(session["id"]): session for session in sessions if _merged_from(session)}
        self.environment_id = a.header.environment_id
        self.found: dict[tuple[str, str], str] = {}

    def of(self, a: str, b: str) -> str:
        """Return the id of the record that names the measuring sessions behind two rows, which are of two tables."""
        if (a, b) not in self.found:
            self.found[a, b] = self._made(a, b)
        return self.found[a, b]

    def _made(self, a: str, b: str) -> str:
        """Make the record that names the measuring sessions behind two."""
        behind = {name for one in (a, b) for name in _merged_from(self.merged.get(one, {})) or [one]}
        identity = "merged-" + sha256_bytes(canonical_json(sorted(behind)).encode())[:12]
        self.merged[identity] = {
            "id": identity, "environment_id": self.environment_id, "merged": sorted(behind)
        }  # fmt: skip
        return identity

    def needed(self, used: set[str]) -> tuple[dict[str, Any], ...]:
        """Return every measuring session, and the records that some row still names."""
        return (*self.measuring, *(record for name, record in self.merged.items() if name in used))


def _all_sessions(lut: Lut) -> set[str]:
    """Return the ids of all sessions that a table rests on, those that its records were merged from too."""
    return {name for session in lut.sessions for name in (str(session["id"]), *_merged_from(session))}


def _merged_from(session: Mapping[str, Any]) -> list[str]:
    """Return the sessions that a record was merged from; empty for a session that measured."""
    found = session.get("merged")
    return [str(name) for name in found] if isinstance(found, list) else []


def _merged(a: Iterable[AnyRow], b: Iterable[AnyRow], records: _Records) -> tuple[list[AnyRow], dict[str, Any]]:
    """Return the rows of two tables merged, and how many came about in which way."""
    given = [{row[:2]: row for row in rows} for rows in (a, b)]
    sides = [{name: row for name, row in side.items() if row.status != "modelled"} for side in given]
    both = sorted(sides[0].keys() & sides[1].keys())
    pairs = [(sides[0][name], sides[1][name]) for name in both]
    found = [combine(first, second, records.of(first.session, second.session)) for first, second in pairs]
    alone = [row for side, other in (sides, sides[::-1]) for name, row in side.items() if name not in other]
    outcomes = [one.outcome for one in found]
    combined = [place for place, outcome in enumerate(outcomes) if outcome in ("combined", "disagree")]
    facts = {
        "only_a": len(sides[0]) - len(both),
        "only_b": len(sides[1]) - len(both),
        "both": len(both),
        **{outcome: outcomes.count(outcome) for outcome in ("combined", "disagree", "conflict", "kept")},
        "modelled_left_out": sum(row.status == "modelled" for side in given for row in side.values()),
        "apart": [
            _apart(*pair) for pair, outcome in zip(pairs, outcomes, strict=True) if outcome in ("disagree", "conflict")
        ],
        "half_width_pct": {
            "a": _half_width_pct(pairs[place][0] for place in combined),
            "b": _half_width_pct(pairs[place][1] for place in combined),
            "merged": _half_width_pct(found[place].row for place in combined),
        },
    }
    return [*alone, *(one.row for one in found)], facts


def _apart(a: AnyRow, b: AnyRow) -> dict[str, Any]:
    """Return two rows that say different things."""
    return {
        **dict(zip(a._fields[:2], a[:2], strict=True)),
        **{f"{side}_status": row.status for side, row in (("a", a), ("b", b))},
        **{f"{side}_ms": row.ns / NANOSECONDS_PER_MS if row.ns else None for side, row in (("a", a), ("b", b))},
    }


def _half_width_pct(rows: Iterable[AnyRow]) -> float | None:
    """Return the median of half the interval of some rows, percent; None where none has one."""
    found = [estimate.half_width for row in rows if (estimate := student.of_row(row)) is not None]
    return round(100 * math.expm1(median(found)), 3) if found else None


def _units(a: Lut, b: Lut, *, other_unit: bool) -> tuple[int, bool]:
    """Return how many units the merged table rests on, and whether its sessions say so."""
    named = [session.get("unit") for lut in (a, b) for session in lut.sessions if not _merged_from(session)]
    if named and all(isinstance(name, str) and name for name in named):
        return len(set(named)), True
    units = [lut.header.units for lut in (a, b)]
    return (sum(units) if other_unit else max(units)), False


def _header(a: Header, b: Header, units: int) -> Header:
    """Return the header of a merged table: the rounds of both, every seed, the later date."""
    protocol = {name: value for name, value in a.protocol.items() if name != FILLED}
    rounds, seeds = ([*_numbers(a.protocol, name), *_numbers(b.protocol, name)] for name in MAY_DIFFER)
    if rounds:
        protocol["rounds"] = sum(rounds)
    if seeds:
        every: list[JsonValue] = [*sorted(set(seeds))]
        protocol["seed"] = every[0] if len(every) == 1 else every
    return a.model_copy(update={"units": units, "created": max(a.created, b.created), "protocol": protocol})


def _numbers(protocol: Mapping[str, Any], name: str) -> list[int]:
    """Return the whole numbers that a protocol says under a name: one, several after a merge, or none."""
    value = protocol.get(name, [])
    values = value if isinstance(value, list) else [value]
    return values if all(type(one) is int for one in values) else []
