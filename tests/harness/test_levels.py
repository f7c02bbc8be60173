"""Levels of batches: what a whole batch was off by is found and taken off; what nobody can tell is kept as shared."""

from __future__ import annotations

import numpy as np
import pytest

from harness.levels import FEWEST, Shared, levelled
from harness.stats import over_rounds


def measured(
    items: int, rounds: int, size: int, *, batch_sd: float, round_sd: float = 0.0, noise: float = 0.02, seed: int = 0
) -> tuple[np.ndarray, ...]:
    """Return what each row is (item, round, batch, log ratio) and the true log ratio of each item."""
    rng = np.random.default_rng(seed)
    truth, rows = rng.normal(size=items), []
    for number in range(rounds):
        of_round = rng.normal(0, round_sd)
        for batch, members in enumerate(np.split(rng.permutation(items), range(size, items, size))):
            level = of_round + rng.normal(0, batch_sd)
            rows += [(item, number, batch, truth[item] + level + rng.normal(0, noise)) for item in members]
    return (*(np.array(column) for column in zip(*rows, strict=True)), truth)


def scatter(item: np.ndarray, logs: np.ndarray) -> float:
    """Return the typical standard deviation of an item over rounds."""
    return float(np.median([np.std(logs[item == one], ddof=1) for one in np.unique(item)]))


def test_what_a_batch_is_off_by_is_taken_off() -> None:
    item, number, batch, logs, truth = measured(200, 6, 50, batch_sd=0.06)
    found, shared = levelled(item, number, batch, logs)
    assert scatter(item, logs) > 0.045 and scatter(item, found) < 0.022
    centres = np.array([np.median(found[item == one]) for one in range(200)])
    assert np.std(centres - truth) < 0.014
    # Four batches in each of six rounds.
    assert np.sqrt(shared.variance) == pytest.approx(0.06 / np.sqrt(24), rel=0.6) and shared.freedom == 5


def test_few_items_keep_to_the_reference() -> None:
    item, number, batch, logs, _ = measured(2 * FEWEST, 4, FEWEST - 1, batch_sd=0.06)
    found, shared = levelled(item, number, batch, logs)
    assert (found == logs).all() and shared == Shared()


def test_one_round_says_nothing_of_batches() -> None:
    item, number, batch, logs, _ = measured(200, 1, 50, batch_sd=0.06)
    found, shared = levelled(item, number, batch, logs)
    assert (found == logs).all() and shared == Shared()


def test_an_item_that_is_off_does_not_move_its_batch() -> None:
    item, number, batch, logs, truth = measured(60, 5, 30, batch_sd=0.0, noise=0.001)
    wrong = logs + np.where((item == 7) & (number == 2), 1.0, 0.0)
    found, _ = levelled(item, number, batch, wrong)
    assert np.abs(found - truth[item])[item != 7].max() < 0.01


def test_intervals_hold_though_all_items_share_an_error() -> None:
    """Levels of few rounds are known badly, and by as much every item is off."""
    held = []
    for seed in range(150):
        item, number, batch, logs, truth = measured(40, 5, 40, batch_sd=0.0, round_sd=0.05, noise=0.02, seed=seed)
        found, shared = levelled(item, number, batch, logs)
        for one in range(40):
            estimate = over_rounds(np.exp(found[item == one]).tolist(), None, shared)
            held.append(estimate.lo <= np.exp(truth[one]) <= estimate.hi)
    assert 0.91 <= np.mean(held) <= 0.98
    alone = over_rounds(np.exp(found[item == one]).tolist())
    assert alone.half_width < estimate.half_width
