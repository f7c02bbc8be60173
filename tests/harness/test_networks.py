"""Which networks are measured: distinct, spread over MACs, and held out at every resolution there is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import ofa.space as spaces
from harness.networks import (
    FEWEST_CANDIDATES,
    HOLDOUT,
    HOLDOUT_OF_MANY,
    holdout_of,
    main_resolutions,
    middle,
    networks_of,
    shares,
    spread,
)
from ofa.errors import UsageInvalid
from ofa.space.core import SearchSpace
from ofa.space.facts import macs
from ofa.space.index import index_of

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
WHOLE = spaces.load("mobilenet_v3", width=1.0)


def test_networks_are_distinct_and_reach_further_than_random_ones() -> None:
    index = index_of(TINY)
    macs = index.values(lambda op: float(op.macs))
    drawn = spaces.sample.random(TINY, 2000, np.random.default_rng(0))
    assert spread(TINY, 0, np.random.default_rng(3)).shape == (0, len(TINY.genes))
    for count in (1, 2, 10, 44):
        genomes = spread(TINY, count, np.random.default_rng(3))
        assert len(np.unique(genomes, axis=0)) == count
        TINY.check(genomes)
    logs = np.log(index.sum(genomes, macs))
    crowd = np.log(index.sum(drawn, macs))
    assert logs.min() < np.quantile(crowd, 0.01) and logs.max() > np.quantile(crowd, 0.99)
    assert np.diff(logs).max() < 0.2 * np.ptp(logs)


def test_the_reference_is_in_the_middle_of_the_space() -> None:
    subnet = middle(TINY)
    assert subnet.depths == (2, 2, 2) and subnet.resolution == 24
    assert {kernel for stage in subnet.kernels for kernel in stage} == {5}


def held_out_px(space: SearchSpace, holdout: int, seed: int = 0) -> Counter[int]:
    found = networks_of(space, fit=4, holdout=holdout, seed=seed)
    return Counter(subnet.resolution for subnet, split in found if split == "holdout")


def test_every_resolution_is_held_out_and_four_of_them_most() -> None:
    counts = held_out_px(WHOLE, HOLDOUT_OF_MANY)
    main = {128, 160, 192, 224}
    assert holdout_of(WHOLE) == HOLDOUT_OF_MANY == 101 and sum(counts.values()) == 101
    assert set(counts) == set(WHOLE.resolutions) and len(counts) == 25
    assert all(count == (20 if px in main else 1) for px, count in counts.items())


def test_held_out_networks_are_spread_within_a_resolution_and_where_each_is_alone() -> None:
    held = [subnet for subnet, split in networks_of(WHOLE, fit=0, holdout=101, seed=1) if split == "holdout"]
    alone, at_160 = (
        [s for s in held if (s.resolution == 160) is at and s.resolution not in main]
        for at, main in ((False, (128, 160, 192, 224)), (True, ()))
    )
    drawn = spaces.sample.random(WHOLE, 2000, np.random.default_rng(0))
    drawn[:, WHOLE.at("resolution")] = 1 + WHOLE.resolutions.index(160)
    index = index_of(WHOLE)
    crowd = index.sum(drawn, index.values(lambda op: float(op.macs)))
    found = sorted(macs(subnet) for subnet in at_160)
    assert found[0] < np.quantile(crowd, 0.02) and found[-1] > np.quantile(crowd, 0.98)
    # Less resolution, their sizes are as different as networks are: not all small, not all large.
    sizes = sorted(macs(subnet, 160) for subnet in alone)
    assert len(sizes) == 21 and sizes[2] < np.quantile(crowd, 0.15) and sizes[-3] > np.quantile(crowd, 0.85)


@pytest.mark.parametrize(
    ("resolutions", "count", "expected"),
    [
        ((16, 24, 32), 0, (0, 0, 0)),
        ((16, 24, 32), 1, (0, 1, 0)),
        ((16, 24, 32), 2, (1, 0, 1)),
        ((16, 24, 32), 3, (1, 1, 1)),
        ((16, 24, 32), 12, (4, 4, 4)),
        ((16, 24, 32), 13, (4, 4, 5)),
        ((224,), 7, (7,)),
        ((10, 20, 30, 40, 50, 60, 70), 15, (3, 1, 3, 1, 3, 1, 3)),
        ((100, 128, 160, 192, 224), 10, (1, 2, 2, 2, 3)),
    ],
)
def test_shares_add_up(resolutions: tuple[int, ...], count: int, expected: tuple[int, ...]) -> None:
    assert shares(resolutions, count) == expected and sum(expected) == count


def test_few_are_spread_over_many_resolutions() -> None:
    counts = shares(WHOLE.resolutions, 12)
    chosen = [place for place, count in enumerate(counts) if count]
    assert sum(counts) == 12 == len(chosen) and np.diff(chosen).max() <= 3
    assert chosen[0] <= 1 and chosen[-1] >= 23
    assert main_resolutions((10, 20, 30)) == (10, 20, 30) and holdout_of(TINY) == HOLDOUT == 12


def test_all_networks_are_distinct_and_the_same_for_a_seed() -> None:
    found = networks_of(TINY, fit=20, holdout=30, seed=5)
    assert [split for _, split in found].count("fit") == 20 and len({subnet.id for subnet, _ in found}) == 50
    assert found == networks_of(TINY, fit=20, holdout=30, seed=5) != networks_of(TINY, fit=20, holdout=30, seed=6)


def test_more_networks_than_a_space_has_are_refused() -> None:
    # All that the same seed draws is taken already.
    drawn = spaces.sample.random(TINY, FEWEST_CANDIDATES, np.random.default_rng(1))
    drawn[:, TINY.at("resolution")] = 1 + TINY.resolutions.index(24)
    with pytest.raises(UsageInvalid, match="has not 5 networks at 24 px"):
        spread(TINY, 5, np.random.default_rng(1), resolution=24, apart=drawn)
    assert len(spread(TINY, 5, np.random.default_rng(1), resolution=24, apart=drawn[5:])) == 5
