"""The rows of a table: what each column may hold, and how rows become text and text becomes rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ofa.errors import FileInvalid
from ofa.lut import errors
from ofa.space import ops

NANOSECONDS_PER_MS = 1e6

STATES = ("hot", "cold", "-")
STATUSES = ("ok", "noisy", "modelled", "unsupported", "failed", "thermal")
SPLITS = ("fit", "holdout", "verify")
# A row of these statuses has a time that a sum may use, one of those has none; `thermal` may have one for the record.
USABLE = frozenset({"ok", "noisy", "modelled"})
TIMELESS = frozenset({"unsupported", "failed"})
MEASURED = frozenset({"ok", "noisy", "thermal"})
MOST_LINE_CHARACTERS = 2000
# Numbers have at most 18 digits: 64 bits hold them.
MOST = 10**18 - 1


class Row(NamedTuple):
    """One op (or an overhead such as `@session`) in one state; times in ns, energies in uJ, None where not known.

    ``lo`` and ``hi`` bound the 95 % interval of ``ns``. A tuple, because 20,000 of them must load in 0.1 s.
    """

    key: str
    state: str
    status: str
    ns: int | None
    lo: int | None
    hi: int | None
    cpu_ns: int | None
    wall_ns: int | None
    rounds: int
    flags: tuple[str, ...]
    session: str
    energy_uj: int | None = None
    energy_lo: int | None = None
    energy_hi: int | None = None


class NetworkRow(NamedTuple):
    """One whole network, measured hot; times in ns. ``genome`` is hex, ``id`` that of the subnet.

    ``again_ns`` is the same measured again some minutes later, in new processes: how far ``ns`` can be trusted at all.
    ``p95_ns`` is what 95 of 100 calls stay below; ``init_ns`` and ``first_ns`` are what loading and the first call
    took. ``peak_rss_kib`` is the most resident memory of a process that loads and calls it and nothing else.
    ``energy_uj`` is what a call takes beside idling, uJ, with its 95 % interval; ``energy_source`` says so,
    and how long one of its readings reaches back (None where nobody knows).
    """

    space: str
    id: str
    genome: str
    split: str
    status: str
    ns: int | None
    lo: int | None
    hi: int | None
    cpu_ns: int | None
    wall_ns: int | None
    rounds: int
    flags: tuple[str, ...]
    session: str
    init_ns: int | None = None
    first_ns: int | None = None
    p95_ns: int | None = None
    again_ns: int | None = None
    peak_rss_kib: int | None = None
    file_bytes: int | None = None
    energy_uj: int | None = None
    energy_lo: int | None = None
    energy_hi: int | None = None
    energy_source: str | None = None
    energy_averaging_ms: int | None = None

    @property
    def learnt(self) -> bool:
        """Say whether twins are fitted to it; a table's own calibration and stated error rest on the other splits."""
        return self.split in ("fit", "verify")


OPS_COLUMNS = Row._fields[:11]
ENERGY_COLUMNS = Row._fields[11:]
NETWORK_COLUMNS = NetworkRow._fields[:19]
NETWORK_ENERGY_COLUMNS = NetworkRow._fields[19:]
NETWORK_NUMBERS = (
    *("ns", "lo", "hi", "cpu_ns", "wall_ns"),
    *("init_ns", "first_ns", "p95_ns", "again_ns", "peak_rss_kib", "file_bytes"),
)
NETWORK_ENERGY_NUMBERS = ("energy_uj", "energy_lo", "energy_hi", "energy_averaging_ms")

