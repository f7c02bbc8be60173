"""All figures of a run by section, and first among them the Pareto front of each device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.report import checks, heat, learning, reasons, residuals, verified
from harness.report.figure import FLOOR, INK, SERIES, SOFT, Figure, axis, bars, layout, lines, points, span, vertical
from harness.report.parse import Choice
from harness.report.read import Bench, Run
from harness.report.searched import Front, Point
from harness.report.words import figures3, hover

# Upright lines nearer than this share of a figure's width leave no room between them for words, on a phone.
NEAR = 0.08


def of(run: Run) -> dict[str, list[Figure]]:
    """Return the figures that a run's data allows, by section of the page; a section may be empty."""
    fronts = [front(bench, number) for number, bench in enumerate(run.benches)]
    found = {
        "front": fronts,
        "why": [reasons.costs(bench, number) for number, bench in enumerate(run.benches)],
        "verified": [verified.measured(run.verification)],
        "checks": [checks.latency(run), checks.accuracy(run), residuals.by_resolution(run)],
        "labels": [learning.spread(run)],
        "training": [learning.loss(run), learning.corners(run)],
        "tables": [figure for bench in run.benches for figure in heat.maps(bench, run)],
        "noise": [heat.noise(run)],
        "residuals": [
            *(figure for number, bench in enumerate(run.benches) for figure in residuals.of(bench, number)),
            residuals.in_order(run.verified_rounds, "verified", "The verification in the order of measuring", 3),
        ],
    }
    return {section: [figure for figure in figures if figure] for section, figures in found.items()}


def front(bench: Bench, number: int) -> Figure | None:
    """Draw accuracy against latency: predicted front, chosen networks ringed, measured points, budgets."""
    known = bench.front or Front(points=(), chosen=(), extremes_ms=None)
    if not known.points and not bench.choices:
        return None
    colour = SERIES[number % len(SERIES)]
    data: list[dict[str, Any]] = []
    data += _bound(known)
    data += _interval(known.points)
    if known.points:
        data.append(front_line(known.points, colour, "predicted front"))
    data += _ringed(bench, known)
    data += _measured(bench.choices, colour)
    budgets = sorted({row.budget_ms for row in bench.choices if row.budget_ms is not None})
    budgets = budgets or sorted({point.budget_ms for point in known.chosen if point.budget_ms is not None})
    across = span(_drawn(data, "x") + budgets + list(known.extremes_ms or ()))
    marks = _upright(budgets, known.extremes_ms, across)
    # A bound that is the answer itself differs from it by rounding, which is nothing to look at.
    heights = span(_drawn(data, "y"), margin=0.1, below=0.4 if marks else 0.1, least=0.2)
    count = len(known.points)
    return Figure(
        id=f"front-{bench.runtime}",
        title=bench.titled("accuracy against latency"),
        label=f"Pareto front of {bench.label}: top-1 accuracy in percent against latency in milliseconds, {count} "
        f"points predicted by the search, {len(bench.choices)} {'tried' if bench.tried else 'chosen'} networks "
        f"measured, {len(budgets)} budgets{_bound_words(known)}",
        note=_front_note(bench, known),
        data=data,
        layout=layout(
            axis("latency, ms", range=across),
            axis("top-1 accuracy, %", range=heights),
            shapes=[shape for shape, _ in marks],
            annotations=[words for _, words in marks],
        ),
        header=(
            *("kind", "id", "budget_ms", "latency_ms", "latency_lo_ms", "latency_hi_ms"),
            *("top1_percent", "top1_lo_percent", "top1_hi_percent", "bound_percent"),
        ),
        rows=_front_rows(bench, known),
        height_px=430,
    )


