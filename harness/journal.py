"""Everything a device said about one plan: SQLite on a local disk, append-only, resumable at the round."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import file_invalid
from harness.plan import Plan, unlike, validate
from harness.protocol import Energy
from harness.soundness import refuse_unsound
from ofa.files import canonical_json

SCHEMA = "journal/3"
APPLICATION_ID = 0x0FA1AB01
MAX_BYTES = 4 << 30
HEADER_BYTES = 100

STATS = (
    "calls",
    "wall_min_ns",
    "wall_p10_ns",
    "wall_p20_ns",
    "wall_median_ns",
    "wall_p95_ns",
    "cpu_min_ns",
    "cpu_p10_ns",
)

_WALL = ", ".join(f"{name} INTEGER NOT NULL CHECK(typeof({name}) = 'integer' AND {name} > 0)" for name in STATS[:6])
_CPU = ", ".join(
    f"{name} INTEGER CHECK({name} IS NULL OR (typeof({name}) = 'integer' AND {name} > 0))" for name in STATS[6:]
)
_AT = "round INTEGER NOT NULL CHECK(round >= 0), attempt INTEGER NOT NULL CHECK(attempt >= 1)"
TABLES = {
    "meta": "name TEXT PRIMARY KEY, value TEXT NOT NULL",
    "sessions": "id TEXT PRIMARY KEY, record TEXT NOT NULL",
    "attempts": f"{_AT}, session TEXT NOT NULL, started_utc TEXT NOT NULL, PRIMARY KEY(round, attempt)",
    "samples": f"{_AT}, batch INTEGER NOT NULL, item INTEGER NOT NULL CHECK(item >= 0), {_WALL}, {_CPU}, "
    "load_ns INTEGER NOT NULL CHECK(load_ns > 0), first_ns INTEGER NOT NULL CHECK(first_ns > 0), "
    "PRIMARY KEY(round, attempt, item)",
    "refs": f"{_AT}, batch INTEGER NOT NULL, state TEXT NOT NULL CHECK(state IN ('hot', 'cold')), {_WALL}, {_CPU}, "
    "PRIMARY KEY(round, attempt, batch, state)",
    "failures": f"{_AT}, item INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY(round, attempt, item)",
    "batches": f"{_AT}, batch INTEGER NOT NULL, record TEXT NOT NULL, PRIMARY KEY(round, attempt, batch)",
    # Of a file, not of a round: memory does not scatter as time does.
    "footprints": "file TEXT PRIMARY KEY, session TEXT NOT NULL, peak_rss_kib INTEGER "
    "CHECK(peak_rss_kib IS NULL OR (typeof(peak_rss_kib) = 'integer' AND peak_rss_kib > 0)), reason TEXT NOT NULL, "
    "CHECK((peak_rss_kib IS NULL) = (reason <> ''))",
    "ends": f"{_AT}, status TEXT NOT NULL CHECK(status IN ('complete', 'lost')), ended_utc TEXT NOT NULL, "
    "note TEXT NOT NULL, PRIMARY KEY(round, attempt)",
}
# Not in every journal: it is made when the first network's energy comes, so that runs of before can be gone on with.
LATER = {"energies": "file TEXT PRIMARY KEY, session TEXT NOT NULL, record TEXT NOT NULL"}
# Columns of free text, which no table is made of.
FREE = ("reason", "note")
COMPLETE = "SELECT round, max(attempt) AS attempt FROM ends WHERE status = 'complete' GROUP BY round"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row of samples or refs of a complete round; times in ns, CPU times None where the clock cannot be used."""

    round: int
    attempt: int
    batch: int
    item: int | None
    state: str | None
    calls: int
    wall_min_ns: int
    wall_p10_ns: int
    wall_p20_ns: int
    wall_median_ns: int
    wall_p95_ns: int
    cpu_min_ns: int | None
    cpu_p10_ns: int | None
    load_ns: int | None = None
    first_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The peak memory of a process that called one file, KiB, and in which session; None for a reason."""

    session: str
    peak_rss_kib: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """What a device drew while it called one file, by windows, and in which session; or its reason for none."""

    session: str
    answer: Energy


class Journal:
    """An open journal; made by `create`, `open` or `resume`."""

    __slots__ = ("database", "path", "plan")

    def __init__(self, path: Path, plan: Plan, database: sqlite3.Connection) -> None:
        """Take what the functions below have checked."""
        self.path = path
        self.plan = plan
        self.database = database

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self.database.close()

    def __enter__(self) -> Journal:
        """Use the journal in a with block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it at the end of the block."""
        self.close()

    def begin_session(self, identity: str, record: dict[str, Any]) -> None:
        """Note a session: when it began, what the device is, and how."""
        self._append({"sessions": [(identity, canonical_json(record))]})

    def begin_attempt(self, number: int, *, session: str, started_utc: str) -> int:
        """Note that a round begins, and return its attempt number: 1, or more where earlier ones did not end."""
        last = self.database.execute("SELECT max(attempt) FROM attempts WHERE round = ?", (number,)).fetchone()[0]
        attempt = int(last or 0) + 1
        self._append({"attempts": [(number, attempt, session, started_utc)]})
        return attempt

    def end_attempt(
        self,
        number: int,
        attempt: int,
        rows: Mapping[str, Sequence[tuple[Any, ...]]],
        *,
        ended_utc: str,
        status: str = "complete",
        note: str = "",
    ) -> None:
        """Write all that a round gave and that it ended, as one transaction: a round is in the journal whole or not."""
        entries = {table: [(number, attempt, *value) for value in values] for table, values in rows.items()}
        self._append({**entries, "ends": [(number, attempt, status, ended_utc, note)]})

    def complete_rounds(self) -> set[int]:
        """Return the rounds that are done."""
        return {int(row[0]) for row in self.database.execute(COMPLETE)}

    def attempts_of(self, number: int) -> int:
        """Return how often a round was begun."""
        return int(self.database.execute("SELECT count(*) FROM attempts WHERE round = ?", (number,)).fetchone()[0])

    def sessions(self) -> list[tuple[str, dict[str, Any]]]:
        """Return (id, record) of every session, in the order they began in; an id has a date, which may be set back."""
        rows = self.database.execute("SELECT id, record FROM sessions ORDER BY rowid")
        return [(identity, json.loads(record)) for identity, record in rows]

    def session_of_rounds(self) -> dict[int, str]:
        """Return the session each complete round was measured in."""
        rows = self.database.execute(f"SELECT round, session FROM attempts NATURAL JOIN ({COMPLETE})")
        return dict(rows.fetchall())

    def batches(self) -> list[tuple[int, int, dict[str, Any]]]:
        """Return (round, batch, record) of the complete rounds: load, temperatures, time taken."""
        rows = self.database.execute(
            f"SELECT round, batch, record FROM batches NATURAL JOIN ({COMPLETE}) ORDER BY 1, 2"
        )
        return [(number, batch, json.loads(record)) for number, batch, record in rows]

    def failures(self) -> dict[int, str]:
        """Return the reason for each item that could not be run in some complete round."""
        rows = self.database.execute(f"SELECT item, reason FROM failures NATURAL JOIN ({COMPLETE}) ORDER BY round")
        return dict(rows.fetchall())

    def add_footprint(self, file: str, found: Footprint) -> None:
        """Note a file's peak memory, once; raises FileInvalid where it stands there already."""
        self._append({"footprints": [(file, found.session, found.peak_rss_kib, found.reason)]})

    def footprints(self) -> dict[str, Footprint]:
        """Return the peak memory of each file that was asked for."""
        rows = self.database.execute("SELECT file, session, peak_rss_kib, reason FROM footprints")
        return {file: Footprint(session=session, peak_rss_kib=kib, reason=why) for file, session, kib, why in rows}

    def add_windows(self, file: str, found: Windows) -> None:
        """Note what a file drew, once; raises FileInvalid where it stands there already."""
        record = canonical_json(found.answer.model_dump(mode="json", exclude={"id", "ev"}))
        tables = {} if self._has_energies() else LATER
        self._append({"energies": [(file, found.session, record)]}, tables)

    def windows(self) -> dict[str, Windows]:
        """Return what each file drew that was asked for, in the order in which they were."""
        if not self._has_energies():
            return {}
        rows = self.database.execute("SELECT file, session, record FROM energies ORDER BY rowid")
        return {file: Windows(session=session, answer=_energy(record)) for file, session, record in rows}

    def _has_energies(self) -> bool:
        """Say whether energy was measured in this journal."""
        return bool(self.database.execute("SELECT 1 FROM sqlite_master WHERE name = 'energies'").fetchall())

    def samples(self) -> list[Measurement]:
        """Return the samples of the complete rounds, in order of round and item."""
        names = ("round", "attempt", "batch", "item", *STATS, "load_ns", "first_ns")
        return [Measurement(state=None, **row) for row in self._select("samples", names, "round, item")]

    def references(self) -> list[Measurement]:
        """Return the reference's statistics of the complete rounds."""
        names = ("round", "attempt", "batch", "state", *STATS)
        return [Measurement(item=None, **row) for row in self._select("refs", names, "round, batch, state")]

    def _select(self, table: str, names: Sequence[str], order: str) -> Iterable[dict[str, Any]]:
        """Yield rows of complete rounds as dictionaries."""
        rows = self.database.execute(
            f"SELECT {', '.join(names)} FROM {table} NATURAL JOIN ({COMPLETE}) ORDER BY {order}"
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _append(self, rows: Mapping[str, Sequence[tuple[Any, ...]]], tables: Mapping[str, str] | None = None) -> None:
        """Add rows as one transaction, and ``tables`` for them; raises FileInvalid where the disk is full or another
        session writes."""
        try:
            with self.database:
                self.database.execute("BEGIN IMMEDIATE")
                _make(self.database, tables or {})
                for table, values in rows.items():
                    if values:
                        marks = ", ".join("?" * len(values[0]))
                        self.database.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
        except sqlite3.Error as fault:
            hints = ("free some space, or end the other session", "then run the same command again")
            raise file_invalid("journal", self.path, f"it cannot be written: {fault}", *hints) from fault


def _energy(record: str) -> Energy:
    """Return the answer that a record of energy is; raises ValueError."""
    return Energy.model_validate({**json.loads(record), "id": 0, "ev": "energy"})


def resume(path: Path, plan: Plan) -> Journal:
    """Open the journal of a plan, or begin one; raises FileInvalid where the file is damaged or of another plan."""
    if not path.exists():
        return create(path, plan)
    journal = open_journal(path)
    if journal.plan.hash != plan.hash:
        journal.close()
        why = f"it is of another plan ({unlike(journal.plan, plan)})"
        hints = ("go on with the options it was begun with", "or measure this into another folder")
        raise file_invalid("journal", path, why, *hints)
    return journal


def create(path: Path, plan: Plan) -> Journal:
    """Begin a journal for a plan; raises FileInvalid where something is there already."""
    if path.exists():
        raise file_invalid("journal", path, "there is a file already", "resume it, or choose another path")
    path.parent.mkdir(parents=True, exist_ok=True)
    # A journal is born whole: a host killed here must not leave a file without a plan, which nothing could open.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        draft = Path(folder) / path.name
        with closing(_connect(draft)) as database, database:
            database.execute("BEGIN")
            _write_schema(database, plan)
        # A journal removed after a kill leaves its write-ahead log, which SQLite would replay into this one.
        for leftover in ("-wal", "-shm"):
            path.with_name(path.name + leftover).unlink(missing_ok=True)
        os.replace(draft, path)
    return Journal(path, plan, _connect(path))


def _write_schema(database: sqlite3.Connection, plan: Plan) -> None:
    """Make the tables, their guards, and the one row each that names schema and plan."""
    _make(database, TABLES)
    rows = [("schema", SCHEMA), ("plan", canonical_json(plan.content())), ("plan_hash", plan.hash)]
    database.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _make(database: sqlite3.Connection, tables: Mapping[str, str]) -> None:
    """Make tables and their guards."""
    for name, columns in tables.items():
        database.execute(_table(name, columns))
        for verb in ("UPDATE", "DELETE"):
            database.execute(_guard(name, verb))


def copied(journal: Journal, path: Path, public: Callable[[str], str]) -> None:
    """Write all that a journal holds into a new file, its free texts as ``public`` gives them; equal journals give
    equal bytes. Raises FileInvalid where something is there already, or the disk is full."""
    tables = LATER if journal._has_energies() else {}
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for table in (*TABLES, *tables):
        if table != "meta":
            found = journal.database.execute(f"SELECT * FROM {table} ORDER BY rowid")
            names = [column[0] for column in found.description]
            free = [names.index(name) for name in FREE if name in names]
            rows[table] = [
                tuple(public(value) if place in free else value for place, value in enumerate(row)) for row in found
            ]
    for place, (file, session, record) in enumerate(rows.get("energies", ())):
        said = json.loads(record)
        said |= {"reason": public(said["reason"])} if said.get("reason") else {}
        rows["energies"][place] = (file, session, canonical_json(said))
    with create(path, journal.plan) as copy:
        copy._append(rows, tables)


def open_journal(path: Path) -> Journal:
    """Open a journal; raises FileInvalid, and leaves the file as it was, where it is damaged, foreign or too large."""
    plan = check(path)
    return Journal(path, plan, _connect(path))


def check(path: Path) -> Plan:
    """Return the plan of a journal that is sound; works on a copy, since SQLite repairs what it opens."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
    except OSError as fault:
        raise file_invalid(
            "journal", path, fault.strerror or str(fault), "check the path and its permissions"
        ) from fault
    if size_bytes > MAX_BYTES:
        raise file_invalid("journal", path, f"it has {size_bytes:,} bytes; at most {MAX_BYTES:,} are read")
    log = path.with_name(path.name + "-wal")
    if len(header) < HEADER_BYTES or not header.startswith(b"SQLite format 3\0"):
        raise file_invalid("journal", path, "it is not an SQLite file", "check that this is the file you meant")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "journal.sqlite"
        shutil.copyfile(path, copy)
        if log.exists():
            shutil.copyfile(log, copy.with_name(copy.name + "-wal"))
        try:
            with closing(_connect(copy)) as database:
                return _checked_plan(database, path)
        except (sqlite3.Error, ValueError, TypeError, LookupError, RecursionError) as fault:
            why = "it is damaged: " + " ".join(str(fault).split())[:200]
            raise file_invalid("journal", path, why, "measure again into a new journal") from fault


def _checked_plan(database: sqlite3.Connection, path: Path) -> Plan:
    """Check everything a journal says about itself; raises FileInvalid, sqlite3.Error or ValueError."""
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise file_invalid("journal", path, "it is an SQLite file of something else")
    verdict = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise ValueError(str(verdict))
    stored = dict(database.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    tables = TABLES | (LATER if "energies" in stored else {})
    expected = {name: _table(name, columns) for name, columns in tables.items()}
    expected |= {f"{name}_{verb.lower()}": _guard(name, verb) for name in tables for verb in ("UPDATE", "DELETE")}
    if stored != expected:
        raise file_invalid("journal", path, "its tables are not those of " + SCHEMA, "measure again into a new journal")
    meta = dict(database.execute("SELECT name, value FROM meta"))
    if meta.get("schema") != SCHEMA:
        raise file_invalid("journal", path, f"its schema is {meta.get('schema')!r}, this version reads '{SCHEMA}'")
    plan = validate({**json.loads(meta["plan"]), "hash": meta["plan_hash"]}, path)
    refuse_unsound(database, plan, tables, COMPLETE)
    return plan


def _connect(path: Path) -> sqlite3.Connection:
    """Open SQLite with a write-ahead log: a torn write costs the last transaction at most."""
    database = sqlite3.connect(path, timeout=10)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    return database


def _table(name: str, columns: str) -> str:
    """Return the statement that makes a table."""
    return f"CREATE TABLE {name} ({columns})"


def _guard(name: str, verb: str) -> str:
    """Return the trigger that keeps a table append-only."""
    return (
        f"CREATE TRIGGER {name}_{verb.lower()} BEFORE {verb} ON {name} "
        "BEGIN SELECT RAISE(ABORT, 'a journal is only ever added to'); END"
    )
