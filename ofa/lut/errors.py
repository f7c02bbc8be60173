"""What can be wrong with a table, said once; every message names the file and, where there is one, the line."""

from __future__ import annotations

import difflib
import re
import reprlib
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa.errors import FileInvalid, OfaError, SpaceMismatch, UsageInvalid, printable

if TYPE_CHECKING:
    from pydantic import ValidationError

RESTORE = "take the whole folder from version control again, or measure the table again"
MOST_SHOWN = 60
# Names less alike than this are no slip of the fingers.
NEAR = 0.7
# So many tables a message lists by name.
MOST_NAMED = 8


def quoted(value: Any) -> str:
    """Return a value for a message: quoted, on one line, cut where it is long."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"
    return f"'{printable(text)}'"


def file_invalid(path: Path, why: str, *hints: str) -> FileInvalid:
    """Say that a file of a table cannot be used as a whole."""
    return FileInvalid(f"table file '{path}' cannot be used", why=why, hint=hints or (RESTORE,))


def line_invalid(path: Path, line: int, why: str, *hints: str) -> FileInvalid:
    """Say which line of a table's file is wrong; the header line is 1."""
    return FileInvalid(f"table file '{path}' is wrong in line {line:,}", why=why, hint=hints or (RESTORE,))


def not_a_table(path: Path, why: str) -> FileInvalid:
    """Say that a path holds no table."""
    return FileInvalid(
        f"'{path}' holds no latency table", why=why, hint="name a folder with a 'lut.json', or one above such folders"
    )


def not_written(path: Path, fault: Exception) -> FileInvalid:
    """Say that a table holds what its files cannot keep, such as NaN in a session."""
    return FileInvalid(
        f"table '{path}' was not written: a row or session holds what its files cannot keep",
        why=str(fault) or type(fault).__name__,
        hint="report it with what made the table",
    )


def error_misstated(path: Path, name: str, stated: Any, found: Any) -> FileInvalid:
    """Say that a table's error is not the one that its own rows and networks give."""
    return FileInvalid(
        f"table file '{path}' states an error that is not the table's",
        why=f"{name} is {quoted(stated)}, and its rows and networks give {quoted(found)}",
        hint=RESTORE,
    )


def part_missing(path: Path) -> FileInvalid:
    """Say that a table lacks one of its files."""
    return FileInvalid(
        f"table '{path.parent}' lacks '{path.name}'",
        why="a table is four files, written together",
        hint=RESTORE,
    )


def schema_unknown(path: Path, found: Any, ours: str) -> FileInvalid:
    """Say that a header is of another schema, or names none; a newer one of ours is recognised."""
    if found is None:
        return file_invalid(path, f"it names no schema; this version reads '{ours}'")
    family, _, number = ours.partition("/")
    if isinstance(found, str) and re.fullmatch(rf"{family}/[0-9]{{1,9}}", found):
        newer = int(found[len(family) + 1 :]) > int(number)
        return file_invalid(
            path,
            f"its schema {quoted(found)} is {'newer' if newer else 'other'} than '{ours}', which this version reads",
            "update ofa-lab" if newer else RESTORE,
        )
    return file_invalid(path, f"its schema is {quoted(found)}; this version reads '{ours}'")


def fields_invalid(path: Path, fault: ValidationError, known: Iterable[str]) -> FileInvalid:
    """Say which field of a header is wrong, its value, and which known name an unknown one resembles."""
    # A mistyped key is also a missing one: the typo is what can be mended.
    first = sorted(fault.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")[0]
    where = ".".join(str(part) for part in first["loc"][:4]) or "the header"
    more = f" (and {fault.error_count() - 1} more)" if fault.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), list(known), n=1, cutoff=NEAR)
        hints = (f"did you mean '{near[0]}'?",) if near else ()
        return file_invalid(path, f"unknown key '{where}'{more}", *hints)
    found = "" if first["type"] == "missing" else f" {quoted(first['input'])}"
    return file_invalid(path, f"{where}{found}: {first['msg'][:1].lower()}{first['msg'][1:]}{more}")


