"""How far a run has come, in numbers: what the verdict tells of one that ends before networks are chosen."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.read import Bench, Run
from harness.report.searched import Front
from ofa.lut.rows import MEASURED


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A latency table: rows of ops, measured and modelled, and the mean error, percent, on networks held out."""

    label: str
    ops: int
    modelled: int
    networks: int
    error_percent: float | None
    floor_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """A search: how many networks, the least and most latency, ms, of them, the best accuracy, percent, and the gap.

    ``gap_points`` is the largest difference between what was found under a limit and what is proven of it.
    """

    label: str
    points: int
    least_ms: float
    most_ms: float
    top1: float
    gap_points: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """What each stage of a run came to; ``corners`` are the least and the largest accuracy, percent, last watched."""

    tables: tuple[Measured, ...]
    searches: tuple[Searched, ...]
    corners: tuple[float, float] | None
    measured: int
    verified_error_percent: float | None


def of(run: Run) -> Stages:
    """Sum up every stage of a run."""
    watched = [step.corners for step in run.steps if step.corners]
    files = run.verification.files if run.verification else ()
    errors = [abs(row.error_percent) for row in files if row.error_percent is not None]
    return Stages(
        tables=tuple(table for bench in run.benches if (table := _measured(bench)) is not None),
        searches=tuple(
            searched(bench.label, bench.front) for bench in run.benches if bench.front and bench.front.points
        ),
        corners=(min(watched[-1].values()), max(watched[-1].values())) if watched else None,
        measured=sum(row.measured_ms is not None for row in files),
        verified_error_percent=sum(errors) / len(errors) if errors else None,
    )


def _measured(bench: Bench) -> Measured | None:
    if bench.table is None:
        return None
    held_out = [abs(one.error_percent) for one in bench.networks if not one.fitted]
    ops: dict[str, bool] = {}
    for row in bench.table.rows:
        if not row.key.startswith("@"):
            ops[row.key] = ops.get(row.key, False) or row.status in MEASURED
    return Measured(
        label=bench.label,
        ops=sum(ops.values()),
        modelled=len(ops) - sum(ops.values()),
        networks=len(bench.table.networks),
        error_percent=sum(held_out) / len(held_out) if held_out else None,
        floor_percent=bench.floor_percent,
    )


def searched(label: str, front: Front) -> Searched:
    """Sum up a front that has points."""
    return Searched(
        label=label,
        points=len(front.points),
        least_ms=front.points[0].latency_ms,
        most_ms=front.points[-1].latency_ms,
        top1=max(point.accuracy for point in front.points),
        gap_points=front.gap_points,
    )
