"""solve: equals brute force on every small space tried; thinned fronts are real networks, relaxed ones bounds."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ofa.search import knapsack, sums
from ofa.search.bound import extremes
from ofa.space import sample
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.space.mobilenet_v3 import mobilenet_v3_tiny
from ofa.space.resnet50 import resnet50


def cut(family: str, rng: np.random.Generator) -> SearchSpace:
    """Cut a space to one that can be listed; widths of a bottleneck still couple neighbouring stages."""
    if family == "mbconv":
        whole = mobilenet_v3_tiny(1.0, 1, 10)
        depths = [(1, 2), (1, 2, 3), (2,)]
        stages = [
            dataclasses.replace(stage, kernels=(3, 7), expands=(3.0, 6.0), depths=depths[rng.integers(3)])
            for stage in whole.stages[:2]
        ]
        return dataclasses.replace(whole, resolutions=(16, 32), stages=tuple(stages))
    whole = resnet50(1.0, 3, 1000)
    stages = [
        dataclasses.replace(
            stage,
            depths=((1, 2), (2,))[rng.integers(2)],
            expands=stage.expands[:2],
            out_channels=stage.out_channels[:2],
        )
        for stage in whole.stages[:3]
    ]
    return dataclasses.replace(whole, resolutions=(128, 160), stages=tuple(stages))


@functools.cache
def every_genome(space: SearchSpace) -> Genomes:
    """Return all networks of a space; of few spaces, which many tests share."""
    full = np.array(list(itertools.product(*[range(1, c + 1) for c in space.cardinalities])), dtype=np.uint8)
    return sample.unique(space.canonical(full))


def problem(space: SearchSpace, rng: np.random.Generator) -> tuple[sums.Sum, sums.Sum]:
    """Return a random gain of genes and a random cost of operators."""
    values = rng.normal(size=(len(space.genes), int(space.cardinalities.max()) + 1))
    values[:, 0] = 0.0
    return sums.of_genes(values, 60.0), sums.of_ops(space, rng.random(len(index_of(space).ops)), 0.1)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), family=st.sampled_from(["mbconv", "bottleneck"]), share=st.floats(0.0, 0.9))
def test_dynamic_programme_equals_brute_force(seed: int, family: str, share: float) -> None:
    rng = np.random.default_rng(seed)
    space = cut(family, rng)
    everything = every_genome(space)
    gain, cost = problem(space, rng)
    costs, gains = cost.predict(everything), gain.predict(everything)
    at_most = float(np.quantile(costs, share))
    best = gains[costs <= at_most].max()
    found = knapsack.solve(space, gain, cost, at_most, labels=100_000)
    assert found is not None and found.exact
    assert found.gain == pytest.approx(best, abs=1e-9)
    space.check(found.front.genomes)
    assert gain.predict(found.front.genomes) == pytest.approx(found.front.gain, abs=1e-9)
    assert cost.predict(found.front.genomes) == pytest.approx(found.front.cost, abs=1e-9)
    assert cost.predict(found.genome[None])[0] <= at_most * (1 + 1e-9)
    for labels in (3, 40):
        real = knapsack.solve(space, gain, cost, at_most, labels=labels)
        bound = knapsack.solve(space, gain, cost, at_most, labels=labels, relaxed=True)
        assert bound is not None and bound.gain >= best - 1e-9
        assert real is None or real.gain <= best + 1e-9


@pytest.mark.parametrize("family", ["mbconv", "bottleneck"])
def test_without_a_limit_it_equals_elimination_and_nothing_below_them_is_found(family: str) -> None:
    rng = np.random.default_rng(3)
    space = cut(family, rng)
    values = rng.random(len(index_of(space).ops))
    gain, cost = problem(space, rng)[0], sums.of_ops(space, values)
    known = extremes(space, values)
    least, most = knapsack.solve(space, cost.scaled(-1.0)), knapsack.solve(space, cost)
    assert least is not None and most is not None
    assert (-least.gain, most.gain) == pytest.approx((known.least, known.most), rel=1e-12)
    assert knapsack.solve(space, gain, cost, known.least * 0.999) is None
    at_least = knapsack.solve(space, gain, cost, known.least)
    assert at_least is not None and cost.predict(at_least.genome[None])[0] == pytest.approx(known.least)


def test_sums_are_those_of_the_index() -> None:
    space = mobilenet_v3_tiny(1.0, 1, 10)
    index, rng = index_of(space), np.random.default_rng(0)
    values, genomes = rng.random(len(index.ops)), sample.random(space, 5000, rng)
    assert sums.of_ops(space, values, 2.0).predict(genomes) == pytest.approx(index.sum(genomes, values) + 2.0)
    own = rng.random((len(space.resolutions), len(index.ops)))
    by_resolution = sums.of_ops(space, own).predict(genomes)
    for number in range(len(space.resolutions)):
        rows = genomes[:, space.at("resolution")] == number + 1
        assert by_resolution[rows] == pytest.approx(index.sum(genomes[rows], own[number]))


def test_most_of_a_maximum_equals_enumeration() -> None:
    space = cut("mbconv", np.random.default_rng(0))
    index, everything = index_of(space), every_genome(space)
    values = np.random.default_rng(1).random(len(index.ops))
    peaks = index.most(everything, values)
    found = extremes(space, values, combine=np.maximum)
    assert (found.least, found.most) == pytest.approx((peaks.min(), peaks.max()))
    assert index.most(np.stack([found.argleast, found.argmost]), values) == pytest.approx([peaks.min(), peaks.max()])
