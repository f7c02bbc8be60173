"""Searching and fitting keep linear algebra to one thread, whatever the computer or the environment allows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

import ofa.space as spaces
from ofa import threads as thread_counts
from ofa.search import Limit, find, sweep
from ofa.threads import busy_share, on_one_thread
from ofa.twins import fit_accuracy, members

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)


@pytest.fixture(autouse=True)
def many() -> Iterator[None]:
    """Allow two threads, as most computers do."""
    with threadpool_limits(2, user_api="blas"):
        yield


class Watched:
    """A predictor that notes how many threads there are when it is called."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def __call__(self, genomes: NDArray[np.uint8]) -> NDArray[np.float64]:
        self.threads |= threads()
        return genomes.sum(axis=1).astype(np.float64)


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_threads_are_many_again_afterwards() -> None:
    assert on_one_thread(threads)() == {1}
    assert threads() == {2}


def test_they_are_also_where_it_failed() -> None:
    with pytest.raises(ZeroDivisionError):
        on_one_thread(lambda: 1 / 0)()
    assert threads() == {2}


@pytest.mark.slow
def test_predictors_are_called_on_one_thread() -> None:
    watched = Watched()
    limit = Limit(name="latency", predict=watched, at_most=60.0, unit="ms")
    find(SPACE, watched, [limit], seed=0, population=16, generations=1, rounds=1)
    sweep(SPACE, watched, limit, seed=0, points=2)
    assert watched.threads == {1}


def test_twins_are_fitted_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    watched, fitted = Watched(), members.fit

    def noted(*given: Any, **named: Any) -> Any:
        watched.threads |= threads()
        return fitted(*given, **named)

    monkeypatch.setattr(members, "fit", noted)
    genomes = spaces.sample.random(SPACE, 40, np.random.default_rng(0))
    fit_accuracy(SPACE, genomes, 50 + genomes.mean(axis=1))
    assert watched.threads == {1}


@pytest.mark.parametrize(("idle", "counted", "share"), [(20, 20, 0.0), (5, 20, 0.75), (0, 20, 1.0), (0, 0, 0.0)])
def test_what_other_work_takes_of_the_cores(
    idle: int, counted: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel counts ticks; where nothing counts them nobody is told that the cores are busy."""
    found = iter([(100, 300), (100 + idle, 300 + counted)])
    monkeypatch.setattr(thread_counts, "_ticks", lambda: next(found))
    assert busy_share(0.0) == pytest.approx(share)


def test_a_core_is_idle_or_counted() -> None:
    assert 0 <= busy_share(0.05) <= 1
