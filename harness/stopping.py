"""Which round comes next, and what is in it: every item at first, then those not known well enough yet."""

from __future__ import annotations

import numpy as np

from harness.journal import Journal
from harness.plan import Plan
from harness.reduce import conditions, measured


def next_round(plan: Plan, journal: Journal, *, max_foreign_cores: float) -> tuple[int, tuple[int, ...]] | None:
    """Return the next round's number and its items by index; None where there is nothing left to measure.

    A pure function of the plan, the complete rounds in the journal, and how many cores other work may keep busy on the
    device: whoever resumes measures the same.
    """
    done = journal.complete_rounds()
    number = next(place for place in range(plan.rounds_most + 1) if place not in done)
    if number < plan.rounds:
        return number, tuple(range(len(plan.items)))
    wide = unfinished(plan, journal, max_foreign_cores) if number < plan.rounds_most else []
    return (number, tuple(sorted({*wide, *company(plan, number, wide)}))) if wide else None


def unfinished(plan: Plan, journal: Journal, max_foreign_cores: float) -> list[int]:
    """Return the items whose interval is wider than the protocol asks for; those that failed are finished."""
    values = measured(journal, conditions(journal, max_foreign_cores=max_foreign_cores))
    wide = []
    for index, item in enumerate(plan.items):
        value = None if item.kind == "company" else values.get((item.key, item.state))
        if value is not None and value.half_width is not None and value.half_width > plan.protocol.half_width:
            wide.append(index)
    return wide


def company(plan: Plan, number: int, wide: list[int]) -> list[int]:
    """Return cold items to be measured beside the cold ones of a later round, so that it has groups as large as any.

    How cold an item is depends on how many others run before it comes round again.
    """
    cold = [index for index, item in enumerate(plan.items) if item.state == "cold"]
    usual = max(sum(plan.items[index].state == "cold" for index in group) for group in plan.batches(0))
    own = sorted(set(wide) & set(cold))
    others = np.setdiff1d(cold, own)
    lacking = min(len(others), -len(own) % usual) if usual else 0
    chosen = np.random.default_rng([plan.seed, number, 1]).choice(others, lacking, replace=False)
    return [int(index) for index in chosen]