_WORD = r"[a-z0-9][a-z0-9._-]*"
_INTEGER = r"0|[1-9][0-9]{0,17}"
_TIME = (rf"(?:{_INTEGER})?", "a whole number of nanoseconds without sign, such as 12345, or nothing")
# What each column may hold, as a pattern and in words.
COLUMNS: dict[str, tuple[str, str]] = {
    "key": (rf"@?{_WORD}", "a canonical op key, or an overhead such as '@session'"),
    "state": ("|".join(STATES), "one of " + ", ".join(STATES)),
    "status": ("|".join(STATUSES), "one of " + ", ".join(STATUSES)),
    "ns": _TIME,
    "lo": _TIME,
    "hi": _TIME,
    "cpu_ns": _TIME,
    "wall_ns": _TIME,
    "rounds": (r"0|[1-9][0-9]{0,8}", "a whole number"),
    "flags": (rf"(?:{_WORD}(?:;{_WORD})*)?", "lower-case words between semicolons, or nothing"),
    "session": (r"(?:[A-Za-z0-9][A-Za-z0-9._-]*)?", "the id of a line of 'sessions.jsonl'"),
    "space": (_WORD, "the id of a search space"),
    "id": (r"[0-9a-f]{12}", "12 hex digits"),
    "genome": (r"(?:[0-9a-f]{2})+", "a genome in hex, two digits a gene"),
    "split": ("|".join(SPLITS), "one of " + ", ".join(SPLITS)),
    "init_ns": _TIME,
    "first_ns": _TIME,
    "p95_ns": _TIME,
    "again_ns": _TIME,
    "peak_rss_kib": (_TIME[0], "a whole number of KiB, or nothing"),
    "file_bytes": (_TIME[0], "a whole number of bytes, or nothing"),
    "energy_uj": (_TIME[0], "a whole number of microjoules, or nothing"),
    "energy_lo": (_TIME[0], "a whole number of microjoules, or nothing"),
    "energy_hi": (_TIME[0], "a whole number of microjoules, or nothing"),
    "energy_source": (
        r"(?:[A-Za-z0-9][A-Za-z0-9._:+-]{0,199})?",
        "what measured, such as 'rapl:package-0'",
    ),
    "energy_averaging_ms": (_TIME[0], "a whole number of milliseconds, or nothing"),
}


def is_session(identity: str) -> bool:
    """Say whether a text may be the id of a session."""
    return bool(identity) and re.fullmatch(COLUMNS["session"][0], identity) is not None


