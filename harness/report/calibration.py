"""The whole networks of a table beside what its twin says of them: those it was fitted to, and those held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report.parse import number
from ofa.lut.format import Lut
from ofa.lut.heldout import genomes_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One whole network of a table; ``fitted`` says whether the twin was fitted to it."""

    id: str
    fitted: bool
    predicted_ms: float
    measured_ms: float


def compare(twin: Path, table: Lut) -> tuple[Compared, ...]:
    """Return the networks of a table with a saved twin's predictions; none without a twin or what it needs to run.

    Raises FileInvalid where the twin cannot be loaded.
    """
    if not table.networks or not (twin / "card.json").is_file():
        return ()
    try:
        from ofa.twins import latency
    except ImportError:
        return ()
    found = latency.load(twin)
    rows = [(row, row.ns) for row in table.networks if row.ns is not None and row.space == found.space.id]
    if not rows:
        return ()
    genomes = genomes_of(found.space, [row for row, _ in rows])
    return tuple(
        Compared(id=row.id, fitted=row.split == "fit", predicted_ms=float(ms), measured_ms=ns / 1e6)
        for (row, ns), ms in zip(rows, found.predict(genomes), strict=True)
    )


def floors(verified: Any) -> dict[str, float]:
    """Return the noise floor, percent, of each runtime that a verification names: ``floor_pct`` beside ``runtime``."""
    if isinstance(verified, list):
        return {name: value for item in verified for name, value in floors(item).items()}
    if not isinstance(verified, dict):
        return {}
    floor = number(verified.get("floor_pct"))
    found = {} if floor is None or not verified.get("runtime") else {str(verified["runtime"]): floor}
    for key, item in verified.items():
        inner = floors(item | {"runtime": item.get("runtime", key)} if isinstance(item, dict) else item)
        found = inner | found
    return found
