"""Whether what a journal holds belongs together: values of their kind, rows of the plan, rounds of a session."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from harness.answers import kept
from harness.plan import EMPTY, Plan
from harness.protocol import Done, Energy
from ofa.lut.rows import is_session

KINDS = {"TEXT": "text", "INTEGER": "integer"}


class Batch(Done):
    """A batch as the host keeps it, with how often it was begun anew before because the device drifted."""

    redone: Annotated[int, Field(ge=0, le=100)]


def batch_of(record: Mapping[str, Any]) -> Batch:
    """Return a batch as the host keeps it; raises ValueError."""
    return Batch.model_validate({**record, "id": 0, "ev": "done"})


def refuse_unsound(database: sqlite3.Connection, plan: Plan, tables: Collection[str], complete: str) -> None:
    """Raise ValueError for a journal that no measurement of its plan can have left.

    ``complete`` selects (round, attempt) of the rounds that are done.
    """
    for table in tables:
        _refuse_other_kinds(database, table)
    _refuse_unknown(database, plan, tables)
    _refuse_alone(database, plan, complete)
    for identity, record in database.execute("SELECT id, record FROM sessions"):
        _refuse_session(identity, json.loads(record))
    for (record,) in database.execute("SELECT record FROM batches"):
        batch_of(json.loads(record))
    for (record,) in database.execute("SELECT record FROM energies") if "energies" in tables else ():
        Energy.model_validate({**json.loads(record), "id": 0, "ev": "energy"})


def _refuse_other_kinds(database: sqlite3.Connection, table: str) -> None:
    """Refuse bytes where a text belongs and the like: SQLite keeps whatever it is given."""
    columns = [(name, KINDS[kind]) for _, name, kind, *_ in database.execute(f"PRAGMA table_info({table})")]
    wrong = " OR ".join(f"typeof({name}) NOT IN ('{kind}', 'null')" for name, kind in columns)
    if database.execute(f"SELECT EXISTS(SELECT 1 FROM {table} WHERE {wrong})").fetchone()[0]:
        raise ValueError(f"table '{table}' holds values of another kind than its columns")


def _refuse_unknown(database: sqlite3.Connection, plan: Plan, tables: Collection[str]) -> None:
    """Refuse items, rounds and files that the plan does not have."""
    for table in ("samples", "failures"):
        query = f"SELECT EXISTS(SELECT 1 FROM {table} WHERE item >= ? OR item < 0 OR round >= ?)"
        if database.execute(query, (len(plan.items), plan.rounds_most)).fetchone()[0]:
            raise ValueError(f"table '{table}' has rows that the plan does not know")
    known = {EMPTY, *(item.file for item in plan.items)}
    for table in {"footprints", "energies"} & set(tables):
        if any(file not in known for (file,) in database.execute(f"SELECT file FROM {table}")):
            raise ValueError(f"table '{table}' has files that the plan does not know")


def _refuse_alone(database: sqlite3.Connection, plan: Plan, complete: str) -> None:
    """Refuse a complete round of no session, and a sample without the reference it is to be divided by."""
    begun = f"({complete}) LEFT JOIN attempts USING (round, attempt) LEFT JOIN sessions ON sessions.id = session"
    if database.execute(f"SELECT EXISTS(SELECT 1 FROM {begun} WHERE sessions.id IS NULL)").fetchone()[0]:
        raise ValueError("a complete round is of no session")
    references = set(database.execute(f"SELECT round, batch, state FROM refs NATURAL JOIN ({complete})"))
    states = [item.state for item in plan.items]
    samples = database.execute(f"SELECT round, batch, item FROM samples NATURAL JOIN ({complete})")
    if any((number, batch, states[item]) not in references for number, batch, item in samples):
        raise ValueError("a sample has no reference of its round, batch and state")


def _refuse_session(identity: str, record: Any) -> None:
    """Refuse a session without what a table says of it: its conditions, and when it began."""
    if not is_session(identity):
        raise ValueError("the id of a session is none")
    environment = record["environment"]
    if not isinstance(environment, dict) or not isinstance(environment.get("runtime_version"), str):
        raise ValueError("a session does not say its environment")
    kept(record)
    datetime.fromisoformat(record["started_utc"])
