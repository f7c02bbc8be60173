"""A figure of the page: what plotly draws, the same data as CSV, and words for who cannot see it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from harness.report.words import plain

# Colours are names of CSS variables: the page resolves them when it draws, once for light and once for dark.
INK, SOFT, GRID = "var(--ink)", "var(--soft)", "var(--grid)"
BAND, FLOOR = "var(--band)", "var(--floor)"
SERIES = tuple(f"var(--series-{number})" for number in range(1, 7))
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")
LEGEND = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
# Rows of a table by state, in the order they are drawn; what is hot is drawn in the warm colour.
STATES = ("hot", "cold", "-")
_OF_STATE = {"hot": SERIES[1], "cold": SERIES[0], "-": SERIES[0]}
# A page is to be mailed: labels of ten thousands of subnets stay in their own file.
MOST_ROWS = 6000
SCALE = [[step / 6, f"var(--scale-{step})"] for step in range(7)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure: ``label`` is its accessible name, ``note`` the sentence below it, ``rows`` its data as a table."""

    id: str
    title: str
    label: str
    note: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    header: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    height_px: int = 380
    wide: bool = False

    @property
    def csv_uri(self) -> str:
        """Return the data as a ``data:`` address that a link can download without any script; no more than fits."""
        return "data:text/csv;charset=utf-8," + quote(csv_text(self.header, self.rows[:MOST_ROWS]))

    @property
    def rows_left_out(self) -> int:
        """Return how many rows the page has no room for."""
        return max(0, len(self.rows) - MOST_ROWS)


def csv_text(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as CSV; a text that a spreadsheet would run as a formula gets a leading apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and len(value) > 1:
        return "'" + value
    return "" if value is None else value


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return an axis with its title, which must name the unit, and the look that all figures share."""
    return {
        "title": {"text": title, "standoff": 10},
        "automargin": True,
        "gridcolor": GRID,
        "zeroline": False,
        "zerolinecolor": SOFT,
        "linecolor": GRID,
        "tickcolor": GRID,
        "ticks": "outside",
        "ticklen": 4,
    } | more


def layout(x: dict[str, Any], y: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a layout: two axes, and a legend above the plot where it fits a phone as well."""
    return {
        "xaxis": x,
        "yaxis": y,
        "legend": LEGEND,
        "margin": {"l": 8, "r": 14, "t": 8, "b": 8},
        "hovermode": "closest",
    } | more


def points(x: Sequence[Any], y: Sequence[Any], name: str, **more: Any) -> dict[str, Any]:
    """Return a scatter trace."""
    return {"type": "scatter", "mode": "markers", "x": list(x), "y": list(y), "name": name} | more


def lines(x: Sequence[Any], y: Sequence[Any], name: str, **more: Any) -> dict[str, Any]:
    """Return a line trace."""
    return points(x, y, name, mode="lines") | more


def boxes(found: Mapping[tuple[str, str], Sequence[float]]) -> list[dict[str, Any]]:
    """Return one trace of lying boxes for each state, kinds from the top.

    ``found`` holds the 5th, 25th, 50th, 75th and 95th percentile of each kind of op and state.
    """
    data = []
    for state in (state for state in STATES if any(other == state for _, other in found)):
        columns = zip(*(values for (_, other), values in found.items() if other == state), strict=True)
        data.append(
            {
                "type": "box",
                "orientation": "h",
                "name": "measured" if state == "-" else state,
                "y": [plain(kind) for kind, other in found if other == state],
                **dict(zip(("lowerfence", "q1", "median", "q3", "upperfence"), map(list, columns), strict=True)),
                "line": {"color": _OF_STATE[state], "width": 1.5},
                "fillcolor": BAND,
                "whiskerwidth": 0.6,
            }
        )
    return data


def lying(x: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the layout of lying boxes over an axis."""
    kinds = axis("kind of op", type="category", autorange="reversed", showgrid=False)
    return layout(x, kinds, boxmode="group", **more)


def height_of(kinds: Iterable[str]) -> int:
    """Return how high, in pixels, a figure of lying boxes for some kinds is."""
    return 150 + 44 * len(set(kinds))


def vertical(
    x: float, text: str, *, dash: str = "dash", top: bool = False, after: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a vertical line and its words, for a layout's ``shapes`` and ``annotations``.

    The words stand on its left, or ``after`` it on its right.
    """
    shape = {
        "type": "line",
        "x0": x,
        "x1": x,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "layer": "below",
        "line": {"color": SOFT, "width": 1.2, "dash": dash},
    }
    words = {
        "x": x,
        "yref": "paper",
        "y": 1 if top else 0,
        "yanchor": "top" if top else "bottom",
        "xanchor": "left" if after else "right",
        "textangle": -90,
        "text": text,
        "showarrow": False,
        "font": {"size": 11, "color": SOFT},
    }
    return shape, words


def span(
    values: Sequence[float], *, margin: float = 0.08, below: float | None = None, least: float = 0.0
) -> list[float]:
    """Return a range that holds all values with room around them, as shares of their extent, which is ``least`` or more
    unless they are one value."""
    low, high = min(values), max(values)
    if 0 < high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    extent = (high - low) or abs(high) or 1.0
    return [low - extent * (margin if below is None else below), high + extent * margin]


def bars(triples: Sequence[tuple[float | None, float | None, float | None]], colour: str) -> dict[str, Any]:
    """Return error bars from (low, middle, high); a limit that is not known has no bar on its side."""
    down = [0.0 if low is None or middle is None else max(0.0, middle - low) for low, middle, _ in triples]
    up = [0.0 if high is None or middle is None else max(0.0, high - middle) for _, middle, high in triples]
    look = {"color": colour, "thickness": 1.4, "width": 4}
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down} | look
