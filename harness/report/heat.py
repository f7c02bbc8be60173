"""The figures of a latency table: heat maps of its operators, and how wide its intervals are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from harness.report.figure import SCALE, SERIES, Figure, axis, layout, lines, vertical
from harness.report.read import Bench, Run
from harness.report.shape import Shape, resolutions_of, shape_of
from harness.report.words import figures3, plain
from ofa.lut.format import Row

MOST_CELLS = 1200
MOST_COLUMNS_WITH_WORDS = 10
MOST_LABELS = 7
NOISE_POINTS = 200
# Shares of the colour scale where the ink changes, in the dark scheme and in the light one.
LOW, HIGH = 0.49, 0.71
_DASHES = {"hot": "solid", "cold": "dash"}

Cells = dict[tuple[str, str], list[tuple[float, bool]]]


def maps(bench: Bench, run: Run) -> list[Figure | None]:
    """Draw a table as two heat maps: block by resolution, and kernel with expand ratio by block."""
    if bench.table is None:
        return []
    state = _state(bench.table.rows)
    priced = [
        (shape, row)
        for row in bench.table.rows
        if row.state == state and (shape := shape_of(row.key)) is not None and row.ns
    ]
    sizes = resolutions_of(run.facts.get("space") or {row.space for row in bench.table.networks})
    by_size = _by_resolution(priced, sizes) if sizes else _collect(priced, _block, _input_size)
    places = "resolution of the network, px" if sizes else "input feature map, px"
    by_kernel = _collect(((shape, row) for shape, row in priced if shape.kernel), _kernel_expand, _block)
    told = f"{state} latency" if state != "-" else "latency"
    return [
        _map(f"table-blocks-{bench.runtime}", bench.titled("block by resolution"), by_size, places, "block", told),
        _map(
            f"table-kernels-{bench.runtime}",
            bench.titled("kernel and expand ratio by block"),
            by_kernel,
            "block: channels in → out, stride",
            "kernel, expand ratio",
            told,
        ),
    ]


def _state(rows: Iterable[Row]) -> str:
    """Return the state to show: hot where it was measured, else whatever there is."""
    states = {row.state for row in rows}
    return next((state for state in ("hot", "-", "cold") if state in states), "hot")


def _block(shape: Shape) -> str:
    return shape.block


def _input_size(shape: Shape) -> str:
    return str(shape.in_size)


def _kernel_expand(shape: Shape) -> str:
    # Channels are rounded to multiples of 8, and so are the ratios that blocks of two inputs share.
    return f"k{shape.kernel} e{round(shape.expand) if shape.expand >= 1 else round(shape.expand, 1):g}"


def _collect(
    priced: Iterable[tuple[Shape, Row]], down: Callable[[Shape], str], across: Callable[[Shape], str]
) -> Cells:
    """Gather latencies, ns, into the cells of a map, with whether each was modelled."""
    cells: Cells = defaultdict(list)
    for shape, row in priced:
        cells[down(shape), across(shape)].append((row.ns or 0, row.status == "modelled"))
    return cells


def _by_resolution(priced: Iterable[tuple[Shape, Row]], sizes: dict[str, dict[int, int]]) -> Cells:
    """Gather latencies by block and network resolution; ``sizes[block][resolution]`` is a block's input size, px."""
    cells: Cells = defaultdict(list)
    for shape, row in priced:
        for resolution, in_size in sizes.get(shape.block, {}).items():
            if in_size == shape.in_size:
                cells[shape.block, str(resolution)].append((row.ns or 0, row.status == "modelled"))
    return cells


