"""Whether a table is still true on its device: some of its ops and networks are measured again, by its own protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ofa.space as spaces
from harness import journal as journals
from harness.appraise import predictions
from harness.artefacts import Artefacts
from harness.bench import carry_out
from harness.discreet import discreetly
from harness.errors import recheck_refused, table_is_stale
from harness.inventory import Device
from harness.lease import held
from harness.ledger import at_work
from harness.pace import pace_of_table, seconds_of
from harness.plan import Plan
from harness.preview import Foretold
from harness.reduce import Conditions, clock_of, conditions, table
from harness.replan import plan_of, reference_of_table, refuse_other_conditions, refuse_others, runtime_of
from harness.session import OnProgress, quiet
from harness.tables import JOURNAL
from harness.tuning import Tuning, prepared
from ofa.lut import validity
from ofa.lut.changes import FALSE_ALARM_RATE, group_of
from ofa.lut.check import checked
from ofa.lut.diff import differing
from ofa.lut.format import Lut, stated
from ofa.lut.header import environment_id
from ofa.lut.index import commands
from ofa.lut.validity import VALIDITY, Record
from ofa.lut.verdict import TOLERANCE_PCT, Verdict, judge
from ofa.lut.write import certify

UNSURE = "unsure"
DISTURBED = "it seems changed, and did other work meanwhile"
ROUGH = "from the times that the table holds; building files, rests for cooling and rounds begun anew come on top"

Facts = dict[str, Any]


def recheck(
    folder: Path,
    *,
    device: Device,
    out: Path,
    seed: int = 0,
    tolerance_pct: float = TOLERANCE_PCT,
    allow_load: bool = False,
    tuning: Tuning | None = None,
    on_progress: OnProgress = quiet,
) -> Facts:
    """Measure ops drawn from the table in a folder and some of its networks, record the verdict beside it, return it.

    Plan and journal are kept in ``out``: the same call resumes what was interrupted, and what is finished is read from
    there. A verdict that is not sure is not recorded. Raises UsageInvalid where the table is of another device or of
    other conditions than it is in now, FileInvalid where it cannot be measured again, DeviceLost, MeasurementRefused.
    """
    lut = checked(folder)
    refuse_others(lut, device)
    with at_work(out), discreetly(device), held(device, out) as mine, prepared(mine, tuning, runtime_of(lut)) as ready:
        plan = plan_of(lut, ready, Artefacts(ready.transport.files), seed=seed, on_progress=on_progress)
        refuse_other_conditions(lut, ready, plan)
        carry_out(
            plan, device=ready, folder=out, again=False, memory=False, allow_load=allow_load, on_progress=on_progress
        )
    limit = device.profile.calm.max_foreign_cores
    with journals.open_journal(out / JOURNAL) as journal:
        found = conditions(journal, max_foreign_cores=limit, clock=clock_of(lut))
        now = table(journal, found)
    verdict = judge(lut, now, tolerance_pct=tolerance_pct, predicted_ms=_predicted(lut, now))
    if found.loaded and verdict.verdict == validity.STALE:
        # Other work makes any device slower; that it was fast enough all the same would be a verdict.
        verdict = replace(verdict, unsure=(DISTURBED,))
    facts = _facts(folder, lut, now, found, plan, verdict) | {"device": device.name}
    if not verdict.unsure:
        certify(folder, _record(lut, now, plan, verdict, facts))
        facts |= {"recorded": str(folder / VALIDITY), "next": commands(folder)}
    return facts


def refuse(facts: Mapping[str, Any]) -> None:
    """Raise VerificationFailed, exit code 7, for a stale table, MeasurementRefused where nobody can say."""
    if facts["unsure"]:
        # What other work did no tolerance makes known: a wider one would only let it pass.
        raise recheck_refused(facts["table"], facts["unsure"], wider=DISTURBED not in facts["unsure"])
    if facts["verdict"] == validity.STALE:
        raise table_is_stale(facts["folder"], facts["found"])


def preview(folder: Path, *, device: Device, seed: int = 0) -> Facts:
    """Return what `recheck` would measure, and about how long that takes; nothing is measured or written."""
    lut = checked(folder)
    refuse_others(lut, device)
    foretold = Foretold(Artefacts(device.transport.files))
    plan = plan_of(lut, device, foretold, seed=seed)
    refuse_other_conditions(lut, device, plan)
    pace = pace_of_table(lut, reference_of_table(lut))
    kinds = [item.kind for item in plan.items]
    drawn = {item.key for item in plan.items if item.kind == "op"}
    groups = sorted(group_of(key) for key in drawn)
    return {
        "ops": len(drawn),
        "groups": {name: groups.count(name) for name in dict.fromkeys(groups)},
        "networks": kinds.count("network"),
        "company": kinds.count("company"),
        "rounds": plan.rounds,
        "files_to_build": sum(not foretold.artefacts.has_built(recipe) for recipe in foretold.lacking),
        "minutes": None if pace is None else round(seconds_of(plan, pace, foretold.ops, plan.rounds) / 60, 2),
        "rough": ROUGH,
    }


def _predicted(lut: Lut, now: Lut) -> dict[tuple[str, str], float]:
    """Return what a table's sums say of the networks that were measured now, ms, by (space, id)."""
    subnets = {row.id: spaces.by_id(row.space).subnet(bytes.fromhex(row.genome)) for row in now.networks}
    return {(subnets[name].space.id, name): ms for name, ms in predictions(lut, subnets).items()}


