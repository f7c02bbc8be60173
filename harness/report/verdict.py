"""What the run comes to, in numbers: the errors and promises that the verdict sentence tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.parse import Choice

# A measurement breaks a budget only where even its lower limit is this far above, as a share of the budget.
BUDGET_TOLERANCE = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Counts and mean absolute errors over the chosen networks; None where nothing can be said."""

    networks: int
    devices: int
    budgets: int
    latency_error_percent: float | None
    accuracy_error_points: float | None
    measured: int
    over_budget: int


def of(rows: Sequence[Choice]) -> Verdict | None:
    """Sum up the closing rows; None where there are none."""
    if not rows:
        return None
    latency = [abs(error) for row in rows if (error := latency_error(row)) is not None]
    accuracy = [
        abs(row.predicted_top1 - row.measured_top1)
        for row in rows
        if row.predicted_top1 is not None and row.measured_top1 is not None
    ]
    return Verdict(
        networks=len(rows),
        devices=len({(row.device, row.runtime) for row in rows}),
        budgets=max(_budgets(rows, row.runtime) for row in rows),
        latency_error_percent=sum(latency) / len(latency) if latency else None,
        accuracy_error_points=sum(accuracy) / len(accuracy) if accuracy else None,
        measured=sum(row.measured_ms is not None for row in rows),
        over_budget=sum(over_budget(row) is True for row in rows),
    )


def _budgets(rows: Sequence[Choice], runtime: str) -> int:
    return len({row.budget_ms for row in rows if row.runtime == runtime})


def over_budget(row: Choice) -> bool | None:
    """Say whether a network surely misses its budget: its lower confidence limit is over it by more than 3 %."""
    low = row.measured_lo_ms if row.measured_lo_ms is not None else row.measured_ms
    if low is None or row.budget_ms is None:
        return None
    return low > row.budget_ms * (1 + BUDGET_TOLERANCE)


def latency_error(row: Choice) -> float | None:
    """Return how far the prediction of a chosen network is above its measurement, percent of the measurement."""
    return above_percent(row.predicted_ms, row.measured_ms)


def above_percent(predicted_ms: float | None, measured_ms: float | None) -> float | None:
    """Return how far a prediction is above its measurement, percent of the measurement; None where one is lacking."""
    if predicted_ms is None or not measured_ms:
        return None
    return 100.0 * (predicted_ms / measured_ms - 1.0)
