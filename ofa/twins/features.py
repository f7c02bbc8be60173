"""Genomes as the numbers a model reads: one-hot for linear parts, ordinal for trees, sums over stages for both."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.space.layers import layers_of

Matrix = NDArray[np.float64]


class Features(NamedTuple):
    """A matrix float64[n, F] and the F names of its columns."""

    matrix: Matrix
    names: tuple[str, ...]


@lru_cache(maxsize=32)
def choice_table(space: SearchSpace) -> Matrix:
    """Return float64[G, C + 1]: what value v of a gene picks (pixels, blocks, kernel size, ratio); column 0 is 0."""
    table = np.zeros((len(space.genes), int(space.cardinalities.max()) + 1))
    for column, gene in enumerate(space.genes):
        table[column, 1 : len(gene.choices) + 1] = gene.choices
    table.setflags(write=False)
    return table


def choice_values(space: SearchSpace, genomes: Genomes) -> Matrix:
    """Return what each gene picks as float64[n, G]; 0 where it is not in use."""
    return choice_table(space)[np.arange(len(space.genes)), genomes]


def one_hot(space: SearchSpace, genomes: Genomes) -> Matrix:
    """Return 0/1 columns float64[n, H], one for each gene and choice, gene after gene; none set where not in use."""
    blocks = [
        genomes[:, column, None] == np.arange(1, len(gene.choices) + 1) for column, gene in enumerate(space.genes)
    ]
    return np.concatenate(blocks, axis=1).astype(np.float64)


@lru_cache(maxsize=32)
def _groups(space: SearchSpace) -> dict[str, tuple[int, ...]]:
    """Return the gene columns summed into each stage sum, by the sum's name."""
    groups: dict[str, tuple[int, ...]] = {}
    for column, gene in enumerate(space.genes):
        if gene.block is not None:
            name = f"s{gene.stage}.{gene.name.rsplit('.', 1)[-1]}s"
            groups[name] = (*groups.get(name, ()), column)
        elif len(gene.choices) > 1:
            groups[gene.name] = (column,)
    return groups


def stage_sums(space: SearchSpace, genomes: Genomes) -> Features:
    """Return each stage's sums over its active blocks (kernels, ratios), every other gene's value, and log resolution.

    Each column is a sum of functions of one gene, so a linear model on them stays additive over genes; summing over a
    stage lets a few dozen labels say what hundreds of one-hot weights would need.
    """
    values = choice_values(space, genomes)
    groups = _groups(space)
    columns = [values[:, members].sum(axis=1) for members in groups.values()]
    columns.append(np.log(values[:, space.at("resolution")]))
    return Features(np.stack(columns, axis=1), (*groups, "log resolution"))


@lru_cache(maxsize=32)
def sums_of_one_hot(space: SearchSpace) -> Matrix:
    """Return float64[H, F] such that ``one_hot(g) @ it`` equals ``stage_sums(g)``."""
    groups = tuple(_groups(space).values())
    offsets = np.concatenate([[0], np.cumsum(space.cardinalities)])
    matrix = np.zeros((int(offsets[-1]), len(groups) + 1))
    for index, members in enumerate(groups):
        for column in members:
            matrix[offsets[column] : offsets[column + 1], index] = space.genes[column].choices
    resolution = space.at("resolution")
    matrix[offsets[resolution] : offsets[resolution + 1], -1] = np.log(space.genes[resolution].choices)
    matrix.setflags(write=False)
    return matrix


def tree_features(space: SearchSpace, genomes: Genomes) -> Features:
    """Return what boosted trees read: the choice value of every gene that varies, then the block sums of each stage.

    Ordinal values with 0 for "not in use" split better than one-hot columns from a thousand labels up.
    """
    varying = np.flatnonzero(space.cardinalities > 1)
    values = choice_values(space, genomes)
    sums = {name: members for name, members in _groups(space).items() if len(members) > 1}
    columns = [values[:, varying], *(values[:, members].sum(axis=1, keepdims=True) for members in sums.values())]
    names = (*(space.genes[column].name for column in varying), *sums)
    return Features(np.concatenate(columns, axis=1), names)


@lru_cache(maxsize=32)
def _physics_of_ops(space: SearchSpace) -> Matrix:
    """Return float64[n_ops, 6]: MACs that are pointwise, depthwise of kernel 3, 5, 7 and dense, and output elements."""
    index = index_of(space)
    table = np.zeros((len(index.ops), 6))
    for row, op in enumerate(index.ops):
        for layer in layers_of(op):
            outputs = layer.out_channels * layer.out_size**2
            table[row, 5] += outputs
            if layer.kind == "conv":
                macs = outputs * layer.kernel**2 * layer.in_channels / layer.groups
                depthwise = {3: 1, 5: 2, 7: 3}.get(layer.kernel, 4)
                table[row, depthwise if layer.groups > 1 else 0 if layer.kernel == 1 else 4] += macs
    table.setflags(write=False)
    return table


def latency_features(space: SearchSpace, genomes: Genomes, table_ms: NDArray[np.float64]) -> Matrix:
    """Return what trees on a latency residual read, float64[n, F]: log table sum, physics at real map sizes, genes.

    Physics: logs of pointwise, depthwise (by kernel) and dense MACs and of activation elements, each per operator at
    its own map size; prices that carry over between networks, where single genes do not.
    """
    index = index_of(space)
    physics = _physics_of_ops(space)
    totals = [index.sum(genomes, np.ascontiguousarray(physics[:, column])) for column in range(physics.shape[1])]
    logs = [np.log1p(total) for total in totals]
    return np.concatenate([np.stack([np.log(table_ms), *logs], axis=1), tree_features(space, genomes).matrix], axis=1)
