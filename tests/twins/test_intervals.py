"""Conformal quantiles: the right rank, the right coverage, and a refusal where samples are too few."""

from __future__ import annotations

import numpy as np
import pytest

from ofa.errors import UsageInvalid
from ofa.twins import intervals


def test_rank_is_the_finite_sample_one() -> None:
    residuals = np.arange(1.0, 20.0)
    # ceil(20 * 0.9) = 18, although the plain 90 % quantile of 19 values is 17.2.
    assert intervals.quantile(residuals, 0.9) == 18.0
    assert intervals.quantile(residuals, 0.95) == 19.0
    assert intervals.quantile(np.arange(1.0, 10.0), 0.9) == 9.0


def test_too_few_residuals_name_how_many_are_needed() -> None:
    with pytest.raises(UsageInvalid) as refusal:
        intervals.quantile(np.ones(8), 0.9)
    assert "at least 9" in refusal.value.why
    with pytest.raises(UsageInvalid, match="coverage of 1"):
        intervals.quantile(np.ones(8), 1.0)


@pytest.mark.parametrize("count", [9, 20, 57])
def test_coverage_is_at_least_nominal_and_not_far_above(count: int) -> None:
    rng = np.random.default_rng(count)
    draws = rng.standard_t(3, size=(4000, count + 1))
    covered = np.mean([row[-1] <= intervals.quantile(row[:-1], 0.9) for row in draws])
    assert 0.9 - 0.015 <= covered <= 0.9 + 1 / (count + 1) + 0.015


def test_folds_are_even_and_shuffled() -> None:
    fold = intervals.folds(53, 10, np.random.default_rng(0))
    counts = np.bincount(fold)
    assert set(counts) == {5, 6}
    assert (fold != np.arange(53) % 10).any()
