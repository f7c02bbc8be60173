"""Evolution over whole populations: tournaments, crossover, mutation, repair, and the best of old and new survive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.archive import Archive, Scored
from ofa.search.repair import repair
from ofa.space import sample
from ofa.space.core import Genomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How a search stands after one generation; ``best_accuracy`` is None until a network meets every limit."""

    number: int
    best_accuracy: float | None
    least_violation: float
    evaluated: int
    wall_s: float


Watcher = Callable[[Generation], None]


def first(archive: Archive, seeds: Genomes, population: int, rng: np.random.Generator) -> Genomes:
    """Return the first population, uint8[n, G], best first: of the seeds and random genomes, all repaired."""
    fresh = sample.random(archive.space, population, rng)
    alive = archive.score(repair(archive, np.concatenate([seeds, fresh]), rng))
    return alive.genomes[alive.order()[:population]]


def breed(archive: Archive, alive: NDArray[np.int64], population: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the archive rows of the best of a population (its archive rows, best first) and of as many children.

    Parents are picked by binary tournament under Deb's rules (2000): within limits before outside, then accuracy or
    least violation. Children that were met before are replaced, never scored twice.
    """
    children = archive.rows(_children(archive, archive.take(alive), population, rng))
    together = np.unique(np.concatenate([alive, children]))
    return together[archive.take(together).order()[:population]]


def _children(archive: Archive, alive: Scored, count: int, rng: np.random.Generator) -> Genomes:
    """Breed up to ``count`` genomes that were not met before; ``alive`` is ordered best first."""
    space = archive.space
    mothers, fathers = (_tournament(len(alive), count, rng) for _ in range(2))
    crossed = sample.cross(space, alive.genomes[mothers], alive.genomes[fathers], rng)
    bred = np.where(rng.random((count, 1)) < 0.6, crossed, alive.genomes[mothers])
    mutated = sample.mutate(space, bred, rng, rate=1.5 / len(space.genes))
    children = archive.fresh(repair(archive, mutated, rng))
    if len(children) < count:
        # A crowd of relatives breeds what is known already; wilder mutants of them fill the gap.
        parents = alive.genomes[_tournament(len(alive), count, rng)]
        wild = sample.mutate(space, parents, rng, rate=4.0 / len(space.genes))
        children = archive.fresh(np.concatenate([children, repair(archive, wild, rng)]))
    return children[:count]


def _tournament(size: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw ``count`` winners of pairs out of ``size`` ranked rows: the lower row number wins."""
    return np.asarray(rng.integers(0, size, size=(2, count)).min(axis=0))
