"""Each measure against its definition, worked by hand or by brute force."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ofa import score

RNG = np.random.default_rng(5)


def test_spearman_is_the_correlation_of_mean_ranks() -> None:
    predicted, actual = [1.0, 2.0, 2.0, 9.0], [3.0, 1.0, 4.0, 8.0]
    ranks = np.array([1, 2.5, 2.5, 4]), np.array([2, 1, 3, 4])
    assert score.spearman(predicted, actual) == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_kendall_counts_pairs_and_corrects_ties() -> None:
    predicted, actual = RNG.integers(0, 6, 30).astype(float), RNG.integers(0, 6, 30).astype(float)
    above = np.triu_indices(30, 1)
    first = np.sign(predicted[:, None] - predicted)[above]
    second = np.sign(actual[:, None] - actual)[above]
    expected = (first * second).sum() / np.sqrt((first != 0).sum() * (second != 0).sum())
    assert score.kendall(predicted, actual) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [score.spearman, score.kendall])
def test_ranks_of_a_constant_are_undefined(measure: Callable[..., float]) -> None:
    assert np.isnan(measure([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
    assert measure([1.0, 2.0, 3.0], [10.0, 20.0, 99.0]) == pytest.approx(1)
    assert measure([3.0, 2.0, 1.0], [10.0, 20.0, 99.0]) == pytest.approx(-1)


def test_percentage_errors_divide_by_the_actual_value() -> None:
    assert score.mape_pct([110.0, 40.0], [100.0, 50.0]) == pytest.approx(15)
    assert score.mape_pct([-110.0], [-100.0]) == pytest.approx(10)


def test_within_counts_its_bound() -> None:
    actual = np.array([3.7, 100.0, 7.1, 1.0])
    assert score.within_pct(actual * [1.1, 0.9, 1.1001, 1.0], actual, 10) == 75


def test_rmse_keeps_the_unit() -> None:
    assert score.rmse([1.0, 5.0], [4.0, 1.0]) == pytest.approx(np.sqrt(12.5))


def test_coverage_takes_closed_intervals() -> None:
    assert score.coverage([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 3.5, 0.0], [1.0, 2.0, 4.0, 3.9]) == 0.5
    with pytest.raises(ValueError, match="1 of 1 intervals"):
        score.coverage([1.0], [2.0], [0.0])


def test_hypervolume_by_hand() -> None:
    gain, cost = [70.0, 75.0, 60.0, 75.0], [2.0, 4.0, 3.0, 5.0]
    assert score.hypervolume_2d(gain, cost, least_gain=50, most_cost=10) == pytest.approx(20 * 8 + 5 * 6)


def test_hypervolume_equals_a_count_of_dominated_points() -> None:
    gain, cost = RNG.uniform(-0.2, 1.2, 40), RNG.uniform(-0.2, 1.2, 40)
    probes = RNG.random((40_000, 2))
    cost = np.maximum(cost, 0.0)
    gain = np.minimum(gain, 1.0)
    dominated = ((gain[:, None] >= probes[:, 0]) & (cost[:, None] <= probes[:, 1])).any(axis=0)
    assert score.hypervolume_2d(gain, cost, least_gain=0, most_cost=1) == pytest.approx(dominated.mean(), abs=0.01)


def test_hypervolume_of_nothing_is_nothing() -> None:
    assert score.hypervolume_2d([], [], least_gain=0, most_cost=1) == 0
    assert score.hypervolume_2d([1.0, 0.0], [1.0, 0.5], least_gain=0, most_cost=1) == 0


def test_what_cannot_be_scored_is_refused() -> None:
    for predicted, actual in (([1.0], [1.0, 2.0]), ([], []), ([np.nan], [1.0]), ([[1.0]], [[1.0]])):
        with pytest.raises(ValueError, match=r"equal length|finite"):
            score.rmse(predicted, actual)
    with pytest.raises(ValueError, match="not 0"):
        score.mape_pct([1.0], [0.0])
