"""Bounds: what is stated is never below what a network has, trees and a latency that is no sum included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import xgboost

from ofa.errors import NoSubnetFits
from ofa.search import Limit, find, knapsack, proof, prove, sums, trees
from ofa.search.proof import above_of, accuracy_above
from ofa.space import sample
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.twins import accuracy, boost, features, ridge
from tests.search.test_knapsack import cut, every_genome

# Of each family: a bound that is wrong once in a thousand is wrong.
TWINS = 500


def boosters(matrix: np.ndarray, rng: np.random.Generator, scale: float) -> xgboost.Booster:
    """Fit a few trees to noise."""
    data = xgboost.DMatrix(matrix.astype(np.float32), label=rng.normal(0, scale, len(matrix)))
    settings = {"max_depth": 3, "eta": 0.5, "base_score": float(rng.normal()), "nthread": 1, "lambda": 0.1}
    return xgboost.train(settings, data, num_boost_round=6)


class Twins:
    """A random accuracy and a random latency twin of a space: additive parts and trees; of accuracy two boosters."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.space = space
        known = sample.random(space, 60, rng)
        values = rng.normal(size=(len(space.genes), int(space.cardinalities.max()) + 1))
        values[:, 0] = 0.0
        self.base = ridge.Additive(constant=60.0, gene_values=values)
        matrix = features.tree_features(space, known).matrix
        self.boosters = ((0.7, boosters(matrix, rng, 2.0)), (-0.4, boosters(matrix, rng, 1.0)))
        self.op_values_ms, self.constant_ms = rng.random(len(index_of(space).ops)), 0.2
        table_ms = self._table_ms(known)
        self.trees = boosters(features.latency_features(space, known, table_ms), rng, 0.2)

    def _table_ms(self, genomes: Genomes) -> np.ndarray:
        return index_of(self.space).sum(genomes, self.op_values_ms) + self.constant_ms

    def accuracy(self, genomes: Genomes) -> np.ndarray:
        matrix = features.tree_features(self.space, genomes).matrix
        trees = sum(weight * boost.predict(booster, matrix) for weight, booster in self.boosters)
        return self.base.predict(genomes) + trees

    def latency(self, genomes: Genomes) -> np.ndarray:
        table_ms = self._table_ms(genomes)
        matrix = features.latency_features(self.space, genomes, table_ms)
        return table_ms * np.exp(boost.predict(self.trees, matrix))

    def above(self) -> proof.Above:
        return proof.accuracy_above(cast(Any, self))

    def below(self) -> sums.Sum:
        return proof.latency_below(cast(Any, self))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mbconv", "bottleneck"])
def test_bounds_hold_for_every_network_of_random_twins(family: str) -> None:
    tightness = []
    for seed in range(TWINS):
        space = cut(family, np.random.default_rng(seed))
        twins, everything = Twins(space, seed), every_genome(space)
        accuracy, latency = twins.accuracy(everything), twins.latency(everything)
        above, below = twins.above(), twins.below()
        assert (above.leaves(space).predict(everything) >= accuracy).all()
        assert (below.predict(everything) <= latency).all()
        at_most = float(np.quantile(latency, 0.3))
        limit = Limit(name="latency", predict=twins.latency, at_most=at_most, unit="ms", below=below)
        planes = prove.planes(space, above, [limit])
        bound, reason = prove.upper_bound(space, above, [limit], planes)
        # The programme is most of the work, and is solved for itself where no planes are given.
        assert seed % 25 or prove.upper_bound(space, above, [limit]) == (bound, reason)
        plain, _ = prove.upper_bound(space, above, [limit], [])
        assert plain is not None and bound is not None and bound <= plain
        assert "linear programme" in reason or bound == plain
        looser = replace(limit, at_most=float(np.quantile(latency, 0.7)))
        further, _ = prove.upper_bound(space, above, [looser], planes)
        assert further is not None and further >= accuracy[latency <= looser.at_most].max()
        best = accuracy[latency <= at_most].max()
        assert bound is not None and bound >= best and "leaves" in reason
        tightness.append((bound - best) / accuracy.std())
    assert np.median(tightness) < 3.0


def test_leaves_are_found_once_and_anew_where_a_part_of_them_differs() -> None:
    space = cut("mbconv", np.random.default_rng(0))
    above, everything = Twins(space, 0).above(), every_genome(space)
    found = above.leaves(space)
    assert above.leaves(space) is found
    lower = replace(above, base=replace(above.base, constant=above.base.constant - 1.0)).leaves(space)
    assert lower.predict(everything) == pytest.approx(found.predict(everything) - 1.0)


