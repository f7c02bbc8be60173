"""A comparison or a merge of tables as text for a pull request: what matters in at most 60 lines, the rest counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ofa.lut import noise
from ofa.lut.markdown import change, code, count, held_out_error, ms, pct, shortened, table

MOST_CONDITIONS, MOST_SPACES, MOST_GROUPS, MOST_OPS, MOST_NETWORKS, MOST_NAMED = 10, 3, 6, 8, 4, 3
SIDES = ("a", "b", "merged")
GROUP_COLUMNS = ("group", "state", "rows", "beside all", "95 % interval")
ROW_COLUMNS = ("before ms", "after ms", "change", "beside all", "95 % interval")
# Networks that moved most, where none is sure to differ from what all changed by.
MOVED_COLUMNS = ("before ms", "after ms", "change")
# Less than this is what a scatter is off by itself.
TOLD_SCATTER = 1.2


def compared(facts: Mapping[str, Any]) -> str:
    """Return the facts of `ofa.lut.diff.diff` as Markdown of at most 60 lines; equal facts give equal text.

    It names conditions that differ, the error on held-out networks, groups of ops that changed, and rows that changed
    by themselves, largest change first; everything else is a number.
    """
    a, b = facts["a"], facts["b"]
    lines = [f"### Latency tables: {code(a['name'])} → {code(b['name'])}", ""]
    disturbed = disturbances(facts)
    lines += [f"{_side(a)} → {_side(b)}" + (f". **{disturbed}**" if disturbed else ""), ""]
    lines += _conditions(facts)
    lines += _held_out(facts["held_out"])
    for part, columns, most in (("ops", ("key", "state"), MOST_OPS), ("networks", ("space", "id"), MOST_NETWORKS)):
        lines += _part(part, facts[part], columns, most)
    if not facts["differs"]:
        lines += ["Nothing differs beyond noise.", ""]
    return "\n".join([*lines, rule(facts)]) + "\n"


def rule(facts: Mapping[str, Any]) -> str:
    """Return when a change counts, and how often two measurements of one truth would list any."""
    return (
        "A row or group counts as changed beside what all rows of its state changed by, where that is larger than the "
        "noise floor and no chance (Benjamini-Hochberg within ops, groups and networks): two builds of one truth list "
        f"any in at most {100 * facts['false_alarm_rate']:g} % of cases. What all changed by together is the median of "
        "the rows that do not differ from it, beginning where they lie densest; 'ofa report compare' tells the median "
        "of all rows."
    )


def disturbances(facts: Mapping[str, Any]) -> str:
    """Return how many rows of either table were measured while the device was disturbed, and what that means; empty
    where few were."""
    found = {when: facts[side]["noise"] for when, side in (("before", "a"), ("after", "b"))}
    if not any(map(noise.disturbed, found.values())):
        return ""
    said = [f"{when} {_flags(one)} of {one['measured']:,}" for when, one in found.items()]
    return f"Rows of a disturbed device: {'; '.join(said)}. What all of them changed by may be its other work or speed."


def _flags(found: Mapping[str, Any]) -> str:
    """Return how many rows carry each flag of a disturbance."""
    return ", ".join(f"{number:,} {flag}" for flag, number in found["flags"].items() if number) or "none"


def _side(side: Mapping[str, Any]) -> str:
    """Return what one table is, in a few words."""
    simulated = ", **simulated**" if side["simulated"] else ""
    units = count(side["units"], "unit")
    modelled = f", {count(side['modelled'], 'modelled row')}" if side["modelled"] else ""
    environment = f"environment {code(side['environment_id'])}"
    return f"{code(side['table'])} ({side['created']}, {environment}, {units}{modelled}{simulated})"


def _conditions(facts: Mapping[str, Any]) -> list[str]:
    """Return the table of conditions that differ."""
    found = [
        [f"{part} {code(entry['path'])}", *(code(entry[side]) if side in entry else "(absent)" for side in "ab")]
        for part in ("identity", "environment", "protocol")
        for entry in facts[part]
    ]
    if not found:
        return ["Device, environment and protocol are the same.", ""]
    lines = table(("conditions", "before", "after"), found)
    return [*lines[:2], *shortened(lines[2:], MOST_CONDITIONS, "conditions differ"), ""]


def _held_out(held_out: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return the table of errors on held-out networks, one line a space."""
    sides = [{entry["space"]: entry for entry in held_out[side]} for side in "ab"]
    names = sorted({name for side in sides for name, entry in side.items() if entry["mape_pct"] is not None})
    if not names:
        return []
    rows = [[code(name), *(held_out_error(side.get(name)) for side in sides)] for name in names]
    lines = table(("mean error on held-out networks", "before", "after"), rows, right=("before", "after"))
    return [*lines[:2], *shortened(lines[2:], MOST_SPACES, "spaces"), ""]