def _front_note(bench: Bench, known: Front) -> str:
    """Say how to read a front: what is predicted, what is proven, what was measured."""
    said = ["The line is the front that the search predicts."]
    if _interval(known.points):
        said.append("Around it the accuracy twin's 90 % interval.")
    if bench.tried:
        said.append("Rings are the networks that were tried under the limit (upright line).")
    elif known.chosen or bench.choices:
        said.append("Rings are the networks it chose, one under each budget (upright line).")
    ringed = [row.predicted_lo_top1 for row in bench.choices] or [point.lo for point in known.chosen]
    if any(lo is not None for lo in ringed):
        said.append("Their bars are the accuracy twin's interval.")
    if any(row.measured_ms is not None for row in bench.choices):
        said.append("Filled marks are the same networks as measured, joined to their prediction, with their interval.")
    if (gap := known.gap_points) is not None:
        near = f"is within {gap:.2f} points of them" if gap >= 0.005 else "reaches them"
        said.append(
            "Dashed steps are what no network under that latency is predicted above, as is proven: "
            f"what was found {near}."
        )
    elif known.bound_reason:
        said.append(f"No bound is proven: {known.bound_reason}.")
    return " ".join(said)


def _bound_words(known: Front) -> str:
    """Return what an accessible name says of the proven bounds."""
    bounds = [top1 for _, top1 in known.bounds]
    return f", with a proven bound from {min(bounds):.1f} to {max(bounds):.1f} percent" if bounds else ""


def _bound(known: Front) -> list[dict[str, Any]]:
    """Return the accuracy that no network under a latency is predicted above, as steps from one limit to the next."""
    found = known.bounds
    if not found:
        return []
    return [
        points(
            [ms for ms, _ in found],
            [top1 for _, top1 in found],
            "proven bound",
            mode="lines+markers",
            # A bound holds for every latency up to its limit, so that the step is on the limit's left.
            line={"color": SOFT, "width": 1.6, "dash": "dash", "shape": "vh"},
            marker={"color": SOFT, "size": 9, "symbol": "line-ew-open", "line": {"width": 2}},
            hovertemplate="under %{x:.3f} ms none is predicted above %{y:.2f} %<extra></extra>",
        )
    ]


def _interval(found: Sequence[Point]) -> list[dict[str, Any]]:
    """Return the interval around a front, as steps like its line; nothing where a point has none."""
    if len(found) < 2 or any(point.lo is None or point.hi is None for point in found):
        return []
    xs = [point.latency_ms for point in found]
    edge = {"color": "rgba(0,0,0,0)", "width": 0, "shape": "hv"}
    below = lines(xs, [point.lo for point in found], "", line=edge, hoverinfo="skip", showlegend=False)
    above = lines(xs, [point.hi for point in found], "90 % interval", line=edge, hoverinfo="skip")
    return [below, above | {"fill": "tonexty", "fillcolor": FLOOR}]


def front_line(found: Sequence[Point], colour: str, name: str) -> dict[str, Any]:
    """Return predicted points joined as a front: up to the next one's latency nothing better was found."""
    return points(
        [point.latency_ms for point in found],
        [point.accuracy for point in found],
        name,
        mode="lines+markers",
        line={"color": colour, "width": 2, "shape": "hv"},
        marker={"color": colour, "size": 5},
        text=[hover(point.id, point.subnet) for point in found],
        hovertemplate="%{text}<br>predicted %{x:.3f} ms, %{y:.2f} %<extra></extra>",
    )


def _ringed(bench: Bench, known: Front) -> list[dict[str, Any]]:
    """Return the rings of the chosen networks, as the closing table or else as the search has them."""
    ringed = [
        (row.predicted_ms, row.predicted_top1, hover(row.id, row.subnet), row.predicted_lo_top1, row.predicted_hi_top1)
        for row in bench.choices
        if row.predicted_ms is not None and row.predicted_top1 is not None
    ] or [
        (point.latency_ms, point.accuracy, hover(point.id, point.subnet), point.lo, point.hi) for point in known.chosen
    ]
    if not ringed:
        return []
    xs, ys, texts, lows, highs = zip(*ringed, strict=True)
    ring = {"symbol": "circle-open", "size": 15, "color": INK, "line": {"width": 2}}
    told = "%{text}<br>predicted %{x:.3f} ms, %{y:.2f} %<extra></extra>"
    limits = bars(list(zip(lows, ys, highs, strict=True)), SOFT)
    name = "tried" if bench.tried else "chosen"
    return [points(xs, ys, name, marker=ring, error_y=limits, text=texts, hovertemplate=told)]


