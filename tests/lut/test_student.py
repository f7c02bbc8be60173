"""Student's t without scipy: the numbers of scipy, and intervals of tables taken apart as they were made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness import stats as harness_stats
from ofa.lut import student
from ofa.lut.format import Row

ROW = Row("@session", "hot", "ok", 1000, 980, 1020, None, None, 5, (), "s1")


def test_points_and_probabilities_are_those_of_student() -> None:
    for freedom in (*range(1, 31), 31, 1000):
        whole = freedom if freedom <= 30 else math.inf
        assert student.quantile(freedom) == pytest.approx(stats.t.ppf(0.975, whole), abs=6e-4)
        for t in (0.0, 0.1, 1.0, 2.5, -2.5, 10.0, 100.0):
            assert student.two_sided(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), whole), abs=1e-12)
    assert student.quantile(4.999) == student.quantile(4) and student.two_sided(2, 4.999) == student.two_sided(2, 4)


def test_false_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    p_values = (np.random.default_rng(0).random(60) ** 3).tolist()
    assert student.false_discoveries(p_values) == pytest.approx(stats.false_discovery_control(p_values))
    assert len(student.false_discoveries([])) == 0


def test_an_interval_gives_back_the_error_it_was_made_of() -> None:
    for rounds in (2, 5, 31, 50):
        values = np.exp(np.random.default_rng(rounds).normal(0, 0.02, rounds))
        made = harness_stats.over_rounds([1e8 * value for value in values])
        found = student.estimate(round(made.value), round(made.lo), round(made.hi), rounds)
        few = rounds <= len(harness_stats.MEDIAN_TO_MEAN)
        widening = harness_stats.MEDIAN_TO_MEAN[rounds - 1] if few else harness_stats.MEDIAN_TO_MEAN_LARGE
        error = widening * float(np.std(np.log(values), ddof=1)) / math.sqrt(rounds)
        assert found.error == pytest.approx(error, rel=2e-4 if rounds <= 31 else 3e-2) and found.freedom == rounds - 1


def test_welch_is_the_test_of_unequal_variances() -> None:
    rng = np.random.default_rng(5)
    logs = (rng.normal(20.0, 0.01, 9), rng.normal(20.015, 0.02, 9))
    sides = []
    for values in logs:
        centre, half = values.mean(), student.quantile(8) * values.std(ddof=1) / 3
        value, lo, hi = (round(math.exp(centre + step)) for step in (0, -half, half))
        sides.append(student.estimate(value, lo, hi, 9))
    asked = stats.ttest_ind(*logs, equal_var=False)
    assert 8 < asked.df < 16
    expected = 2 * stats.t.sf(abs(asked.statistic), math.floor(asked.df))
    assert student.welch(*sides) == student.welch(*sides[::-1]) == pytest.approx(float(expected), rel=1e-5)


def test_no_interval_is_narrower_than_a_whole_nanosecond() -> None:
    narrow = student.of_row(ROW._replace(ns=10, lo=10, hi=10))
    assert narrow is not None and narrow.half_width == pytest.approx(0.05)
    assert student.estimate(1, 0, 1, 5).below == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    "change", [{"status": "modelled"}, {"status": "thermal"}, {"rounds": 1}, {"status": "failed", "ns": None}]
)
def test_only_measured_rows_of_several_rounds_have_an_estimate(change) -> None:
    assert student.of_row(ROW) is not None
    assert student.of_row(ROW._replace(**change)) is None