def contradicted(path: Path, name: str, said: Any, known: Any) -> FileInvalid:
    """Say that a header and the environment in it are of two tables."""
    where = "its conditions say" if name == "threads" else "it says"
    return file_invalid(
        path, f"{where} {name} {quoted(said)}, and its environment {quoted(known)}: one of them was changed by hand"
    )


def mixture(path: Path, *, named: str, found: str) -> FileInvalid:
    """Say that a file is not the one its header was written with."""
    return file_invalid(
        path,
        f"'lut.json' names a file of SHA-256 {named[:12]}…, this one has {found[:12]}…: it was changed by hand, cut "
        "short, or a write was interrupted",
        RESTORE,
    )


def simulated_refused(path: Path) -> UsageInvalid:
    """Say that simulated values were about to be written without being asked for."""
    return UsageInvalid(
        f"no simulated table is written to '{path}'",
        why="its values come from the simulated device and say nothing about any real one",
        hint="say that simulated values are wanted (--allow-simulated)",
    )


def simulated_among_real(path: Path) -> FileInvalid:
    """Say that simulated values stand, or were about to stand, in the folder of real ones."""
    return FileInvalid(
        f"'{path}' is a simulated table under 'luts'",
        why="'luts' holds what real devices said; simulated values can never enter it",
        hint="keep it in a run folder",
    )


def misplaced(path: Path, expected: Path) -> FileInvalid:
    """Say that a table stands, or was about to stand, in a folder under `luts` that its header does not name."""
    return FileInvalid(
        f"table '{path}' is not where its header says",
        why=f"device, runtime, precision and conditions name the folder '{expected}'",
        hint="put it there, or into a folder outside 'luts'",
    )


def table_there(path: Path) -> UsageInvalid:
    """Say that a table was about to be replaced without being asked for."""
    return UsageInvalid(
        f"there is a table in '{path}' already",
        why="it would be replaced, and nothing else may hold what it says",
        hint=("choose another folder", "or say that it may be replaced (--replace)"),
    )


def folder_of_others(path: Path) -> UsageInvalid:
    """Say that a table was about to be written among files that belong to none."""
    return UsageInvalid(
        f"no table is written to '{path}'",
        why="it holds other files, and no 'lut.json' that would make it a table's folder",
        hint=f"choose a new folder, such as '{path / 'lut'}'",
    )


def tables_invalid(faults: Sequence[FileInvalid], count: int) -> FileInvalid:
    """Say that some tables of a tree are invalid, beginning with the first; what mends each kind of fault, and how many
    tables it mends."""
    first = faults[0]
    if len(faults) == 1:
        return first
    kinds = Counter(" or ".join(fault.hints) for fault in faults)
    hints = first.hints if len(kinds) == 1 else [f"{of:,} of them: {hint}" for hint, of in kinds.items()]
    return FileInvalid(
        f"{len(faults):,} of {count:,} tables are invalid; the first: {first.what}", why=first.why, hint=hints
    )


def state_absent(table: str, state: str, found: Iterable[str]) -> SpaceMismatch:
    """Say that a table has no rows in the state asked for."""
    there = sorted(set(found))
    return SpaceMismatch(
        f"table '{table}' has no row in state '{state}'",
        why="it has rows in state " + ", ".join(f"'{name}'" for name in there) if there else "it has no rows at all",
        hint=[f"--rows {name}" for name in there] or ["measure the table again"],
    )


def ops_missing(
    table: str, *, of: str, state: str, missing: int, needed: int, first: str, unusable: str, spaces: Sequence[str]
) -> SpaceMismatch:
    """Say how many ops of a space or subnet a table does not price, and the first; ``unusable`` is its row's status.

    A modelled row is unusable only where measured ones were asked for.
    """
    lacks = f"has no usable row for '{first}' (status '{unusable}')" if unusable else f"has no row for '{first}'"
    asked = "measured " if unusable == "modelled" else ""
    made_for = f"; its networks are of {', '.join(spaces)}" if spaces and of not in spaces else ""
    return SpaceMismatch(
        f"table '{table}' {lacks} in state '{state}'",
        why=f"{missing:,} of the {needed:,} ops of '{of}' have no {asked}time in it{made_for}",
        hint=(
            f"measure the missing ops of '{of.partition(' ')[0]}' into this table",
            "or use a table that was measured for it",
            "or take modelled rows, too" if asked else "or let a model price them: ofa lut fill",
        ),
    )


