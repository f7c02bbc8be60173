"""What a twin needs to know of a search space, and spaces of genes alone: networks that are none of ours, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ofa import files
from ofa.space.core import Gene, Genomes
from ofa.twins.errors import genomes_of_another


class Space(Protocol):
    """Genes with their choices; `ofa.space.core.SearchSpace` and ``GeneSpace`` are such."""

    @property
    def id(self) -> str:
        """Return the text that names the space in files."""

    @property
    def genes(self) -> tuple[Gene, ...]:
        """Return what varies, one column of a genome each."""

    @property
    def cardinalities(self) -> NDArray[np.int64]:
        """Return the number of choices of each gene, int64[G]."""

    def __hash__(self) -> int:
        """Return a hash: what is worked out of a declaration is worked out once."""

    def check(self, genomes: Genomes) -> None:
        """Raise SpaceMismatch unless the genomes, uint8[n, G], belong to the space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneSpace:
    """A space declared by its genes alone: value v >= 1 of a gene picks ``choices[v - 1]``, 0 means "not in use".

    Genes with a ``stage`` and a ``block`` are summed over their stage, by the last part of their name ("s1.b2.op").
    ``ordered`` says that a choice is an amount (a kernel size, a width); otherwise choices are names written as
    numbers (NAS-Bench-201's operations), and are counted instead of summed. ``rising`` names, by that last part, the
    genes of which more is never thought worse.
    """

    id: str
    genes: tuple[Gene, ...]
    ordered: bool = True
    rising: frozenset[str] = frozenset()

    @property
    def cardinalities(self) -> NDArray[np.int64]:
        """Return the number of choices of each gene, int64[G]."""
        return np.array([len(gene.choices) for gene in self.genes], dtype=np.int64)

    def check(self, genomes: Genomes) -> None:
        """Raise SpaceMismatch unless ``genomes`` is a uint8[n, G] array of values that the genes offer."""
        fits = genomes.ndim == 2 and genomes.shape[1] == len(self.genes) and genomes.dtype == np.uint8
        if not fits or (genomes > self.cardinalities).any():
            raise genomes_of_another(self.id, shape=genomes.shape, kind=genomes.dtype, genes=len(self.genes))


# Parts of our own spaces of which more never hurts on average; a larger kernel may, at a low resolution.
RISING = frozenset({"resolution", "depth", "expand", "width", "mid", "out", "residual"})


def is_ordered(space: Space) -> bool:
    """Say whether a choice is an amount: everywhere but in a GeneSpace that says otherwise."""
    return space.ordered if isinstance(space, GeneSpace) else True


def rises(space: Space, gene: Gene) -> bool:
    """Say whether more of a gene is never thought worse."""
    rising = space.rising if isinstance(space, GeneSpace) else RISING
    return is_ordered(space) and gene.name.rsplit(".", 1)[-1] in rising


def column_of(space: Space, name: str) -> int | None:
    """Return the column of a gene, None where the space has no such gene."""
    return next((column for column, gene in enumerate(space.genes) if gene.name == name), None)


def genes_digest(space: Space) -> str:
    """Return a hash of the genes and their choices, so that a changed declaration is noticed."""
    genes = [[gene.name, [float(choice) for choice in gene.choices]] for gene in space.genes]
    return files.sha256_bytes(files.canonical_json(genes).encode())
