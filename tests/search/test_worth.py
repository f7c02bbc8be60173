"""Worth: a limit with a price may be passed a little on the way, never by an answer; what more of it buys is told."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.search import Limit, find, finding, knapsack, surrogate, sweep, sweeps, worth
from ofa.search.archive import Archive, Scored
from ofa.search.run import Ended, Plan, Run
from ofa.search.sums import of_genes
from ofa.search.worth import Worth
from ofa.space import sample
from ofa.space.core import Genomes
from ofa.space.mobilenet_v3 import mobilenet_v3_tiny
from tests.search.test_find import Truth

SPACE = spaces.load("mobilenet_v3", width=1.2)


def priced(truth: Truth, share: float) -> Limit:
    """Return a limit whose additive part is known, so that it gets a price."""
    return dataclasses.replace(truth.limit(share), below=of_genes(truth.cost, 2.0), exact=True)


def archive(limits: list[Limit], truth: Truth) -> Archive:
    own = Archive(SPACE, truth.accuracy, limits)
    own.rows(sample.random(SPACE, 2000, np.random.default_rng(0)))
    return own


def test_without_a_price_worth_is_accuracy_and_no_limit_is_passed() -> None:
    truth = Truth(SPACE, 1)
    own = archive([truth.limit(0.5)], truth)
    plain, scored = Worth.of(own), own.all()
    assert (plain(scored) == scored.accuracy).all()
    assert (plain.admits(scored.values) == (scored.violation == 0)).all()


def test_at_its_price_what_a_limit_is_passed_by_is_paid_and_what_is_left_is_credited() -> None:
    truth = Truth(SPACE, 1)
    own = archive([priced(truth, 0.5), dataclasses.replace(truth.limit(0.6), name="other")], truth)
    at = Worth.of(own, np.array([0.25, 0.0]))
    first, other = at.at_most
    values = np.array(
        [[first * 1.02, other], [first * 0.98, other], [first, other * 1.01], [first * (1 + worth.OVER), other]]
    )
    scored = Scored(genomes=np.zeros((4, 0), np.uint8), accuracy=np.full(4, 70.0), values=values, violation=np.zeros(4))
    np.testing.assert_allclose(at(scored)[:3], [70 - 0.005 * first, 70 + 0.005 * first, 70.0])
    assert at.admits(values).tolist() == [True, True, False, True]
    assert not at.admits(np.array([first * (1 + 1.01 * worth.OVER), other]))


def test_the_price_is_what_the_last_tenth_of_the_only_limit_buys() -> None:
    truth = Truth(SPACE, 2, interaction=0.0)
    own = archive([priced(truth, 0.5)], truth)
    genomes, price = surrogate.optima(own)
    most, least = (
        truth.accuracy(surrogate.optima(archive([priced(truth, share)], truth))[0][-1:])[0] for share in (0.5, 0.45)
    )
    assert len(genomes) and price[0] == pytest.approx(
        (most - least) / (own.limits[0].at_most - priced(truth, 0.45).at_most), rel=0.2
    )
    # A limit that the best of all meets buys nothing more, near or far; of several, another may bind.
    costs = truth.latency(own.space.canonical(truth.gain.argmax(axis=1)[None].astype(np.uint8)))
    for at_most in (1.02 * costs[0], 10 * costs[0]):
        roomy = dataclasses.replace(priced(truth, 1.0), at_most=float(at_most))
        assert surrogate.optima(archive([roomy], truth))[1] == [0.0]
    both = [priced(truth, 0.5), dataclasses.replace(truth.limit(0.9), name="other")]
    assert (surrogate.optima(archive(both, truth))[1] == 0.0).all()


def test_a_front_that_ends_at_once_tells_no_price() -> None:
    genomes = np.zeros((2, 0), np.uint8)
    close = knapsack.Labels(genomes=genomes, gain=np.array([70.0, 70.5]), cost=np.array([9.99, 10.0]))
    assert surrogate._slope(close, 10.0) == 0.0
    apart = knapsack.Labels(genomes=genomes, gain=np.array([70.0, 70.5]), cost=np.array([9.2, 10.0]))
    assert surrogate._slope(apart, 10.0) == pytest.approx(0.625)


EFFORT: dict[str, Any] = {"seed": 0, "population": 64, "generations": 3, "rounds": 10}


def test_an_answer_meets_the_limit_that_its_search_passed_on_the_way() -> None:
    truth = Truth(SPACE, 3)
    limit = priced(truth, 0.4)
    over = {}
    for is_priced in (True, False):
        plan = Plan(seed=(0,), population=64, generations=3, rounds=10, priced=is_priced)
        ended = Run(Archive(SPACE, truth.accuracy, [limit]), plan).finish()
        over[is_priced] = truth.latency(ended.elite) / limit.at_most - 1
        for kept in (ended.best, ended.top):
            assert (kept.violation == 0).all() and len(kept) > 0
    assert 0.01 < over[True].max() <= worth.OVER and (over[True] > 1e-9).mean() > 0.1
    assert over[False].max() <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(("islands", "searches"), [(1, [True]), (2, [False, False, False])])
def test_of_several_searches_none_is_priced(
    monkeypatch: pytest.MonkeyPatch, islands: int, searches: list[bool]
) -> None:
    space = mobilenet_v3_tiny(1.0, 1, 10)
    truth, plans = Truth(space, 3), []

    class Noted(Run):
        def finish(self) -> Ended:
            plans.append(self.plan.priced)
            return super().finish()

    monkeypatch.setattr(finding, "Run", Noted)
    monkeypatch.setattr(sweeps, "Run", Noted)
    find(space, truth.accuracy, [priced(truth, 0.4)], islands=islands, **EFFORT)
    assert plans == searches
    plans.clear()
    sweep(space, truth.accuracy, priced(truth, 0.4), seed=0, points=3)
    assert len(plans) >= 3 and not any(plans)


def test_leaders_are_the_most_accurate_that_fit_or_those_that_miss_least_whatever_came_first() -> None:
    truth = Truth(SPACE, 1)
    genomes = sample.random(SPACE, 300, np.random.default_rng(0))

    def coarse(rows: Genomes) -> np.ndarray:
        return np.asarray(truth.accuracy(rows).round(-1))

    for share, exact in ((0.5, True), (0.5, False), (1e-6, True)):
        orders = []
        for rows in (genomes, genomes[::-1]):
            own = Archive(SPACE, truth.accuracy if exact else coarse, [truth.limit(share)])
            own.rows(rows)
            best = own.take(own.leaders(7))
            assert len(best) == 7 and (best.genomes == own.all().take(own.all().order()[:7]).genomes).all()
            orders.append(best.genomes)
        assert (orders[0] == orders[1]).all()
