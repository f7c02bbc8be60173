"""Genomes as the numbers a model reads: one-hot for linear parts, amounts for trees, sums over stages for both."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ofa.space.core import Genomes, SearchSpace
from ofa.twins import work
from ofa.twins.genes import Space, column_of, is_ordered, rises

Matrix = NDArray[np.float64]

# An additive part of nothing or less has no log.
LEAST = 1e-9


class Features(NamedTuple):
    """A matrix float64[n, F] and the F names of its columns."""

    matrix: Matrix
    names: tuple[str, ...]


@lru_cache(maxsize=32)
def choice_table(space: Space) -> Matrix:
    """Return float64[G, C + 1]: what value v of a gene picks (pixels, blocks, kernel size, ratio); column 0 is 0."""
    table = np.zeros((len(space.genes), int(space.cardinalities.max()) + 1))
    for column, gene in enumerate(space.genes):
        table[column, 1 : len(gene.choices) + 1] = gene.choices
    table.setflags(write=False)
    return table


def choice_values(space: Space, genomes: Genomes) -> Matrix:
    """Return what each gene picks as float64[n, G]; 0 where it is not in use."""
    return choice_table(space)[np.arange(len(space.genes)), genomes]


def resolutions(space: Space, genomes: Genomes) -> Matrix | None:
    """Return the resolution of each genome, px float64[n], or None where the space has no such gene."""
    column = column_of(space, "resolution")
    return None if column is None else choice_values(space, genomes)[:, column]


def one_hot(space: Space, genomes: Genomes) -> Matrix:
    """Return 0/1 columns float64[n, H], one for each gene and choice, gene after gene; none set where not in use."""
    blocks = [
        genomes[:, column, None] == np.arange(1, len(gene.choices) + 1) for column, gene in enumerate(space.genes)
    ]
    return np.concatenate(blocks, axis=1).astype(np.float64)


@lru_cache(maxsize=32)
def _groups(space: Space) -> dict[str, tuple[int, ...]]:
    """Return the gene columns summed into each stage sum, by the sum's name."""
    groups: dict[str, tuple[int, ...]] = {}
    for column, gene in enumerate(space.genes):
        if gene.block is not None:
            name = f"s{gene.stage}.{gene.name.rsplit('.', 1)[-1]}s"
            groups[name] = (*groups.get(name, ()), column)
        elif len(gene.choices) > 1:
            groups[gene.name] = (column,)
    return groups


@lru_cache(maxsize=32)
def _totals(space: Space) -> dict[str, tuple[int, ...]]:
    """Return the gene columns of all stages together, by what they say, where more than one stage says it."""
    totals: dict[str, tuple[int, ...]] = {}
    for column, gene in enumerate(space.genes):
        if gene.stage is not None:
            name = f"all {gene.name.rsplit('.', 1)[-1]}s"
            totals[name] = (*totals.get(name, ()), column)
    return {name: members for name, members in totals.items() if len({space.genes[at].stage for at in members}) > 1}


def stage_sums(space: Space, genomes: Genomes) -> Features:
    """Return each stage's sums over its active blocks (kernels, ratios), every other gene's value, and log resolution.

    Where choices are names, each is counted instead. A column is a sum of functions of one gene, so a linear model on
    them stays additive over genes; summing over a stage lets a few dozen labels say what hundreds of one-hot weights
    would need.
    """
    return Features(one_hot(space, genomes) @ sums_of_one_hot(space), _sum_names(space))


@lru_cache(maxsize=32)
def _sum_names(space: Space) -> tuple[str, ...]:
    """Return the names of the columns of ``stage_sums``."""
    groups = _groups(space)
    if is_ordered(space):
        log = () if column_of(space, "resolution") is None else ("log resolution",)
        return (*groups, *log)
    return tuple(f"{name} = {choice:g}" for name, members in groups.items() for choice in _offered(space, members))


def _offered(space: Space, members: tuple[int, ...]) -> tuple[float, ...]:
    """Return the choices that some genes offer, in the order of the first that has each."""
    return tuple(dict.fromkeys(choice for column in members for choice in space.genes[column].choices))


