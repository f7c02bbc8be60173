"""The table that a run folder amounts to, by its plan and journals, finished or not; and its place among others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import journal as journals
from harness import plan as plans
from harness.again import plan_again
from harness.errors import file_invalid, no_round, place_of_another, run_begun, run_missing
from harness.inventory import load_profile
from harness.journal import Journal
from harness.plan import Plan
from harness.reduce import conditions, table
from harness.stopping import next_round
from ofa.lut.diff import differing
from ofa.lut.format import HEADER, Lut, read
from ofa.lut.write import refuse_occupied, refuse_place, write

PLAN, JOURNAL, TABLE = "plan.json", "journal.sqlite", "lut"
AGAIN_PLAN, AGAIN_JOURNAL = "again.json", "again.sqlite"


def check_begin(folder: Path, *, resume: bool) -> None:
    """Raise UsageInvalid where a folder holds a measurement that is not to be gone on with."""
    if not resume and (folder / PLAN).exists():
        raise run_begun(folder)


def build(folder: Path, into: Path, *, replace: bool = False, allow_simulated: bool = False) -> dict[str, Any]:
    """Write the table of a run to its place under a folder, and return what it is and what it still lacks.

    The run may be unfinished: then the table has the rounds that are complete. A table of the same environment that is
    there already is written over only where ``replace``, one of another environment never. Raises FileInvalid where the
    folder holds no run, no complete round, a damaged journal, or where the table cannot stand; UsageInvalid for
    simulated values not asked for and for a place that is taken.
    """
    if not (folder / PLAN).exists() or not (folder / JOURNAL).exists():
        raise run_missing(folder, [name for name in (PLAN, JOURNAL) if not (folder / name).exists()])
    plan = plans.read(folder / PLAN)
    lut = table_in(folder, max_foreign_cores=load_profile(plan.device).calm.max_foreign_cores)
    place = into / lut.header.place
    refuse_place(lut, place, allow_simulated=allow_simulated)
    before = read(place) if (place / HEADER).exists() else None
    if before is not None and before.header.environment_id != lut.header.environment_id:
        found = differing(before.header.environment, lut.header.environment)
        raise place_of_another(place, sorted({str(entry["path"]) for entry in found}))
    refuse_occupied(place, replace=replace)
    write(lut, place, allow_simulated=allow_simulated)
    rows = {row[:2] for row in lut.rows}
    return {
        "table": str(place),
        "rows": len(lut.rows),
        "networks": len(lut.networks),
        "failed": [*(row.status for row in lut.rows), *(row.status for row in lut.networks)].count("failed"),
        "environment_id": lut.header.environment_id,
        "missing": list(missing_in(folder)),
        "replaced": before is not None,
        "rows_lost": sum(row[:2] not in rows for row in before.rows) if before is not None else 0,
    }


def missing_in(folder: Path) -> Iterator[str]:
    """Yield what a run in a folder still lacks, in words."""
    with journals.open_journal(folder / JOURNAL) as journal:
        yield from _rounds_missing(journal, "")
        later = plan_again(journal.plan)
    if later is not None and not (folder / AGAIN_JOURNAL).exists():
        yield "the second measurement of networks"
    elif later is not None:
        with journals.open_journal(folder / AGAIN_JOURNAL) as again:
            yield from _rounds_missing(again, " of the second measurement of networks")


def _rounds_missing(journal: Journal, whose: str) -> Iterator[str]:
    """Yield which rounds of a plan a journal lacks: those every item gets, or those of items not known well enough."""
    plan, done = journal.plan, len(journal.complete_rounds())
    if done < plan.rounds:
        yield f"{plan.rounds - done} of {plan.rounds} rounds{whose}"
    elif (wanted := next_round(plan, journal)) is not None:
        yield f"more rounds{whose}: {len(wanted[1])} items are in the next one, some not known to ± 1 %"


def table_in(folder: Path, *, max_foreign_cores: float) -> Lut:
    """Return the table of the complete rounds in a folder, its networks' second measurement too where there is one.

    Raises FileInvalid where a journal is damaged, has no complete round, or is not of the folder's plan.
    """
    with journals.open_journal(folder / JOURNAL) as journal:
        _refuse_other(journal, plans.read(folder / PLAN))
        if not journal.complete_rounds():
            raise no_round(folder)
        found = conditions(journal, max_foreign_cores=max_foreign_cores)
        if not (folder / AGAIN_JOURNAL).exists():
            return table(journal, found)
        with journals.open_journal(folder / AGAIN_JOURNAL) as again:
            _refuse_other(again, plan_again(journal.plan))
            return table(journal, found, again)


def _refuse_other(journal: Journal, plan: Plan | None) -> None:
    """Raise FileInvalid unless a journal is of a plan."""
    if plan is None or journal.plan.hash != plan.hash:
        raise file_invalid(
            "journal", journal.path, "it is of another plan than the one beside it", "keep each run in its own folder"
        )
