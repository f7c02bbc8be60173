"""Features: the right numbers for every space, zero where a gene is not in use."""

from __future__ import annotations

import numpy as np
import pytest

from ofa.space import sample
from ofa.space.core import SearchSpace
from ofa.space.mobilenet_v3 import mobilenet_v3, mobilenet_v3_tiny
from ofa.space.proxyless import proxyless
from ofa.space.resnet50 import resnet50
from ofa.twins import features

SPACES = {
    "mobilenet_v3": mobilenet_v3(1.0, 3, 1000),
    "tiny": mobilenet_v3_tiny(1.0, 1, 10),
    "proxyless": proxyless(1.3, 3, 1000),
    "resnet50": resnet50(1.0, 3, 1000),
}


@pytest.fixture(params=sorted(SPACES))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]


def test_stage_sums_are_linear_in_one_hot(space: SearchSpace) -> None:
    genomes = sample.random(space, 200, np.random.default_rng(0))
    found = features.one_hot(space, genomes) @ features.sums_of_one_hot(space)
    np.testing.assert_allclose(found, features.stage_sums(space, genomes).matrix, rtol=1e-12)


def test_one_hot_sets_one_column_for_each_gene_in_use(space: SearchSpace) -> None:
    genomes = sample.random(space, 50, np.random.default_rng(1))
    hot = features.one_hot(space, genomes)
    assert hot.shape[1] == space.cardinalities.sum()
    np.testing.assert_array_equal(hot.sum(axis=1), (genomes > 0).sum(axis=1))


def test_choice_values_are_what_the_subnet_says() -> None:
    space = SPACES["mobilenet_v3"]
    genome = sample.random(space, 1, np.random.default_rng(2))
    subnet = space.subnet(genome[0])
    sums = features.stage_sums(space, genome)
    row = dict(zip(sums.names, sums.matrix[0], strict=True))
    assert row["resolution"] == subnet.resolution
    assert row["log resolution"] == pytest.approx(np.log(subnet.resolution))
    for stage in range(1, 6):
        assert row[f"s{stage}.depth"] == subnet.depths[stage - 1]
        assert row[f"s{stage}.kernels"] == sum(subnet.kernels[stage - 1])
        assert row[f"s{stage}.expands"] == sum(subnet.expands[stage - 1])


def test_tree_features_have_one_name_for_each_column(space: SearchSpace) -> None:
    genomes = sample.random(space, 20, np.random.default_rng(3))
    found = features.tree_features(space, genomes)
    assert found.matrix.shape == (20, len(found.names))
    assert len(set(found.names)) == len(found.names)
    inactive = genomes[:, space.cardinalities > 1] == 0
    assert inactive.any()
    assert (found.matrix[:, : inactive.shape[1]][inactive] == 0).all()