def _map(identity: str, title: str, cells: Cells, across: str, down: str, told: str) -> Figure | None:
    """Draw cells as a heat map of mean latency, µs, coloured on a logarithmic scale."""
    rows = sorted({row for row, _ in cells}, key=_order)
    columns = sorted({column for _, column in cells}, key=_order)
    if not rows or len(rows) * len(columns) > MOST_CELLS:
        return None
    means = {place: float(np.mean([ns for ns, _ in found])) / 1000 for place, found in cells.items()}
    modelled = {place for place, found in cells.items() if any(flag for _, flag in found)}
    worded = len(columns) <= MOST_COLUMNS_WITH_WORDS
    star = "*" if worded else ""
    said = {place: figures3(mean) + (star if place in modelled else "") for place, mean in means.items()}
    trace = {
        "type": "heatmap",
        "x": [_wrapped(column) for column in columns],
        "y": [plain(row) for row in rows],
        "z": [[_log(means.get((row, column))) for column in columns] for row in rows],
        "text": [[said.get((row, column), "") for column in columns] for row in rows],
        "hovertemplate": "%{y}, %{x}<br>%{text} µs<extra></extra>",
        "xgap": 2,
        "ygap": 2,
        "colorscale": SCALE,
        "colorbar": _colour_bar(list(means.values())),
        "hoverongaps": False,
    }
    look = {"type": "category", "showgrid": False, "ticks": "", "tickangle": 0}
    return Figure(
        id=identity,
        title=title,
        label=f"Heat map of mean {told} in microseconds, {down} against {across}: {title}",
        note=f"Mean {told} of the ops in each cell, µs." + _modelled_words(modelled, means, worded),
        data=[
            trace,
            *([_cell_words(means, said)] if worded else []),
            *([_modelled(modelled, means)] if modelled and not worded else []),
        ],
        layout=layout(axis(across, **look, **_few(columns)), axis(down, autorange="reversed", **look)),
        header=("row", "column", "mean_ns", "operators", "modelled"),
        rows=tuple(
            (*place, round(means[place] * 1000), len(cells[place]), place in modelled)
            for place in ((row, column) for row in rows for column in columns)
            if place in means
        ),
        height_px=max(300, 130 + 30 * len(rows)),
    )


def _log(value: float | None) -> float | None:
    return None if value is None else math.log10(value)


def _wrapped(name: str) -> str:
    """Return a label of a column on lines of their own, so that it stays level on a phone."""
    return plain(name).replace(" ", "<br>").replace("→", "→<br>").removeprefix("→<br>")