def tables_unlike(found: Sequence[dict[str, Any]]) -> FileInvalid:
    """Say that two tables cannot be merged because of other conditions, naming the first that differ."""
    first = [
        f"{entry['path']} is " + " and ".join(quoted(entry[side]) if side in entry else "absent" for side in "ab")
        for entry in found[:3]
    ]
    more = f" (and {len(found) - 3:,} more)" if len(found) > 3 else ""
    return FileInvalid(
        "the two tables cannot be merged: they were not measured under the same conditions",
        why="; ".join(first) + more,
        hint=("compare them with 'ofa lut diff'", "keep tables of other conditions in folders of their own"),
    )


def simulated_with_measured() -> FileInvalid:
    """Say that a simulated table was about to be merged with a measured one."""
    return FileInvalid(
        "the two tables cannot be merged: one is simulated, the other was measured",
        why="simulated values say nothing about any real device",
        hint="merge tables that were both measured",
    )


def session_twice(identity: str, count: int) -> FileInvalid:
    """Say that two tables to merge rest on the same session, which would count twice."""
    more = f" (and {count - 1:,} more)" if count > 1 else ""
    return FileInvalid(
        f"the two tables cannot be merged: session {quoted(identity)}{more} is in both",
        why="rounds that count twice make intervals narrower than they are",
        hint="merge each session's own table, each once",
    )


def reference_unknown(states: Sequence[str]) -> FileInvalid:
    """Say that two tables to merge do not both say how long the reference network took."""
    return FileInvalid(
        "the two tables cannot be merged: their sessions do not both say how long the reference network took",
        why="it is not known for state " + ", ".join(f"'{state}'" for state in states),
        hint="merge them all the same where you know that the device ran equally fast (--allow-unknown-reference)",
    )


def reference_moved(state: str, a_ns: float, b_ns: float, most: float) -> FileInvalid:
    """Say that the reference network took another time in two tables to merge."""
    return FileInvalid(
        f"the two tables cannot be merged: the reference network took {100 * (b_ns / a_ns - 1):+.1f} % in the second",
        why=f"{a_ns:,.0f} and {b_ns:,.0f} ns in state '{state}'; within {100 * (most - 1):g} % the device is the same",
        hint=(
            "find out what changed: heat, power mode, another device of that kind",
            "measure one of them again",
        ),
    )


def no_place_for_index(path: Path, begin: str, end: str) -> FileInvalid:
    """Say that a page has no place for the list of tables."""
    return FileInvalid(
        f"page '{path}' has no place for the list of tables",
        why="the list stands between two lines, each of which must be there once",
        hint=f"add the lines {begin} and {end} where the list belongs",
    )


def index_stale(path: Path) -> FileInvalid:
    """Say that a page lists other tables than there are."""
    return FileInvalid(
        f"the list of tables in '{path}' is not what the tables say",
        why="a table came, went, changed or was rechecked after it was written",
        hint=f"ofa lut index {shlex.quote(str(path.parent))}",
    )


def foreign_invalid(path: Path, why: str, *hints: str) -> FileInvalid:
    """Say that a foreign table cannot be imported as a whole."""
    return FileInvalid(
        f"foreign table '{path}' cannot be imported", why=why, hint=hints or ("compare it with where it was published",)
    )


def foreign_line(path: Path, line: int, why: str, *hints: str) -> FileInvalid:
    """Say which line of a foreign table is wrong."""
    return FileInvalid(
        f"foreign table '{path}' is wrong in line {line:,}",
        why=why,
        hint=hints or ("compare it with where it was published",),
    )


