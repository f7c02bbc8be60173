"""What changed among many rows: chance names any as rarely as it is said to, and a true change is found and grouped."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ofa.lut import pullrequest, student
from ofa.lut.changes import FALSE_ALARM_RATE, Pairs, changes, group_of, level_of, pairs_of
from ofa.lut.diff import diff

from .builds import KEYS, built


def listed(facts: dict[str, Any]) -> int:
    """Return how many rows and groups a comparison lists."""
    return sum(part["slower"] + part["faster"] + len(part["groups"]) for part in (facts["ops"], facts["networks"]))


def allowed(count: int) -> int:
    """Return how many of so many comparisons may list anything: more are no chance, once in a thousand."""
    return int(stats.binom.ppf(0.999, count, FALSE_ALARM_RATE))


@pytest.mark.slow
@pytest.mark.parametrize("own_spread", [False, True], ids=["pooled spread", "own rounds"])
@pytest.mark.parametrize("rounds", [3, 5])
def test_two_builds_of_one_truth_list_anything_as_rarely_as_the_page_says(rounds: int, own_spread: bool) -> None:
    """1 % noise a round; the noise floor is taken away, since with it hardly anything could be listed at all."""
    count, alarms, with_floor = 60, 0, 0
    for seed in range(count):
        rng = np.random.default_rng([seed, rounds])
        a, b = (built(rng, rounds=rounds, own_spread=own_spread) for _ in range(2))
        with_floor += listed(diff(a, b)) > 0
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("ofa.lut.sides._floors_pct", lambda *_: {"cold": 0.0, "hot": 0.0})
            alarms += listed(diff(a, b)) > 0
    assert with_floor <= alarms <= allowed(count), alarms


def test_a_rebuild_lists_nothing_and_says_so() -> None:
    rng = np.random.default_rng(3)
    facts = diff(built(rng), built(rng))
    assert listed(facts) == 0 and not facts["differs"]
    text = pullrequest.compared(facts)
    assert "Nothing differs beyond noise." in text and "at most 5 % of cases" in text


def test_a_change_of_5_percent_in_some_rows_is_found_and_no_other() -> None:
    rng = np.random.default_rng(4)
    changed = {key: 1.05 for key in KEYS[::10]}
    facts = diff(built(rng), built(rng, changed))
    found = {(row["key"], row["state"]) for row in facts["ops"]["rows"] if row["significant"]}
    true = {(key, state) for key in changed for state in ("cold", "hot")}
    assert len(found & true) >= 0.9 * len(true) and len(found - true) <= 1


def test_all_7x7_depthwise_slower_is_one_line_and_not_the_level() -> None:
    rng = np.random.default_rng(5)
    sevens = {key: 1.08 for key in KEYS if group_of(key) == "mbconv with 7x7 depthwise kernels"}
    facts = diff(built(rng), built(rng, sevens))
    groups = {(group["group"], group["state"]): group for group in facts["ops"]["groups"]}
    assert set(groups) == {("mbconv with 7x7 depthwise kernels", state) for state in ("cold", "hot")}
    for state in ("cold", "hot"):
        assert groups["mbconv with 7x7 depthwise kernels", state]["beside"] == pytest.approx(1.08, rel=0.005)
        assert facts["ops"]["levels"][state]["ratio"] == pytest.approx(1.0, abs=0.002)
    text = pullrequest.compared(facts)
    assert f"{len(sevens)} of {len(sevens)} slower | +8." in text
    alone = [row for row in facts["ops"]["rows"] if row["significant"] and not row["grouped"]]
    assert len(alone) <= 2 and not any(row["key"] in sevens for row in alone), "a group's rows are not listed again"
    assert f"({facts['ops']['slower'] + facts['ops']['faster'] - len(alone)} of them in groups)" in text


def test_a_slower_device_is_told_as_that_and_no_row_of_it() -> None:
    rng = np.random.default_rng(6)
    facts = diff(built(rng), built(rng, level=1.1))
    assert listed(facts) == 0 and facts["ops"]["moved"] == ["cold", "hot"] and facts["differs"]
    assert facts["ops"]["levels"]["hot"]["ratio"] == pytest.approx(1.1, rel=0.005)
    text = pullrequest.compared(facts)
    assert "all hot together **+" in text and "Nothing differs" not in text
    within = diff(built(rng), built(rng, level=1.015))
    assert not within["differs"], "one day differs from another by as much"


def test_rows_that_scatter_beyond_their_intervals_are_not_called_changed() -> None:
    """Intervals describe one session; here each op is off by 3 % more on another day."""
    rng = np.random.default_rng(7)
    day = {key: math.exp(rng.normal(0, 0.03)) for key in KEYS}
    facts = diff(built(rng), built(rng, day))
    assert listed(facts) <= 2
    assert facts["ops"]["levels"]["hot"]["scatter"] > 2 and "scatter" in pullrequest.compared(facts)


def pairs(logs: Any, error: float = 0.01, freedom: float = 1e3) -> Pairs:
    count = len(logs)
    return Pairs(logs=np.asarray(logs, dtype=np.float64), errors=np.full(count, error),
                 freedom=np.full(count, freedom), groups=("",) * count)  # fmt: skip


def test_the_level_holds_while_those_that_changed_do_not_agree_better() -> None:
    rng = np.random.default_rng(8)
    still = rng.normal(0.02, 0.01, 60)
    both_ways = np.concatenate([rng.normal(0.4, 0.05, 40), rng.normal(-0.4, 0.05, 40)])
    for others in (rng.normal(0.5, 0.01, 40), both_ways, rng.normal(0.5, 0.1, 75)):
        found = level_of(pairs(np.concatenate([still, others])))
        assert found.log == pytest.approx(0.02, abs=4 * found.error) and found.scatter < 1.3
        assert 0.001 < found.error < 0.003
    assert level_of(pairs(still[:7])).error == 0.0, "few rows have no level"
    assert level_of(pairs(-still)).log == -level_of(pairs(still)).log


def test_a_tolerance_is_no_change() -> None:
    rng = np.random.default_rng(9)
    logs = np.concatenate([rng.normal(0, 0.01, 40), [0.06, 0.2]])
    plain, tolerant = changes(pairs(logs)), changes(pairs(logs), tolerance=0.05)
    assert plain.p[40] < 1e-6 < tolerant.p[40] and tolerant.p[41] < 1e-6
    assert (tolerant.p[:40] == 1).all()


def test_a_single_row_does_not_speak_for_its_group() -> None:
    rng = np.random.default_rng(10)
    logs = np.concatenate([rng.normal(0, 0.01, 40), rng.normal(0, 0.01, 8), [0.5]])
    named = dataclasses.replace(pairs(logs), groups=("many",) * 40 + ("few",) * 9)
    groups = {group.name: group for group in changes(named).groups}
    assert groups["few"].p > 0.05 and groups["few"].rows == 9


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
    for one, other in (sides, sides[::-1]):
        (p,) = changes(pairs_of([one], [other], [""])).p
        assert p == pytest.approx(2 * stats.t.sf(abs(asked.statistic), asked.df), rel=1e-5)


@pytest.mark.parametrize(("own_spread", "least", "most"), [(True, 3.0, 6.0), (False, 30.0, 1e3)])
def test_the_freedom_of_intervals_is_learned_from_their_widths(own_spread: bool, least: float, most: float) -> None:
    rows = built(np.random.default_rng(11), own_spread=own_spread).rows
    estimates = [one for row in rows if (one := student.of_row(row)) is not None]
    freedom = {one.freedom for one in student.pooled(estimates)}
    assert all(least <= value <= most for value in freedom)
    assert student.pooled(estimates[:5]) == estimates[:5]


def test_ops_are_grouped_by_kind_and_kernel() -> None:
    assert {group_of(key) for key in KEYS} >= {"stem", "head", "mbconv with 3x3 depthwise kernels"}
    assert group_of("bottleneck.k3.s1.i512x28.o512x28.m176.relu.n1") == "bottleneck with 3x3 kernels"
    assert group_of("@session") == "@session"
