"""How far a run has come, in numbers: what the verdict tells of one that ends before networks are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.report.parse import number
from harness.report.read import Bench, Run
from harness.report.searched import Front
from harness.report.words import STATISTICS
from ofa.lut import noise
from ofa.lut.rows import MEASURED, NANOSECONDS_PER_MS
from ofa.lut.validity import Record, standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A latency table: rows of ops, measured and modelled, how long its networks take, ms (the quickest, the slowest),
    the mean error, percent, on networks held out, how noisy it is in words, and the recheck that counts."""

    label: str
    ops: int
    modelled: int
    networks: int
    span_ms: tuple[float, float] | None
    noise: str
    error_percent: float | None
    floor_percent: float | None
    recheck: Record | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A measurement of which no table is made yet: what is in its plan, and rounds ``done`` of those ``planned``."""

    label: str
    ops: int
    networks: int
    done: int
    planned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """A search: how many networks, the least and most latency, ms, of them, the best accuracy, percent, and the gap.

    ``gap_points`` is the largest difference between what was found under a limit and what is proven of it. Of a search
    for one network these are its own latency and accuracy, and ``under_ms`` is its limit: the front that was met on the
    way also holds networks beyond it. ``within`` are its other limits, in words.
    """

    label: str
    points: int
    least_ms: float
    most_ms: float
    top1: float
    under_ms: float | None
    within: str
    gap_points: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """What each stage of a run came to; ``corners`` are the least and the largest accuracy, percent, last watched.

    ``phase`` names the last phase that a training came to, where it has several. ``statistics`` are what one round's
    value of a time is, in words. The errors of twins are means of those
    on networks left out of the fit, in points of accuracy and in percent; a bench tells of the latency twin it has.
    """

    tables: tuple[Measured, ...]
    begun: tuple[Begun, ...]
    searches: tuple[Searched, ...]
    corners: tuple[float, float] | None
    phase: str
    accuracy_error_points: float | None
    latency_error_percent: float | None
    statistics: tuple[str, ...]
    measured: int
    verified_error_percent: float | None


def of(run: Run) -> Stages:
    """Sum up every stage of a run."""
    watched = [step.corners for step in run.steps if step.corners]
    files = run.verification.files if run.verification else ()
    errors = [abs(row.error_percent) for row in files if row.error_percent is not None]
    return Stages(
        tables=tuple(table for bench in run.benches if (table := _measured(bench)) is not None),
        begun=tuple(begun for bench in run.benches if (begun := _begun(bench)) is not None),
        searches=tuple(
            searched(bench.label, bench.front) for bench in run.benches if bench.front and bench.front.points
        ),
        phase=run.steps[-1].phase if len({step.phase for step in run.steps if step.phase}) > 1 else "",
        accuracy_error_points=_chosen(run.accuracy_card, "mean_error_points"),
        latency_error_percent=_chosen(run.latency_card, "mape_percent"),
        corners=(min(watched[-1].values()), max(watched[-1].values())) if watched else None,
        statistics=tuple(sorted({said for bench in run.benches if (said := _statistic(bench))})),
        measured=sum(row.measured_ms is not None for row in files),
        verified_error_percent=sum(errors) / len(errors) if errors else None,
    )


def _measured(bench: Bench) -> Measured | None:
    if bench.table is None:
        return None
    held_out = [abs(one.error_percent) for one in bench.networks if not one.fitted]
    times = [row.ns / NANOSECONDS_PER_MS for row in bench.table.networks if row.ns is not None]
    ops: dict[str, bool] = {}
    for row in bench.table.rows:
        if not row.key.startswith("@"):
            ops[row.key] = ops.get(row.key, False) or row.status in MEASURED
    return Measured(
        label=bench.label,
        ops=sum(ops.values()),
        modelled=len(ops) - sum(ops.values()),
        networks=len(bench.table.networks),
        span_ms=(min(times), max(times)) if times else None,
        noise=noise.told(noise.facts(bench.table)),
        error_percent=sum(held_out) / len(held_out) if held_out else None,
        floor_percent=bench.floor_percent,
        recheck=standing(bench.rechecks),
    )


def _statistic(bench: Bench) -> str:
    """Return what a table's times are the medians over rounds of, in words; empty where nobody says."""
    known = bench.table.header.protocol if bench.table else {}
    return STATISTICS.get(str(known.get("statistic")), "")


def _begun(bench: Bench) -> Begun | None:
    found = bench.rounds
    if found is None or bench.table is not None:
        return None
    return Begun(label=bench.label, ops=found.ops, networks=found.networks, done=found.done, planned=found.planned)


def _chosen(card: dict[str, Any] | None, score: str) -> float | None:
    """Return a score of the model that a twin's card says was chosen; None where it has none."""
    models = card.get("models") if card else None
    scores = models.get(str(card.get("chosen"))) if card and isinstance(models, dict) else None
    return number(scores.get(score)) if isinstance(scores, dict) else None


def searched(label: str, front: Front) -> Searched:
    """Sum up a front that has points."""
    one = front.chosen[0] if len(front.chosen) == 1 and front.chosen[0].budget_ms is not None else None
    return Searched(
        label=label,
        points=len({point.id for point in front.points}),
        least_ms=front.points[0].latency_ms,
        most_ms=one.latency_ms if one else front.points[-1].latency_ms,
        top1=one.accuracy if one else max(point.accuracy for point in front.points),
        under_ms=one.budget_ms if one else None,
        within=" and ".join(front.within),
        gap_points=front.gap_points,
    )
