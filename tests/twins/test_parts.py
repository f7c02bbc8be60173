"""What twins are made of: weights on the simplex, prices that outliers do not move, work that adds up."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ofa.errors import UsageInvalid
from ofa.space import sample
from ofa.space.core import Genomes
from ofa.space.index import index_of
from ofa.space.mobilenet_v3 import mobilenet_v3, mobilenet_v3_tiny
from ofa.space.resnet50 import resnet50
from ofa.twins import accuracy, intervals, precision, prices, rounds, stack, work

TINY = mobilenet_v3_tiny(1.0, 1, 10)
SPACES = (TINY, mobilenet_v3(1.0, 3, 1000), resnet50(1.0, 3, 1000))


def test_weights_are_the_best_on_the_simplex() -> None:
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(400, 4)) * [1.0, 1.2, 3.0, 1.1] + rng.normal(size=(400, 1)) * 0.3
    found = stack.weights(errors)
    assert found.sum() == pytest.approx(1.0) and (found >= 0).all()
    gram = (stack.bent(errors)[:, None] * errors).T @ errors / 400
    gram += stack.SHRINK * np.diag(gram).min() * np.eye(4)
    tries = rng.dirichlet(np.ones(4), 4000)
    assert found @ gram @ found <= np.einsum("ij,jk,ik->i", tries, gram, tries).min() + 1e-9


def test_a_sample_that_all_models_miss_moves_no_weights() -> None:
    rng = np.random.default_rng(1)
    errors = rng.normal(size=(200, 2)) * [1.0, 2.0]
    spoilt = errors.copy()
    spoilt[0] = [80.0, 40.0]
    assert np.abs(stack.weights(spoilt) - stack.weights(errors)).max() < 0.3
    assert stack.bent(spoilt)[0] < 0.1


def test_a_coverage_that_all_residuals_allow_is_never_refused() -> None:
    residuals, predicted = np.arange(1.0, 151.0), np.arange(150.0)
    near = intervals.nearby(residuals, predicted, predicted, 0.99)
    # Ninety-nine residuals are needed, and the largest of them is taken.
    assert near.min() == 99 and near.max() == 150
    assert intervals.nearby(residuals, predicted, np.empty(0), 0.9).shape == (0,)
    with pytest.raises(UsageInvalid, match="99"):
        intervals.nearby(residuals[:90], predicted[:90], predicted, 0.99)
    # Equal predictions have one interval, whatever came first.
    assert len(set(intervals.nearby(residuals, np.zeros(150), np.zeros(5), 0.9).tolist())) == 1


def test_left_out_errors_use_weights_of_the_other_folds() -> None:
    rng = np.random.default_rng(2)
    errors, fold = rng.normal(size=(60, 3)), np.arange(60) % 5
    found = stack.left_out(errors, fold)
    np.testing.assert_allclose(found[fold == 2], errors[fold == 2] @ stack.weights(errors[fold != 2]))


def work_and_ms(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    amounts = rng.uniform(1, 10, size=(count, 5))
    return amounts, amounts @ np.array([0.5, 0.1, 0.0, 0.3, 0.2]) + 1.0


@pytest.mark.parametrize("loss", prices.LOSSES)
def test_prices_are_found(loss: prices.Loss) -> None:
    amounts, ms = work_and_ms(200, 0)
    unseen, truth = work_and_ms(50, 1)
    np.testing.assert_allclose(prices.fit(amounts, ms, loss).predict(unseen), truth, rtol=1e-3)


def test_a_busy_device_moves_absolute_prices_less_than_squared_ones() -> None:
    amounts, ms = work_and_ms(200, 0)
    busy = ms * np.where(np.arange(200) % 10 == 0, 3.0, 1.0)
    unseen, truth = work_and_ms(100, 1)
    off = {loss: np.abs(prices.fit(amounts, busy, loss).predict(unseen) / truth - 1).mean() for loss in prices.LOSSES}
    assert off["absolute"] < 0.3 * off["squared"]


def test_left_out_prices_equal_fitting_without_each() -> None:
    amounts, ms = work_and_ms(40, 0)
    ms = ms * np.exp(0.1 * np.random.default_rng(5).normal(size=40))
    whole = prices._ridge(amounts, ms, np.ones(40))
    kept = np.arange(40) != 7
    relative = (amounts - 0.0) / ms[:, None]
    design = np.hstack([relative, 1 / ms[:, None]])
    weights = np.linalg.lstsq(design[kept], np.ones(39), rcond=None)[0]
    assert whole.left_out[7] == pytest.approx(float(np.append(amounts[7], 1.0) @ weights), rel=0.02)


def test_positive_prices_are_never_negative() -> None:
    amounts, ms = work_and_ms(60, 0)
    found = prices.fit(amounts, ms * np.exp(np.random.default_rng(0).normal(size=60)), "positive")
    assert (found.weights >= 0).all() and found.constant >= 0


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_amounts_of_work_add_up_to_what_the_ops_say(space) -> None:
    genomes = sample.random(space, 30, np.random.default_rng(0))
    found, names = work.amounts(space, genomes), work.op_columns(space).names
    index = index_of(space)
    macs = found[:, [name.partition(",")[0].endswith("MACs") for name in names]].sum(axis=1)
    np.testing.assert_allclose(macs, index.sum(genomes, index.values(lambda op: float(op.macs))), rtol=1e-9)
    counts = found[:, [name.startswith("ops,") for name in names]].sum(axis=1)
    np.testing.assert_array_equal(counts, [len(index.of(genome)) for genome in genomes])
    sizes = np.array([space.subnet(genome).resolution for genome in genomes], dtype=np.float64)
    np.testing.assert_allclose(found[:, names.index("resolution²")], sizes**2)


def test_unlike_precisions_are_refused_and_unknown_ones_are_said_to_be_assumed() -> None:
    assert precision.agreed({"accuracy": "fp32", "latency": None}) == ("fp32", ["latency"])
    assert precision.agreed({"accuracy": "int8", "latency": "int8"}) == ("int8", [])
    with pytest.raises(UsageInvalid, match="precisions differ") as refusal:
        precision.agreed({"accuracy": "int8", "table": None})
    assert "accuracy is int8, table is fp32 (assumed)" in refusal.value.why


@pytest.mark.slow
def test_rounds_label_what_is_proposed_and_stop_where_nothing_is() -> None:
    rng = np.random.default_rng(0)
    asked: list[int] = []

    def label(genomes: Genomes) -> np.ndarray:
        asked.append(len(genomes))
        return 50.0 + genomes.sum(axis=1)

    def propose(twin: accuracy.AccuracyTwin, seen: Genomes, number: int) -> Genomes:
        drawn = sample.unique(sample.random(TINY, 400, rng))
        best = drawn[np.argsort(-twin.predict(drawn))[:10]]
        return best if number < 2 else best[:0]

    first = sample.unique(sample.random(TINY, 40, rng))
    found = rounds.gather(TINY, first, label, propose, rounds=4)
    assert asked == [len(first), 10, 10] and len(found.genomes) == len(found.top1) == len(first) + 20
    # What the second round's twin said, which had seen a round along the front, and no other.
    said = accuracy.fit(TINY, found.genomes[:-10], found.top1[:-10]).predict(found.genomes[-10:])
    np.testing.assert_array_equal(found.foretold, np.concatenate([np.full(len(first) + 10, np.nan), said]))
    card = rounds.learn(TINY, first, label, propose, rounds=4).card
    assert len(first) < card["samples"] <= len(first) + 20 and card["interval"]["foretold"] == 10


@pytest.mark.slow
def test_what_was_foretold_of_picked_networks_widens_intervals_beside_them_alone() -> None:
    """How far off an earlier twin was of a network it picked counts for the next pick, not the error of a fold."""
    rng = np.random.default_rng(0)
    genomes = sample.unique(sample.random(TINY, 200, rng))
    top1 = 50.0 + genomes.sum(axis=1) + rng.normal(0, 0.2, len(genomes))
    picked = top1 >= np.sort(top1)[-40]
    foretold = np.where(picked, top1 + rng.normal(0, 2.0, len(top1)), np.nan)
    plain, told = accuracy.fit(TINY, genomes, top1), accuracy.fit(TINY, genomes, top1, foretold=foretold)
    np.testing.assert_array_equal(plain.predict(genomes), told.predict(genomes))
    widths = [np.subtract(*twin.interval(genomes)[::-1]) for twin in (plain, told)]
    ratio = widths[1] / widths[0]
    best, worst = top1 >= np.sort(top1)[-10], top1 <= np.sort(top1)[100]
    assert ratio[best].min() > 5 and 0.8 < np.median(ratio[worst]) < 1.2
    # Two standard deviations of what was foretold, 1.645 of them on either side.
    assert 2 * 1.645 * 1.5 < np.median(widths[1][best]) < 2 * 1.645 * 3
    # By network, whatever the order they were given in.
    order = np.lexsort(genomes.T[::-1])
    at = told.left_out_at[picked[order]]
    np.testing.assert_array_equal(at, foretold[order][picked[order]])
    np.testing.assert_allclose(told.left_out[picked[order]], top1[order][picked[order]] - at)
    assert told.card["interval"]["half_width_points"] > plain.card["interval"]["half_width_points"]
    assert "before their labels were known" in told.card["interval"]["method"]
    with pytest.raises(UsageInvalid, match="foretold"):
        accuracy.fit(TINY, genomes, top1, foretold=foretold[1:])


@pytest.mark.slow
def test_the_card_says_how_far_off_the_best_and_each_latency_are() -> None:
    rng = np.random.default_rng(0)
    genomes = sample.unique(sample.random(TINY, 120, rng))
    top1 = 50.0 + genomes.sum(axis=1) + rng.normal(size=len(genomes))
    card = accuracy.fit(TINY, genomes, top1, latency_ms=1.0 + genomes[:, 0].astype(float), precision=None).card
    assert card["precision"] is None
    assert card["top_fifth"]["samples"] == len(genomes) // 5
    bins = card["latency_bins"]
    assert sum(entry["samples"] for entry in bins) == len(genomes)
    assert all(one["to_ms"] <= other["from_ms"] for one, other in pairwise(bins))
    assert card["models"][card["chosen"]]["spearman"] > np.mean([entry["spearman"] for entry in bins])