def _facts(folder: Path, lut: Lut, now: Lut, found: Conditions, plan: Plan, verdict: Verdict) -> Facts:
    """Return everything a recheck says."""
    kinds = [item.kind for item in plan.items]
    holdout = stated(folder)["holdout"]
    networks = verdict.facts["networks"] | {"held_out_pct": holdout["mape_pct"] if holdout else None}
    return {
        "table": lut.name,
        "folder": str(folder),
        "runtime": plan.runtime,
        "verdict": UNSURE if verdict.unsure else verdict.verdict,
        "found": list(verdict.found),
        "unsure": list(verdict.unsure),
        **verdict.facts,
        "networks": networks,
        "false_alarm_rate": FALSE_ALARM_RATE,
        "environment": list(differing(lut.header.environment, now.header.environment)),
        "environment_id": environment_id(now.header.environment),
        "measured": {
            "ops": len({item.key for item in plan.items if item.kind == "op"}),
            "networks": kinds.count("network"),
            "company": kinds.count("company"),
            "rounds": plan.rounds,
            "seed": plan.seed,
        },
        "canaries_moved": sum("moved" in row.flags for row in now.rows),
        "loaded": found.loaded,
        "statistic": found.statistic,
        "recorded": None,
        "next": [],
    }


def _record(lut: Lut, now: Lut, plan: Plan, verdict: Verdict, facts: Facts) -> Record:
    """Return the record of a recheck that stands beside its table."""
    last = max(now.sessions, key=lambda session: str(session["id"]))
    measured, networks = facts["measured"], facts["networks"]
    return Record(
        id=str(last["id"]),
        table=validity.identity(lut),
        verdict="stale" if verdict.verdict == validity.STALE else "still true",
        date=str(last["started_utc"])[:10],
        environment_id=facts["environment_id"],
        environment=tuple(facts["environment"]),
        simulated=now.simulated,
        seed=plan.seed,
        rounds=plan.rounds,
        ops=measured["ops"],
        networks=measured["networks"],
        tolerance_pct=facts["tolerance_pct"],
        level_pct={state: level["pct"] for state, level in facts["level"].items()},
        networks_pct=networks["pct"],
        error_pct=networks["error_pct"],
        held_out_pct=networks["held_out_pct"],
        found=verdict.found,
    )
