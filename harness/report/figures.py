"""The figures of a search: a Pareto front for each device, and predictions beside measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.report import heat, learning
from harness.report.figure import BAND, INK, SERIES, SOFT, SYMBOLS, Figure, axis, layout, lines, points, span, vertical
from harness.report.parse import Choice, Front
from harness.report.read import Bench, Run
from harness.report.words import figures3, hover, plain

LATENCY_BAND = 0.05
ACCURACY_BAND_POINTS = 3.0


def of(run: Run) -> dict[str, list[Figure]]:
    """Return the figures that a run's data allows, by section of the page; a section may be empty."""
    fronts = [front(bench, number) for number, bench in enumerate(run.benches)]
    checks = [latency_check(run), accuracy_check(run)]
    found = {
        "front": fronts,
        "checks": checks,
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
            error_x=_interval(known, INK),
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


def latency_check(run: Run) -> Figure | None:
    """Draw measured against predicted latency with the identity line and a band of 5 %."""
    groups = [
        (bench, [row for row in bench.choices if row.predicted_ms is not None and row.measured_ms is not None])
        for bench in run.benches
    ]
    known = [row for _, rows in groups for row in rows]
    if not known:
        return None
    values = [value for row in known for value in (row.predicted_ms, row.measured_ms) if value is not None]
    edges = [0.8 * min(values), 1.1 * max(values)]
    data = _identity(edges, LATENCY_BAND, relative=True, name="±5 %")
    for number, (bench, rows) in enumerate(groups):
        data += [_check_points(bench, number, rows, "predicted_ms", "measured_ms", "ms")] if rows else []
    return Figure(
        id="check-latency",
        title="Latency: measured against predicted",
        label=f"Scatter of measured against predicted latency in milliseconds for {len(known)} chosen networks, "
        "with the identity line and a band of plus and minus 5 percent",
        note="On the diagonal the prediction is exact; inside the band it is within 5 %. "
        "Bars are the interval of the measurement.",
        data=data,
        layout=layout(axis("predicted latency, ms", range=edges), axis("measured latency, ms", range=edges)),
        header=(
            "device",
            "runtime",
            "id",
            "budget_ms",
            "predicted_ms",
            "measured_ms",
            "lo_ms",
            "hi_ms",
            "error_percent",
        ),
        rows=tuple(_latency_row(row) for row in known),
        height_px=430,
    )


def _latency_row(row: Choice) -> tuple[Any, ...]:
    error = None
    if row.predicted_ms is not None and row.measured_ms:
        error = 100.0 * (row.predicted_ms / row.measured_ms - 1.0)
    interval = (row.measured_ms, row.measured_lo_ms, row.measured_hi_ms)
    return (row.device, row.runtime, row.id, row.budget_ms, row.predicted_ms, *interval, error)


def _check_points(bench: Bench, number: int, rows: Sequence[Choice], x: str, y: str, unit: str) -> dict[str, Any]:
    """Return one device's predictions and measurements; colour and shape both tell devices apart."""
    colour = SERIES[number % len(SERIES)]
    trace = points(
        [getattr(row, x) for row in rows],
        [getattr(row, y) for row in rows],
        plain(bench.label),
        marker={"color": colour, "size": 10, "symbol": SYMBOLS[number % 6], "line": {"color": INK, "width": 1}},
        text=[hover(row.id, row.subnet) for row in rows],
        hovertemplate=f"%{{text}}<br>predicted %{{x:.3f}} {unit}, measured %{{y:.3f}} {unit}<extra></extra>",
    )
    bars = _interval(rows, colour) if unit == "ms" else _predicted_interval(rows, colour)
    return trace | {"error_y" if unit == "ms" else "error_x": bars}


def _predicted_interval(rows: Sequence[Choice], colour: str) -> dict[str, Any]:
    """Return plotly's error bars for predicted accuracies."""
    triples = [(row.predicted_lo_top1, row.predicted_top1, row.predicted_hi_top1) for row in rows]
    return _bars(triples, colour)


def _interval(rows: Sequence[Choice], colour: str) -> dict[str, Any]:
    """Return plotly's error bars for measured latencies."""
    return _bars([(row.measured_lo_ms, row.measured_ms, row.measured_hi_ms) for row in rows], colour)


def _bars(triples: Sequence[tuple[float | None, float | None, float | None]], colour: str) -> dict[str, Any]:
    """Return error bars from (low, middle, high); a limit that is not known has no bar on its side."""
    down = [0.0 if low is None or middle is None else max(0.0, middle - low) for low, middle, _ in triples]
    up = [0.0 if high is None or middle is None else max(0.0, high - middle) for _, middle, high in triples]
    look = {"color": colour, "thickness": 1.4, "width": 4}
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down} | look


def _identity(edges: list[float], half: float, *, relative: bool, name: str) -> list[dict[str, Any]]:
    """Return the band around the diagonal and the diagonal itself."""
    low, high = edges
    down = [low * (1 - half), high * (1 - half)] if relative else [low - half, high - half]
    up = [low * (1 + half), high * (1 + half)] if relative else [low + half, high + half]
    band = lines([low, high, high, low], [*down, up[1], up[0]], name, fill="toself", fillcolor=BAND, hoverinfo="skip")
    ideal = lines([low, high], [low, high], "measured = predicted", line={"color": SOFT, "width": 1.4, "dash": "dot"})
    return [band | {"line": {"width": 0}}, ideal | {"hoverinfo": "skip"}]


def accuracy_check(run: Run) -> Figure | None:
    """Draw measured against predicted accuracy with the identity line and a band of 3 points."""
    groups = [
        (bench, [row for row in bench.choices if row.predicted_top1 is not None and row.measured_top1 is not None])
        for bench in run.benches
    ]
    known = [row for _, rows in groups for row in rows]
    if not known:
        return None
    values = [value for row in known for value in (row.predicted_top1, row.measured_top1) if value is not None]
    edges = [max(0.0, min(values) - 5.0), min(100.0, max(values) + 5.0)]
    data = _identity(edges, ACCURACY_BAND_POINTS, relative=False, name="±3 points")
    for number, (bench, rows) in enumerate(groups):
        data += [_check_points(bench, number, rows, "predicted_top1", "measured_top1", "%")] if rows else []
    return Figure(
        id="check-accuracy",
        title="Accuracy: measured against predicted",
        label=f"Scatter of measured against predicted top-1 accuracy in percent for {len(known)} chosen networks, "
        "with the identity line and a band of plus and minus 3 points",
        note="Measured on the exported file by its runtime, on images that neither training nor the twin saw.",
        data=data,
        layout=layout(axis("predicted accuracy, %", range=edges), axis("measured accuracy, %", range=edges)),
        header=("device", "runtime", "id", "budget_ms", "predicted_top1", "lo_top1", "hi_top1", "measured_top1"),
        rows=tuple(
            (
                *(row.device, row.runtime, row.id, row.budget_ms, row.predicted_top1),
                *(row.predicted_lo_top1, row.predicted_hi_top1, row.measured_top1),
            )
            for row in known
        ),
        height_px=430,
    )
