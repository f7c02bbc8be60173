"""All figures of a run by section, and first among them the Pareto front of each device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.report import checks, heat, learning
from harness.report.figure import INK, SERIES, SOFT, Figure, axis, layout, lines, points, span, vertical
from harness.report.parse import Choice, Front
from harness.report.read import Bench, Run
from harness.report.words import figures3, hover


def of(run: Run) -> dict[str, list[Figure]]:
    """Return the figures that a run's data allows, by section of the page; a section may be empty."""
    fronts = [front(bench, number) for number, bench in enumerate(run.benches)]
    found = {
        "front": fronts,
        "checks": [checks.latency(run), checks.accuracy(run)],
        "labels": [learning.spread(run)],
        "training": [learning.loss(run), learning.corners(run)],
        "tables": [figure for bench in run.benches for figure in heat.maps(bench, run)],
        "noise": [heat.noise(run)],
    }
    return {section: [figure for figure in figures if figure] for section, figures in found.items()}


def front(bench: Bench, number: int) -> Figure | None:
    """Draw accuracy against latency: predicted front, chosen networks ringed, measured points, budgets."""
    known = bench.front or Front(points=(), chosen=(), extremes_ms=None)
    if not known.points and not bench.choices:
        return None
    colour = SERIES[number % len(SERIES)]
    data: list[dict[str, Any]] = []
    if known.points:
        data.append(_front_line(known, colour))
    data += _ringed(bench, known)
    data += _measured(bench.choices, colour)
    budgets = sorted({row.budget_ms for row in bench.choices if row.budget_ms is not None})
    budgets = budgets or sorted({point.budget_ms for point in known.chosen if point.budget_ms is not None})
    marks = [vertical(budget, f"budget {figures3(budget)} ms") for budget in budgets]
    if known.extremes_ms:
        marks += [vertical(end, word, dash="dot") for end, word in _ends(known.extremes_ms)]
    count = len(known.points)
    return Figure(
        id=f"front-{bench.runtime}",
        title=f"{bench.label}: accuracy against latency",
        label=f"Pareto front of {bench.label}: top-1 accuracy in percent against latency in milliseconds, {count} "
        f"points predicted by the search, {len(bench.choices)} chosen networks measured, {len(budgets)} budgets",
        note="The line is the front that the search predicts; rings are the networks it chose, one under each budget "
        "(dashed). Filled marks are the same networks as measured, joined to their prediction, with their interval.",
        data=data,
        layout=layout(
            axis("latency, ms", range=span(_xs(data) + budgets + list(known.extremes_ms or ()))),
            axis("top-1 accuracy, %", range=span(_ys(data), margin=0.1, below=0.4)),
            shapes=[shape for shape, _ in marks],
            annotations=[words for _, words in marks],
        ),
        header=("kind", "id", "budget_ms", "latency_ms", "latency_lo_ms", "latency_hi_ms", "top1_percent"),
        rows=_front_rows(bench, known),
        height_px=430,
    )


def _front_line(known: Front, colour: str) -> dict[str, Any]:
    return points(
        [point.latency_ms for point in known.points],
        [point.accuracy for point in known.points],
        "predicted front",
        mode="lines+markers",
        line={"color": colour, "width": 2, "shape": "hv"},
        marker={"color": colour, "size": 5},
        text=[hover(point.id, point.subnet) for point in known.points],
        hovertemplate="%{text}<br>predicted %{x:.3f} ms, %{y:.2f} %<extra></extra>",
    )


def _ringed(bench: Bench, known: Front) -> list[dict[str, Any]]:
    """Return the rings of the chosen networks, as the closing table or else as the search has them."""
    ringed = [
        (row.predicted_ms, row.predicted_top1, hover(row.id, row.subnet))
        for row in bench.choices
        if row.predicted_ms is not None and row.predicted_top1 is not None
    ] or [(point.latency_ms, point.accuracy, hover(point.id, point.subnet)) for point in known.chosen]
    if not ringed:
        return []
    xs, ys, texts = zip(*ringed, strict=True)
    ring = {"symbol": "circle-open", "size": 15, "color": INK, "line": {"width": 2}}
    told = "%{text}<br>chosen: predicted %{x:.3f} ms, %{y:.2f} %<extra></extra>"
    return [points(xs, ys, "chosen", marker=ring, text=texts, hovertemplate=told)]


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


def _ends(extremes_ms: tuple[float, float]) -> list[tuple[float, str]]:
    return [(extremes_ms[0], "fastest possible"), (extremes_ms[1], "slowest possible")]


def _front_rows(bench: Bench, known: Front) -> tuple[tuple[Any, ...], ...]:
    rows: list[tuple[Any, ...]] = [
        ("front, predicted", point.id, None, point.latency_ms, None, None, point.accuracy) for point in known.points
    ]
    if not bench.choices:
        rows += [("chosen, predicted", p.id, p.budget_ms, p.latency_ms, None, None, p.accuracy) for p in known.chosen]
    for row in bench.choices:
        rows.append(("chosen, predicted", row.id, row.budget_ms, row.predicted_ms, None, None, row.predicted_top1))
        interval = (row.measured_ms, row.measured_lo_ms, row.measured_hi_ms)
        rows.append(("chosen, measured", row.id, row.budget_ms, *interval, row.measured_top1))
    return tuple(rows)


def _xs(data: Sequence[dict[str, Any]]) -> list[float]:
    """Return every x that is drawn, ends of error bars included."""
    found = []
    for trace in data:
        bars = trace.get("error_x") or {"array": [0.0] * len(trace["x"]), "arrayminus": [0.0] * len(trace["x"])}
        for x, up, down in zip(trace["x"], bars["array"], bars["arrayminus"], strict=False):
            found += [] if x is None else [x - down, x + up]
    return found


def _ys(data: Sequence[dict[str, Any]]) -> list[float]:
    return [y for trace in data for y in trace["y"] if y is not None]
