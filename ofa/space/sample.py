"""Random genomes, mutation and crossover, vectorised over whole populations, for every space."""

from __future__ import annotations

import numpy as np

from ofa.space.core import Genomes, SearchSpace


def random(space: SearchSpace, count: int, rng: np.random.Generator) -> Genomes:
    """Draw ``count`` genomes uint8[count, G]: every gene uniform over its choices, then made canonical."""
    return space.canonical(complete(space, count, rng))


def complete(space: SearchSpace, count: int, rng: np.random.Generator, lowest: Genomes | int = 1) -> Genomes:
    """Draw every gene, in use or not, uniformly from value ``lowest`` (a number, or uint8[G]) up: uint8[count, G]."""
    return rng.integers(lowest, space.cardinalities + 1, size=(count, len(space.genes))).astype(np.uint8)


def mutate(space: SearchSpace, genomes: Genomes, rng: np.random.Generator, rate: float) -> Genomes:
    """Redraw each gene with probability ``rate``; a block that comes into use gets random genes.

    Takes and returns canonical uint8[n, G].
    """
    fresh = complete(space, len(genomes), rng)
    return _complete(space, np.where(rng.random(genomes.shape) < rate, fresh, genomes), fresh)


def cross(space: SearchSpace, mothers: Genomes, fathers: Genomes, rng: np.random.Generator) -> Genomes:
    """Take each gene from either parent with equal chance (uniform crossover); canonical uint8[n, G] in and out.

    A gene in use that the chosen parent left out comes from the other parent, or at random where neither has it.
    """
    from_mother = rng.random(mothers.shape) < 0.5
    children = np.where(from_mother, mothers, fathers)
    spare = np.where(from_mother, fathers, mothers)
    fresh = complete(space, len(mothers), rng)
    return _complete(space, children, np.where(spare > 0, spare, fresh))


def unique(genomes: Genomes) -> Genomes:
    """Return the distinct rows in order of first appearance."""
    _, first = np.unique(genomes, axis=0, return_index=True)
    return genomes[np.sort(first)]


def _complete(space: SearchSpace, genomes: Genomes, spare: Genomes) -> Genomes:
    """Fill genes that are in use but 0 from ``spare``, and clear those not in use."""
    return space.canonical(np.where(genomes > 0, genomes, spare).astype(np.uint8))
