"""A comparison of two tables in a terminal: the facts of the page for a pull request, in the look of other verbs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ofa import console
from ofa.lut.markdown import change, held_out_error, short
from ofa.lut.pullrequest import (
    GROUP_COLUMNS,
    MOVED_COLUMNS,
    ROW_COLUMNS,
    alone,
    disturbances,
    group_cells,
    moved_cells,
    moved_most,
    row_cells,
    rule,
)

MOST_ROWS = 20
SIDES = ("before", "after")
PARTS = {"ops": ("key", "state"), "networks": ("space", "id")}
Facts = Mapping[str, Any]


def show(facts: Facts) -> None:
    """Print the facts of `ofa.lut.diff.diff`: conditions that differ, errors, groups, at most 20 rows of each part."""
    console.table(("", *SIDES), _heads(facts))
    if errors := _errors(facts):
        console.table(("space", *SIDES), errors, title="\nerror on held-out networks")
    differing = [
        (f"{part} {entry['path']}", *(short(entry[side]) if side in entry else "(absent)" for side in "ab"))
        for part in ("identity", "environment", "protocol")
        for entry in facts[part]
    ]
    if differing:
        console.table(("", *SIDES), differing, title="\nconditions that differ")
    console.table(("", *PARTS), _counts(facts), title="\nrows")
    for part, columns in PARTS.items():
        _part(part, facts[part], columns)
    if said := disturbances(facts):
        console.warn(said)
    console.note(rule(facts) if facts["differs"] else "nothing differs beyond noise. " + rule(facts))


def _heads(facts: Facts) -> list[tuple[str, ...]]:
    """Return what both tables are."""
    names = ("name", "table", "created", "environment_id", "units", "rows", "networks")
    return [(name, *(str(facts[side][name]) for side in "ab")) for name in names]


def _errors(facts: Facts) -> list[tuple[str, ...]]:
    """Return the errors of both tables on held-out networks, a line for each space that either says one of."""
    errors = [{entry["space"]: entry for entry in facts["held_out"][side]} for side in "ab"]
    return [(name, *(held_out_error(side.get(name)) for side in errors)) for name in sorted({*errors[0], *errors[1]})]


def _counts(facts: Facts) -> list[list[Any]]:
    """Return how many rows of each part were compared, and what all of a state changed by together.

    A line each: eleven counts side by side are wider than a terminal.
    """
    told = [
        {
            "compared": part["compared"],
            **{f"{way} beyond noise": part[way] for way in ("slower", "faster")},
            "not tested": sum(part["untested"].values()),
            **{what: len(part[what]) for what in ("added", "removed", "status")},
            **{f"all {state} together": change(level["ratio"]) for state, level in part["levels"].items()},
            # Fewer rows than have a level of their own moved by something, too.
            **({"median change": change(part["shift"]["ratio"])} if part["shift"] and not part["levels"] else {}),
        }
        for part in (facts[name] for name in PARTS)
    ]
    return [[what, *(counts.get(what) for counts in told)] for what in dict.fromkeys([*told[0], *told[1]])]


def _part(name: str, part: Facts, columns: tuple[str, str]) -> None:
    """Print which groups and rows of the ops or the networks changed."""
    if part["groups"]:
        console.table(GROUP_COLUMNS, [group_cells(group) for group in part["groups"]], title=f"\n{name}: groups")
    found = alone(part, columns)
    if found:
        rows = [[row[columns[0]], row[columns[1]], *row_cells(row)] for row in found[:MOST_ROWS]]
        more = f", {len(found) - MOST_ROWS:,} more" if len(found) > MOST_ROWS else ""
        console.table((*columns, *ROW_COLUMNS), rows, title=f"\n{name}: changed by themselves{more}")
    elif name == "networks" and (most := moved_most(part, MOST_ROWS)):
        rows = [[row[columns[0]], row[columns[1]], *moved_cells(row)] for row in most]
        title = "those that moved most, none of them for sure beside the others"
        console.table((*columns, *MOVED_COLUMNS), rows, title=f"\n{name}: {title}")
