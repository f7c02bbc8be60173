"""The figures that check a run: what was predicted of a network beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.report.figure import BAND, FLOOR, INK, SERIES, SOFT, SYMBOLS, Figure, axis, bars, layout, lines, points
from harness.report.parse import Choice
from harness.report.read import Bench, Run
from harness.report.verdict import latency_error
from harness.report.verified import Verified
from harness.report.words import hover, plain

LATENCY_BAND = 0.05
ACCURACY_BAND_POINTS = 3.0
LATENCY_COLUMNS = (
    *("kind", "device", "runtime", "id", "budget_ms"),
    *("predicted_ms", "measured_ms", "lo_ms", "hi_ms", "error_percent"),
)


def measured_bars(rows: Sequence[Choice], colour: str) -> dict[str, Any]:
    """Return plotly's error bars for measured latencies."""
    return bars([(row.measured_lo_ms, row.measured_ms, row.measured_hi_ms) for row in rows], colour)


def latency(run: Run) -> Figure | None:
    """Draw measured against predicted latency with the identity line and a band of 5 %."""
    groups = [
        (bench, [row for row in bench.choices if row.predicted_ms is not None and row.measured_ms is not None])
        for bench in run.benches
    ]
    known = [row for _, rows in groups for row in rows]
    others = [one for bench in run.benches for one in bench.networks]
    told = [row for row in (run.verification.files if run.verification else ()) if row.error_percent is not None]
    values = [value for row in known for value in (row.predicted_ms, row.measured_ms) if value is not None]
    values += [value for one in others for value in (one.predicted_ms, one.measured_ms)]
    values += [value for row in told for value in (row.predicted_ms, row.measured_ms) if value is not None]
    if not values:
        return None
    edges = [0.8 * min(values), 1.1 * max(values)]
    data = _identity(edges, LATENCY_BAND, relative=True, name="±5 %")
    if floors := [value for _, value in _floors(run)]:
        floor = f"noise floor ±{max(floors):.1f} %"
        narrow = _identity(edges, max(floors) / 100, relative=True, name=floor)[0]
        data.insert(1, narrow | {"fillcolor": FLOOR})
    data += [_verified_points(told)] if told else []
    for number, (bench, rows) in enumerate(groups):
        data += _table_networks(bench, number)
        data += [_check_points(bench, number, rows, "predicted_ms", "measured_ms", "ms")] if rows else []
    return Figure(
        id="check-latency",
        title="Latency: measured against predicted",
        label=f"Scatter of measured against predicted latency in milliseconds for {len(known)} chosen networks, "
        f"{len(told)} verified files and {len(others)} networks of the tables, with the identity line and a band of "
        "plus and minus 5 percent",
        note=_latency_note(run),
        data=data,
        layout=layout(axis("predicted latency, ms", range=edges), axis("measured latency, ms", range=edges)),
        header=LATENCY_COLUMNS,
        rows=(*(_latency_row(row) for row in known), *_verified_rows(run, told), *_table_rows(run)),
        height_px=430,
    )


def _floors(run: Run) -> list[tuple[str, float]]:
    """Return what two measurements of one network differ by, percent, with whose they are."""
    found = [(bench.label, bench.floor_percent) for bench in run.benches]
    if run.verification:
        found.append((run.verification.runtime, run.verification.floor_percent))
    known = {label: floor for label, floor in found if floor is not None}
    return list(known.items())


def _verified_points(rows: Sequence[Verified]) -> dict[str, Any]:
    """Return the files that `ofa verify` measured and a table predicted."""
    return points(
        [row.predicted_ms for row in rows],
        [row.measured_ms for row in rows],
        "verified files",
        marker={"color": SERIES[3], "size": 10, "symbol": "square", "line": {"color": INK, "width": 1}},
        error_y=bars([(row.lo_ms, row.measured_ms, row.hi_ms) for row in rows], SERIES[3]),
        text=[hover(row.name, {}) for row in rows],
        hovertemplate="%{text}<br>predicted %{x:.3f} ms, measured %{y:.3f} ms<extra></extra>",
    )


