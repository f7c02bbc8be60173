"""The figures of two runs side by side: their ops and networks against each other, their order, and their fronts."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np

from harness.report.figure import (
    SERIES,
    SOFT,
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
from harness.report.figures import front_line
from harness.report.pairs import Fronts, Pair, Ranking, Tables
from harness.report.searched import Front, pareto
from harness.report.shape import kind_of
from harness.report.words import figures3, plain

MOST_POINTS = 600
# From this ratio of largest to smallest on, round values of 1, 2 and 5 are ticks enough.
WIDE = 8.0


def of(pair: Pair, names: tuple[str, str]) -> list[Figure]:
    """Return the figures of one pair; ``names`` are what its two sides are called."""
    found: list[Figure | None] = []
    if pair.tables:
        found += [
            _against(pair.name, pair.tables, pair.tables.ops, names),
            _ratios(pair.name, pair.tables, names),
            _against(pair.name, pair.tables, pair.tables.networks, names),
            _ranks(pair.name, _ranked(pair.tables), names),
        ]
    if pair.fronts:
        found.append(_fronts(pair.name, pair.fronts, names))
    return [figure for figure in found if figure]


def _ranked(tables: Tables) -> Ranking:
    """Return the ranking worth drawing: of whole networks, which a search chooses among, or else of ops."""
    return tables.networks if len(tables.networks.rows) >= 5 else tables.ops


def _titled(name: str, text: str) -> str:
    return f"{name}: {text}" if name else text[:1].upper() + text[1:]


def _identity(name: str, what: str) -> str:
    return "-".join(filter(None, ("versus", what, name)))


def _against(name: str, tables: Tables, ranking: Ranking, names: tuple[str, str]) -> Figure | None:
    """Draw the time of each op or network on one side against the other, on logarithmic axes."""
    rows = ranking.rows
    if not rows:
        return None
    known = [value for row in rows for value in (row.a_ms, row.b_ms)]
    edges = [0.8 * min(known), 1.25 * max(known)]
    every = -(-len(rows) // MOST_POINTS)
    shown = rows[::every]
    kinds: dict[str, list[Any]] = defaultdict(list)
    for row in shown:
        kinds[kind_of(row.name).removesuffix(" with SE") if ranking.what == "ops" else "networks"].append(row)
    same = lines(edges, edges, "equal", line={"color": SOFT, "width": 1.4, "dash": "dot"}, hoverinfo="skip")
    data = [same]
    for number, (kind, own) in enumerate(sorted(kinds.items())):
        trace = points(
            [row.a_ms for row in own],
            [row.b_ms for row in own],
            plain(kind),
            marker={"color": SERIES[number % 6], "size": 6, "symbol": SYMBOLS[number % 6]},
            opacity=0.75,
            text=[plain(row.name) for row in own],
            hovertemplate="%{text}<br>first %{x:.4g} ms, second %{y:.4g} ms<extra></extra>",
        )
        data.append(trace)
    middle = ranking.ratio or 1.0
    look = {"type": "log", "range": [float(value) for value in np.log10(edges)], **_ticks(edges)}
    state = f"{tables.state} " if ranking.what == "ops" and tables.state != "-" else ""
    left_out = f" One in {every} is drawn." if every > 1 else ""
    return Figure(
        id=_identity(name, ranking.what),
        title=_titled(name, f"{state}{ranking.what}, one side against the other"),
        label=f"Scatter of the time of {len(rows)} {state}{ranking.what} in milliseconds, {names[1]} against "
        f"{names[0]}, on logarithmic axes; in the median {names[1]} takes {middle:.3g} times as long",
        note=f"Above the dotted line {names[1]} takes longer; in the median it takes {figures3(middle)} times as "
        f"long as {names[0]}.{left_out}",
        data=data,
        layout=layout(axis(f"{_short(names[0])}, ms", **look), axis(f"{_short(names[1])}, ms", **look)),
        header=("name", "a_ms", "b_ms", "b_over_a", "a_rank", "b_rank"),
        rows=tuple((row.name, row.a_ms, row.b_ms, row.b_ms / row.a_ms, row.a_rank, row.b_rank) for row in rows),
        height_px=520 if ranking.what == "ops" else 430,
    )


def _ticks(edges: list[float]) -> dict[str, Any]:
    """Return round values on a logarithmic axis, each said whole: plotly would say a lone 2 or 5."""
    exponents = range(math.floor(math.log10(edges[0])), math.ceil(math.log10(edges[1])))
    values = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
    return {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}


def _short(name: str) -> str:
    """Return a name as an axis holds it on a phone: the end of a long one."""
    return plain(name if len(name) <= 34 else "…" + name[-33:])


def _ratios(name: str, tables: Tables, names: tuple[str, str]) -> Figure | None:
    """Draw how much longer ops take on the second side, for each kind and state."""
    own: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in tables.facts["ops"]["rows"]:
        if not row["key"].startswith("@"):
            own[kind_of(row["key"]), row["state"]].append(row["ratio"])
    if not own:
        return None
    found = {place: np.percentile(values, (5, 25, 50, 75, 95)).tolist() for place, values in sorted(own.items())}
    kinds = {kind for kind, _ in found}
    most = max(found.items(), key=lambda entry: abs(np.log(entry[1][2])))
    edges = [float(np.min(list(found.values()))), float(np.max(list(found.values())))]
    ticks = _ticks(edges) if edges[1] / edges[0] > WIDE else {}
    even = {"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    return Figure(
        id=_identity(name, "kinds"),
        title=_titled(name, "time on one side over the other, by kind of op"),
        label=f"Box plot of the time of ops on {names[1]} over that on {names[0]} for {len(kinds)} kinds of op; "
        f"{most[0][0]} {most[0][1]} differs most, {most[1][2]:.3g} times in the median",
        note="Right of the line the second side takes longer. Boxes hold half of the ops, whiskers nine in ten.",
        data=boxes(found),
        layout=lying(
            axis("second over first, ×", type="log", **ticks),
            shapes=[even | {"line": {"color": SOFT, "width": 1.2}}],
        ),
        header=("kind", "state", "ops", "p5_ratio", "p25_ratio", "p50_ratio", "p75_ratio", "p95_ratio"),
        rows=tuple((kind, state, len(own[kind, state]), *values) for (kind, state), values in found.items()),
        height_px=max(520, height_of(kinds)),
    )


def _ranks(name: str, ranking: Ranking, names: tuple[str, str]) -> Figure | None:
    """Draw the place of each network or op on one side against that on the other."""
    if ranking.spearman is None:
        return None
    shown = ranking.rows[:: -(-len(ranking.rows) // MOST_POINTS)]
    moved = "".join(f"; {row.name} moves most, from place {row.a_rank} to {row.b_rank}" for row in ranking.apart[:1])
    ends = [1, len(ranking.rows)]
    return Figure(
        id=_identity(name, "ranks"),
        title=_titled(name, f"where the order of {ranking.what} differs"),
        label=f"Scatter of the places of {len(ranking.rows)} {ranking.what} from the quickest, on {names[1]} against "
        f"{names[0]}; Spearman's rank correlation is {ranking.spearman:.3f}{moved}",
        note=f"On the line both sides agree; Spearman's correlation is {ranking.spearman:.3f}. What lies far from it "
        "is a different choice on each side.",
        data=[
            lines(ends, ends, "same place", line={"color": SOFT, "width": 1.4, "dash": "dot"}, hoverinfo="skip"),
            points(
                [row.a_rank for row in shown],
                [row.b_rank for row in shown],
                plain(ranking.what),
                marker={"color": SERIES[0], "size": 6},
                opacity=0.8,
                text=[plain(row.name) for row in shown],
                hovertemplate="%{text}<br>place %{x} and %{y}<extra></extra>",
            ),
        ],
        layout=layout(axis(f"place on {_short(names[0])}"), axis(f"place on {_short(names[1])}")),
        header=("name", "a_ms", "b_ms", "a_rank", "b_rank"),
        rows=tuple((row.name, row.a_ms, row.b_ms, row.a_rank, row.b_rank) for row in ranking.rows),
        height_px=430,
    )


def _fronts(name: str, fronts: Fronts, names: tuple[str, str]) -> Figure:
    """Draw both fronts with their proven bounds."""
    data: list[dict[str, Any]] = []
    for number, (side, label) in enumerate(zip((fronts.a, fronts.b), names, strict=True)):
        data += _bounds(side, SERIES[number], label)
        line = front_line(pareto(side.points), SERIES[number], plain(label))
        data.append(line | {"marker": {"color": SERIES[number], "size": 7, "symbol": SYMBOLS[number]}})
    xs = [x for trace in data for x in trace["x"]]
    ys = [y for trace in data for y in trace["y"]]
    counts = [len(side.points) for side in (fronts.a, fronts.b)]
    return Figure(
        id=_identity(name, "fronts"),
        title=_titled(name, "accuracy against latency"),
        label=f"Two Pareto fronts of predicted top-1 accuracy in percent against latency in milliseconds: {names[0]} "
        f"with {counts[0]} points, {names[1]} with {counts[1]}; hypervolumes {fronts.a_volume:.3g} and "
        f"{fronts.b_volume:.3g}",
        note="Each line is what a search predicts; dashed steps are what it proved that none can exceed. Predictions "
        "of different twins or devices are comparable only as far as these are right.",
        data=data,
        layout=layout(axis("latency, ms", range=span(xs)), axis("top-1 accuracy, %", range=span(ys, margin=0.1))),
        header=("side", "id", "latency_ms", "top1_percent", "under_ms", "bound_percent"),
        rows=tuple(
            (label, point.id, point.latency_ms, point.accuracy, point.budget_ms, point.bound)
            for side, label in zip((fronts.a, fronts.b), names, strict=True)
            for point in side.points
        ),
        height_px=430,
        wide=True,
    )


def _bounds(side: Front, colour: str, label: str) -> list[dict[str, Any]]:
    """Return the proven bounds of a front as dashed steps."""
    found = side.bounds
    if not found:
        return []
    look = {"color": colour, "width": 1.4, "dash": "dash", "shape": "vh"}
    told = "under %{x:.3f} ms none is predicted above %{y:.2f} %<extra></extra>"
    name = f"bound of {plain(label)}"
    return [lines([ms for ms, _ in found], [top1 for _, top1 in found], name, line=look, hovertemplate=told)]
