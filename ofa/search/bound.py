"""Exact extremes of a sum over a space's operators, by eliminating one gene after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ofa.search.sums import Sum, Term, of_ops
from ofa.space.core import Genomes, SearchSpace

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extremes:
    """The smallest and largest value over a space, and a canonical genome uint8[G] that attains each."""

    least: float
    most: float
    argleast: Genomes
    argmost: Genomes

    def scaled(self, factor: float) -> Extremes:
        """Return the extremes of the same sum times a factor above zero."""
        return Extremes(
            least=self.least * factor, most=self.most * factor, argleast=self.argleast, argmost=self.argmost
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A term that depends on some genes: ``table[v1 - 1, v2 - 1, ...]`` for the values of ``columns``, which ascend."""

    columns: tuple[int, ...]
    table: Values


def extremes(space: SearchSpace, values: Values, constant: float = 0.0, *, combine: np.ufunc = np.add) -> Extremes:
    """Return the exact extremes of ``constant`` plus the sum of operator values over all networks of a space.

    With ``combine=np.maximum`` those of the largest operator value of a network, for values of zero or more.

    ``values`` is float64[n_ops], parallel to ``index_of(space).ops``. Exact for every space: the terms of a
    network form a graph over genes of small tree width, so min-sum variable elimination (Dechter 1999, bucket
    elimination) visits every network without listing them.
    """
    return extremes_of(space, factors(space, of_ops(space, values)), constant, combine=combine)


def ends(space: SearchSpace, total: Sum) -> Extremes:
    """Return the exact extremes of a sum over a space, and networks that attain them."""
    return extremes_of(space, factors(space, total), total.constant)


def factors(space: SearchSpace, total: Sum) -> list[Factor]:
    """Return the terms of a sum as factors: of one over ops, one for each place in the network."""
    return [factor_of(space, term) for term in total.terms]


def factor_of(space: SearchSpace, term: Term) -> Factor:
    """Return a term as a factor, the depth gene that keeps its block beside it."""
    blocks = [space.genes[column] for column in term.columns if space.genes[column].block is not None]
    if not blocks:
        inside = term.table[tuple(slice(1, 1 + len(space.genes[c].choices)) for c in term.columns)]
        return Factor(columns=term.columns, table=inside)
    depth = space.at(f"s{blocks[0].stage}.depth")
    kept = np.array(space.genes[depth].choices) > (blocks[0].block or 0)
    inside = term.table[tuple(slice(1, 1 + len(space.genes[c].choices)) for c in term.columns)]
    own = {column for column in term.columns if space.genes[column].block is not None}
    outside = term.table[tuple(0 if c in own else slice(1, 1 + len(space.genes[c].choices)) for c in term.columns)]
    flat = [len(space.genes[c].choices) if c not in own else 1 for c in term.columns]
    outside = np.broadcast_to(outside.reshape(flat), inside.shape)
    if depth in term.columns:
        axis = term.columns.index(depth)
        shape = [1] * inside.ndim
        shape[axis] = len(kept)
        return Factor(columns=term.columns, table=np.where(kept.reshape(shape), inside, outside))
    place = sum(column < depth for column in term.columns)
    shape = [1] * (inside.ndim + 1)
    shape[place] = len(kept)
    columns = (*term.columns[:place], depth, *term.columns[place:])
    table = np.where(kept.reshape(shape), np.expand_dims(inside, place), np.expand_dims(outside, place))
    return Factor(columns=columns, table=table)


def extremes_of(
    space: SearchSpace, terms: Sequence[Factor], constant: float = 0.0, *, combine: np.ufunc = np.add
) -> Extremes:
    """Return the exact extremes of a sum of factors (or of their largest), and a genome that attains each."""
    least, argleast = _eliminate(space, terms, np.argmin, combine)
    most, argmost = _eliminate(space, terms, np.argmax, combine)
    return Extremes(least=least + constant, most=most + constant, argleast=argleast, argmost=argmost)


def _eliminate(
    space: SearchSpace, terms: Sequence[Factor], pick: Callable[..., NDArray[np.int64]], combine: np.ufunc
) -> tuple[float, Genomes]:
    """Eliminate every gene, cheapest first; return the extreme sum and a genome that attains it."""
    remaining = list(terms)
    sizes = tuple(len(gene.choices) for gene in space.genes)
    trail: list[tuple[int, tuple[int, ...], NDArray[np.int64]]] = []
    for column in _order(sizes, tuple(term.columns for term in terms)):
        touching = [term for term in remaining if column in term.columns]
        joint = _combined(space, touching, combine)
        axis = joint.columns.index(column)
        choice = pick(joint.table, axis=axis)
        rest = tuple(gene for gene in joint.columns if gene != column)
        best = np.take_along_axis(joint.table, np.expand_dims(choice, axis), axis=axis).squeeze(axis=axis)
        trail.append((column, rest, choice))
        remaining = [term for term in remaining if column not in term.columns] + [Factor(columns=rest, table=best)]
    genome = np.ones(len(space.genes), dtype=np.uint8)
    for column, rest, choice in reversed(trail):
        genome[column] = 1 + int(choice[tuple(int(genome[gene]) - 1 for gene in rest)])
    total = float(combine.reduce([float(term.table) for term in remaining]))
    return total, space.canonical(genome[None])[0]


@lru_cache(maxsize=32)
def _order(sizes: tuple[int, ...], scopes: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """Return the genes of factors in the order they are eliminated: next the one that leaves the smallest table behind.

    ``sizes`` counts the choices of each gene, ``scopes`` are the factors' genes. Factors of other values ask it again.
    """
    remaining = [frozenset(scope) for scope in scopes]
    waiting = frozenset[int]().union(*remaining)
    order: list[int] = []

    def left(gene: int) -> frozenset[int]:
        return frozenset[int]().union(*(scope for scope in remaining if gene in scope)) - {gene}

    while waiting:
        column = min(waiting, key=lambda gene: (math.prod(sizes[other] for other in left(gene)), gene))
        remaining = [scope for scope in remaining if column not in scope] + [left(column)]
        waiting -= {column}
        order.append(column)
    return tuple(order)


def _combined(space: SearchSpace, terms: Sequence[Factor], combine: np.ufunc) -> Factor:
    """Combine factors over the union of their genes; those of a gene that no factor has are 0."""
    columns = tuple(sorted({gene for term in terms for gene in term.columns}))
    table = np.zeros([len(space.genes[gene].choices) for gene in columns])
    for term in terms:
        shape = [len(space.genes[gene].choices) if gene in term.columns else 1 for gene in columns]
        table = combine(table, term.table.reshape(shape))
    return Factor(columns=columns, table=table)
