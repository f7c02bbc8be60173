"""The table that a run folder amounts to, by its plan and journals, finished or not; and its place among others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness import added
from harness import journal as journals
from harness import plan as plans
from harness.again import plan_again
from harness.energy import Energy as Joules
from harness.energy import NoSource, of_networks
from harness.errors import file_invalid, no_round, place_of_another, run_begun, run_missing
from harness.inventory import load_profile
from harness.journal import Journal
from harness.meter import Meter, all_metered
from harness.plan import Plan
from harness.protocol import Energy
from harness.reduce import conditions, table
from harness.refusals import no_pulses
from harness.stopping import next_round
from ofa.lut import noise
from ofa.lut.diff import differing
from ofa.lut.format import HEADER, Lut, read, stated
from ofa.lut.index import commands
from ofa.lut.markdown import count
from ofa.lut.write import refuse_occupied, refuse_place, write

PLAN, JOURNAL, TABLE = "plan.json", "journal.sqlite", "lut"
AGAIN_PLAN, AGAIN_JOURNAL = "again.json", "again.sqlite"


def check_begin(folder: Path, *, resume: bool) -> None:
    """Raise UsageInvalid where a folder holds a measurement that is not to be gone on with."""
    if not resume and (folder / PLAN).exists():
        raise run_begun(folder)


def run_of(place: Path) -> Path | None:
    """Return the run folder whose own table a folder holds; None of a table elsewhere, such as one in ``luts``."""
    run = place.resolve().parent
    return run if place.resolve().name == TABLE and all((run / name).is_file() for name in (PLAN, JOURNAL)) else None


def build(
    folder: Path, into: Path, *, replace: bool = False, allow_simulated: bool = False, meter: Meter | None = None
) -> dict[str, Any]:
    """Write the table of a run to its place under a folder, and return what it is and what it still lacks.

    The run may be unfinished: then the table has the rounds that are complete. A table of the same environment that is
    there already is written over only where ``replace``, one of another environment never. ``meter`` is what metered
    the device from beside it, by whose files the run's pulses become energy. Raises FileInvalid where the folder holds
    no run, no complete round, a damaged journal, or where the table cannot stand, or no file of the meter holds the
    pulses; UsageInvalid for simulated values not asked for, a place that is taken, and a meter beside a run without
    pulses.
    """
    if not (folder / PLAN).exists() or not (folder / JOURNAL).exists():
        raise run_missing(folder, [name for name in (PLAN, JOURNAL) if not (folder / name).exists()])
    plan = plans.read(folder / PLAN)
    lut = table_in(folder, max_foreign_cores=load_profile(plan.device).calm.max_foreign_cores, meter=meter)
    place = into / lut.header.place
    refuse_place(lut, place, allow_simulated=allow_simulated)
    before = read(place) if (place / HEADER).exists() else None
    if before is not None and before.header.environment_id != lut.header.environment_id:
        found = differing(before.header.environment, lut.header.environment)
        raise place_of_another(place, sorted({str(entry["path"]) for entry in found}))
    refuse_occupied(place, replace=replace)
    write(lut, place, allow_simulated=allow_simulated)
    rows = {row[:2] for row in lut.rows}
    known = {"noise": noise.facts(lut), "holdout": stated(place)["holdout"]}
    return {
        "table": str(place),
        "rows": len(lut.rows),
        "networks": len(lut.networks),
        "failed": [*(row.status for row in lut.rows), *(row.status for row in lut.networks)].count("failed"),
        "environment_id": lut.header.environment_id,
        "energies": sum(row.energy_uj is not None for row in lut.networks),
        "missing": list(missing_in(folder, metered=meter is not None)),
        "energy_unknown": unknown_in(folder, meter),
        "untimed": untimed_in(folder),
        "noise": known["noise"],
        "warnings": list(noise_of(place, known)),
        "next": commands(place),
        "replaced": before is not None,
        "rows_lost": sum(row[:2] not in rows for row in before.rows) if before is not None else 0,
    }


def noise_of(place: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the warning about a table most of whose rows are noisy, by its "noise" and its error ("holdout")."""
    error_pct = facts["holdout"]["mape_pct"] if facts["holdout"] else None
    if (said := noise.warning(str(place), facts["noise"], error_pct)) is not None:
        yield said