def _few(columns: list[str]) -> dict[str, Any]:
    """Return which columns of very many have a label."""
    if len(columns) <= MOST_COLUMNS_WITH_WORDS:
        return {"tickfont": {"size": 9}} if len(columns) > MOST_LABELS else {}
    return {"tickvals": [_wrapped(column) for column in columns[:: -(-len(columns) // MOST_LABELS)]]}


def _cell_words(means: dict[tuple[str, str], float], said: dict[tuple[str, str], str]) -> dict[str, Any]:
    """Return the numbers in the cells, each in an ink that reads on its cell's colour in either scheme."""
    shares = _shares(means)
    return {
        "type": "scatter",
        "mode": "text",
        "x": [_wrapped(column) for _, column in means],
        "y": [plain(row) for row, _ in means],
        "text": [said[place] for place in means],
        "textfont": {
            "size": 11 if len({column for _, column in means}) <= MOST_LABELS else 10,
            "color": [_on(shares[place]) for place in means],
        },
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _modelled_words(modelled: set[tuple[str, str]], means: dict[tuple[str, str], float], worded: bool) -> str:
    """Say which cells hold rows that a model priced and nobody measured."""
    if not modelled:
        return ""
    mark = "A star marks" if worded else "A cross marks"
    return f" {mark} the {len(modelled)} of {len(means)} cells with rows that are modelled, not measured."


def _modelled(modelled: set[tuple[str, str]], means: dict[tuple[str, str], float]) -> dict[str, Any]:
    """Return a cross in each cell with modelled rows, in an ink that reads on its cell's colour."""
    shares = _shares(means)
    places = sorted(modelled)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [_wrapped(column) for _, column in places],
        "y": [plain(row) for row, _ in places],
        "marker": {"symbol": "x-thin-open", "size": 7, "color": [_on(shares[place]) for place in places]},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _shares(means: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Return where each mean stands on the colour scale, from 0 to 1."""
    low, high = math.log10(min(means.values())), math.log10(max(means.values()))
    return {place: (math.log10(mean) - low) / ((high - low) or 1.0) for place, mean in means.items()}


def _on(share: float) -> str:
    """Return the ink that reads on a colour of the scale: in its middle the schemes differ in which one does."""
    return f"var(--on-{'low' if share < LOW else 'middle' if share < HIGH else 'high'})"


def _order(name: str) -> tuple[int, tuple[tuple[int, float, str], ...]]:
    """Sort stem first and head last, the rest by the numbers in their names."""
    place = {"stem": 0, "head": 2}.get(name, 1)
    words = name.replace("→", " ").replace("k", "").replace("e", " ").split()
    return place, tuple((0, float(word), "") if _is_number(word) else (1, 0.0, word) for word in words)


def _is_number(word: str) -> bool:
    return word.replace(".", "", 1).isdigit()


def _colour_bar(values: list[float]) -> dict[str, Any]:
    """Return a colour bar with round latencies on the logarithmic scale."""
    low, high = math.log10(min(values)), math.log10(max(values))
    steps = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    kept = [step for step in steps if low <= math.log10(step) <= high]
    return {
        "title": {"text": "µs", "side": "top"},
        "tickvals": [math.log10(step) for step in kept],
        "ticktext": [f"{step:g}" for step in kept],
        "thickness": 10,
        "outlinewidth": 0,
        "len": 1,
    }


def noise(run: Run) -> Figure | None:
    """Draw, for each table, which share of its rows has an interval narrower than a width."""
    data: list[dict[str, Any]] = []
    rows: list[tuple[Any, ...]] = []
    medians = []
    for number, bench in enumerate(run.benches):
        for state in ("hot", "cold", "-"):
            halves = _half_widths(bench, state)
            if not len(halves):
                continue
            shares = np.linspace(0, 100, min(NOISE_POINTS, len(halves)))
            widths = np.percentile(halves, shares)
            parts = ["" if bench.alone else bench.label, "" if state == "-" else state]
            name = ", ".join(filter(None, parts)) or bench.label
            medians.append(float(np.median(halves)))
            data.append(
                lines(
                    widths.tolist(),
                    shares.tolist(),
                    plain(name),
                    line={"color": SERIES[number % 6], "width": 2, "dash": _DASHES.get(state, "solid")},
                    hovertemplate=f"{plain(name)}<br>%{{y:.0f}} % of rows within ±%{{x:.2f}} %<extra></extra>",
                )
            )
            rows += [(bench.runtime, state, float(w), float(s)) for w, s in zip(widths, shares, strict=True)]
    if not data:
        return None
    shape, words = vertical(2.0, "±2 %", top=True)
    return Figure(
        id="noise",
        title="Width of the intervals in the tables",
        label="Share of table rows in percent against the half width of their interval in percent of the latency, "
        f"one line for each table and state; medians {', '.join(figures3(m) for m in medians)} percent",
        note="Half the interval as a share of the latency. The further left a line rises, the quieter the measurement.",
        data=data,
        layout=layout(
            axis("half width of the interval, % of latency", rangemode="tozero"),
            axis("rows within that width, %", range=[0, 102]),
            shapes=[shape],
            annotations=[words],
        ),
        header=("runtime", "state", "half_width_percent", "rows_percent"),
        rows=tuple(rows),
        wide=True,
    )


def _half_widths(bench: Bench, state: str) -> Any:
    """Return the half widths of a table's measured rows, percent of latency."""
    rows = bench.table.rows if bench.table else ()
    return np.array(
        [
            50.0 * (row.hi - row.lo) / row.ns
            for row in rows
            if row.state == state
            and row.ns
            and row.lo is not None
            and row.hi is not None
            and row.status in ("ok", "noisy")
            and not row.key.startswith("@")
        ]
    )
