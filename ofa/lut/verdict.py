"""Whether a table still holds: what a device takes now, held against it, with a tolerance that is stated.

Pure functions of tables; `harness.recheck` measures what they need.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from ofa.lut import student
from ofa.lut.changes import Changes, Group, Level, called, changes, group_of, pairs_of, probability
from ofa.lut.format import Lut
from ofa.lut.markdown import change
from ofa.lut.rows import NANOSECONDS_PER_MS, TIMELESS, NetworkRow, Row
from ofa.lut.student import NORMAL_95
from ofa.lut.validity import STALE, TRUE

# What a table may be off by without being wrong: days of one device differ by 2 or 3 %.
TOLERANCE_PCT = 5.0
# The device as a whole with its networks, groups of ops, and single ops share the rate of false alarms.
FAMILIES = 3
# A group that is known no better than to so many tolerances could hide a change that matters.
WIDEST_TOLERANCES = 3.0
HOT = "hot"
MOST_NAMED = 8

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a recheck says: ``verdict``, what it ``found`` in words (empty where the table holds), what it could not
    tell well enough to say so (``unsure``), and all of it as facts."""

    verdict: str
    found: tuple[str, ...]
    unsure: tuple[str, ...]
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The ops of one state, or the networks, that both sides know: names, logs of now over then, what changed."""

    state: str
    names: tuple[str, ...]
    logs: tuple[float, ...]
    found: Changes


def judge(
    lut: Lut,
    now: Lut,
    *,
    tolerance_pct: float = TOLERANCE_PCT,
    predicted_ms: Mapping[tuple[str, str], float] | None = None,
) -> Verdict:
    """Hold what a device takes ``now`` (a table of some ops and networks) against its table.

    First the level of each state: what all ops took longer (`changes.level_of`). Beside it groups of ops, single ops
    and the whole networks. A change counts where it is for sure beyond the tolerance; a device as it was is found
    changed in at most 5 % of cases (`changes.called`), in fewer the more its noise is below the tolerance. An op or
    network that had a time and has none any more counts, too. ``predicted_ms`` is what the table's sums say of
    networks, by (space, id): their error now stands beside that on held-out networks.
    """
    tolerance = math.log1p(tolerance_pct / 100)
    ops = [_ops(lut, now, state, tolerance) for state in sorted({row.state for row in now.rows})]
    hot = next((one.found.level for one in ops if one.state == HOT and one.found.level.error), None)
    networks = _networks(lut, now, hot, tolerance)
    levels = {one.state: one.found.level for one in ops if one.found.level.error}
    if not levels and networks.found.level.error:
        levels = {HOT: networks.found.level}
    groups = _changed_groups(ops)
    whole, beside = _whole(levels, networks, tolerance)
    found = [*whole, *map(_said, groups.items()), *_singles(ops, groups, tolerance), *beside, *_lost(lut, now)]
    facts: Facts = {
        "level": {state: _level_facts(level) for state, level in levels.items()},
        "groups": [_group_facts(one, group) for one in ops for group in one.found.groups],
        "networks": _network_facts(lut, now, networks, predicted_ms or {}),
        "tolerance_pct": tolerance_pct,
    }
    unsure = [] if found else list(_unsure(levels, ops, tolerance))
    more = [f"and {len(found) - MOST_NAMED:,} more"] if len(found) > MOST_NAMED else []
    named = (*found[:MOST_NAMED], *more)
    return Verdict(verdict=STALE if found else TRUE, found=named, unsure=tuple(unsure), facts=facts)


def _ops(lut: Lut, now: Lut, state: str, tolerance: float) -> Held:
    """Return the ops of a state that both sides know, and what changed among them."""
    then = {row.key: row for row in lut.rows if row.state == state}
    rows = [row for row in now.rows if row.state == state and row.key in then and not row.key.startswith("@")]
    return _held(state, [(row.key, then[row.key], row, group_of(row.key)) for row in rows], None, tolerance)


def _networks(lut: Lut, now: Lut, level: Level | None, tolerance: float) -> Held:
    """Return the networks that both sides know, and what they changed by beside a level of ops where there is one."""
    then = {row[:2]: row for row in lut.networks}
    rows = [row for row in now.networks if row[:2] in then]
    return _held(HOT, [(row.id, then[row[:2]], row, "networks") for row in rows], level, tolerance)


def _held(
    state: str,
    rows: Sequence[tuple[str, Row | NetworkRow, Row | NetworkRow, str]],
    level: Level | None,
    tolerance: float,
) -> Held:
    """Return the rows (name, then, now, group) that have an interval on both sides, and what changed among them."""
    known = [
        (name, before, after, group)
        for name, then, now, group in rows
        if (before := student.of_row(then)) is not None and (after := student.of_row(now)) is not None
    ]
    pairs = pairs_of([one[1] for one in known], [one[2] for one in known], [one[3] for one in known])
    found = changes(pairs, tolerance=tolerance, level=level)
    return Held(state=state, names=tuple(one[0] for one in known), logs=tuple(pairs.logs.tolist()), found=found)


def _whole(levels: Mapping[str, Level], networks: Held, tolerance: float) -> tuple[list[str], list[str]]:
    """Return what the device as a whole changed by beyond the tolerance, and whole networks beside it."""
    beyond = [
        float(probability(max(0.0, abs(level.log) - tolerance) / level.error, np.inf)) for level in levels.values()
    ]
    _, calls = called([*beyond, *(group.p for group in networks.found.groups)], FAMILIES)
    moved = [
        f"{_change(level.log)} {state}" for (state, level), call in zip(levels.items(), calls, strict=False) if call
    ]
    beside = zip(networks.found.groups, calls[len(levels) :], strict=True)
    return (
        [f"the device as a whole: {', '.join(moved)}"] if moved else [],
        [f"whole networks: {_change(group.log)} beside the ops" for group, call in beside if call],
    )


def _changed_groups(ops: Sequence[Held]) -> dict[str, list[tuple[Held, Group]]]:
    """Return the groups of ops that changed beyond the tolerance, by name, in the states that they did in."""
    entries = [(one, group) for one in ops for group in one.found.groups]
    _, calls = called([group.p for _, group in entries], FAMILIES)
    found: dict[str, list[tuple[Held, Group]]] = {}
    for (one, group), call in zip(entries, calls, strict=True):
        if call:
            found.setdefault(group.name, []).append((one, group))
    return found


def _said(entry: tuple[str, Sequence[tuple[Held, Group]]]) -> str:
    """Return what a group changed by, in words."""
    name, parts = entry
    by_state = ", ".join(f"{_change(group.log)} {one.state}" for one, group in parts)
    same = max(_same_way(one, group) for one, group in parts)
    return f"{name}: {by_state} beside the rest ({same} of {max(group.rows for _, group in parts)} ops)"


def _same_way(one: Held, group: Group) -> int:
    """Return how many ops of a group went its way."""
    own = [
        log - one.found.level.log for name, log in zip(one.names, one.logs, strict=True) if group_of(name) == group.name
    ]
    return sum((log > 0) == (group.log > 0) for log in own)


def _singles(
    ops: Sequence[Held], groups: Mapping[str, Sequence[tuple[Held, Group]]], tolerance: float
) -> Iterator[str]:
    """Yield the single ops that changed beyond the tolerance; those of a group that did are not told again."""
    rows = [
        (one, name, log - one.found.level.log) for one in ops for name, log in zip(one.names, one.logs, strict=True)
    ]
    _, calls = called([float(p) for one in ops for p in one.found.p], FAMILIES)
    for (one, name, log), call in zip(rows, calls, strict=True):
        if call and abs(log) > tolerance and group_of(name) not in groups:
            yield f"{name} {one.state}: {_change(log)} beside the rest"


def _lost(lut: Lut, now: Lut) -> Iterator[str]:
    """Yield the ops and networks that had a time in the table and cannot be run any more."""
    then: list[Row | NetworkRow] = [*lut.rows, *lut.networks]
    rows: list[Row | NetworkRow] = [*now.rows, *now.networks]
    timed = {row[:2] for row in then if row.ns is not None}
    for row in rows:
        if row.status in TIMELESS and row[:2] in timed:
            yield f"{row[0]} {row[1]}: it had a time, and now it is {row.status}"


def _unsure(levels: Mapping[str, Level], ops: Sequence[Held], tolerance: float) -> Iterator[str]:
    """Yield what is not known well enough to say that a table holds."""
    if not levels:
        yield "too few ops and networks are measured to tell the device's level"
    for state, level in levels.items():
        if NORMAL_95 * level.error > tolerance:
            yield f"the level of {state} ops is known to ± {_pct(NORMAL_95 * level.error)} only"
    for one in ops:
        for group in one.found.groups:
            if NORMAL_95 * group.error > WIDEST_TOLERANCES * tolerance:
                yield f"{group.name} {one.state} is known to ± {_pct(NORMAL_95 * group.error)} only"


def _level_facts(level: Level) -> Facts:
    """Return a level as facts, percent, with its 95 % interval."""
    reach = NORMAL_95 * level.error
    found = {"pct": level.log, "lo_pct": level.log - reach, "hi_pct": level.log + reach}
    return {name: _rounded(value) for name, value in found.items()} | {"scatter": round(level.scatter, 3)}


def _group_facts(one: Held, group: Group) -> Facts:
    """Return what a group changed by beside the level of its state, percent, with its 95 % interval."""
    reach = NORMAL_95 * group.error
    return {
        "group": group.name,
        "state": one.state,
        "ops": group.rows,
        "pct": _rounded(group.log),
        "lo_pct": _rounded(group.log - reach),
        "hi_pct": _rounded(group.log + reach),
    }


def _network_facts(lut: Lut, now: Lut, held: Held, predicted_ms: Mapping[tuple[str, str], float]) -> Facts:
    """Return each network then and now, and how far the table's sums are from what it takes now."""
    then = {row[:2]: row for row in lut.networks}
    rows: list[Facts] = []
    for row in now.networks:
        before = then.get((row.space, row.id))
        if before is None or before.ns is None or row.ns is None:
            continue
        ms, said = row.ns / NANOSECONDS_PER_MS, predicted_ms.get((row.space, row.id))
        rows.append(
            {
                **{"space": row.space, "id": row.id, "split": before.split},
                **{
                    "then_ms": before.ns / NANOSECONDS_PER_MS,
                    "now_ms": ms,
                    "pct": _rounded(math.log(row.ns / before.ns)),
                },
                **{"predicted_ms": said, "error_pct": None if said is None else round(100 * (said / ms - 1), 3)},
            }
        )
    errors_pct = [abs(row["error_pct"]) for row in rows if row["error_pct"] is not None]
    return {
        "pct": _rounded(float(np.median(held.logs))) if held.logs else None,
        "error_pct": round(fmean(errors_pct), 3) if errors_pct else None,
        "rows": rows,
    }


def _change(log: float) -> str:
    """Return a log of a ratio as a change: "+3.2 %"."""
    return change(math.exp(log))


def _pct(log: float) -> str:
    """Return half an interval in percent."""
    return f"{100 * math.expm1(log):.1f} %"


def _rounded(log: float) -> float:
    """Return a log of a ratio as percent, to three digits."""
    return round(100 * math.expm1(log), 3)
