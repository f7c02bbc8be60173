"""What can be wrong with what a report is asked of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ofa.errors import FileInvalid, UsageInvalid


def no_run_folder(folder: Path) -> FileInvalid:
    """Say that there is no folder that a page could be of."""
    return FileInvalid(
        f"there is no run folder '{folder}'", why="nothing stands there", hint="look at the path, and where you are"
    )


def nothing_to_report(folder: Path, broken: Iterable[str]) -> FileInvalid:
    """Say that a folder holds no stage of a run that a page could show."""
    return FileInvalid(
        f"run folder '{folder}' holds nothing to report",
        why="; ".join(broken) or "it has no run.json, journal, table, twin, front, labels, training log or summary",
        hint="name the folder that 'ofa demo' or 'ofa bench' wrote",
    )


def compare_what(found: Sequence[Path]) -> UsageInvalid:
    """Say how many runs a report is of."""
    compared = str(found[0]) == "compare" if found else False
    what = "'ofa report compare' is of two runs, tables or searches" if compared else "'ofa report' is of one folder"
    return UsageInvalid(
        f"{what}; {len(found) - compared} {'was' if len(found) - compared == 1 else 'were'} given",
        hint=("ofa report runs/demo", "ofa report compare runs/first runs/second --out comparison.html"),
    )
