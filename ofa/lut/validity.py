"""Whether a table still holds on its device: records of rechecks, in a file beside the four of the table.

The table's own files stay as they are: who reads `lut/1` need not know this one, and comparisons of tables stay clean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ofa import files
from ofa.errors import first_invalid
from ofa.lut import errors
from ofa.lut.format import Lut
from ofa.lut.header import Day, Digest, Facts
from ofa.lut.rows import MEASURED

VALIDITY = "validity.jsonl"
MOST_BYTES = files.MEBIBYTE
TRUE, STALE = "still true", "stale"

Pct = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=300)]


class Record(BaseModel):
    """One recheck: of which table, when, under which conditions, what was measured, and how far off that was.

    ``table`` is the `identity` of what was held against it. ``environment`` lists where the device was not what the
    table's header says (an update is such a difference), by dotted path. ``found`` is what no table may be off by, in
    words; empty where it holds. Percent: ``level_pct`` what all ops took longer by state, ``networks_pct`` what the
    table's own networks took longer, ``error_pct`` how far its sums were from them, ``held_out_pct`` how far they were
    from the held-out ones when it was made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    schema_name: Literal["validity/1"] = Field(default="validity/1", alias="schema")
    id: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    table: Digest
    verdict: Literal["still true", "stale"]
    date: Day
    environment_id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    environment: Annotated[tuple[Facts, ...], Field(max_length=1000, strict=False)] = ()
    simulated: bool
    seed: Annotated[int, Field(ge=0)]
    rounds: Annotated[int, Field(ge=1)]
    ops: Annotated[int, Field(ge=0)]
    networks: Annotated[int, Field(ge=0)]
    tolerance_pct: Pct
    level_pct: dict[str, Pct]
    networks_pct: Pct | None = None
    error_pct: Pct | None = None
    held_out_pct: Pct | None = None
    found: Annotated[tuple[Text, ...], Field(max_length=100, strict=False)] = ()

    @property
    def said(self) -> str:
        """Return the verdict in words."""
        return said(self.verdict, self.tolerance_pct)

    def content(self) -> dict[str, Any]:
        """Return the record as its line holds it."""
        return self.model_dump(mode="json", by_alias=True)


def said(verdict: str, tolerance_pct: float) -> str:
    """Return a verdict in words: a table that holds does so within a tolerance, which may be a wide one."""
    return f"{verdict} within {tolerance_pct:g} %" if verdict == TRUE else verdict


def identity(lut: Lut) -> str:
    """Return the SHA-256 of what a device said in a table: neither cells filled later nor networks verified later."""
    rows = [[*row[:2], row.ns, row.lo, row.hi] for row in lut.rows if row.status in MEASURED]
    networks = [
        [*row[:2], row.ns, row.lo, row.hi] for row in lut.networks if row.status in MEASURED and row.split != "verify"
    ]
    return files.sha256_bytes(files.canonical_json([sorted(rows), sorted(networks)]).encode())


def records(folder: Path) -> tuple[Record, ...]:
    """Return the records beside a table, oldest first, those of an earlier table in the same folder included.

    Raises FileInvalid naming the line that is wrong.
    """
    path = Path(folder) / VALIDITY
    if not path.exists():
        return ()
    raw = files.read_capped(path, max_bytes=MOST_BYTES, what="records of rechecks")
    if raw and not raw.endswith(b"\n"):
        raise errors.line_invalid(path, raw.count(b"\n") + 1, "it has no end: the file was cut short")
    found: list[Record] = []
    for number, line in enumerate(raw.split(b"\n")[:-1], 1):
        try:
            content = json.loads(line.decode("ascii"))
            record = Record.model_validate(content)
        except ValidationError as fault:
            place, said = first_invalid(fault, "the record")
            raise errors.line_invalid(path, number, f"{place}: {said}") from fault
        except (ValueError, RecursionError) as fault:
            raise errors.line_invalid(path, number, f"it is not valid JSON: {fault}") from fault
        if files.canonical_json(content).encode() != line:
            raise errors.line_invalid(path, number, "it is not in canonical form: sorted keys, no spaces, LF")
        if any(record.id == other.id for other in found):
            raise errors.line_invalid(path, number, f"recheck '{record.id}' stands there twice")
        found.append(record)
    return tuple(found)


def render(found: Sequence[Record]) -> bytes:
    """Return the bytes of the file; equal records give equal bytes."""
    return "".join(files.canonical_json(record.content()) + "\n" for record in found).encode()


def of_table(lut: Lut, folder: Path) -> tuple[Record, ...]:
    """Return the records of the very table that stands in a folder, oldest first; raises FileInvalid."""
    found = records(folder)
    if not found:
        return ()
    own = identity(lut)
    return tuple(record for record in found if record.table == own)


def standing(found: Sequence[Record]) -> Record | None:
    """Return the record that counts of those of one table, oldest first: the last, but that a table once found stale is
    not true again by a recheck that would have let more pass; None where there is none."""
    counts: Record | None = None
    for record in found:
        lenient = counts is not None and counts.verdict == STALE and record.tolerance_pct > counts.tolerance_pct
        if record.verdict == STALE or not lenient:
            counts = record
    return counts


def warning(lut: Lut, folder: Path) -> str | None:
    """Return what to say of a table that the recheck which counts found to be stale; None for any other."""
    last = standing(of_table(lut, folder))
    if last is None or last.verdict != STALE:
        return None
    return errors.stale(str(folder), last.date, last.found)