def _verified_rows(run: Run, rows: Sequence[Verified]) -> list[tuple[Any, ...]]:
    device, runtime = (run.verification.device, run.verification.runtime) if run.verification else ("", "")
    return [
        (
            *("verified", device, runtime, row.name, None),
            *(row.predicted_ms, row.measured_ms, row.lo_ms, row.hi_ms, row.error_percent),
        )
        for row in rows
    ]


def _latency_note(run: Run) -> str:
    """Say how to read the figure, and below which error it says nothing."""
    said = "On the diagonal a prediction is exact; inside the band it is within 5 %."
    if run.choices or run.verification:
        said += " Bars are measured intervals."
    kinds = {one.fitted for bench in run.benches for one in bench.networks}
    if len(kinds) == 2:
        said += " Small marks are the tables' own networks: pale where the twin was fitted to them, strong if held out."
    elif kinds:
        said += (
            f" Small marks are the tables' own networks, {'fitted to' if True in kinds else 'held out from the fit'}."
        )
    found = _floors(run)
    if floors := [f"{floor:.1f} %" + (f" ({label})" if len(found) > 1 else "") for label, floor in found]:
        said += f" Two measurements of one network differ by {', '.join(floors)}: a smaller error says nothing."
    return said


def _table_networks(bench: Bench, number: int) -> list[dict[str, Any]]:
    """Return the whole networks of a bench's table as small marks, those held out stronger than those fitted.

    The legend names them only where no chosen network of that bench has its colour and shape.
    """
    traces = []
    for fitted, opacity in ((True, 0.25), (False, 0.8)):
        own = [one for one in bench.networks if one.fitted is fitted]
        if own:
            said = "fitted to" if fitted else "held out"
            trace = points(
                [one.predicted_ms for one in own],
                [one.measured_ms for one in own],
                plain(said if bench.alone else f"{bench.label}, {said}"),
                marker={"color": SERIES[number % len(SERIES)], "size": 5, "symbol": SYMBOLS[number % len(SYMBOLS)]},
                opacity=opacity,
                showlegend=not bench.choices,
                text=[hover(one.id, {}) for one in own],
                hovertemplate="%{text}<br>predicted %{x:.3f} ms, measured %{y:.3f} ms<extra></extra>",
            )
            traces.append(trace)
    return traces


def _table_rows(run: Run) -> list[tuple[Any, ...]]:
    return [
        (
            *("fitted" if one.fitted else "held out", bench.device, bench.runtime, one.id, None),
            *(one.predicted_ms, one.measured_ms, None, None, one.error_percent),
        )
        for bench in run.benches
        for one in bench.networks
    ]


def _latency_row(row: Choice) -> tuple[Any, ...]:
    interval = (row.measured_ms, row.measured_lo_ms, row.measured_hi_ms)
    error = latency_error(row)
    return ("chosen", row.device, row.runtime, row.id, row.budget_ms, row.predicted_ms, *interval, error)


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
    if unit == "ms":
        return trace | {"error_y": measured_bars(rows, colour)}
    limits = [(row.predicted_lo_top1, row.predicted_top1, row.predicted_hi_top1) for row in rows]
    return trace | {"error_x": bars(limits, colour)}


def _identity(edges: list[float], half: float, *, relative: bool, name: str) -> list[dict[str, Any]]:
    """Return the band around the diagonal and the diagonal itself."""
    low, high = edges
    down = [low * (1 - half), high * (1 - half)] if relative else [low - half, high - half]
    up = [low * (1 + half), high * (1 + half)] if relative else [low + half, high + half]
    band = lines([low, high, high, low], [*down, up[1], up[0]], name, fill="toself", fillcolor=BAND, hoverinfo="skip")
    ideal = lines([low, high], [low, high], "measured = predicted", line={"color": SOFT, "width": 1.4, "dash": "dot"})
    return [band | {"line": {"width": 0}}, ideal | {"hoverinfo": "skip"}]


def accuracy(run: Run) -> Figure | None:
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
        note="Labelled as subnets of the supernet, on images held back from its training."
        if any(bench.tried for bench, _ in groups)
        else "Measured on the exported file by its runtime, on images that neither training nor the twin saw.",
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