def _part(what: str, part: Mapping[str, Any], columns: tuple[str, str], most: int) -> list[str]:
    """Return what changed among the ops or the networks: all together, groups of them, single ones."""
    if not part["compared"] and not part["added"] and not part["removed"] and not part["status"]:
        return []
    lines = [summary(what, part), ""]
    if part["groups"]:
        head = table(GROUP_COLUMNS, map(group_cells, part["groups"]), right=GROUP_COLUMNS[2:4])
        lines += [*head[:2], *shortened(head[2:], MOST_GROUPS, "groups changed"), ""]
    found = alone(part, columns)
    if found:
        cells = [[code(row[name]) for name in columns] + row_cells(row) for row in found]
        head = table((*columns, *ROW_COLUMNS), cells, right=ROW_COLUMNS[:4])
        lines += [*head[:2], *shortened(head[2:], most, "changed beyond noise"), ""]
    elif what == "networks" and (rows := moved_most(part, most)):
        cells = [[code(row[name]) for name in columns] + moved_cells(row) for row in rows]
        said = "Those that moved most; none of them is sure to differ from what all changed by:"
        lines += [said, "", *table((*columns, *MOVED_COLUMNS), cells, right=MOVED_COLUMNS), ""]
    return lines


def moved_most(part: Mapping[str, Any], most: int) -> list[Mapping[str, Any]]:
    """Return the rows that changed most, as measured, where all of them moved together or scatter beyond their
    intervals: then rows differ a lot of which none is sure to differ from the others."""
    scatters = any(level["scatter"] >= TOLD_SCATTER for level in part["levels"].values())
    if not part["moved"] and not scatters:
        return []
    return sorted(part["rows"], key=lambda row: -abs(math.log(row["ratio"])))[:most]


def moved_cells(row: Mapping[str, Any]) -> list[str]:
    """Return what a row changed by as measured, under ``MOVED_COLUMNS``."""
    return [ms(row["a_ms"]), ms(row["b_ms"]), change(row["ratio"])]


def alone(part: Mapping[str, Any], columns: tuple[str, str]) -> list[Mapping[str, Any]]:
    """Return the rows that changed and belong to no group that did, largest change first."""
    found = [row for row in part["rows"] if row["significant"] and not row["grouped"]]
    return sorted(found, key=lambda row: (-abs(math.log(row["beside"])), row[columns[0]], row[columns[1]]))


def row_cells(row: Mapping[str, Any]) -> list[str]:
    """Return what a row changed by, under ``ROW_COLUMNS``; the interval is that of what it changed by beside all."""
    shared = row["ratio"] / row["beside"]
    reach = f"{change(row['lo'] / shared)} to {change(row['hi'] / shared)}"
    return [ms(row["a_ms"]), ms(row["b_ms"]), change(row["ratio"]), change(row["beside"]), reach]


def group_cells(group: Mapping[str, Any]) -> list[str]:
    """Return what a group changed by, under ``GROUP_COLUMNS``."""
    slower, sure = "slower" if group["beside"] > 1 else "faster", group["significant"]
    # A group is surer than its rows: those that are not sure by themselves are counted as noise elsewhere.
    alone = "" if sure == group["same"] else f", {f'{sure:,}' if sure else 'none'} beyond noise alone"
    reach = f"{change(group['lo'])} to {change(group['hi'])}"
    return [group["group"], group["state"], f"{group['same']:,} of {group['rows']:,} {slower}{alone}",
            change(group["beside"]), reach]  # fmt: skip


