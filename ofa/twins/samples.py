"""Samples before a twin learns from them: checked, and equal networks merged so that no fold sees its own answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ofa.space.core import Genomes
from ofa.twins import errors
from ofa.twins.genes import Space

Vector = NDArray[np.float64]


def merged(
    space: Space, genomes: Genomes, values: NDArray[np.floating], *, needed: int, of: str, positive: bool
) -> tuple[Genomes, Vector]:
    """Return distinct genomes uint8[m, G] in a fixed order with the mean of each one's values float64[m].

    Raises SpaceMismatch for foreign genomes and UsageInvalid for values that are not finite (or not positive, where
    ``positive``), of the wrong shape, or of fewer than ``needed`` different networks.
    """
    space.check(genomes)
    labels = np.asarray(values, dtype=np.float64)
    if labels.shape != (len(genomes),):
        raise errors.not_parallel(of, labels.shape, (len(genomes),))
    unfit = ~np.isfinite(labels) | (positive & (labels <= 0))
    if unfit.any():
        at = int(np.argmax(unfit))
        wanted = "a positive number" if positive else "a finite number"
        raise errors.not_a_number(of, wanted, row=at, value=float(labels[at]))
    distinct, row = np.unique(genomes, axis=0, return_inverse=True)
    if len(distinct) < needed:
        raise errors.too_few(len(distinct), needed=needed, of=of)
    row = row.reshape(-1)
    sums = np.bincount(row, weights=labels, minlength=len(distinct))
    return distinct.astype(np.uint8), sums / np.bincount(row, minlength=len(distinct))


def rank_scores(predicted: Vector, actual: Vector, resolutions: Vector | None) -> dict[str, float | None]:
    """Return Spearman and Kendall over all samples, and mean Spearman inside resolutions of at least ten samples.

    Resolution and depth dominate random samples: ranks inside a resolution say what a search needs to know.
    """
    from ofa import score

    kinds = [] if resolutions is None else [resolutions == value for value in np.unique(resolutions)]
    inside = [score.spearman(predicted[rows], actual[rows]) for rows in kinds if rows.sum() >= 10]
    return {
        "spearman": finite(score.spearman(predicted, actual)),
        "kendall": finite(score.kendall(predicted, actual)),
        "spearman_within_resolution": finite(float(np.mean(inside))) if inside else None,
    }


def finite(value: float) -> float | None:
    """Return a number JSON can carry: rounded to six digits after the point, None where it is not finite."""
    return round(float(value), 6) if np.isfinite(value) else None
