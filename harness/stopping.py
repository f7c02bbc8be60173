"""Which round comes next, and what is in it: every item at first, then those not known well enough yet."""

from __future__ import annotations

import numpy as np

from harness.journal import Journal
from harness.plan import Plan
from harness.reduce import conditions, measured


def next_round(plan: Plan, journal: Journal) -> tuple[int, tuple[int, ...]] | None:
    """Return the next round's number and its items by index; None where there is nothing left to measure.

    A pure function of the plan and the complete rounds in the journal: whoever resumes measures the same.
    """
    done = journal.complete_rounds()
    number = next(place for place in range(plan.rounds_most + 1) if place not in done)
    if number < plan.rounds:
        return number, tuple(range(len(plan.items)))
    wide = unfinished(plan, journal) if number < plan.rounds_most else []
    if not wide:
        return None
    # A few items alone would stay in the caches, and a cold one would not be cold.
    others = np.setdiff1d(np.arange(len(plan.items)), wide)
    count = max(0, min(len(others), plan.protocol.together_least - len(wide)))
    company = np.random.default_rng([plan.seed, number, 1]).choice(others, count, replace=False)
    return number, tuple(sorted([*wide, *company.tolist()]))


def unfinished(plan: Plan, journal: Journal) -> list[int]:
    """Return the items whose interval is wider than the protocol asks for; those that failed are finished."""
    values = measured(journal, conditions(journal))
    wide = []
    for index, item in enumerate(plan.items):
        value = values.get((item.key, item.state))
        if value is not None and value.half_width is not None and value.half_width > plan.protocol.half_width:
            wide.append(index)
    return wide
