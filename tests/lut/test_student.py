"""Student's t: known points, and intervals of tables taken apart as they were made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness import stats as harness_stats
from ofa.lut import student
from ofa.lut.format import Row

ROW = Row("@session", "hot", "ok", 1000, 980, 1020, None, None, 5, (), "s1")


def test_a_point_is_where_its_probability_says() -> None:
    assert student.quantile(4) == pytest.approx(2.7764, abs=1e-4) and student.quantile(1e9) == pytest.approx(
        1.96, abs=1e-3
    )
    for freedom in (1, 2.5, 4, 30, 1000):
        assert 2 * stats.t.sf(student.quantile(freedom), freedom) == pytest.approx(0.05)


def test_false_discoveries_are_adjusted_step_up() -> None:
    assert student.false_discoveries([0.01, 0.04, 0.03, 0.2]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.2])
    assert len(student.false_discoveries([])) == 0


def test_an_interval_gives_back_the_error_it_was_made_of() -> None:
    for rounds in (2, 5, 31, 50):
        values = np.exp(np.random.default_rng(rounds).normal(0, 0.02, rounds))
        made = harness_stats.over_rounds([1e8 * value for value in values])
        found = student.estimate(round(made.value), round(made.lo), round(made.hi), rounds)
        few = rounds <= len(harness_stats.MEDIAN_TO_MEAN)
        widening = harness_stats.MEDIAN_TO_MEAN[rounds - 1] if few else harness_stats.MEDIAN_TO_MEAN_LARGE
        error = widening * float(np.std(np.log(values), ddof=1)) / math.sqrt(rounds)
        assert found.error == pytest.approx(error, rel=2e-4) and found.freedom == rounds - 1


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
