"""Latency estimates a CPU second: a table times a million genomes as one gather, beside a plain loop."""

from __future__ import annotations

import numpy as np
from record import cpu_s, record

import ofa.space as spaces
from ofa.space.core import SearchSpace
from ofa.space.index import index_of
from ofa.space.ops import ops_of

MANY, FEW = 1_000_000, 2_000


def measured(space: SearchSpace) -> dict[str, float]:
    """Measure both ways on one space."""
    index = index_of(space)
    rng = np.random.default_rng(0)
    values_ms = rng.uniform(0.1, 1.0, len(index.ops))
    genomes = spaces.sample.random(space, MANY, rng)
    price = {op.key: float(value) for op, value in zip(index.ops, values_ms, strict=True)}

    def loop() -> list[float]:
        return [sum(price[op.key] for op in ops_of(space.subnet(genome))) for genome in genomes[:FEW]]

    assert np.allclose(loop(), index.sum(genomes[:FEW], values_ms))
    gather_s, loop_s = cpu_s(lambda: index.sum(genomes, values_ms)), cpu_s(loop, 3)
    return {
        "cpu_s_per_million": round(gather_s, 3),
        "per_cpu_s": round(MANY / gather_s),
        "loop_per_cpu_s": round(FEW / loop_s),
        "ratio": round(MANY / gather_s / (FEW / loop_s)),
    }


def main() -> None:
    """Measure every space, and write the result."""
    found = {space.id: measured(space) for space in map(spaces.load, spaces.names())}
    record("estimate", "latency estimates: one gather over a million genomes, beside a loop over the same table", found)


if __name__ == "__main__":
    main()
