"""Every op of a space at once, and sums over the ops of whole populations as one array gather."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ofa.space import ops
from ofa.space.core import Genomes, SearchSpace, Stage
from ofa.space.ops import Op

Vector = NDArray[np.float64]

# A block of rows small enough that its columns stay in the second-level cache.
CHUNK_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place in the network and the genes that decide which op stands there.

    ``rows[v1, v2, ...]`` is the row in ``OpIndex.ops`` for the values of ``columns``, which ascend; len(ops) where no
    op stands there. ``depth`` is (column, fewest blocks) of the depth gene that keeps a block, None for stem and head.
    """

    columns: tuple[int, ...]
    rows: NDArray[np.int64]
    depth: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpIndex:
    """The distinct ops of a space, sorted by key, and which of them stands in which slot of a genome."""

    space: SearchSpace
    ops: tuple[Op, ...]
    slots: tuple[Slot, ...] = field(repr=False)

    def values(self, of: Callable[[Op], float]) -> Vector:
        """Return a number for each op, float64[n_ops]."""
        return np.array([of(op) for op in self.ops], dtype=np.float64)

    def sum(self, genomes: Genomes, values: Vector) -> Vector:
        """Return the sum of op values float64[n_ops] over the ops of each canonical genome uint8[n, G], float64[n]."""
        return self._over(genomes, values, np.add)

    def most(self, genomes: Genomes, values: Vector) -> Vector:
        """Return the largest of op values float64[n_ops] >= 0 among the ops of each canonical genome, float64[n]."""
        return self._over(genomes, values, np.maximum)

    def _over(self, genomes: Genomes, values: Vector, combine: np.ufunc) -> Vector:
        """Combine op values over the ops of each genome, beginning with 0."""
        padded = np.append(np.asarray(values, dtype=np.float64), 0.0)
        tables = [padded[slot.rows.ravel()] for slot in self.slots]
        steps = [[step // slot.rows.itemsize for step in slot.rows.strides] for slot in self.slots]
        totals = np.zeros(len(genomes))
        for start in range(0, len(genomes), CHUNK_ROWS):
            part = np.ascontiguousarray(genomes[start : start + CHUNK_ROWS].T)
            total = totals[start : start + CHUNK_ROWS]
            for slot, table, strides in zip(self.slots, tables, steps, strict=True):
                combine(total, table[_codes(part, slot.columns, strides)], out=total)
        return totals

    def of(self, genome: Genomes) -> tuple[Op, ...]:
        """Return the ops of one canonical genome uint8[G] in network order."""
        rows = [int(slot.rows[tuple(int(genome[column]) for column in slot.columns)]) for slot in self.slots]
        return tuple(self.ops[row] for row in rows if row < len(self.ops))


def _codes(part: Genomes, columns: tuple[int, ...], strides: list[int]) -> NDArray[np.int32]:
    """Return the flat position in a slot's table for each row of a block uint8[G, rows]."""
    codes: NDArray[np.int32] = np.multiply(part[columns[0]], strides[0], dtype=np.int32)
    for column, stride in zip(columns[1:], strides[1:], strict=True):
        codes += np.multiply(part[column], stride, dtype=np.int32)
    return codes


@lru_cache(maxsize=32)
def index_of(space: SearchSpace) -> OpIndex:
    """Return the index of a space; made once."""
    drafts = list(_drafts(space))
    distinct = sorted({op for _, standing, _ in drafts for op in standing.values()}, key=lambda op: op.key)
    at = {op: row for row, op in enumerate(distinct)}
    slots = []
    for columns, standing, depth in drafts:
        shape = [len(space.genes[column].choices) + 1 for column in columns]
        rows = np.full(shape, len(distinct), dtype=np.int64)
        for values, op in standing.items():
            rows[values] = at[op]
        rows.setflags(write=False)
        slots.append(Slot(columns=columns, rows=rows, depth=depth))
    return OpIndex(space=space, ops=tuple(distinct), slots=tuple(slots))


def ops_in(space: SearchSpace) -> tuple[Op, ...]:
    """Return every op that some subnet of the space has, once each, sorted by key: what a table must price."""
    return index_of(space).ops


Draft = tuple[tuple[int, ...], dict[tuple[int, ...], Op], tuple[int, int] | None]


def _drafts(space: SearchSpace) -> Iterator[Draft]:
    """Yield for each slot its columns, the op for each combination of their values, and the depth that keeps it."""
    stem = _Genes(space, ["resolution", "stem.residual", "stem.mid", "stem.out"])
    yield stem.columns, dict(_stems(space, stem)), None
    before, stride = "stem.out", space.stem.stride
    for number, stage in enumerate(space.stages, 1):
        own = f"s{number}.width"
        for block in range(max(stage.depths)):
            place = f"s{number}.b{block + 1}"
            source = before if block == 0 else own
            genes = _Genes(space, ["resolution", source, own, f"{place}.kernel", f"{place}.expand"])
            found = dict(_blocks(space, stage, genes, names=(source, own, place), first=block == 0, stride=stride))
            yield genes.columns, found, (space.at(f"s{number}.depth"), block + 1)
            stride *= stage.stride if block == 0 else 1
        before = own
    head = _Genes(space, ["resolution", before])
    yield head.columns, dict(_heads(space, head, before, stride)), None


class _Genes:
    """The genes of one slot that the space has, in genome order, and every combination of their choices."""

    def __init__(self, space: SearchSpace, names: list[str]) -> None:
        self.space = space
        self.columns = tuple(sorted({space.at(name) for name in names if space.has(name)}))

    def combinations(self) -> Iterator[tuple[tuple[int, ...], dict[str, float]]]:
        """Yield (values of the columns, choice by gene name)."""
        genes = [self.space.genes[column] for column in self.columns]
        for values in itertools.product(*(range(1, len(gene.choices) + 1) for gene in genes)):
            chosen = {gene.name: gene.choices[value - 1] for gene, value in zip(genes, values, strict=True)}
            yield values, chosen


def _stems(space: SearchSpace, genes: _Genes) -> Iterator[tuple[tuple[int, ...], Op]]:
    stem = space.stem
    for values, chosen in genes.combinations():
        mid = int(chosen.get("stem.mid", stem.mid_channels[0]))
        out = int(chosen.get("stem.out", stem.out_channels[0]))
        residual = bool(chosen.get("stem.residual", 0))
        yield values, ops.stem_op(space, int(chosen["resolution"]), mid, out, residual=residual)


def _blocks(
    space: SearchSpace, stage: Stage, genes: _Genes, *, names: tuple[str, str, str], first: bool, stride: int
) -> Iterator[tuple[tuple[int, ...], Op]]:
    source, own, place = names
    for values, chosen in genes.combinations():
        op = ops.block_op(
            space,
            stage,
            first=first,
            inputs=int(chosen.get(source, _fixed_width(space, source))),
            outputs=int(chosen.get(own, stage.out_channels[0])),
            size=-(-int(chosen["resolution"]) // stride),
            kernel=int(chosen.get(f"{place}.kernel", stage.kernels[0])),
            expand=chosen[f"{place}.expand"],
        )
        yield values, op


def _heads(space: SearchSpace, genes: _Genes, last: str, stride: int) -> Iterator[tuple[tuple[int, ...], Op]]:
    for values, chosen in genes.combinations():
        inputs = int(chosen.get(last, _fixed_width(space, last)))
        yield values, ops.head_op(space, inputs, -(-int(chosen["resolution"]) // stride))


def _fixed_width(space: SearchSpace, name: str) -> int:
    """Return the width a place has where no gene decides it."""
    if name == "stem.out":
        return space.stem.out_channels[0]
    return space.stages[int(name[1 : name.index(".")]) - 1].out_channels[0]
