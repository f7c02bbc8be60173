"""The table that a run folder amounts to, by its plan and journals, finished or not."""

from __future__ import annotations

from pathlib import Path

from harness import journal as journals
from harness import plan as plans
from harness.again import plan_again
from harness.errors import file_invalid
from harness.journal import Journal
from harness.plan import Plan
from harness.reduce import conditions, table
from ofa.lut.format import Lut

PLAN, JOURNAL, TABLE = "plan.json", "journal.sqlite", "lut"
AGAIN_PLAN, AGAIN_JOURNAL = "again.json", "again.sqlite"


def table_in(folder: Path, *, max_foreign_cores: float) -> Lut:
    """Return the table of the complete rounds in a folder, its networks' second measurement too where there is one.

    Raises FileInvalid where a journal is damaged, or is not of the folder's plan.
    """
    with journals.open_journal(folder / JOURNAL) as journal:
        _refuse_other(journal, plans.read(folder / PLAN))
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
