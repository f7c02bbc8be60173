"""The figures of learning: how far subnet accuracies spread, and how the supernet's training went."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.report.figure import LEGEND, SERIES, Figure, axis, layout, lines, points, vertical
from harness.report.parse import Step
from harness.report.read import Run
from harness.report.words import plain

MOST_POINTS = 600
# How far above what is drawn the axis goes where words stand there: those of percentiles, and of phases.
HEADROOM, ROOM = 1.7, 1.25
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def spread(run: Run) -> Figure | None:
    """Draw the distribution of measured subnet accuracies, stacked by resolution, with its 5-95 percentile spread."""
    if not run.labels or run.spread is None:
        return None
    top1 = np.array([label.top1 for label in run.labels])
    edges = _edges(top1)
    # Above the highest bar there is room for the words of the two percentiles.
    most = HEADROOM * float(np.histogram(top1, edges)[0].max())
    low, high = run.spread
    marks = [
        vertical(low, f"5th percentile {low:.1f} %", top=True),
        vertical(high, f"95th percentile {high:.1f} %", top=True),
    ]
    return Figure(
        id="labels-spread",
        title=f"Measured accuracy of {len(top1):,} subnets",
        label=f"Histogram of top-1 accuracy in percent of {len(top1)} subnets, stacked by resolution; the 5th "
        f"percentile is {low:.1f} percent and the 95th {high:.1f} percent",
        note=f"Between the 5th and the 95th percentile lie {high - low:.1f} points: what a search can win or lose.",
        data=_stacked(run, edges),
        layout=layout(
            axis("top-1 accuracy, %"),
            axis("subnets", range=[0, most]),
            barmode="stack",
            bargap=0,
            legend=LEGEND | {"traceorder": "normal"},
            shapes=[shape for shape, _ in marks],
            annotations=[words for _, words in marks],
        ),
        header=("id", "resolution_px", "top1_percent", "images"),
        rows=tuple((label.id, label.resolution, label.top1, label.images) for label in run.labels),
        wide=True,
    )


def _stacked(run: Run, edges: Any) -> list[dict[str, Any]]:
    """Return the bars of each resolution, one on the other."""
    middles = (edges[:-1] + edges[1:]) / 2
    resolutions = sorted({label.resolution for label in run.labels})
    data = []
    for place, resolution in enumerate(resolutions):
        own = np.array([label.top1 for label in run.labels if label.resolution == resolution])
        counts, _ = np.histogram(own, edges)
        # Resolution is ordered, so it takes the ordered colours, light to dark.
        step = 2 + round(4 * place / max(1, len(resolutions) - 1))
        data.append(
            {
                "type": "bar",
                "x": middles.tolist(),
                "y": counts.tolist(),
                "width": float(edges[1] - edges[0]),
                "name": f"{resolution} px",
                "marker": {"color": f"var(--scale-{step})", "line": {"width": 0.5, "color": "var(--panel)"}},
                "hovertemplate": f"%{{y}} subnets at {resolution} px<br>near %{{x:.1f}} %<extra></extra>",
            }
        )
    return data


def _edges(values: Any) -> Any:
    """Return at most 40 equal bins at round places that hold all values."""
    extent = float(values.max() - values.min()) or 1.0
    width = next(step for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if extent / step <= 38)
    first = np.floor(values.min() / width)
    return np.arange(first, np.floor(values.max() / width) + 2) * width


def loss(run: Run) -> Figure | None:
    """Draw the training loss: every logged step pale, its running median strong."""
    known = [step for step in run.steps if step.loss is not None]
    if len(known) < 2:
        return None
    xs = [step.step for step in known]
    most = max(step.loss or 0.0 for step in known)
    ys = np.array([step.loss for step in known], dtype=np.float64)
    shown = _every(len(known))
    marks = _phases(run)
    return Figure(
        id="training-loss",
        title="Training loss of the supernet",
        label=f"Training loss in nats against the training step, {len(known)} logged steps up to step {xs[-1]:g}",
        note="Pale: the loss as logged; strong: its running median.",
        data=[
            lines(xs[shown], ys[shown].tolist(), "as logged", line={"color": SERIES[0], "width": 1}, opacity=0.35),
            lines(
                xs[shown],
                _running_median(ys)[shown].tolist(),
                "running median",
                line={"color": SERIES[0], "width": 2.5},
            ),
        ],
        layout=layout(
            axis("training step"),
            axis("loss, nats", **({"range": [0, ROOM * most]} if marks and most > 0 else {"rangemode": "tozero"})),
            shapes=[shape for shape, _ in marks],
            annotations=[words for _, words in marks],
        ),
        header=("step", "loss_nats", "learning_rate", "resolution_px"),
        rows=tuple((step.step, step.loss, step.learning_rate, step.resolution) for step in known[shown]),
    )


def _every(count: int) -> slice:
    """Return which of many points are drawn."""
    return slice(None, None, max(1, -(-count // MOST_POINTS)))


def _phases(run: Run) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return a line with a name where each phase of a training begins, unless there is one phase alone."""
    first: dict[str, float] = {}
    for step in run.steps:
        if step.phase:
            first.setdefault(step.phase, step.step)
    if len(first) < 2:
        return []
    return [vertical(at, plain(name), dash="dot", top=True, after=True) for name, at in first.items()]


def _running_median(values: Any) -> Any:
    """Return the median of a window of about a twentieth of the series, narrower at its ends."""
    half = max(1, len(values) // 40)
    return np.array([np.median(values[max(0, at - half) : at + half + 1]) for at in range(len(values))])


def corners(run: Run) -> Figure | None:
    """Draw the accuracy of the corner subnets as training went on."""
    logged: list[Step] = [step for step in run.steps if step.corners]
    names = list(dict.fromkeys(name for step in logged for name in step.corners))
    if not names:
        return None
    last = {name: step.corners[name] for step in logged for name in step.corners}
    data = []
    for number, name in enumerate(names):
        own = [step for step in logged if name in step.corners]
        own = [*own[_every(len(own))], own[-1]]
        data.append(
            points(
                [step.step for step in own],
                [step.corners[name] for step in own],
                plain(name),
                mode="lines+markers",
                line={"color": SERIES[number % 6], "width": 2, "dash": _DASHES[number % 6]},
                marker={"size": 6},
                hovertemplate=f"{plain(name)}<br>step %{{x}}: %{{y:.2f}} %<extra></extra>",
            )
        )
    return Figure(
        id="training-corners",
        title="Accuracy of the corner subnets while training",
        label=f"Top-1 accuracy in percent of {len(names)} corner subnets against the training step: "
        + ", ".join(f"{name} at last {top1:.1f}" for name, top1 in last.items()),
        note="The largest, the smallest and the mixed subnets, all cut from the one supernet.",
        data=data,
        layout=layout(axis("training step"), axis("top-1 accuracy, %")),
        header=("step", *names),
        rows=tuple((step.step, *(step.corners.get(name) for name in names)) for step in logged),
    )
