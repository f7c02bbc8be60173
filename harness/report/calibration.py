"""The whole networks of a table beside what is said of them: those it was fitted to, and those held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report.parse import number
from ofa.lut import heldout
from ofa.lut.format import Lut
from ofa.lut.heldout import genomes_of

DEEPEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One whole network of a table; ``fitted`` says whether what predicts it was fitted to it.

    ``resolution`` is in px; ``by`` says what predicts it.
    """

    id: str
    fitted: bool
    resolution: int
    predicted_ms: float
    measured_ms: float
    by: str

    @property
    def error_percent(self) -> float:
        """Return how far the prediction is above the measurement, percent of the measurement."""
        return 100.0 * (self.predicted_ms / self.measured_ms - 1.0)


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
        Compared(
            id=row.id,
            fitted=row.learnt,
            resolution=found.space.subnet(genome).resolution,
            predicted_ms=float(ms),
            measured_ms=ns / 1e6,
            by="the latency twin",
        )
        for (row, ns), genome, ms in zip(rows, genomes, found.predict(genomes), strict=True)
    )


def held_out(table: Lut) -> tuple[Compared, ...]:
    """Return the networks held out from a table with what its own calibrated sums say of them; none where they do not.

    The way to sum is the one that errs least on them, as the table's header has it.
    """
    found = heldout.judged(table)
    chosen = (heldout.of_table(table)["calibration"] or {}).get("chosen")
    if chosen not in found.predicted_ms:
        return ()
    return tuple(
        Compared(
            id=row.id,
            fitted=False,
            resolution=resolution,
            predicted_ms=float(ms),
            measured_ms=(row.ns or 0) / 1e6,
            by=f"the table's own rows ({chosen})",
        )
        for row, (_, resolution), ms in zip(found.rows, found.groups, found.predicted_ms[chosen], strict=True)
    )


def floors(verified: Any, depth: int = DEEPEST) -> dict[str, float]:
    """Return the noise floor, percent, of each runtime that a verification names: ``floor_pct`` beside ``runtime``.

    What is nested deeper than a verification is has none.
    """
    if isinstance(verified, list) and depth:
        return {name: value for item in verified for name, value in floors(item, depth - 1).items()}
    if not isinstance(verified, dict) or not depth:
        return {}
    floor = number(verified.get("floor_pct"))
    found = {} if floor is None or not verified.get("runtime") else {str(verified["runtime"]): floor}
    for key, item in verified.items():
        inner = floors(item | {"runtime": item.get("runtime", key)} if isinstance(item, dict) else item, depth - 1)
        found = inner | found
    return found


def floor_of(table: Lut | None) -> float | None:
    """Return what two measurements of one network of a table differ by, percent; None where none was repeated."""
    facts = heldout.of_table(table)["holdout"] if table is not None else None
    return None if facts is None else number(facts.get("floor_mape_pct"))