def render(columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> bytes:
    """Return the CSV text of rows in the order given: LF, no quotes, nothing for None."""
    lines = [",".join(columns)]
    width = len(columns)
    for row in rows:
        lines.append(",".join([_cell(value) for value in row[:width]]))
    return ("\n".join(lines) + "\n").encode()


def _cell(value: Any) -> str:
    """Return a value as it stands in a line."""
    if value is None:
        return ""
    return ";".join(value) if isinstance(value, tuple) else str(value)


def lines_of(raw: bytes, path: Path) -> list[str]:
    """Split a file into lines; raises FileInvalid unless it is ASCII in LF lines of sane length, the last one ended."""
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        raise errors.line_invalid(path, line, f"byte 0x{raw[fault.start]:02x} is no ASCII text") from fault
    if "\r" in text:
        raise errors.line_invalid(
            path,
            text.count("\n", 0, text.index("\r")) + 1,
            "it ends in CR LF (or holds a CR); tables have LF only",
            "check it out with 'git config core.autocrlf false'",
        )
    if not text:
        raise errors.file_invalid(path, "it is empty")
    lines = text.split("\n")
    if lines.pop():
        raise errors.line_invalid(path, len(lines) + 1, "it has no end: the file was cut short")
    longest = max(lines, key=len)
    if len(longest) > MOST_LINE_CHARACTERS:
        line = lines.index(longest) + 1
        raise errors.line_invalid(
            path, line, f"it has {len(longest):,} characters; at most {MOST_LINE_CHARACTERS:,} are read"
        )
    return lines


def parse_ops(raw: bytes, path: Path) -> tuple[Row, ...]:
    """Read `ops.csv`; raises FileInvalid naming the first line that is wrong."""
    lines = lines_of(raw, path)
    columns = lines[0].split(",")
    if columns != list(OPS_COLUMNS) and columns != [*OPS_COLUMNS, *ENERGY_COLUMNS]:
        raise _columns_wrong(path, columns, OPS_COLUMNS, optional=ENERGY_COLUMNS)
    energy = len(columns) > len(OPS_COLUMNS)
    match = _line_pattern(tuple(columns)).fullmatch
    rows: list[Row] = []
    before, before_state = "", ""
    for line in lines[1:]:
        found = match(line)
        if found is None:
            raise _line_wrong(path, len(rows) + 2, line, columns)
        key, state, status, ns, lo, hi, cpu_ns, wall_ns, rounds, flags, session, *energies = found.groups()
        row = Row(
            key,
            state,
            status,
            int(ns) if ns else None,
            int(lo) if lo else None,
            int(hi) if hi else None,
            int(cpu_ns) if cpu_ns else None,
            int(wall_ns) if wall_ns else None,
            int(rounds),
            _flags(flags),
            session,
            *([int(value) if value else None for value in energies] if energy else ()),
        )
        if key <= before and (key, state) <= (before, before_state):
            raise _order_wrong(path, len(rows) + 2, (key, state), (before, before_state))
        if why := _row_fault(row) or (_key_fault(key) if key != before else None):
            raise errors.line_invalid(path, len(rows) + 2, why)
        rows.append(row)
        before, before_state = key, state
    if energy and all(row.energy_uj is None for row in rows):
        raise errors.line_invalid(path, 1, "it has columns for energy, and no line has any")
    return tuple(rows)


def parse_networks(raw: bytes, path: Path) -> tuple[NetworkRow, ...]:
    """Read `networks.csv`; raises FileInvalid naming the first line that is wrong."""
    lines = lines_of(raw, path)
    columns = lines[0].split(",")
    energy = columns == [*NETWORK_COLUMNS, *NETWORK_ENERGY_COLUMNS]
    if columns != list(NETWORK_COLUMNS) and not energy:
        raise _columns_wrong(path, columns, NETWORK_COLUMNS, optional=NETWORK_ENERGY_COLUMNS)
    match = _line_pattern(tuple(columns)).fullmatch
    rows: list[NetworkRow] = []
    for number, line in enumerate(lines[1:], 2):
        found = match(line)
        if found is None:
            raise _line_wrong(path, number, line, columns)
        row = _network_row(columns, found.groups())
        if rows and row[:2] <= rows[-1][:2]:
            raise _order_wrong(path, number, row[:2], rows[-1][:2])
        if why := _row_fault(row):
            raise errors.line_invalid(path, number, why)
        rows.append(row)
    if energy and all(row.energy_uj is None for row in rows):
        raise errors.line_invalid(path, 1, "it has columns for energy, and no line has any")
    return tuple(rows)


def _network_row(columns: Sequence[str], texts: Sequence[str]) -> NetworkRow:
    """Return the row that the fields of a line say, each of which matches its column's pattern."""
    said = dict(zip(columns, texts, strict=True))
    numbers = NETWORK_NUMBERS + (NETWORK_ENERGY_NUMBERS if "energy_uj" in said else ())
    words: dict[str, Any] = {name: said[name] for name in ("space", "id", "genome", "split", "status", "session")}
    times: dict[str, Any] = {name: int(said[name]) if said[name] else None for name in numbers}
    source = said.get("energy_source") or None
    return NetworkRow(**words, **times, energy_source=source, rounds=int(said["rounds"]), flags=_flags(said["flags"]))


@lru_cache(maxsize=1024)
def _flags(text: str) -> tuple[str, ...]:
    """Return flags; the same few texts come again and again."""
    return tuple(text.split(";")) if text else ()


@lru_cache
def _line_pattern(columns: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of a whole line, one group a column."""
    return re.compile(",".join(f"({COLUMNS[column][0]})" for column in columns))


def _key_fault(key: str) -> str | None:
    """Say what is wrong with a key, or None; overheads begin with ``@``."""
    if key[0] == "@":
        return None
    try:
        ops.parse(key)
    except FileInvalid as fault:
        return f"key {errors.quoted(key)} is no op: {fault.why or fault.what}"
    return None


def _row_fault(row: Row | NetworkRow) -> str | None:
    """Say what contradicts itself within a row, or None."""
    ns, lo, hi, status = row.ns, row.lo, row.hi, row.status
    if ns is None or lo is None or hi is None:
        if ns is not lo or ns is not hi:
            return f"ns, lo and hi must be there together; they are {_cell(ns)!r}, {_cell(lo)!r}, {_cell(hi)!r}"
        if status in USABLE:
            return f"status '{status}' needs a time, and ns is ''"
    elif status in TIMELESS:
        return f"status '{status}' has no time, and ns is '{ns}'"
    elif not lo <= ns <= hi or ns == 0:
        return f"ns must lie between lo and hi and be above 0; lo, ns, hi are '{lo}', '{ns}', '{hi}'"
    if status in TIMELESS and (row.cpu_ns is not None or row.wall_ns is not None):
        return f"status '{status}' has no time, and cpu_ns, wall_ns are '{_cell(row.cpu_ns)}', '{_cell(row.wall_ns)}'"
    if status in MEASURED and not row.session:
        return f"status '{status}' needs a session, and session is ''"
    if status in MEASURED and ns is not None and not row.rounds:
        return f"status '{status}' needs at least one round, and rounds is '0'"
    if len(row.flags) > 1 and list(row.flags) != sorted(set(row.flags)):
        return f"flags must be sorted, each once; they are {errors.quoted(_cell(row.flags))}"
    return _energy_fault(row) or (_source_fault(row) if isinstance(row, NetworkRow) else None)


def _source_fault(row: NetworkRow) -> str | None:
    """Say what contradicts itself in where the energy of a network is from, or None."""
    if (row.energy_uj is None) != (row.energy_source is None):
        return (
            "energy_uj and energy_source must be there together; they are "
            f"'{_cell(row.energy_uj)}', {errors.quoted(row.energy_source or '')}"
        )
    if row.energy_source is None and row.energy_averaging_ms is not None:
        return f"without an energy_source nothing averages, and energy_averaging_ms is '{row.energy_averaging_ms}'"
    return None


def _energy_fault(row: Row | NetworkRow) -> str | None:
    """Say what contradicts itself in the energy of a row, or None."""
    value, low, high = row.energy_uj, row.energy_lo, row.energy_hi
    if value is low is high is None or (
        value is not None and low is not None and high is not None and low <= value <= high
    ):
        return None
    return (
        "energy_uj must lie between energy_lo and energy_hi; they are "
        f"'{_cell(value)}', '{_cell(low)}', '{_cell(high)}'"
    )


def _columns_wrong(path: Path, found: Sequence[str], known: Sequence[str], optional: Sequence[str] = ()) -> Exception:
    """Say how the header line differs from the columns of this schema."""
    unknown = [name for name in found if name not in known and name not in optional]
    missing = [name for name in known if name not in found]
    if unknown:
        why = f"unknown column {errors.quoted(unknown[0])}"
    elif missing:
        why = f"column '{missing[0]}' is missing"
    else:
        why = _order_told(found, [*known, *(optional if set(found) & set(optional) else ())])
    more = f", then may come {','.join(optional)}" if optional else ""
    return errors.line_invalid(path, 1, f"{why}; the columns are {','.join(known)}{more}")


def _order_told(found: Sequence[str], wanted: Sequence[str]) -> str:
    """Say where columns, none of which is unknown, are not those wanted: two that changed places, or the first one."""
    lacking = [name for name in wanted if name not in found]
    if lacking:
        return f"column '{lacking[0]}' is missing: the optional ones come all or none"
    wrong = [place for place, (name, other) in enumerate(zip(found, wanted, strict=False)) if name != other]
    if len(wrong) == 2 and len(found) == len(wanted):
        return f"columns '{wanted[wrong[0]]}' and '{wanted[wrong[1]]}' stand in each other's place"
    if not wrong:
        return f"column '{found[len(wanted)]}' stands there twice"
    return f"column {wrong[0] + 1} is '{found[wrong[0]]}', where '{wanted[wrong[0]]}' belongs"


def _line_wrong(path: Path, number: int, line: str, columns: Sequence[str]) -> Exception:
    """Say which field of a line that does not match is wrong."""
    fields = line.split(",")
    for column, field in zip(columns, fields, strict=False):
        pattern, words = COLUMNS[column]
        if re.fullmatch(pattern, field) is None:
            return errors.line_invalid(path, number, f"{column} is {errors.quoted(field)}; it must be {words}")
    return errors.line_invalid(path, number, f"it has {len(fields)} fields; there are {len(columns)} columns")


def _order_wrong(path: Path, number: int, found: Sequence[str], before: Sequence[str]) -> Exception:
    """Say that a line stands twice, or before one it should follow."""
    name, name_before = (errors.quoted(" ".join(part)) for part in (found, before))
    if tuple(found) == tuple(before):
        return errors.line_invalid(path, number, f"{name} stands in the line before, too: each may come once")
    return errors.line_invalid(path, number, f"{name} comes after {name_before}: lines are sorted bytewise")