def _measured(rows: Sequence[Choice], colour: str) -> list[dict[str, Any]]:
    """Return the measured points with their intervals, each joined to its prediction."""
    known = [row for row in rows if row.measured_ms is not None and row.measured_top1 is not None]
    if not known:
        return []
    joined_x: list[float | None] = []
    joined_y: list[float | None] = []
    for row in known:
        joined_x += [row.predicted_ms, row.measured_ms, None]
        joined_y += [row.predicted_top1, row.measured_top1, None]
    joint = lines(joined_x, joined_y, "", line={"color": SOFT, "width": 1.2}, hoverinfo="skip", showlegend=False)
    mark = {"symbol": "diamond", "size": 10, "color": colour, "line": {"color": INK, "width": 1}}
    return [
        joint,
        points(
            [row.measured_ms for row in known],
            [row.measured_top1 for row in known],
            "measured",
            marker=mark,
            error_x=checks.measured_bars(known, INK),
            text=[hover(row.id, row.subnet) for row in known],
            hovertemplate="%{text}<br>measured %{x:.3f} ms, %{y:.2f} %<extra></extra>",
        ),
    ]


def _upright(
    budgets: Sequence[float], extremes_ms: tuple[float, float] | None, across: Sequence[float]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the lines of budgets and of the proven extremes; words that would touch stand on both sides of a line."""
    found = [(budget, f"budget {figures3(budget)} ms", "dash") for budget in budgets]
    if extremes_ms:
        ends = zip(extremes_ms, ("fastest possible", "slowest possible"), strict=True)
        found += [(end, word, "dot") for end, word in ends]
    near = NEAR * (across[1] - across[0])
    marks = []
    before, after = -float("inf"), False
    for at, word, dash in sorted(found):
        after = at - before < (2 if after else 1) * near
        marks.append(vertical(at, word, dash=dash, after=after))
        before = at
    return marks


def _front_rows(bench: Bench, known: Front) -> tuple[tuple[Any, ...], ...]:
    found = [_point_row("front, predicted", point) for point in known.points]
    if not bench.choices:
        found += [_point_row("chosen, predicted", point) for point in known.chosen]
    for row in bench.choices:
        limits = (row.predicted_lo_top1, row.predicted_hi_top1, None)
        told = (row.id, row.budget_ms, row.predicted_ms, None, None, row.predicted_top1)
        found.append(("chosen, predicted", *told, *limits))
        interval = (row.measured_ms, row.measured_lo_ms, row.measured_hi_ms)
        found.append(("chosen, measured", row.id, row.budget_ms, *interval, row.measured_top1, None, None, None))
    return tuple(found)


def _point_row(kind: str, point: Point) -> tuple[Any, ...]:
    told = (point.id, point.budget_ms, point.latency_ms, None, None, point.accuracy)
    return (kind, *told, point.lo, point.hi, point.bound)


def _drawn(data: Sequence[dict[str, Any]], side: str) -> list[float]:
    """Return every value that is drawn along one side (x or y), ends of error bars included."""
    found = []
    for trace in data:
        nothing = [0.0] * len(trace[side])
        ends = trace.get(f"error_{side}") or {"array": nothing, "arrayminus": nothing}
        for value, up, down in zip(trace[side], ends["array"], ends["arrayminus"], strict=False):
            found += [] if value is None else [value - down, value + up]
    return found