def summary(what: str, part: Mapping[str, Any]) -> str:
    """Return the counts of one part as one paragraph."""
    found, untested = part["slower"] + part["faster"], sum(part["untested"].values())
    grouped = sum(row["grouped"] for row in part["rows"])
    floors = ", ".join(f"{state} {pct(value)}" for state, value in part["floor_pct"].items())
    said = [
        f"**{what.capitalize()}**: {count(part['compared'], 'row')} compared, {part['slower']:,} slower, "
        f"{part['faster']:,} faster beyond noise{f' ({grouped:,} of them in groups)' if grouped else ''}, "
        f"{part['compared'] - found - untested:,} within noise (floor {floors or pct(None)})"
    ]
    if untested:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in part["untested"].items())
        said.append(f"{untested:,} not tested ({reasons})")
    said += [_level(state, level, state in part["moved"]) for state, level in part["levels"].items()]
    if part["shift"] and not part["levels"]:
        shift = part["shift"]
        said.append(f"median change {change(shift['ratio'])} (5–95 %: {change(shift['p5'])} to {change(shift['p95'])})")
    if any(part["noisy"].values()):
        said.append(f"noisy {part['noisy']['a']:,} → {part['noisy']['b']:,}")
    said += [_named(part[name], name) for name in ("added", "removed") if part[name]]
    moves = Counter((entry["a"], entry["b"]) for entry in part["status"])
    said += [f"{before} → {after}: {number:,}" for (before, after), number in sorted(moves.items())]
    return "; ".join(said) + "."


def _level(state: str, level: Mapping[str, float], moved: bool) -> str:
    """Return what all rows of a state changed by together, and how far beyond their intervals they scatter."""
    mark = "**" if moved else ""
    scatter = f", rows scatter {level['scatter']:.1f} × their intervals" if level["scatter"] >= TOLD_SCATTER else ""
    return f"all {state} together {mark}{change(level['ratio'])}{mark}{scatter}"


def _named(names: Sequence[Sequence[str]], what: str) -> str:
    """Return how many rows were added or removed, and the first."""
    more = ", …" if len(names) > MOST_NAMED else ""
    return f"{len(names):,} {what} ({', '.join(code(' '.join(name)) for name in names[:MOST_NAMED])}{more})"


def merged(facts: Mapping[str, Any]) -> str:
    """Return the facts of a merge as Markdown: what was combined, what disagrees, the error on held-out networks."""
    a, b, both = facts["a"], facts["b"], facts["merged"]
    units = count(both["units"], "unit") + ("" if facts["units_known"] else " (the sessions name none)")
    ratios = ", ".join(f"{state} {change(ratio)}" for state, ratio in facts["reference_ratio"].items())
    lines = [
        f"### {code(both['table'])}: {code(a['name'])} and {code(b['name'])} merged", "",
        f"{count(both['sessions'], 'session')}, {units}; reference {ratios or 'not compared'}.", "",
    ]  # fmt: skip
    columns = ("", "in both", "combined", "disagree", "conflict", "only one usable", "only in a", "only in b")
    names = ("both", "combined", "disagree", "conflict", "kept", "only_a", "only_b")
    cells = [[what, *(f"{facts[what][name]:,}" for name in names)] for what in ("ops", "networks")]
    lines += [*table(columns, cells, right=columns[1:]), ""]
    widths = facts["ops"]["half_width_pct"]
    widths_pct = f"{pct(widths['a'])} and {pct(widths['b'])} → {pct(widths['merged'])}"
    lines += [f"Half interval of combined ops (median): {widths_pct}.", ""]
    errors_pct = [
        [code(entry["space"]), *(pct(_error_pct(facts["held_out"][side], entry["space"])) for side in SIDES)]
        for entry in facts["held_out"]["merged"]
    ]
    if errors_pct:
        lines += [*table(("mean error on held-out networks", *SIDES), errors_pct, right=SIDES), ""]
    apart = [
        [code(entry["key"]), entry["state"], *(_said(entry, side) for side in ("a", "b"))]
        for entry in facts["ops"]["apart"]
    ]
    if apart:
        head = table(("ops that disagree", "state", "a", "b"), apart)
        lines += [*head[:2], *shortened(head[2:], MOST_OPS, "disagree"), ""]
    if left_out := facts["ops"]["modelled_left_out"]:
        lines += [f"{count(left_out, 'modelled row')} left out: fill the merged table again.", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _error_pct(entries: Iterable[Mapping[str, Any]], space: str) -> float | None:
    """Return a table's error on the networks of a space, percent; None where it has none."""
    return next((entry["mape_pct"] for entry in entries if entry["space"] == space), None)


def _said(entry: Mapping[str, Any], side: str) -> str:
    """Return what one side says of a row: its time, or why there is none."""
    value = entry[f"{side}_ms"]
    return str(entry[f"{side}_status"]) if value is None else f"{ms(value)} ms"
