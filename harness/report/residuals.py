"""The figures of what is left over: predictions against networks, ops against their work, rounds against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.report.calibration import Compared
from harness.report.figure import (
    BAND,
    FLOOR,
    SERIES,
    SOFT,
    STATES,
    SYMBOLS,
    Figure,
    axis,
    boxes,
    height_of,
    layout,
    lines,
    lying,
    points,
    span,
)
from harness.report.read import Bench, Run
from harness.report.rounds import PERCENTILES, Batch, Rounds, Spread, spread
from harness.report.shape import kind_of
from harness.report.words import hover, plain
from ofa.errors import OfaError
from ofa.lut import physics
from ofa.lut.rows import MEASURED, USABLE
from ofa.space import ops

# Fewer rows than kinds of work say nothing of what each kind costs.
FEWEST_ROWS = 30
BAND_PERCENT = 5.0
MOST_TICKS = 8


def of(bench: Bench, number: int) -> list[Figure | None]:
    """Draw what is left over on one bench: rounds by kind of op and in the order of measuring, ops by their work."""
    order = bench.titled("residuals in the order of measuring")
    return [by_kind(bench), by_work(bench), in_order(bench.rounds, bench.runtime, order, number)]


def by_resolution(run: Run) -> Figure | None:
    """Draw the error of the prediction of each whole network of the tables against its resolution."""
    groups = [(number, bench) for number, bench in enumerate(run.benches) if bench.networks]
    known = [one for _, bench in groups for one in bench.networks]
    if not known:
        return None
    several = len(groups) > 1
    data: list[dict[str, Any]] = []
    for number, bench in groups:
        for fitted, opacity in ((True, 0.5), (False, 0.95)):
            own = [one for one in bench.networks if one.fitted is fitted]
            if own:
                said = "fitted to" if fitted else "held out"
                trace = points(
                    [one.resolution for one in own],
                    [one.error_percent for one in own],
                    plain(f"{bench.label}, {said}" if several else said),
                    marker={"color": SERIES[number % 6], "size": 7, "symbol": SYMBOLS[number % 6]},
                    opacity=opacity,
                    text=[hover(one.id, {}) for one in own],
                    hovertemplate="%{text}<br>%{x} px: predicted %{y:+.1f} %<extra></extra>",
                )
                data.append(trace)
    floors = [bench.floor_percent for _, bench in groups if bench.floor_percent is not None]
    shapes = [_across(BAND_PERCENT, BAND), *([_across(max(floors), FLOOR)] if floors else [])]
    worst = max(abs(one.error_percent) for one in known if not one.fitted or all(one.fitted for one in known))
    return Figure(
        id="residual-resolutions",
        title="Error of predicted latency by resolution",
        label=f"Error of the predicted latency in percent against the resolution in pixels for {len(known)} whole "
        f"networks of the tables; the largest error of those held out is {worst:.1f} percent",
        note="Above zero the prediction is too high. The band is ±5 %"
        + (f", the stronger one within it the noise floor of ±{max(floors):.1f} %" if floors else "")
        + f". Predicted by {', '.join(dict.fromkeys(one.by for one in known))}.",
        data=data,
        layout=layout(
            axis("resolution of the network, px", **_ticks({one.resolution for one in known})),
            axis("prediction too high by, %", zeroline=True),
            shapes=shapes,
            showlegend=True,
        ),
        header=("device", "runtime", "id", "resolution_px", "part", "predicted_ms", "measured_ms", "error_percent"),
        rows=tuple(_network_row(bench, one) for _, bench in groups for one in bench.networks),
        height_px=430,
    )


def _network_row(bench: Bench, one: Compared) -> tuple[Any, ...]:
    part = "fitted" if one.fitted else "held out"
    found = (one.predicted_ms, one.measured_ms, one.error_percent)
    return (bench.device, bench.runtime, one.id, one.resolution, part, *found)


def _ticks(resolutions: set[int]) -> dict[str, Any]:
    """Return where the axis of a few resolutions has ticks: at these, and not between them."""
    if len(resolutions) > MOST_TICKS:
        return {}
    return {"tickvals": sorted(resolutions), "range": span([float(resolution) for resolution in resolutions])}


def _across(half: float, colour: str) -> dict[str, Any]:
    """Return a band around zero over the whole width of a figure."""
    span = {"xref": "paper", "x0": 0, "x1": 1, "y0": -half, "y1": half}
    return {"type": "rect", "layer": "below", "fillcolor": colour, "line": {"width": 0}} | span


def by_kind(bench: Bench) -> Figure | None:
    """Draw what single rounds are off by from the median over rounds, for each kind of op and state."""
    spreads = bench.rounds.spreads if bench.rounds else ()
    if not spreads:
        return None
    widest = max(spreads, key=lambda one: one.percent[4] - one.percent[0])
    return Figure(
        id=f"residual-kinds-{bench.runtime}",
        title=bench.titled("how far single rounds differ, by kind of op"),
        label=f"Box plot of what a single round's time is off by from the median over rounds, in percent, for "
        f"{len(spreads)} kinds of op and states; {widest.kind} {widest.state} scatters most, from "
        f"{widest.percent[0]:.1f} to {widest.percent[4]:.1f} percent for nine in ten",
        note="Each op's time over the reference network's, against its own median over rounds. Boxes hold half of the "
        "rounds, whiskers nine in ten.",
        data=_boxes(spreads),
        layout=lying(axis("off from the median, %", zeroline=True)),
        header=("kind", "state", "samples", *(f"p{name}_percent" for name in PERCENTILES)),
        rows=tuple((one.kind, one.state, one.samples, *one.percent) for one in spreads),
        height_px=height_of(one.kind for one in spreads),
    )


def by_work(bench: Bench) -> Figure | None:
    """Draw what each measured op of a table is off by from prices of the work in it, for each kind of op and state."""
    spreads = _off_work(bench)
    if not spreads:
        return None
    return Figure(
        id=f"residual-work-{bench.runtime}",
        title=bench.titled("measured ops against the work in them, by kind"),
        label=f"Box plot of measured time over the price of its work less 1, in percent, for {len(spreads)} kinds of "
        "op and states: what a count of work does not tell of an op",
        note="Prices of MACs, taps, elements and weights are fitted to all rows of a state. Right of zero an op takes "
        "longer than its work explains. This is why ops are measured, and how far off a modelled row may be.",
        data=_boxes(spreads),
        layout=lying(axis("over the price of its work, %", zeroline=True)),
        header=("kind", "state", "ops", *(f"p{name}_percent" for name in PERCENTILES)),
        rows=tuple((one.kind, one.state, one.samples, *one.percent) for one in spreads),
        height_px=height_of(one.kind for one in spreads),
    )


def _off_work(bench: Bench) -> tuple[Spread, ...]:
    """Return the spread of measured over priced, percent, for every kind of op and state of a table."""
    found = []
    for state in STATES:
        rows = [
            row
            for row in (bench.table.rows if bench.table else ())
            if row.state == state and row.ns and row.status in MEASURED & USABLE and not row.key.startswith("@")
        ]
        if len(rows) < FEWEST_ROWS:
            continue
        try:
            known = [ops.parse(row.key) for row in rows]
        except OfaError:
            continue
        ns = np.array([row.ns or 1 for row in rows], dtype=np.float64)
        off = 100.0 * np.expm1(physics.fit(known, ns).residuals(known, ns))
        own: dict[str, list[float]] = defaultdict(list)
        for row, value in zip(rows, off.tolist(), strict=True):
            own[kind_of(row.key)].append(value)
        found += [spread(kind, state, values) for kind, values in sorted(own.items())]
    return tuple(found)


def _boxes(spreads: Sequence[Spread]) -> list[dict[str, Any]]:
    """Return lying boxes of spreads."""
    return boxes({(one.kind, one.state): one.percent for one in spreads})


def in_order(rounds: Rounds | None, identity: str, title: str, number: int) -> Figure | None:
    """Draw what each batch was off by in the order of measuring, and how warm the device was."""
    batches = rounds.batches if rounds else ()
    if len(batches) < 2:
        return None
    warm = [one.temperature_c for one in batches if one.temperature_c is not None]
    xs = list(range(1, len(batches) + 1))
    hottest = f"; the hottest sensor read {min(warm):.0f} to {max(warm):.0f} degrees Celsius" if warm else ""
    return Figure(
        id=f"residual-order-{identity}",
        title=title,
        label=f"What {len(batches)} batches were off by in percent, in the order they were measured in, with "
        f"the reference network's own time{hottest}",
        note="The reference says how much slower the whole device was; the times over the reference are what is told. "
        + ("A residual that follows the temperature is heat." if warm else "The device lets no temperature be read."),
        data=[*_order(batches, xs, SERIES[number % 6]), *([_heat(batches, xs)] if warm else [])],
        layout=_rows(layout(_order_axis(len(batches)), axis("off by, %", zeroline=True)), bool(warm)),
        header=(
            *("order", "round", "batch", "minutes", "items", "reference_percent"),
            *("p5_percent", "median_percent", "p95_percent", "temperature_c"),
        ),
        rows=tuple(
            (
                *(x, one.round, one.batch, round(one.minutes, 3), one.items, one.reference_percent),
                *(one.low_percent, one.median_percent, one.high_percent, one.temperature_c),
            )
            for x, one in zip(xs, batches, strict=True)
        ),
        height_px=430 if warm else 360,
        wide=True,
    )


def _order_axis(count: int) -> dict[str, Any]:
    """Return the axis of so many batches, which are counted in whole numbers."""
    return axis("batch, in the order of measuring", tick0=1, dtick=max(1, -(-count // 8)))


def _order(batches: Sequence[Batch], xs: list[int], colour: str) -> list[dict[str, Any]]:
    """Return the band of nine in ten ops, their median, and the reference, by order."""
    there_and_back = [*xs, *reversed(xs)]
    edge = [*(one.low_percent for one in batches), *(one.high_percent for one in reversed(batches))]
    band = lines(there_and_back, edge, "nine in ten", fill="toself", fillcolor=BAND, hoverinfo="skip")
    text = [f"round {one.round}, batch {one.batch}, {one.minutes:.1f} min" for one in batches]
    return [
        band | {"line": {"width": 0}},
        lines(
            xs,
            [one.reference_percent for one in batches],
            "reference network",
            line={"color": SOFT, "width": 1.5, "dash": "dash"},
            text=text,
            hovertemplate="%{text}<br>reference %{y:+.2f} %<extra></extra>",
        ),
        points(
            xs,
            [one.median_percent for one in batches],
            "median over reference",
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"size": 6},
            text=text,
            hovertemplate="%{text}<br>median %{y:+.2f} %<extra></extra>",
        ),
    ]


def _heat(batches: Sequence[Batch], xs: list[int]) -> dict[str, Any]:
    """Return the temperature in the row below."""
    return points(
        xs,
        [one.temperature_c for one in batches],
        "temperature",
        mode="lines+markers",
        line={"color": SERIES[1], "width": 2},
        marker={"size": 5, "symbol": "square"},
        yaxis="y2",
        hovertemplate="%{y:.1f} °C<extra></extra>",
    )


def _rows(found: dict[str, Any], warm: bool) -> dict[str, Any]:
    """Return a layout with a second row for the temperature below the first, over the same order."""
    if not warm:
        return found
    rows = {"yaxis": found["yaxis"] | {"domain": [0.4, 1.0]}, "yaxis2": axis("°C", domain=[0.0, 0.28])}
    return found | rows | {"xaxis": found["xaxis"] | {"anchor": "y2"}}
