"""What is labelled next: networks on fronts that searches for unlike devices would choose from, none labelled yet."""

from __future__ import annotations

import numpy as np
import pytest

import ofa.space as spaces
from ofa.search import active
from ofa.space import sample
from ofa.space.index import index_of
from ofa.twins import accuracy

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
MACS = index_of(TINY).values(lambda op: op.macs * active.MILLIONTH)


@pytest.mark.slow
def test_new_labels_lie_on_fronts_of_unlike_devices() -> None:
    rng = np.random.default_rng(0)
    seen = sample.unique(sample.random(TINY, 60, rng))
    top1 = 60 + 0.5 * seen.astype(np.float64).sum(axis=1) + rng.normal(0, 0.1, len(seen))
    twin = accuracy.fit(TINY, seen, top1)
    found = active.along_front(TINY, twin, seen, 12, seed=0)
    TINY.check(found)
    assert len(found) == 12 == len({bytes(genome) for genome in found} - {bytes(genome) for genome in seen})
    np.testing.assert_array_equal(found, active.along_front(TINY, twin, seen, 12, seed=0))
    # Of random networks that cost a device no more, hardly one is predicted better than the best on its front.
    drawn = sample.random(TINY, 2000, rng)
    better = []
    for values in [MACS, *active.made_up(TINY, active.DEVICES, seed=0)]:
        cost, others = index_of(TINY).sum(found, values), index_of(TINY).sum(drawn, values)
        pairs = zip(cost, twin.predict(found), strict=True)
        better.append([(twin.predict(drawn) > said)[others <= most].sum() / len(drawn) for most, said in pairs])
    assert (np.min(better, axis=0) < 0.01).all()
    over_macs = active._front(TINY, twin, MACS, seed=0)
    assert len({bytes(genome) for genome in found} - set(over_macs)) > 6, "most are what other devices would choose"


@pytest.mark.slow
def test_of_fewer_labels_than_fronts_each_is_on_one() -> None:
    seen = sample.unique(sample.random(TINY, 60, np.random.default_rng(0)))
    twin = accuracy.fit(TINY, seen, 60 + seen.astype(np.float64).sum(axis=1))
    unseen = active.unseen(twin.predict, {bytes(genome) for genome in seen})
    over_macs = active._front(TINY, unseen, MACS, seed=0)
    (one,) = active.along_front(TINY, twin, seen, 1, seed=0)
    assert bytes(one) in over_macs and len(active.along_front(TINY, twin, seen, 3, seed=0)) == 3


def test_of_a_front_too_short_all_is_taken_and_of_none_nothing() -> None:
    front = [bytes([number]) for number in range(5)]
    assert active._spread(front, 2) == [b"\1", b"\3"]
    assert active._spread(front, 9) == front
    assert active._spread(front, 0) == [] == active._spread([], 3)


def test_devices_are_made_up_so_that_no_kind_of_work_always_costs_the_same() -> None:
    made = active.made_up(TINY, 40, seed=0)
    for space in (spaces.load("resnet50"), spaces.load("proxyless")):
        assert all((values > 0).all() for values in active.made_up(space, 2, seed=0))
    assert all(np.isfinite(values).all() and (values > 0).all() for values in made)
    np.testing.assert_array_equal(made, active.made_up(TINY, 40, seed=0))
    assert (np.array(made) != active.made_up(TINY, 40, seed=1)).any()
    assert min(map(largest_kernel, made)) < 1.2 and max(map(largest_kernel, made)) > 3


@pytest.mark.slow
def test_where_large_kernels_cost_much_networks_of_small_ones_are_on_the_front() -> None:
    seen = sample.unique(sample.random(TINY, 60, np.random.default_rng(0)))
    twin = accuracy.fit(TINY, seen, 60 + seen.astype(np.float64).sum(axis=1))
    kernels = [column for column, gene in enumerate(TINY.genes) if gene.name.endswith("b1.kernel")]

    def small(values: np.ndarray) -> float:
        front = np.array([list(genome) for genome in active._front(TINY, twin, values, seed=0)])
        return float((front[:, kernels] < 3).mean())

    made = sorted(active.made_up(TINY, 40, seed=0), key=largest_kernel)
    assert small(made[-1]) > 2 * small(made[0])


def largest_kernel(values: np.ndarray) -> float:
    """Return what ops of the largest kernel cost in the mean, beside those of the smallest."""
    kernels = np.array([op.kernel for op in index_of(TINY).ops])
    return float(values[kernels == 7].mean() / values[kernels == 3].mean())
