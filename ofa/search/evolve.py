"""Evolution over whole populations: tournaments, crossover, mutation, repair, and the best of old and new survive."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.archive import Archive, Scored, joined
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


def evolve(
    archive: Archive,
    seeds: Genomes,
    *,
    rng: np.random.Generator,
    population: int,
    generations: int,
    on_generation: Watcher | None = None,
) -> tuple[Scored, list[Generation]]:
    """Evolve from ``seeds`` and random genomes; return the last population, best first, and what each generation gave.

    Parents are picked by binary tournament under Deb's rules (2000): within limits before outside, then accuracy or
    least violation. Children that were met before are replaced, never scored twice.
    """
    started = time.perf_counter()
    fresh = sample.random(archive.space, population, rng)
    alive = archive.score(repair(archive, np.concatenate([seeds, fresh]), rng))
    alive = alive.take(alive.order()[:population])
    history: list[Generation] = []
    for number in range(generations):
        children = _children(archive, alive, population, rng)
        alive = joined([alive, archive.score(children)])
        alive = alive.take(alive.order()[:population])
        history.append(_stand(number, alive, archive, time.perf_counter() - started))
        if on_generation is not None:
            on_generation(history[-1])
    return alive, history


def _stand(number: int, alive: Scored, archive: Archive, wall_s: float) -> Generation:
    """Describe the population, whose first row is its best."""
    fits = alive.violation[0] == 0
    return Generation(
        number=number,
        best_accuracy=float(alive.accuracy[0]) if fits else None,
        least_violation=float(alive.violation[0]),
        evaluated=len(archive),
        wall_s=wall_s,
    )


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
