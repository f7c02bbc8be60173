"""ReLU networks on one-hot genes from above: a sum that no prediction exceeds, by linear bounds of every unit.

Each ReLU whose sign is not certain lies between two lines; put through the network backwards these give a linear
function of its inputs above the prediction (CROWN, Zhang et al. 2018, arXiv 1811.00866). On one-hot genes a linear
function is a sum over genes, and what that is at most is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.sums import Sum, Term
from ofa.space.core import SearchSpace

Values = NDArray[np.float64]

FLOAT32_ROUNDING = 2.0**-24


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Layers (weight float64[in, out], bias float64[out]) with ReLUs between.

    ``columns`` int64[G, C + 1] says which input a gene's value sets to 1, one more than there are where none. The
    prediction is ``scale`` times the one output.
    """

    layers: tuple[tuple[Values, Values], ...]
    columns: NDArray[np.int64]
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Between:
    """Two lines that a layer's ReLUs lie between, float64[units]: slope and height above, and the slope below."""

    slope: Values
    height: Values
    slope_below: Values


def above(space: SearchSpace, network: Network) -> Sum:
    """Return a sum that no prediction exceeds, float32 rounding included; tighter for each resolution by itself."""
    resolution, slack = space.at("resolution"), _rounding(network)
    by_resolution = [_linear(space, network, value) for value in range(1, len(space.resolutions) + 1)]
    terms = []
    heights = np.array([0.0, *(height + slack for _, height in by_resolution)])
    for column, gene in enumerate(space.genes):
        if column == resolution:
            own = [effects[column, value] for value, (effects, _) in enumerate(by_resolution, 1)]
            terms.append(Term(columns=(column,), table=heights + np.array([0.0, *own])))
            continue
        rows = [effects[column, : len(gene.choices) + 1] for effects, _ in by_resolution]
        table = np.stack([np.zeros_like(rows[0]), *rows])
        columns = (resolution, column) if resolution < column else (column, resolution)
        terms.append(Term(columns=columns, table=table if resolution < column else table.T))
    return Sum(constant=0.0, terms=tuple(terms)).scaled(network.scale)


def _linear(space: SearchSpace, network: Network, resolution: int) -> tuple[Values, float]:
    """Return effects of genes float64[G, C + 1] and a height whose sum no output exceeds at one resolution."""
    lines: list[_Between] = []
    for number, (weight, bias) in enumerate(network.layers):
        upwards, heights = _backwards(network, lines, weight.T, bias)
        if number == len(network.layers) - 1:
            return upwards[0], float(heights[0])
        most = heights + _most(space, upwards, resolution)
        downwards, depths = _backwards(network, lines, -weight.T, -bias)
        least = -(depths + _most(space, downwards, resolution))
        lines.append(_between(least, most))
    raise ValueError("a network has at least one layer")


def _between(least: Values, most: Values) -> _Between:
    """Return the lines about ReLUs whose inputs lie between two values."""
    unsure = (least < 0) & (most > 0)
    slope = np.where(unsure, most / np.where(unsure, most - least, 1.0), (least >= 0).astype(np.float64))
    return _Between(
        slope=slope,
        height=np.where(unsure, -least * slope, 0.0),
        # Whichever of 0 and the input itself leaves the smaller area.
        slope_below=np.where(unsure, (most > -least).astype(np.float64), slope),
    )


def _backwards(network: Network, lines: Sequence[_Between], weights: Values, heights: Values) -> tuple[Values, Values]:
    """Return effects of genes float64[n, G, C + 1] and heights float64[n]; their sums exceed ``weights @ a + heights``.

    ``a`` is what comes out of the ReLUs of the last of ``lines``, or the inputs where there are none.
    """
    for between, (weight, bias) in zip(reversed(lines), reversed(network.layers[: len(lines)]), strict=True):
        rising, falling = np.maximum(weights, 0.0), np.minimum(weights, 0.0)
        heights = heights + rising @ between.height
        weights = rising * between.slope + falling * between.slope_below
        heights = heights + weights @ bias
        weights = weights @ weight.T
    padded = np.concatenate([weights, np.zeros((len(weights), 1))], axis=1)
    return padded[:, network.columns], heights


def _most(space: SearchSpace, effects: Values, resolution: int) -> Values:
    """Return the largest sums float64[n] of effects float64[n, G, C + 1] over all networks of one resolution."""
    best = {}
    total = np.zeros(len(effects))
    for column, gene in enumerate(space.genes):
        best[column] = effects[:, column, 1 : len(gene.choices) + 1].max(axis=1)
        if gene.name == "resolution":
            total = total + effects[:, column, resolution]
        elif gene.block is None and not gene.name.endswith(".depth"):
            total = total + best[column]
    for column, gene in enumerate(space.genes):
        if gene.name.endswith(".depth"):
            own = [
                effects[:, column, value]
                + sum(
                    best[other] if depth > (inner.block or 0) else effects[:, other, 0]
                    for other, inner in enumerate(space.genes)
                    if inner.block is not None and inner.stage == gene.stage
                )
                for value, depth in enumerate(gene.choices, 1)
            ]
            total = total + np.max(own, axis=0)
    return total


def _rounding(network: Network) -> float:
    """Return by how much an output computed in float32 may differ from the exact one.

    A dot product of n terms rounds by at most ``n u / (1 - n u)`` of the sum of their sizes (Higham 2002, section 3.1).
    """
    size, fault = np.ones(len(network.layers[0][0])), np.zeros(len(network.layers[0][0]))
    used = int((network.columns < len(size)).any(axis=1).sum())
    for number, (weight, bias) in enumerate(network.layers):
        terms = (used if number == 0 else len(weight)) + 2
        part = terms * FLOAT32_ROUNDING / (1 - terms * FLOAT32_ROUNDING)
        if number == 0:
            # Each gene sets at most one input.
            padded = np.concatenate([np.abs(weight), np.zeros((1, weight.shape[1]))])
            sizes = padded[network.columns].max(axis=1).sum(axis=0) + np.abs(bias)
            faults = np.zeros(weight.shape[1])
        else:
            sizes, faults = size @ np.abs(weight) + np.abs(bias), fault @ np.abs(weight)
        size, fault = sizes + faults, faults + part * (sizes + faults)
    return float(fault[0])
