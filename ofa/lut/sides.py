"""Rows of two tables side by side: ratios, what all share, single rows and groups beyond noise, what came and went."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from ofa.lut import student
from ofa.lut.changes import Changes, Level, called, changes, group_of, pairs_of
from ofa.lut.rows import MEASURED, NANOSECONDS_PER_MS, USABLE, NetworkRow, Row
from ofa.lut.student import Estimate

LEAST_FLOOR_PCT = 1.0
# Days differ by as much: a merge, too, takes sessions whose reference does not differ by more.
LEAST_LEVEL_PCT = 2.0
# Rows of ops, groups of ops, and networks share the rate of false alarms.
FAMILIES = 3
HOT = "hot"

AnyRow = Row | NetworkRow
Name = tuple[str, str]
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """The rows of one state that have an interval on both sides, and what changed among them."""

    state: str
    floor: float
    rows: list[Facts]
    found: Changes


def compared(a: Mapping[Name, AnyRow], b: Mapping[Name, AnyRow], columns: tuple[str, str]) -> Facts:
    """Compare the ops or the networks of two tables, by name.

    "rows" holds every pair with a time on both sides: "ratio" as measured, "beside" the level of its state, "p"
    adjusted for how many are tested, "grouped" where a group accounts for it. "levels" says what all rows of a state
    changed by together ("ratio", 95 % interval "lo" to "hi") and by how many times their intervals they "scatter";
    "moved" names the states whose level is farther off than days are. "groups" are those of which most rows went one
    way, largest change first. "floor_pct" is the smallest change that counts in each state: the larger of the two
    tables' median half interval, at least 1 %. "shift" is the median ratio, with the 5th and 95th percentile. "status"
    has what can be summed on one side only, or cannot for another reason; noisy or not is only counted.
    """
    both = sorted(a.keys() & b.keys())
    timed = [name for name in both if a[name].ns and b[name].ns]
    floor_pct = _floors_pct(a, b, timed)
    rows: list[Facts] = [{**dict(zip(columns, name, strict=True)), **_compared(a[name], b[name])} for name in timed]
    tested = [_tested(state, floor_pct[state], a, b, timed, rows) for state in floor_pct]
    _judge(tested)
    groups = _groups(tested)
    found: list[Facts] = [row for row in rows if row["significant"]]
    levels = {one.state: _level(one.found.level) for one in tested if one.found.level.error}
    return {
        "compared": len(rows),
        "untested": _counts(row["untested"] for row in rows if row["p"] is None),
        "floor_pct": {state: round(value, 3) for state, value in floor_pct.items()},
        "slower": sum(row["beside"] > 1 for row in found),
        "faster": sum(row["beside"] < 1 for row in found),
        "levels": levels,
        "moved": [state for state, level in levels.items() if _moved(level)],
        "groups": groups,
        "shift": _shift([row["ratio"] for row in rows if row["untested"] in ("", "one round")]),
        "added": [list(name) for name in sorted(b.keys() - a.keys())],
        "removed": [list(name) for name in sorted(a.keys() - b.keys())],
        "status": [
            dict(zip(columns, name, strict=True)) | {"a": a[name].status, "b": b[name].status}
            for name in both
            if a[name].status != b[name].status and not {a[name].status, b[name].status} <= MEASURED & USABLE
        ],
        "noisy": {side: sum(row.status == "noisy" for row in rows.values()) for side, rows in (("a", a), ("b", b))},
        "rows": rows,
    }


def _compared(a: AnyRow, b: AnyRow) -> Facts:
    """Return the ratio of two rows with its 95 % interval, None where a side has none; the rest is still to be judged.

    The interval takes each side's own limits, so it may be lopsided: the method of variance estimates recovery (Zou and
    Donner 2008) on the log scale.
    """
    before_ns, after_ns = a.ns or 1, b.ns or 1
    ratio = after_ns / before_ns
    facts: Facts = {"a_ms": before_ns / NANOSECONDS_PER_MS, "b_ms": after_ns / NANOSECONDS_PER_MS}
    facts |= {"ratio": ratio, "beside": ratio, "lo": None, "hi": None, "p": None}
    facts |= {"significant": False, "grouped": False, "untested": ""}
    if not (student.measured(a) and student.measured(b)):
        return facts | {"untested": "modelled" if "modelled" in (a.status, b.status) else "thermal"}
    first, second = student.of_row(a), student.of_row(b)
    if first is None or second is None:
        return facts | {"untested": "one round"}
    centre = second.log - first.log
    return facts | {
        "lo": math.exp(centre - math.hypot(second.below, first.above)),
        "hi": math.exp(centre + math.hypot(second.above, first.below)),
    }


def _tested(
    state: str,
    floor_pct: float,
    a: Mapping[Name, AnyRow],
    b: Mapping[Name, AnyRow],
    names: Sequence[Name],
    rows: Sequence[Facts],
) -> Tested:
    """Return the rows of a state that can be tested, and what changed among them."""
    before: list[Estimate] = []
    after: list[Estimate] = []
    groups: list[str] = []
    own: list[Facts] = []
    for name, row in zip(names, rows, strict=True):
        first, second = student.of_row(a[name]), student.of_row(b[name])
        if _state(a[name]) == state and first is not None and second is not None:
            before.append(first)
            after.append(second)
            groups.append(group_of(name[0]) if isinstance(a[name], Row) else "")
            own.append(row)
    found = changes(pairs_of(before, after, groups))
    return Tested(state=state, floor=math.log1p(floor_pct / 100), rows=own, found=found)


def _judge(tested: Sequence[Tested]) -> None:
    """Say of each tested row what it changed by beside its state's level, how sure that is, and whether it counts."""
    rows = [(one, row) for one in tested for row in one.rows]
    adjusted, calls = called([float(p) for one in tested for p in one.found.p], FAMILIES)
    for p, call, (one, row) in zip(adjusted, calls, rows, strict=True):
        shared = math.exp(one.found.level.log)
        row["p"], row["beside"] = float(f"{p:.3g}"), row["ratio"] / shared
        beyond = abs(math.log(row["beside"])) > one.floor
        row["significant"] = bool(call and beyond and not row["lo"] <= shared <= row["hi"])


