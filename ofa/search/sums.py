"""Sums: a constant plus one table entry for each place of a network; what can be proven is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of

Values = NDArray[np.float64]

CHUNK_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One table of a sum, float64 indexed by the values of the genes ``columns``, which ascend; 0 is "not in use"."""

    columns: tuple[int, ...]
    table: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """``constant`` plus the entry of every term, for canonical genomes uint8[n, G]."""

    constant: float
    terms: tuple[Term, ...]
    _flat: Values = field(init=False, compare=False, repr=False)
    _strides: NDArray[np.float32] = field(init=False, compare=False, repr=False)
    _offsets: NDArray[np.int64] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Lay the tables behind one another, so that one gather reads them all."""
        genes = 1 + max((column for term in self.terms for column in term.columns), default=0)
        strides = np.zeros((genes, len(self.terms)), dtype=np.float32)
        for number, term in enumerate(self.terms):
            steps = np.cumprod([1, *term.table.shape[:0:-1]])[::-1]
            strides[list(term.columns), number] = steps
        sizes = [term.table.size for term in self.terms]
        flat = np.concatenate([term.table.ravel() for term in self.terms]) if self.terms else np.zeros(0)
        object.__setattr__(self, "_flat", flat)
        object.__setattr__(self, "_strides", strides)
        object.__setattr__(self, "_offsets", np.cumsum([0, *sizes[:-1]]).astype(np.int64))

    def predict(self, genomes: Genomes) -> Values:
        """Return the sum of each genome, float64[n]."""
        total = np.full(len(genomes), self.constant)
        if not self.terms:
            return total
        for start in range(0, len(genomes), CHUNK_ROWS):
            part = genomes[start : start + CHUNK_ROWS, : len(self._strides)].astype(np.float32)
            # Positions are whole numbers below 2^24, so that float32, which multiplies fast, holds them exactly.
            at = (part @ self._strides).astype(np.int64) + self._offsets
            total[start : start + CHUNK_ROWS] += self._flat[at].sum(axis=1)
        return total

    __call__ = predict

    def scaled(self, factor: float) -> Sum:
        """Return the same sum times a factor."""
        terms = tuple(Term(columns=term.columns, table=term.table * factor) for term in self.terms)
        return Sum(constant=self.constant * factor, terms=terms)


def of_ops(space: SearchSpace, values: Values, constant: float = 0.0) -> Sum:
    """Return the sum of operator values over the ops of a network, as `ofa.space.index` counts them.

    ``values`` is float64[n_ops], or float64[R, n_ops] where each resolution of the space has its own.
    """
    values = np.asarray(values, dtype=np.float64)
    padded = np.concatenate([values, np.zeros((*values.shape[:-1], 1))], axis=-1)
    resolution, terms = space.at("resolution"), []
    for slot in index_of(space).slots:
        if values.ndim == 1:
            table = padded[slot.rows]
        else:
            axis = slot.columns.index(resolution)
            rows = np.moveaxis(slot.rows, axis, 0)
            own = [padded[number][rows[number + 1]] for number in range(len(values))]
            table = np.moveaxis(np.stack([np.zeros_like(own[0]), *own]), 0, axis)
        terms.append(Term(columns=slot.columns, table=table))
    return Sum(constant=constant, terms=tuple(terms))


def of_genes(gene_values: Values, constant: float = 0.0) -> Sum:
    """Return the sum of one value for each gene and choice, float64[G, C + 1]; column 0 is for genes not in use."""
    terms = tuple(Term(columns=(gene,), table=np.array(row)) for gene, row in enumerate(gene_values))
    return Sum(constant=constant, terms=terms)


def added(sums: Sequence[Sum]) -> Sum:
    """Return the sum of sums."""
    return Sum(constant=sum(one.constant for one in sums), terms=tuple(term for one in sums for term in one.terms))
