"""A comparison of two tables in a terminal: the facts of the page for a pull request, in the look of other verbs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ofa import console
from ofa.lut.markdown import change, held_out_error
from ofa.lut.pullrequest import GROUP_COLUMNS, ROW_COLUMNS, alone, group_cells, row_cells, rule

MOST_ROWS = 20
SIDES = ("before", "after")
Facts = Mapping[str, Any]


def show(facts: Facts) -> None:
    """Print the facts of `ofa.lut.diff.diff`: conditions that differ, errors, groups, at most 20 rows of each part."""
    console.table(("", *SIDES), _heads(facts))
    differing = [
        (f"{part} {entry['path']}", *(str(entry[side]) if side in entry else "(absent)" for side in "ab"))
        for part in ("identity", "environment", "protocol")
        for entry in facts[part]
    ]
    if differing:
        console.table(("conditions that differ", *SIDES), differing, title="\n")
    for part, columns in (("ops", ("key", "state")), ("networks", ("space", "id"))):
        _part(part, facts[part], columns)
    console.note(rule(facts) if facts["differs"] else "nothing differs beyond noise. " + rule(facts))


def _heads(facts: Facts) -> list[tuple[str, ...]]:
    """Return what both tables are, and their errors on held-out networks."""
    names = ("name", "table", "created", "environment_id", "units", "rows", "networks")
    lines = [(name, *(str(facts[side][name]) for side in "ab")) for name in names]
    errors = [{entry["space"]: entry for entry in facts["held_out"][side]} for side in "ab"]
    spaces = sorted({*errors[0], *errors[1]})
    return lines + [
        (f"held-out error, {name}", *(held_out_error(side.get(name)) for side in errors)) for name in spaces
    ]


def _part(name: str, part: Facts, columns: tuple[str, str]) -> None:
    """Print what changed among the ops or the networks."""
    counts = {
        **{what: part[what] for what in ("compared", "slower", "faster")},
        "not tested": sum(part["untested"].values()),
        **{what: len(part[what]) for what in ("added", "removed", "status")},
        **{f"all {state} together": change(level["ratio"]) for state, level in part["levels"].items()},
    }
    console.table(tuple(counts), [list(counts.values())], title=f"\n{name}")
    if part["groups"]:
        console.table(GROUP_COLUMNS, [group_cells(group) for group in part["groups"]], title="\n")
    found = alone(part, columns)
    if found:
        rows = [[row[columns[0]], row[columns[1]], *row_cells(row)] for row in found[:MOST_ROWS]]
        more = f", {len(found) - MOST_ROWS:,} more" if len(found) > MOST_ROWS else ""
        console.table((*columns, *ROW_COLUMNS), rows, title=f"\nchanged by themselves{more}")
