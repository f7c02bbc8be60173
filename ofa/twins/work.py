"""The work in a network, from its ops at their real map sizes: what a device's latency is made of."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.space.layers import layers_of
from ofa.space.ops import Op

Matrix = NDArray[np.float64]


class Columns(NamedTuple):
    """Amounts of work of each op of a space, float64[n_ops, F], and the F names of the columns.

    A network's amounts are sums over its ops (`OpIndex.sum`), so any linear price of them is one value for each op.
    """

    of_ops: Matrix
    names: tuple[str, ...]


def kinds(op: Op) -> dict[str, float]:
    """Return how much of each kind of work an op has.

    MACs of pointwise, dense and, by kernel, depthwise convolutions; MACs on a single pixel (squeeze-excite,
    classifier); elements that convolutions write; elements that pools and shortcuts touch; 1 for the op itself.
    """
    found: dict[str, float] = defaultdict(float)
    found["ops"] = 1.0
    for layer in layers_of(op):
        pixels = layer.out_size**2
        if layer.kind not in ("conv", "linear"):
            found["other elements"] += max(layer.in_size, layer.out_size) ** 2 * layer.in_channels
        elif pixels == 1:
            found["pixel MACs"] += layer.macs
        else:
            found["elements"] += pixels * layer.out_channels
            kind = f"depthwise k{layer.kernel}" if layer.groups > 1 else "pointwise" if layer.kernel == 1 else "dense"
            found[f"{kind} MACs"] += layer.macs
    return found


@lru_cache(maxsize=32)
def op_columns(space: SearchSpace) -> Columns:
    """Return the work of each op of a space by kind and stage, and resolution² and resolution⁴.

    A device prices the same work differently at the large maps of early stages and the many channels of late ones. What
    depends on the resolution alone stands with the stem, which every network has once.
    """
    ops, stages = index_of(space).ops, _stages(space)
    found = [kinds(op) for op in ops]
    names, columns = [], []
    for kind in sorted({kind for each in found for kind in each}):
        amounts = np.array([each.get(kind, 0.0) for each in found])
        for stage in np.unique(stages):
            own = np.where(stages == stage, amounts, 0.0)
            if own.any():
                names.append(f"{kind}, part {stage}")
                columns.append(own)
    at_stem = stages == 0
    sizes = np.array([op.in_size for op in ops], dtype=np.float64)
    columns += [np.where(at_stem, sizes**power, 0.0) for power in (2, 4)]
    matrix = np.stack(columns, axis=1)
    matrix.setflags(write=False)
    return Columns(matrix, (*names, "resolution²", "resolution⁴"))


def counting_ops(space: SearchSpace) -> NDArray[np.bool_]:
    """Return which columns of `op_columns` together count the ops of a network, bool[F]."""
    return np.array([name.startswith("ops, ") for name in op_columns(space).names])


def _stages(space: SearchSpace) -> NDArray[np.int64]:
    """Return the part of the network each op stands in, int64[n_ops]: 0 the stem, then stages, then the head.

    An op that stands in two stages counts for the first: one op has one price.
    """
    index = index_of(space)
    found = np.full(len(index.ops), -1)
    for number, slot in enumerate(index.slots):
        last = number == len(index.slots) - 1
        gene = space.genes[slot.depth[0]] if slot.depth else None
        stage = (gene.stage or 0) if gene else len(space.stages) + 1 if last else 0
        rows = np.unique(slot.rows)
        rows = rows[rows < len(index.ops)]
        found[rows] = np.where(found[rows] < 0, stage, found[rows])
    return found


def amounts(space: SearchSpace, genomes: Genomes) -> Matrix:
    """Return the work of each canonical genome uint8[n, G], float64[n, F], in the columns of ``op_columns``."""
    index, columns = index_of(space), op_columns(space).of_ops
    return np.stack([index.sum(genomes, np.ascontiguousarray(column)) for column in columns.T], axis=1)


@lru_cache(maxsize=32)
def _totals(space: SearchSpace) -> Matrix:
    """Return the work of each op by kind alone, float64[n_ops, K]."""
    found = [kinds(op) for op in index_of(space).ops]
    names = sorted({kind for each in found for kind in each} - {"ops"})
    matrix = np.array([[each.get(name, 0.0) for name in names] for each in found])
    matrix.setflags(write=False)
    return matrix


def totals(space: SearchSpace, genomes: Genomes) -> Matrix:
    """Return the work of each canonical genome uint8[n, G] by kind alone, float64[n, K]."""
    index = index_of(space)
    return np.stack([index.sum(genomes, np.ascontiguousarray(column)) for column in _totals(space).T], axis=1)
