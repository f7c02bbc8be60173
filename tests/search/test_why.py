"""Why a network: its parts cost what the limit says, and every single change of it is told with what it would do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ofa.search import Limit, find, sums, why
from ofa.search.part import part_of
from ofa.space import sample
from ofa.space.core import SearchSpace
from ofa.space.index import index_of
from ofa.space.mobilenet_v3 import mobilenet_v3_tiny
from ofa.space.resnet50 import resnet50


def problem(space: SearchSpace, share: float) -> tuple[sums.Sum, Limit]:
    """Return a made-up additive accuracy that rises with every choice, and a limit on a made-up sum over ops."""
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.random((len(space.genes), int(space.cardinalities.max()) + 1)), axis=1)
    values[:, 0] = 0.0
    cost = sums.of_ops(space, index_of(space).values(lambda op: op.macs * 1e-6) + rng.random(), 0.5)
    at_most = float(np.quantile(cost.predict(sample.random(space, 500, rng)), share))
    gain = sums.of_genes(values, 50.0)
    return gain, Limit(name="latency", predict=cost, at_most=at_most, unit="ms", below=cost, exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("space", [mobilenet_v3_tiny(1.0, 1, 10), resnet50(1.0, 3, 1000)], ids=lambda space: space.name)
def test_parts_add_up_and_changes_are_what_they_say(space: SearchSpace) -> None:
    gain, limit = problem(space, 0.3)
    chosen = find(space, gain, [limit], seed=0, population=64, generations=4).best.genome
    parts = why.costs(space, [limit], chosen)["latency"]
    assert sum(parts.values()) == pytest.approx(limit.predict(chosen[None])[0])
    assert next(iter(parts)) == "stem" and list(parts)[-2:] == ["head", "beside them"]
    assert len(parts) == 3 + sum(space.subnet(chosen).depths)
    changes = why.changes(space, gain, [limit], chosen)
    assert len(changes) == int((space.cardinalities[chosen > 0] - 1).sum())
    assert [change.points for change in changes] == sorted((change.points for change in changes), reverse=True)
    base = gain.predict(chosen[None])[0]
    for change in changes:
        column = space.at(change.gene)
        assert change.was == space.genes[column].choices[chosen[column] - 1]
        # Every change was turned down: it misses the limit, or it is no better.
        assert change.over or change.points <= 1e-9
        if not change.gene.endswith("depth"):
            changed = chosen.copy()
            changed[column] = 1 + space.genes[column].choices.index(change.becomes)
            assert change.points == pytest.approx(gain.predict(changed[None])[0] - base)
            over = limit.predict(changed[None])[0]
            assert change.over == ({} if over <= limit.at_most * (1 + 1e-9) else {"latency": pytest.approx(over)})


def test_limits_that_are_no_sums_have_no_parts() -> None:
    space = mobilenet_v3_tiny(1.0, 1, 10)
    _, limit = problem(space, 0.5)
    chosen = space.corner("min").array
    assert why.costs(space, [dataclasses.replace(limit, exact=False)], chosen) == {}
    assert why.costs(space, [dataclasses.replace(limit, below=None)], chosen) == {}


def test_a_genome_of_the_whole_space_is_one_of_its_part() -> None:
    whole = mobilenet_v3_tiny(1.0, 1, 10)
    part = part_of(whole, whole.resolutions[1:3])
    genomes = sample.random(part.space, 50, np.random.default_rng(0))
    np.testing.assert_array_equal(part.narrowed(part.widened(genomes)), genomes)
