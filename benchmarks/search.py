"""Exact extremes of a space and one search under a limit, beside scoring as many random networks."""

from __future__ import annotations

import numpy as np
from record import cpu_s, record

import ofa.space as spaces
from ofa.search import Limit, extremes, find
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import Vector, index_of


def measured(space: SearchSpace) -> dict[str, float]:
    """Measure one space."""
    index = index_of(space)
    macs = index.values(lambda op: op.macs * 1e-6)
    worth = np.random.default_rng(1).random(len(index.ops)) * np.sqrt(macs)
    ends = extremes(space, macs)

    def cost(genomes: Genomes) -> Vector:
        return index.sum(genomes, macs)

    def gain(genomes: Genomes) -> Vector:
        return index.sum(genomes, worth)

    limit = Limit(name="macs", predict=cost, at_most=0.5 * (ends.least + ends.most), unit="M", floor=lambda: ends)
    best = find(space, gain, [limit], seed=0)
    drawn = spaces.sample.random(space, best.evaluated, np.random.default_rng(0))
    fits = cost(drawn) <= limit.at_most
    return {
        "extremes_cpu_s": round(cpu_s(lambda: extremes(space, macs), 3), 3),
        "search_cpu_s": round(cpu_s(lambda: find(space, gain, [limit], seed=0), 3), 2),
        "evaluated": best.evaluated,
        "found": round(best.best.accuracy, 3),
        "best_of_as_many_random": round(float(gain(drawn)[fits].max()), 3),
    }


def main() -> None:
    """Measure every space, and write the result."""
    found = {space.id: measured(space) for space in map(spaces.load, spaces.names())}
    record("search", "a made-up additive worth under half the range of MACs; extremes are exact", found)


if __name__ == "__main__":
    main()
