"""What an op costs by the work in it: non-negative prices of MACs, taps, elements and weights at real map sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.space.layers import Layer, layers_of
from ofa.space.ops import Op

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

# Matrix kernels work on whole tiles of pixels: a map of 11 x 11 costs as much as its next multiple of the tile.
TILES_PX = (1, 4, 8)
# Whole networks say something of the prices of a dozen kinds of work from about so many up.
FEWEST_NETWORKS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Prices, ns a unit of work, for the kinds of work that measured ops have; ``tile_px`` as in ``TILES_PX``."""

    tile_px: int
    prices: dict[str, float]

    def predict(self, ops: Sequence[Op]) -> Vector:
        """Return the time of each op, ns, float64[n]."""
        return np.asarray(design(ops, self.tile_px, tuple(self.prices)) @ np.array(list(self.prices.values())))

    def residuals(self, ops: Sequence[Op], ns: Vector) -> Vector:
        """Return the log of measured over predicted, float64[n]; a prediction of next to nothing counts as a tenth."""
        return np.asarray(np.log(ns / np.maximum(self.predict(ops), 0.1 * ns)))

    def unpriced(self, op: Op) -> str | None:
        """Return a kind of work of an op that has no price because no measured op has it, or None."""
        return next((name for name in sorted(work(op, self.tile_px)) if name not in self.prices), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkModel:
    """Prices of work, ns a unit, fitted to whole networks alone, and what every network takes besides.

    Where not ``skips_borders``, taps of depthwise filters are counted outside the map, too.
    """

    tile_px: int
    skips_borders: bool
    prices: dict[str, float]
    constant_ns: float

    def price(self, ops: Sequence[Op]) -> Vector:
        """Return what each op adds to a network, ns, float64[n]; work that no network had costs nothing."""
        parts = [by_kernel(op, self.tile_px, skips_borders=self.skips_borders) for op in ops]
        return np.array([sum(self.prices.get(name, 0.0) * amount for name, amount in part.items()) for part in parts])

    def predict(self, space: SearchSpace, genomes: Genomes) -> Vector:
        """Return the time of each canonical genome uint8[n, G] of the space, ns, float64[n]."""
        index = index_of(space)
        return index.sum(genomes, self.price(index.ops)) + self.constant_ns


@lru_cache(maxsize=1 << 16)
def work(op: Op, tile_px: int) -> Mapping[str, float]:
    """Return how much of each kind of work an op has, zeros left out.

    MACs of pointwise and of dense convolutions over whole tiles of ``tile_px`` pixels; taps of depthwise filters that
    lie inside the map, by stride; weights; elements that layers write (or pools read), and those of h-swish once more;
    MACs and number of the layers on a single pixel (squeeze-excite, classifier); 1 for the call itself. Few kinds on
    purpose: with more, a price found on some channels says less about others.
    """
    found: dict[str, float] = defaultdict(float)
    found["call"] = 1.0
    for layer in layers_of(op):
        pixels = layer.out_size**2
        if layer.kind not in ("conv", "linear"):
            found["elements"] += max(layer.in_size, layer.out_size) ** 2 * layer.in_channels
        elif pixels == 1:
            found["pixel macs"] += layer.macs
            found["pixel layers"] += 1
        else:
            found["elements"] += pixels * layer.out_channels
            if layer.act == "hswish":
                found["hswish elements"] += pixels * layer.out_channels
            _add_convolution(found, layer, tile_px)
    return MappingProxyType(dict(found))


def _add_convolution(found: dict[str, float], layer: Layer, tile_px: int) -> None:
    """Add the arithmetic of a convolution over more than one pixel."""
    if layer.groups > 1:
        found[_taps(layer)] += layer.out_channels * _taps_inside(layer) ** 2
        return
    pixels = layer.out_size**2
    tiled = -(-pixels // tile_px) * tile_px
    found["pointwise macs" if layer.kernel == 1 else "dense macs"] += layer.macs / pixels * tiled
    found["weights"] += layer.params


def _taps(layer: Layer) -> str:
    """Return what the taps of a depthwise convolution are called."""
    return "depthwise taps" if layer.stride == 1 else "depthwise strided taps"


def _taps_inside(layer: Layer) -> int:
    """Return how many taps of a filter lie inside the map along one edge, over all outputs: borders are skipped."""
    starts = range(-(layer.kernel // 2), layer.out_size * layer.stride - layer.kernel // 2, layer.stride)
    return sum(min(layer.in_size, start + layer.kernel) - max(0, start) for start in starts)


def design(ops: Sequence[Op], tile_px: int, names: Sequence[str]) -> Matrix:
    """Return the work of each op, float64[n, F], in the order of ``names``."""
    return np.array([[work(op, tile_px).get(name, 0.0) for name in names] for op in ops]).reshape(len(ops), len(names))


def fit(ops: Sequence[Op], ns: Vector, tiles_px: Sequence[int] = TILES_PX) -> CostModel:
    """Fit prices of zero or more to measured times, float64[n] > 0, by least relative error; the tile that fits best.

    A percent counts the same on a small and a large op.
    """
    found = []
    for tile_px in tiles_px:
        names = tuple(sorted({name for op in ops for name in work(op, tile_px)}))
        prices, loss = _priced(design(ops, tile_px, names), ns)
        found.append((loss, CostModel(tile_px=tile_px, prices=dict(zip(names, prices.tolist(), strict=True)))))
    return min(found, key=lambda one: one[0])[1]


def _priced(amounts: Matrix, ns: Vector) -> tuple[Vector, float]:
    """Return prices float64[F] >= 0 of amounts float64[n, F] that took ns, and their summed squared relative error."""
    matrix = amounts / ns[:, None]
    prices = non_negative(matrix.T @ matrix, matrix.sum(axis=0))
    return prices, float(((matrix @ prices - 1) ** 2).sum())


def fit_networks(space: SearchSpace, genomes: Genomes, ns: Vector, tiles_px: Sequence[int] = TILES_PX) -> NetworkModel:
    """Fit prices of zero or more to whole networks: canonical genomes uint8[n, G] that took ns float64[n] > 0.

    For devices whose blocks cannot be timed one by one. As in ``fit``, but taps of each depthwise kernel size have a
    price of their own: every size occurs in whole networks, and a runtime may be slow at one of them alone. Whether it
    skips the taps outside the map is what fits best.
    """
    index = index_of(space)
    found = []
    for tile_px, skips_borders in product(tiles_px, (True, False)):
        parts = [by_kernel(op, tile_px, skips_borders=skips_borders) for op in index.ops]
        names = sorted({name for part in parts for name in part})
        amounts = {name: np.array([part.get(name, 0.0) for part in parts]) for name in names}
        sums = np.stack([index.sum(genomes, amounts[name]) for name in names] + [np.ones(len(genomes))], axis=1)
        prices, loss = _priced(sums, ns)
        named = dict(zip(names, prices[:-1].tolist(), strict=True))
        model = NetworkModel(tile_px=tile_px, skips_borders=skips_borders, prices=named, constant_ns=float(prices[-1]))
        found.append((loss, model))
    return min(found, key=lambda one: one[0])[1]


@lru_cache(maxsize=1 << 16)
def by_kernel(op: Op, tile_px: int, *, skips_borders: bool) -> Mapping[str, float]:
    """Return the work of an op with the taps of its depthwise filters named by their size, inside the map or all."""
    found = {name: amount for name, amount in work(op, tile_px).items() if "taps" not in name}
    for layer in layers_of(op):
        if layer.kind == "conv" and layer.groups > 1 and layer.out_size > 1:
            edge = _taps_inside(layer) if skips_borders else layer.out_size * layer.kernel
            name = f"{_taps(layer)} k{layer.kernel}"
            found[name] = found.get(name, 0.0) + layer.out_channels * edge**2
    return MappingProxyType(found)


def non_negative(gram: Matrix, goal: Vector) -> Vector:
    """Return the x of zero or more that minimises ``x @ gram @ x / 2 - goal @ x``: least squares by normal equations.

    Source: Lawson and Hanson 1974, chapter 23. Columns of nothing get 0.
    """
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    gram, goal = gram / np.outer(scale, scale), goal / scale
    x, free = np.zeros(len(goal)), np.zeros(len(goal), dtype=np.bool_)
    tolerance = 1e-9 * float(np.abs(goal).max(initial=0.0))
    for _ in range(3 * len(goal)):
        rise = np.where(free, -np.inf, goal - gram @ x)
        if rise.max(initial=-np.inf) <= tolerance:
            break
        free[rise.argmax()] = True
        while True:
            step = np.zeros(len(goal))
            step[free] = np.linalg.lstsq(gram[np.ix_(free, free)], goal[free], rcond=None)[0]
            below = free & (step <= 0)
            if not below.any():
                break
            share = float((x[below] / np.maximum(x[below] - step[below], 1e-300)).min())
            x = x + share * (step - x)
            free &= x > 1e-14
        x = step
    return np.asarray(x / scale)
