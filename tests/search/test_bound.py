"""extremes: exact for every space, and the same numbers that summing gives."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from ofa.errors import NoSubnetFits
from ofa.search import Limit, extremes, find, latency_limit
from ofa.space import sample
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.space.mobilenet_v3 import mobilenet_v3, mobilenet_v3_tiny
from ofa.space.proxyless import proxyless
from ofa.space.resnet50 import resnet50
from ofa.twins import features, latency, residual

SPACES = [mobilenet_v3(1.0, 3, 1000), mobilenet_v3_tiny(1.0, 1, 10), proxyless(1.3, 3, 1000), resnet50(1.0, 3, 1000)]


def small_mbconv(rng: np.random.Generator) -> SearchSpace:
    """Cut the tiny space to one that can be listed."""
    whole = mobilenet_v3_tiny(1.0, 1, 10)
    depths = [(1, 2), (1, 2, 3), (2,)]
    stages = tuple(
        dataclasses.replace(stage, kernels=(3, 7), expands=(3.0, 6.0), depths=depths[rng.integers(3)])
        for stage in whole.stages[:2]
    )
    return dataclasses.replace(whole, resolutions=(16, 20, 32), stages=stages)


def small_bottleneck(rng: np.random.Generator) -> SearchSpace:
    """Cut the ResNet space to one that can be listed; widths still couple neighbouring stages."""
    whole = resnet50(1.0, 3, 1000)
    stages = tuple(
        dataclasses.replace(
            stage,
            depths=((1, 2), (2,))[rng.integers(2)],
            expands=stage.expands[:2],
            out_channels=stage.out_channels[: 2 + rng.integers(2)],
        )
        for stage in whole.stages[:3]
    )
    return dataclasses.replace(whole, resolutions=(128, 160), stages=stages)


def every_genome(space: SearchSpace) -> Genomes:
    """List a small space."""
    full = np.array(list(itertools.product(*[range(1, c + 1) for c in space.cardinalities])), dtype=np.uint8)
    return sample.unique(space.canonical(full))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("cut", [small_mbconv, small_bottleneck], ids=["mbconv", "bottleneck"])
def test_extremes_equal_enumeration(cut, seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = cut(rng)
    everything = every_genome(space)
    index = index_of(space)
    values = rng.normal(size=len(index.ops))
    sums = index.sum(everything, values) + 0.5
    found = extremes(space, values, 0.5)
    assert (found.least, found.most) == pytest.approx((sums.min(), sums.max()), abs=1e-12)
    ends = np.stack([found.argleast, found.argmost])
    space.check(ends)
    assert index.sum(ends, values) + 0.5 == pytest.approx([found.least, found.most], abs=1e-12)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_no_random_network_is_outside_and_the_ends_are_attained(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    index = index_of(space)
    values = index.values(lambda op: float(op.macs)) * rng.uniform(0.3, 3.0, len(index.ops))
    found = extremes(space, values)
    sums = index.sum(sample.random(space, 20_000, rng), values)
    assert found.least < sums.min() < sums.max() < found.most
    ends = np.stack([found.argleast, found.argmost])
    assert index.sum(ends, values) == pytest.approx([found.least, found.most], rel=1e-12)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_macs_are_least_and_most_at_the_corners(space: SearchSpace) -> None:
    index = index_of(space)
    values = index.values(lambda op: float(op.macs))
    found = extremes(space, values)
    corners = np.stack([space.corner("min", min(space.resolutions)).array, space.corner("max").array])
    assert index.sum(corners, values) == pytest.approx([found.least, found.most], rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_search_on_every_space_meets_a_macs_limit(space: SearchSpace) -> None:
    index = index_of(space)
    values = index.values(lambda op: op.macs * 1e-6)
    ends = extremes(space, values)
    weights = np.random.default_rng(1).random(len(index.ops)) * np.sqrt(values)
    limit = Limit(
        name="macs",
        predict=lambda genomes: index.sum(genomes, values),
        at_most=0.5 * (ends.least + ends.most),
        unit="M",
        floor=lambda: ends,
    )
    found = find(space, lambda genomes: index.sum(genomes, weights), [limit], seed=0, population=64, generations=6)
    assert index.sum(found.best.genome[None], values)[0] <= limit.at_most
    drawn = sample.random(space, found.evaluated, np.random.default_rng(0))
    fits = index.sum(drawn, values) <= limit.at_most
    assert found.best.accuracy > index.sum(drawn, weights)[fits].max()


def test_latency_limit_knows_its_floor_where_the_twin_is_additive() -> None:
    space = mobilenet_v3_tiny(1.0, 1, 10)
    index = index_of(space)
    rng = np.random.default_rng(0)
    cold = index.values(lambda op: op.macs * 1e-6 + 0.02)
    genomes = sample.random(space, 25, rng)
    measured_ms = (0.7 * index.sum(genomes, cold) + 0.1) * rng.uniform(0.97, 1.03, 25)
    twin = latency.fit(space, {"cold": cold}, genomes, measured_ms, seed=0)
    limit = latency_limit(twin, 1.0, coverage=0.9)
    assert limit.floor is not None
    known = limit.floor()
    assert twin.upper(known.argleast[None], 0.9)[0] == pytest.approx(known.least)
    assert twin.upper(known.argmost[None], 0.9)[0] == pytest.approx(known.most)
    with pytest.raises(NoSubnetFits, match=r"latency at or below 0.0001 ms"):
        find(space, twin.predict, [latency_limit(twin, 0.0001)], seed=0)


def test_trees_as_a_latency_twin_grows_them_are_bounded() -> None:
    space = mobilenet_v3_tiny(1.0, 1, 10)
    rng = np.random.default_rng(0)
    cold = index_of(space).values(lambda op: op.macs * 1e-6 + 0.02)
    twin, genomes = latency.fit(space, {"cold": cold}), sample.random(space, 80, rng)
    table_ms = twin.predict(genomes)
    matrix = features.latency_features(space, genomes, table_ms)
    slow = np.where(genomes[:, space.at("resolution")] >= 4, 1.4, 0.9)
    trees = residual.grow(matrix, table_ms * slow * rng.uniform(0.97, 1.03, 80), table_ms, 1.0, seed=0)
    boosted = dataclasses.replace(twin, trees=trees)
    limit, drawn = latency_limit(boosted, 1.0), sample.random(space, 2000, rng)
    assert limit.floor is None and not limit.exact and limit.below is not None
    below, predicted = limit.below.predict(drawn), limit.predict(drawn)
    assert (below <= predicted).all() and (below > 0.3 * predicted).all()
