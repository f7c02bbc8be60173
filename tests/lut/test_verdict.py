"""Whether a table still holds: chance says no as rarely as stated, what changed is named, noise that hides is told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from ofa.lut.changes import FALSE_ALARM_RATE, group_of
from ofa.lut.draw import draw, networks_of_table, ops_of_table
from ofa.lut.format import Lut
from ofa.lut.verdict import judge

from .builds import KEYS, built

SEVENS = "mbconv with 7x7 depthwise kernels"


def part_of(then: Lut, now: Lut, seed: int = 0) -> Lut:
    """Return what a recheck measures of a table, with the values of another one."""
    keys = {op.key for op in draw(ops_of_table(then), np.random.default_rng(seed))}
    ids = {row.id for row in networks_of_table(then)}
    rows = tuple(row for row in now.rows if row.key in keys)
    return dataclasses.replace(now, rows=rows, networks=tuple(row for row in now.networks if row.id in ids))


def rechecked(seed: int, factors: dict[str, float] | None = None, tolerance_pct: float = 5.0, **facts: float):
    rng = np.random.default_rng([seed, 1])
    then = built(rng)
    return judge(then, part_of(then, built(rng, factors, **facts), seed), tolerance_pct=tolerance_pct)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_device_as_it_was_is_called_changed_as_rarely_as_stated_even_without_a_tolerance() -> None:
    count = 120
    alarms = sum(rechecked(seed, tolerance_pct=1e-9).verdict == "stale" for seed in range(count))
    assert alarms <= stats.binom.ppf(0.999, count, FALSE_ALARM_RATE), alarms


def test_a_device_as_it_was_passes() -> None:
    for seed in range(8):
        found = rechecked(seed)
        assert (found.verdict, found.found, found.unsure) == ("still true", (), ())
        assert abs(found.facts["level"]["hot"]["pct"]) < 1.5 and len(found.facts["networks"]["rows"]) == 8


def test_a_group_that_got_slower_is_named_with_how_much_and_how_many() -> None:
    sevens = {key: 1.18 for key in KEYS if group_of(key) == SEVENS}
    found = rechecked(1, sevens)
    assert found.verdict == "stale" and len(found.found) == 1
    (line,) = found.found
    assert line.startswith(f"{SEVENS}: +1") and "cold" in line and "hot" in line
    of = int(line.rpartition(" of ")[2].split()[0])
    assert f"({of} of {of} ops)" in line and of >= 6
    group = next(group for group in found.facts["groups"] if group["group"] == SEVENS and group["state"] == "hot")
    assert group["pct"] == pytest.approx(18, abs=1.5) and group["lo_pct"] < group["pct"] < group["hi_pct"]


def test_a_device_that_is_slower_as_a_whole_is_told_as_that() -> None:
    found = rechecked(2, level=1.1)
    assert found.verdict == "stale"
    assert found.found == (
        f"the device as a whole: +{found.facts['level']['cold']['pct']:.1f} % cold, "
        f"+{found.facts['level']['hot']['pct']:.1f} % hot",
    )
    assert found.facts["level"]["hot"]["pct"] == pytest.approx(10, abs=1)
    assert rechecked(2, level=1.03).verdict == "still true", "a day differs from another by as much"


def test_a_single_op_is_named_where_its_group_is_as_it_was() -> None:
    rng = np.random.default_rng(3)
    then = built(rng)
    now = part_of(then, built(rng))
    slow = next(row.key for row in now.rows if group_of(row.key) == SEVENS)
    rows = tuple(
        row._replace(ns=2 * (row.ns or 0), lo=2 * (row.lo or 0), hi=2 * (row.hi or 0)) if row.key == slow else row
        for row in now.rows
    )
    found = judge(then, dataclasses.replace(now, rows=rows)).found
    assert [line.partition(":")[0] for line in found] == [f"{slow} cold", f"{slow} hot"]


def test_what_ran_and_runs_no_more_makes_a_table_stale() -> None:
    rng = np.random.default_rng(4)
    then = built(rng)
    now = part_of(then, built(rng))
    gone = now.rows[0]._replace(status="failed", ns=None, lo=None, hi=None, rounds=0)
    found = judge(then, dataclasses.replace(now, rows=(gone, *now.rows[1:])))
    assert found.verdict == "stale" and found.found == (
        f"{gone.key} {gone.state}: it had a time, and now it is failed",
    )


def test_noise_that_could_hide_a_change_is_told() -> None:
    rng = np.random.default_rng(5)
    then = built(rng)
    now = part_of(then, built(rng))
    wide = tuple(row._replace(lo=(row.ns or 0) // 2, hi=2 * (row.ns or 0)) for row in now.rows)
    found = judge(then, dataclasses.replace(now, rows=wide))
    assert not found.found and any("known to ±" in line for line in found.unsure)
    nothing = judge(then, dataclasses.replace(now, rows=(), networks=()))
    assert any("too few" in line for line in nothing.unsure)


def test_networks_stand_beside_what_the_table_says_of_them() -> None:
    rng = np.random.default_rng(6)
    then = built(rng)
    now = part_of(then, built(rng))
    said = {row[:2]: 1.04 * (row.ns or 0) / 1e6 for row in now.networks}
    facts = judge(then, now, predicted_ms=said).facts["networks"]
    assert facts["error_pct"] == pytest.approx(4.0, abs=0.01) and abs(facts["pct"]) < 1.5
    assert judge(then, now).facts["networks"]["error_pct"] is None
    slow = tuple(row._replace(**{name: 2 * getattr(row, name) for name in ("ns", "lo", "hi")}) for row in now.networks)
    found = judge(then, dataclasses.replace(now, networks=slow)).found
    assert len(found) == 1 and found[0].startswith("whole networks: +")


def test_a_table_of_whole_networks_alone_is_judged_by_them() -> None:
    rng = np.random.default_rng(7)
    then = dataclasses.replace(built(rng), rows=())
    for level, verdict in ((1.0, "still true"), (1.2, "stale")):
        now = part_of(then, dataclasses.replace(built(rng, level=level), rows=()))
        found = judge(then, now)
        assert (found.verdict, found.unsure) == (verdict, ()) and set(found.facts["level"]) == {"hot"}
