"""The model card: how far off each candidate was on labels it had not seen, overall and where it matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa import score
from ofa.twins import errors, intervals, samples
from ofa.twins.samples import finite

Vector = NDArray[np.float64]

LATENCY_BINS = 5
# Fewer samples than this say nothing of ranks.
FEWEST_TO_RANK = 10

# A rank correlation below this inside a resolution is that of chance where there are a few dozen networks.
RANKS_NOTHING = 0.2


def accuracy_card(
    labels: Vector,
    predictions: Mapping[str, Vector],
    chosen: str,
    *,
    resolutions: Vector | None,
    latency_ms: Vector | None,
) -> dict[str, Any]:
    """Return what the card of an accuracy twin says of its data and of out-of-fold predictions, percent float64[n]."""
    predicted = predictions[chosen]
    facts: dict[str, Any] = {
        "samples": len(labels),
        "label_mean": finite(labels.mean()),
        "label_sd": finite(labels.std()),
        "chosen": chosen,
        "models": {name: scores(labels, found, resolutions) for name, found in predictions.items()},
        "top_fifth": top_fifth(labels, predicted),
    }
    if latency_ms is not None:
        facts["latency_bins"] = latency_bins(labels, predicted, latency_ms)
    return facts


def interval(labels: Vector, at: Vector, *, foretold: int) -> dict[str, Any]:
    """Describe the intervals made from labels and what was said of them without them, percent float64[n].

    ``foretold`` is of how many an earlier twin said it, which had picked them.
    """
    method = "conformal quantile of absolute out-of-fold residuals, among those predicted alike"
    if foretold:
        method += "; of networks picked in later rounds, residuals of what was said before their labels were known"
    return {
        "method": f"{method}; {intervals.CAVEAT}",
        "coverage": 0.9,
        "half_width_points": finite(intervals.nearby(np.abs(labels - at), at, at, 0.9).mean()),
        "residuals": len(labels),
        "foretold": foretold,
    }


def scores(labels: Vector, predicted: Vector, resolutions: Vector | None) -> dict[str, float | None]:
    """Describe one candidate; ``optimism_points`` is by how much the predictions of its best tenth flatter."""
    residuals = labels - predicted
    top = np.argsort(-predicted, kind="stable")[: max(5, len(labels) // 10)]
    return samples.rank_scores(predicted, labels, resolutions) | {
        "rmse_points": finite(np.sqrt(np.mean(residuals**2))),
        "mean_error_points": finite(np.abs(residuals).mean()),
        "top_tenth_rmse_points": finite(np.sqrt(np.mean(residuals[top] ** 2))),
        "optimism_points": finite(-residuals[top].mean()),
    }


def doubt(card: Mapping[str, Any]) -> str:
    """Return the first that is to be doubted of an accuracy twin by its own card, "" where nothing is.

    It errs as one number for all networks would; it ranks none within a resolution; its interval is wider than what it
    is to tell apart.
    """
    of, interval = card["models"][card["chosen"]], card.get("interval", {})
    error, scatter, inside = of["rmse_points"], card["label_sd"], of.get("spearman_within_resolution")
    if error is not None and scatter is not None and error >= scatter:
        return errors.tells_nothing(error, scatter)
    if inside is not None and inside < RANKS_NOTHING:
        return errors.tells_sizes(inside)
    half_width = interval.get("half_width_points")
    if half_width is not None and scatter is not None and half_width > scatter:
        return errors.tells_little(interval["coverage"], half_width, scatter)
    return ""


def top_fifth(labels: Vector, predicted: Vector) -> dict[str, float | None]:
    """Describe the fifth that is predicted best: where a search looks, ranks are harder and errors flatter."""
    top = np.argsort(-predicted, kind="stable")[: max(5, len(labels) // 5)]
    return _within(labels, predicted, top) | {"optimism_points": finite(float((predicted - labels)[top].mean()))}


def latency_bins(labels: Vector, predicted: Vector, latency_ms: Vector) -> list[dict[str, float | None]]:
    """Describe fifths of equal size by latency, ms: most of a rank correlation is between them, not inside."""
    order = np.argsort(latency_ms, kind="stable")
    return [
        {"from_ms": finite(latency_ms[rows].min()), "to_ms": finite(latency_ms[rows].max())}
        | _within(labels, predicted, rows)
        for rows in np.array_split(order, LATENCY_BINS)
    ]


def _within(labels: Vector, predicted: Vector, rows: NDArray[np.int64]) -> dict[str, float | None]:
    """Describe some of the samples."""
    ranked = len(rows) >= FEWEST_TO_RANK
    return {
        "samples": len(rows),
        "spearman": finite(score.spearman(predicted[rows], labels[rows])) if ranked else None,
        "rmse_points": finite(score.rmse(predicted[rows], labels[rows])),
    }
