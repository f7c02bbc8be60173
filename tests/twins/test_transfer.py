"""Few shots: known devices stand for a new one, the networks to measure differ as devices do, a stranger is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from ofa.errors import UsageInvalid
from ofa.twins import choose_networks, transfer, transfer_latency


def devices(count: int, seed: int = 0, networks: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Make the latencies of networks, float64[n, D], on devices that price three kinds of work differently."""
    rng = np.random.default_rng(seed)
    work = rng.gamma(2.0, 1.0, size=(networks, 3)) + 0.2
    return np.stack([work @ rng.dirichlet([2.0, 1.0, 1.0]) for _ in range(count)], axis=1), work


def test_ten_networks_are_enough_for_a_device_that_others_resemble() -> None:
    ms, _ = devices(9)
    known, new = ms[:, :8], ms[:, 8]
    rows = choose_networks(known, 10)
    found = transfer_latency(known, rows, new[rows])
    unseen = np.setdiff1d(np.arange(len(ms)), rows)
    predicted = found.predict(known[unseen])
    assert spearmanr(predicted, new[unseen])[0] > 0.99
    assert np.mean(np.abs(predicted / new[unseen] - 1)) < 0.05
    assert found.card["build_table"] is False
    assert json.loads(json.dumps(found.card, allow_nan=False)) == found.card


def test_chosen_networks_say_more_than_random_ones() -> None:
    errors = []
    for seed in range(8):
        ms, _ = devices(9, seed)
        known, new = ms[:, :8], ms[:, 8]
        random = np.random.default_rng(seed).choice(len(ms), 8, replace=False)
        errors.append(
            [
                np.mean(np.abs(transfer_latency(known, rows, new[rows]).predict(known) / new - 1))
                for rows in (choose_networks(known, 8), random)
            ]
        )
    chosen, random_error = np.mean(errors, axis=0)
    assert chosen < 0.8 * random_error


def test_a_device_like_none_asks_for_a_table() -> None:
    ms, _ = devices(8)
    rng = np.random.default_rng(5)
    stranger = rng.gamma(2.0, 1.0, size=len(ms)) + 0.2
    rows = choose_networks(ms, 12)
    found = transfer_latency(ms, rows, stranger[rows])
    assert found.card["build_table"] is True
    assert "build a table" in found.card["advice"]


def test_left_out_errors_equal_fitting_without_each() -> None:
    ms, _ = devices(6)
    known, new = np.log(ms[:12, :5]), np.log(ms[:12, 5])
    scaled = (known - known.mean(axis=0)) / known.std(axis=0)
    everyone = np.ones(5, dtype=np.bool_)
    whole = transfer._condition(scaled, new, everyone, 0.2, 0.02)
    for left in (0, 5, 11):
        kept = np.arange(12) != left
        part = transfer._condition(scaled[kept], new[kept], everyone, 0.2, 0.02)
        predicted = transfer._predict(part, scaled[[left]])[0][0]
        assert whole.left_out[left] == pytest.approx(new[left] - predicted, abs=1e-9)


def test_intervals_widen_with_coverage_and_hold_at_least_that_often() -> None:
    held, widths = [], []
    for seed in range(12):
        ms, _ = devices(9, seed)
        known = ms[:, :8]
        new = ms[:, 8] * np.exp(0.03 * np.random.default_rng(seed).normal(size=len(ms)))
        rows = choose_networks(known, 12)
        found = transfer_latency(known, rows, new[rows])
        low, high = found.interval(known, 0.9)
        held.append(np.mean((low <= new) & (new <= high)))
        widths.append(np.mean(high / low) - 1)
        narrow = found.interval(known, 0.5)
        assert (low < narrow[0]).all() and (narrow[1] < high).all()
    assert np.mean(held) >= 0.85
    assert np.mean(widths) < 0.6


def test_devices_that_say_nothing_change_nothing() -> None:
    ms, _ = devices(5)
    constant = np.full((len(ms), 1), 3.0)
    rows = choose_networks(ms[:, :4], 10)
    found = transfer_latency(np.hstack([ms[:, :4], constant]), rows, ms[rows, 4])
    assert spearmanr(found.predict(np.hstack([ms[:, :4], constant])), ms[:, 4])[0] > 0.98


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0, np.inf])
def test_what_is_no_latency_is_refused(bad: float) -> None:
    ms, _ = devices(4)
    rows = np.arange(8)
    with pytest.raises(UsageInvalid, match="positive number"):
        transfer_latency(ms, rows, np.append(ms[:7, 0], bad))
    spoilt = ms.copy()
    spoilt[3, 1] = bad
    with pytest.raises(UsageInvalid, match="positive number"):
        choose_networks(spoilt, 5)


def test_shapes_and_counts_are_checked() -> None:
    ms, _ = devices(4)
    with pytest.raises(UsageInvalid, match="4 different measured networks are too few"):
        transfer_latency(ms, np.array([0, 1, 2, 3, 3]), ms[[0, 1, 2, 3, 3], 0])
    with pytest.raises(UsageInvalid, match="shape"):
        transfer_latency(ms, np.arange(6), ms[:5, 0])
    with pytest.raises(UsageInvalid, match="cannot be chosen"):
        choose_networks(ms[:5], 6)
    found = transfer_latency(ms[:, :3], np.arange(8), ms[:8, 3])
    with pytest.raises(UsageInvalid, match="shape"):
        found.predict(ms[:, :2])
    for row in (-1, len(ms)):
        with pytest.raises(UsageInvalid, match=f"network {row} is not among the known ones"):
            transfer_latency(ms[:, :3], np.array([0, 1, 2, 3, 4, row]), ms[:6, 3])
    for coverage in (0.0, 1.0, 90.0):
        with pytest.raises(UsageInvalid, match="not between 0 and 1"):
            found.interval(ms[:, :3], coverage)