def _groups(tested: Sequence[Tested]) -> list[Facts]:
    """Return the groups of ops that changed, largest change first, and mark the rows that they account for.

    A group changed where its median did for sure, and most of its rows beyond the floor: single rows do not speak for
    it.
    """
    entries = [(one, group) for one in tested for group in one.found.groups if group.name]
    adjusted, calls = called([group.p for _, group in entries], FAMILIES)
    told = []
    for (one, group), p, call in zip(entries, adjusted, calls, strict=True):
        own = [row for row in one.rows if group_of(row["key"]) == group.name]
        way = math.copysign(1.0, group.log)
        same = [row for row in own if way * math.log(row["beside"]) > one.floor]
        if not call or 2 * len(same) <= group.rows:
            continue
        for row in same:
            row["grouped"] = row["significant"]
        reach = student.NORMAL_95 * group.error
        told.append(
            {
                **{"group": group.name, "state": one.state, "rows": group.rows, "same": len(same)},
                "significant": sum(row["significant"] for row in same),
                "beside": math.exp(group.log),
                "lo": math.exp(group.log - reach),
                "hi": math.exp(group.log + reach),
                "p": float(f"{p:.3g}"),
            }
        )
    return sorted(told, key=lambda entry: (-abs(math.log(entry["beside"])), entry["group"], entry["state"]))


def _level(level: Level) -> dict[str, float]:
    """Return a level as facts."""
    reach = student.NORMAL_95 * level.error
    found = {"ratio": level.log, "lo": level.log - reach, "hi": level.log + reach}
    return {name: round(math.exp(value), 6) for name, value in found.items()} | {"scatter": round(level.scatter, 3)}


def _moved(level: Mapping[str, float]) -> bool:
    """Say whether a level is for sure farther from 1 than one day is from another."""
    most = 1 + LEAST_LEVEL_PCT / 100
    return level["lo"] > most or level["hi"] < 1 / most


def _floors_pct(a: Mapping[Name, AnyRow], b: Mapping[Name, AnyRow], names: Sequence[Name]) -> dict[str, float]:
    """Return the noise floor by state, percent; a cold op is known far less well than a hot one, networks are hot."""
    floors: dict[str, float] = {}
    for state in sorted({_state(a[name]) for name in names}):
        floors[state] = LEAST_FLOOR_PCT
        for side in (a, b):
            rows = (side[name] for name in names if _state(side[name]) == state)
            found = [estimate.half_width for row in rows if (estimate := student.of_row(row)) is not None]
            floors[state] = max(floors[state], 100 * math.expm1(median(found)) if found else 0.0)
    return floors


def _state(row: AnyRow) -> str:
    """Return the state a row was measured in."""
    return row.state if isinstance(row, Row) else HOT


def _shift(ratios: Sequence[float]) -> dict[str, float] | None:
    """Return the median of ratios, and the 5th and 95th percentile."""
    if not ratios:
        return None
    low, centre, high = np.exp(np.percentile(np.log(ratios), [5, 50, 95]))
    return {"ratio": round(float(centre), 6), "p5": round(float(low), 6), "p95": round(float(high), 6)}


def _counts(values: Iterator[str]) -> dict[str, int]:
    """Count values, by name."""
    return dict(sorted(Counter(values).items()))