def missing_in(folder: Path, *, metered: bool = False) -> Iterator[str]:
    """Yield what a run in a folder still lacks, in words; ``metered``: not the file of a meter."""
    with journals.open_journal(folder / JOURNAL) as journal:
        yield from _rounds_missing(journal, "")
        waiting = sum(_waits(one.answer) for one in journal.windows().values())
        if waiting and not metered:
            yield f"what the meter read while {waiting} networks worked: give its file with '--meter'"
        later = plan_again(journal.plan)
    # Where it is asked for, its plan is written before anything is measured; else it was left out (--no-again), as it
    # may be by the command that went on.
    if not (folder / AGAIN_PLAN).exists():
        return
    if later is not None and not (folder / AGAIN_JOURNAL).exists():
        yield "the second measurement of networks"
    elif later is not None:
        with journals.open_journal(folder / AGAIN_JOURNAL) as again:
            yield from _rounds_missing(again, " of the second measurement of networks")


def untimed_in(folder: Path) -> list[str]:
    """Return in words why items of the complete rounds in a folder have no time: each reason, of how many, and one."""
    with journals.open_journal(folder / JOURNAL) as journal:
        found: dict[str, list[str]] = {}
        for index, reason in journal.failures().items():
            item = journal.plan.items[index]
            found.setdefault(reason, []).append(f"{item.key} ({item.state})")
    return [f"{count(len(items), 'row')}, such as {items[0]}: {reason}" for reason, items in found.items()]


def _rounds_missing(journal: Journal, whose: str) -> Iterator[str]:
    """Yield which rounds of a plan a journal lacks: those every item gets, or those of items not known well enough."""
    plan, done = journal.plan, len(journal.complete_rounds())
    limit = load_profile(plan.device).calm.max_foreign_cores
    if done < plan.rounds:
        yield f"{plan.rounds - done} of {plan.rounds} rounds{whose}"
    elif (wanted := next_round(plan, journal, max_foreign_cores=limit)) is not None:
        yield f"more rounds{whose}: {len(wanted[1])} items are in the next one, some not known to ± 1 %"


def _waits(answer: Energy) -> bool:
    """Say whether only a meter's file can tell the energy of a network."""
    return bool(answer.pulses) and answer.source is None


def unknown_in(folder: Path, meter: Meter | None = None) -> list[str]:
    """Return of which networks that were asked for it the energy is not known, and why, in words."""
    with journals.open_journal(folder / JOURNAL) as journal:
        names = {item.file: item.key for item in journal.plan.items if item.kind == "network"}
        waiting = {file for file, one in journal.windows().items() if _waits(one.answer) and meter is None}
        return [
            f"{names.get(file, file)}: {found.reason}"
            for file, found in _energies(journal, meter).items()
            if isinstance(found, NoSource) and file not in waiting
        ]


def _energies(journal: Journal, meter: Meter | None) -> dict[str, Joules | NoSource]:
    """Return the energy of each file that was asked for, by a meter's files where they are given; raises FileInvalid,
    and UsageInvalid for a meter beside a run without pulses."""
    found = journal.windows()
    answers = {file: one.answer for file, one in found.items()}
    if meter is not None:
        if not any(answer.pulses for answer in answers.values()):
            raise no_pulses(journal.path.parent)
        answers |= all_metered(found, meter)
    return of_networks(journal.plan.device, answers)


def table_in(folder: Path, *, max_foreign_cores: float, meter: Meter | None = None) -> Lut:
    """Return the table of the complete rounds in a folder, its networks' second measurement too where there is one,
    their energy by a ``meter`` where one is given, and with the networks that were added to it later.

    Raises FileInvalid where a journal or what was added is damaged, or a journal has no complete round or is not of the
    folder's plan.
    """
    with journals.open_journal(folder / JOURNAL) as journal:
        _refuse_other(journal, plans.read(folder / PLAN))
        if not journal.complete_rounds():
            raise no_round(folder)
        found = conditions(journal, max_foreign_cores=max_foreign_cores)
        drawn = _energies(journal, meter)
        if not (folder / AGAIN_JOURNAL).exists():
            return added.with_added(table(journal, found, energies=drawn), folder)
        with journals.open_journal(folder / AGAIN_JOURNAL) as again:
            _refuse_other(again, plan_again(journal.plan))
            return added.with_added(table(journal, found, again, drawn), folder)


def _refuse_other(journal: Journal, plan: Plan | None) -> None:
    """Raise FileInvalid unless a journal is of a plan."""
    if plan is None or journal.plan.hash != plan.hash:
        raise file_invalid(
            "journal", journal.path, "it is of another plan than the one beside it", "keep each run in its own folder"
        )