def test_features_of_which_nothing_is_known_are_bounded_by_the_largest_leaf() -> None:
    space = cut("mbconv", np.random.default_rng(0))
    twins = Twins(space, 0)
    ensemble = trees.read(bytes(twins.boosters[0][1].save_raw("json")))
    members = features.tree_members(space)
    blind = trees.above(space, trees.Forest(ensemble=ensemble, members=(None,) * len(members)))
    largest = ensemble.constant + ensemble.slack + sum(max(leaf.value for leaf in tree) for tree in ensemble.trees)
    values = blind.predict(every_genome(space))
    assert values == pytest.approx(np.full(len(values), largest))


def test_what_float32_adds_while_leaves_add_up_is_in_the_bound() -> None:
    leaf = float(np.float32(0.1278))
    predicted = float(np.cumsum(np.full(2000, leaf, dtype=np.float32), dtype=np.float32)[-1])
    one = trees.Leaf(value=leaf, ranges={})
    ensemble = trees.Ensemble(constant=0.0, trees=((one,),) * 2000)
    assert predicted > 2000 * leaf
    assert 2000 * leaf + ensemble.slack >= predicted


def test_additive_bound_is_the_answer_and_no_proof_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    space = cut("mbconv", np.random.default_rng(1))
    rng = np.random.default_rng(1)
    values = rng.random((len(space.genes), int(space.cardinalities.max()) + 1))
    values[:, 0] = 0.0
    gain, cost = sums.of_genes(values, 50.0), sums.of_ops(space, rng.random(len(index_of(space).ops)))
    at_most = float(np.quantile(cost.predict(every_genome(space)), 0.4))
    limit = Limit(name="latency", predict=cost, at_most=at_most, unit="ms", below=cost, exact=True)
    found = find(space, gain, [limit], seed=0, above=gain, population=64, generations=3)
    assert found.upper_bound == pytest.approx(found.best.accuracy, abs=1e-6)
    assert found.upper_bound is not None and found.upper_bound >= found.best.accuracy
    assert "leaves" not in found.bound_reason and "counted as one" not in found.bound_reason
    # Many partial networks made one are a bound still, and no longer said to be exact alone.
    monkeypatch.setattr(knapsack.solve, "__kwdefaults__", {"relaxed": False, "labels": 3})
    bound, reason = prove.upper_bound(space, gain, [limit])
    assert bound is not None and bound >= found.best.accuracy and "counted as one" in reason
    monkeypatch.undo()
    blind = find(space, gain, [limit], seed=0, population=64, generations=3)
    assert blind.upper_bound is None and "nothing is proven" in blind.bound_reason
    assert blind.best == found.best


@pytest.mark.slow
def test_an_accuracy_twin_is_bounded_without_being_asked() -> None:
    space = cut("mbconv", np.random.default_rng(1))
    rng = np.random.default_rng(2)
    genomes = sample.unique(sample.random(space, 60, rng))
    macs = index_of(space).sum(genomes, index_of(space).values(lambda op: float(op.macs)))
    twin = accuracy.fit(
        space, genomes, 60 + 10 * np.log1p(macs / macs.max()) + rng.normal(0, 0.1, len(genomes)), seed=0
    )
    cost = sums.of_ops(space, rng.random(len(index_of(space).ops)))
    limit = Limit(
        name="x", predict=cost, at_most=float(np.median(cost.predict(genomes))), unit="ms", below=cost, exact=True
    )
    effort: dict[str, Any] = {"seed": 0, "population": 64, "generations": 3}
    said = find(space, twin.predict, [limit], above=accuracy_above(twin), **effort)
    assert said.upper_bound is not None and said.upper_bound >= said.best.accuracy - 1e-9
    for predictor in (twin, twin.predict):
        assert find(space, predictor, [limit], **effort).upper_bound == said.upper_bound
    assert find(space, lambda genomes: twin.predict(genomes), [limit], **effort).upper_bound is None
    assert above_of(twin.interval) is None and above_of(cost) is None


def test_limits_proven_to_exclude_each_other_name_the_nearest() -> None:
    space = cut("mbconv", np.random.default_rng(2))
    everything, values = every_genome(space), np.random.default_rng(2).random(len(index_of(space).ops))
    one, other = sums.of_ops(space, values), sums.of_ops(space, 1.5 - values)
    costs, others = one.predict(everything), other.predict(everything)
    most = float(np.quantile(costs, 0.02))
    least_other = float(others[costs <= most].min())
    assert least_other > others.min()
    limits = [
        Limit(name="latency", predict=one, at_most=most, unit="ms", below=one, exact=True),
        Limit(name="phone", predict=other, at_most=least_other * 0.99, unit="ms", below=other, exact=True),
    ]

    def never(genomes: Genomes) -> np.ndarray:
        raise AssertionError("scored")

    with pytest.raises(NoSubnetFits, match=r"both latency at or below .* ms and phone at or below") as refusal:
        find(space, never, limits, seed=0)
    assert "proven" in refusal.value.why
    offered = float(refusal.value.hints[1].split()[4])
    assert least_other <= offered <= least_other * 1.002