def origin_invalid(fault: ValidationError) -> UsageInvalid:
    """Say what about the origin of an imported table is wrong."""
    first = fault.errors(include_url=False)[0]
    return UsageInvalid(
        f"an imported table cannot have {first['loc'][0]} {quoted(first['input'])}",
        why=f"{first['msg'][:1].lower()}{first['msg'][1:]}",
        hint="such as device 'note10', precision 'fp32', created '2026-02-28'",
    )


def nothing_to_learn(table: str, why: str, *, what: str = "ops") -> SpaceMismatch:
    """Say that a table has too little for its missing cells to be priced: too few ``what``."""
    return SpaceMismatch(
        f"the missing ops of table '{table}' cannot be priced", why=why, hint=f"measure more {what} into this table"
    )


def unlike_measured(table: str, *, missing: int, first: str, part: str) -> SpaceMismatch:
    """Say that missing cells have a part that no measured one has, so nothing says what it costs."""
    return SpaceMismatch(
        f"table '{table}' has nothing to price '{first}' by",
        why=f"no measured op has its {part}; {missing:,} missing ops have a part like this",
        hint="measure some such ops into this table",
    )


def none_fits(path: Path, asked: Mapping[str, str], names: Sequence[str]) -> FileInvalid:
    """Say that no table of a folder is what was asked for."""
    if not names:
        return FileInvalid(
            f"there is no table under '{path}'",
            why="no folder in it holds a lut.json; a measurement that is not finished has none yet",
            hint="name the folder of a table, or finish the measurement: 'ofa bench' as it was begun, with --resume",
        )
    wanted = ", ".join(f"{name} {quoted(value)}" for name, value in asked.items())
    return FileInvalid(
        f"no table under '{path}' fits: {wanted}",
        why="it holds " + _few(names),
        hint="name the folder of one table, or ask for one of these",
    )


def _few(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: all of a few, of many how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def several_fit(
    path: Path, asked: Mapping[str, str], names: Sequence[str], differing: Sequence[str], folder: Path
) -> UsageInvalid:
    """Say that a request fits several tables, what sets them apart, and the ``folder`` of one of them."""
    wanted = ", ".join(f"{name} {quoted(value)}" for name, value in asked.items())
    return UsageInvalid(
        f"{len(names)} tables under '{path}' fit" + (f": {wanted}" if wanted else ""),
        why=f"{' and '.join(names[:2])} differ in {', '.join(differing) or 'nothing but their names'}",
        hint=f"name the folder of one table, such as '{folder}'",
    )


def stale(path: str, date: str, found: Sequence[str]) -> str:
    """Return the warning about a table that its last recheck found to hold no more."""
    named = "; ".join(printable(text) for text in found[:2]) + ("; …" if len(found) > 2 else "")
    return f"table '{path}' is stale since the recheck of {date} ({named}): measure it again with 'ofa bench'"


def mostly_noisy(name: str, told: str, error_pct: float | None) -> str:
    """Return the warning about a table of which most rows say little, as is told of them."""
    worth = "no held-out networks say what its sums are worth"
    if error_pct is not None:
        worth = f"its sums are off by {error_pct:.1f} % on held-out networks"
    return f"table '{name}': {told}; {worth}: measure it when the device does nothing else, or in more rounds"


def recheck_of_others(path: Path, why: str) -> FileInvalid:
    """Say that what was measured is no recheck of the table that it was about to be written beside."""
    return FileInvalid(
        f"nothing was written beside table '{path}': the recheck is of another one",
        why=why,
        hint="run 'ofa lut recheck' on the table as it is now, on its own device",
    )


def reads_back_otherwise(folder: Path) -> OfaError:
    """Say that a table was given with values that its own files do not keep; nothing was written."""
    return OfaError(
        f"table '{folder}' was not written: it would not read back as it was given",
        why="a row or session holds a value that its text does not keep, such as a number as text",
        hint="report it with what made the table",
    )


def as_reported(entry: Mapping[str, Any]) -> FileInvalid:
    """Return the error that a report of a check holds as facts: its "what", "why" and "try"."""
    return FileInvalid(entry["what"], why=entry["why"], hint=entry["try"])