@lru_cache(maxsize=32)
def sums_of_one_hot(space: Space) -> Matrix:
    """Return float64[H, F] such that ``one_hot(g) @ it`` equals ``stage_sums(g)``."""
    offsets = np.concatenate([[0], np.cumsum(space.cardinalities)])
    columns = []
    for members in _groups(space).values():
        values = _over(space, members, offsets)
        if is_ordered(space):
            columns.append(values)
        else:
            used = _over(space, members, offsets, ones=True) > 0
            columns += [np.where(used & (values == choice), 1.0, 0.0) for choice in _offered(space, members)]
    resolution = column_of(space, "resolution")
    if is_ordered(space) and resolution is not None:
        own = np.zeros(int(offsets[-1]))
        own[offsets[resolution] : offsets[resolution + 1]] = np.log(space.genes[resolution].choices)
        columns.append(own)
    matrix = np.stack(columns, axis=1)
    matrix.setflags(write=False)
    return matrix


def _over(space: Space, members: tuple[int, ...], offsets: NDArray[np.int64], *, ones: bool = False) -> Matrix:
    """Return float64[H]: the choices of some genes (or 1), 0 for all others."""
    values = np.zeros(int(offsets[-1]))
    for column in members:
        choices = space.genes[column].choices
        values[offsets[column] : offsets[column + 1]] = 1.0 if ones else choices
    return values


def tree_features(space: Space, genomes: Genomes) -> Features:
    """Return what boosted trees read: every gene that varies, then sums over each stage, then over all stages.

    Amounts with 0 for "not in use" split better than one-hot columns from a thousand labels up; where choices are names
    they are one-hot columns and counts.
    """
    if not is_ordered(space):
        hot, sums = one_hot(space, genomes), stage_sums(space, genomes)
        names = tuple(f"{gene.name} = {choice:g}" for gene in space.genes for choice in gene.choices)
        return Features(np.concatenate([hot, sums.matrix], axis=1), (*names, *sums.names))
    varying = np.flatnonzero(space.cardinalities > 1)
    values = choice_values(space, genomes)
    sums_of = _summed(space)
    columns = [values[:, varying], *(values[:, members].sum(axis=1, keepdims=True) for members in sums_of.values())]
    return Features(np.concatenate(columns, axis=1), (*(space.genes[column].name for column in varying), *sums_of))


@lru_cache(maxsize=32)
def tree_members(space: Space) -> tuple[tuple[int, ...] | None, ...]:
    """Return the genes whose choices each column of ``tree_features`` adds up; None where it does not add up any."""
    if not is_ordered(space):
        return (None,) * (int(space.cardinalities.sum()) + len(_sum_names(space)))
    return (*((int(column),) for column in np.flatnonzero(space.cardinalities > 1)), *_summed(space).values())


@lru_cache(maxsize=32)
def _summed(space: Space) -> dict[str, tuple[int, ...]]:
    """Return the genes in each sum that trees read: over a stage, then over all stages."""
    return {name: members for name, members in _groups(space).items() if len(members) > 1} | _totals(space)


@lru_cache(maxsize=32)
def rising_columns(space: Space) -> tuple[int, ...]:
    """Return 1 for each column of ``tree_features`` of which more is never thought worse, 0 for the others."""
    return tuple(
        int(own is not None and all(rises(space, space.genes[column]) for column in own)) for own in tree_members(space)
    )


@lru_cache(maxsize=32)
def sum_columns(space: Space) -> NDArray[np.bool_]:
    """Return which columns of ``tree_features`` say something of a stage or more, not of one block: bool[F]."""
    single = [gene for gene in space.genes if len(gene.choices) > 1 or not is_ordered(space)]
    if is_ordered(space):
        own = [gene.block is None for gene in single]
        return np.array([*own, *([True] * len(_summed(space)))], dtype=np.bool_)
    return np.array([False] * int(space.cardinalities.sum()) + [True] * len(_sum_names(space)), dtype=np.bool_)


def work_features(space: SearchSpace, genomes: Genomes) -> Matrix:
    """Return log work by kind, then what trees read of genes, float64[n, K]."""
    return np.concatenate([np.log1p(work.totals(space, genomes)), tree_features(space, genomes).matrix], axis=1)


def latency_features(space: SearchSpace, genomes: Genomes, additive_ms: Matrix) -> Matrix:
    """Return what trees on a latency residual read, float64[n, 1 + K]: log additive ms, log work by kind, genes.

    Prices of work carry over between networks, where single genes do not.
    """
    return beside(additive_ms, work_features(space, genomes))


def beside(additive: Matrix, columns: Matrix) -> Matrix:
    """Return the log of an additive part float64[n], then some columns float64[n, K], float64[n, 1 + K]."""
    return np.concatenate([np.log(np.maximum(additive, LEAST))[:, None], columns], axis=1)
