"""A second measurement of the networks of a plan, later and in new processes: how far the first can be trusted."""

from __future__ import annotations

from harness.plan import Plan
from harness.session import OnProgress

MOST_SEED = 2**63


def plan_again(plan: Plan) -> Plan | None:
    """Return the plan that measures the networks of another one again: the same protocol, reference and rounds, another
    order. None where it has no networks.

    Their ratios to the reference are those of its own rounds; what the reference took is taken from the first plan's.
    """
    networks = tuple(item for item in plan.items if item.kind == "network")
    if not networks:
        return None
    # A simulated device lives on from round to round: these are not its first ones once more.
    return plan.model_copy(
        update={"items": networks, "seed": (plan.seed + 1) % MOST_SEED, "rounds_before": plan.rounds_most}
    )


class Passes:
    """Tells the progress of two sessions as that of one, whose size is known from the start."""

    __slots__ = ("first_total", "later", "on_progress")

    def __init__(self, on_progress: OnProgress, later: Plan | None) -> None:
        """Take where progress goes, and the second plan where there is one."""
        self.on_progress = on_progress
        self.later = 0 if later is None else later.rounds * len(later.items)
        self.first_total = 0

    def first(self, done: int, total: int, text: str) -> None:
        """Tell how far the first session is."""
        self.first_total = total
        self.on_progress(done, total + self.later, text)

    def second(self, done: int, total: int, text: str) -> None:
        """Tell how far the second one is."""
        self.on_progress(self.first_total + done, self.first_total + total, f"networks again, {text}")
