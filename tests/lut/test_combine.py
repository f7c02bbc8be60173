"""Combined rows: two sessions' values of one thing cover the truth, weigh by precision, and say where they disagree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.stats import over_rounds
from ofa.lut import combine
from ofa.lut.format import Lut, NetworkRow, Row
from ofa.lut.rows import TIMELESS

TIMES = ("ns", "lo", "hi", "cpu_ns", "wall_ns")


def row(key: str, ns: int, lo: int, hi: int, rounds: int = 5, session: str = "s1", **facts: Any) -> Row:
    """Return a measured row."""
    return Row(key, "hot", "ok", ns, lo, hi, ns, ns, rounds, (), session)._replace(**facts)


def times(row: Row | NetworkRow) -> tuple[int, int, int]:
    """Return ns, lo and hi of a row that has them."""
    assert row.ns is not None and row.lo is not None and row.hi is not None
    return row.ns, row.lo, row.hi


def timeless(row: Any, status: str) -> Any:
    """Return a row that says why there is no time."""
    return row._replace(status=status, **dict.fromkeys(TIMES))


def sampled(name: tuple[str, str], truth: float, noise: float, rounds: int, rng: np.random.Generator) -> Row:
    """Return the row that some rounds about a truth amount to, as the harness makes it."""
    found = over_rounds((truth * np.exp(rng.normal(0, noise, rounds))).tolist())
    return row(name[0], round(found.value), round(found.lo), round(found.hi), rounds, state=name[1])


@pytest.mark.parametrize(("first", "second"), [((5, 0.01), (5, 0.01)), ((5, 0.01), (5, 0.03)), ((3, 0.01), (10, 0.01))])
def test_two_halves_cover_the_truth_and_are_narrower(first, second) -> None:
    rng = np.random.default_rng(2)
    truth, covered, widths = 5e6, [], []
    for _ in range(1000):
        a, b = (sampled(("@a", "hot"), truth, noise, rounds, rng) for rounds, noise in (first, second))
        found = combine.combine(a, b, "s3").row
        assert found.rounds == first[0] + second[0]
        (_, lo, hi) = times(found)
        covered.append(lo <= truth <= hi)
        widths.append([math.log(times(one)[2] / times(one)[1]) for one in (a, b, found)])
    assert 0.935 <= np.mean(covered) <= 0.985
    first_width, second_width, both = np.median(widths, axis=0)
    assert both < 1.02 * min(first_width, second_width) and both < 0.8 * max(first_width, second_width)


def test_the_more_precise_half_weighs_more() -> None:
    found = combine.combine(row("@a", 1000, 990, 1010, 30), row("@a", 1020, 920, 1130, 30), "s").row
    assert 1000 <= times(found)[0] <= 1001 and found.status == "ok"
    a, b = (row("@a", ns, ns - 20_000, ns + 20_000, 30) for ns in (1_000_000, 1_010_000))
    even = combine.combine(a, b, "s").row
    ns, lo, hi = times(even)
    assert ns == pytest.approx(1_005_000, abs=100) and even.cpu_ns == 1_005_000
    # Twice the rounds, fewer degrees of freedom lost, and Meier's factor for weights that are estimates.
    expected = math.sqrt((1 + 2 / 29) / 2) * 2.002 / 2.045
    assert (hi - lo) / 40_000 == pytest.approx(expected, abs=0.003)


def test_rows_that_disagree_cover_both_and_say_so() -> None:
    a, b = row("@a", 1000, 990, 1010, flags=("cpu",)), row("@a", 1100, 1080, 1120, 31)
    found = combine.combine(a, b, "s3")
    assert found.outcome == "disagree"
    assert (found.row.ns, found.row.lo, found.row.hi) == (round(math.sqrt(1000 * 1100)), 990, 1120)
    assert found.row.flags == ("cpu", "disagree") and (found.row.status, found.row.session) == ("noisy", "s3")
    touching = combine.combine(a, b._replace(lo=1010), "s3")
    assert touching.outcome == "combined" and touching.row.flags == ("cpu",)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("thermal", "kept"), ("modelled", "kept"), ("failed", "conflict"), ("unsupported", "conflict")],
)
def test_a_time_outranks_every_reason_for_none(status: str, outcome: str) -> None:
    a = row("@a", 1000, 990, 1010)
    b = timeless(a, status) if status in TIMELESS else a._replace(status=status, ns=800, lo=800, hi=800)
    for one, other in ((a, b), (b, a)):
        found = combine.combine(one, other, "s3")
        assert found.outcome == outcome
        assert found.row == a._replace(flags=("disagree",) if outcome == "conflict" else ())


def test_among_rows_without_use_the_one_that_says_more_is_kept() -> None:
    a = row("@a", 1000, 990, 1010)
    order = [
        a._replace(status="thermal"),
        timeless(a, "failed"),
        timeless(a, "unsupported"),
        a._replace(status="modelled"),
    ]
    for place, better in enumerate(order):
        for worse in order[place + 1 :]:
            assert combine.combine(better, worse, "s").row == combine.combine(worse, better, "s").row == better
    hot = a._replace(status="thermal")
    assert combine.combine(timeless(hot, "thermal"), hot, "s").row == hot


def test_one_round_has_no_interval_to_combine() -> None:
    one, many = row("@a", 1000, 1000, 1000, 1), row("@a", 1010, 1000, 1020, 5)
    assert combine.combine(one, many, "s").row == combine.combine(many, one, "s").row == many
    found = combine.combine(one, row("@a", 1020, 1020, 1020, 1), "s").row
    expected = over_rounds([1000, 1020])
    assert (found.ns, found.lo, found.hi) == tuple(round(v) for v in (expected.value, expected.lo, expected.hi))
    assert (found.rounds, found.status) == (2, "noisy")


def test_a_network_keeps_what_is_no_time_of_a_call(table: Lut) -> None:
    first = table.networks[1]._replace(
        rounds=30, init_ns=100, first_ns=None, p95_ns=1100, peak_rss_kib=70, file_bytes=5, split="holdout"
    )
    second = first._replace(
        rounds=10, init_ns=200, first_ns=80, p95_ns=1300, peak_rss_kib=90, file_bytes=5, split="fit"
    )
    found = combine.combine(first, second, "s3").row
    assert isinstance(found, NetworkRow)
    assert (found.init_ns, found.first_ns, found.file_bytes, found.split) == (125, 80, 5, "fit")
    assert (found.p95_ns, found.again_ns, found.peak_rss_kib) == (1150, None, 90)
    other = combine.combine(first, second._replace(file_bytes=6, split="verify"), "s").row
    assert isinstance(other, NetworkRow) and (other.split, other.file_bytes) == ("holdout", None)


def test_energy_is_combined_like_time() -> None:
    a = row("@a", 1000, 990, 1010, 30, energy_uj=500, energy_lo=490, energy_hi=510)
    b = row("@a", 1000, 990, 1010, 30, energy_uj=504, energy_lo=494, energy_hi=514)
    found = combine.combine(a, b, "s").row
    assert isinstance(found, Row)
    assert found.energy_uj == 502 and 494 <= (found.energy_lo or 0) <= 496
    alone = combine.combine(a, b._replace(energy_uj=None, energy_lo=None, energy_hi=None), "s").row
    assert alone[11:] == (500, 490, 510)
    zero = combine.combine(a._replace(energy_uj=0, energy_lo=0, energy_hi=0), b, "s").row
    assert zero[12:] == (0, 514)


def test_an_interval_of_two_rounds_that_know_nothing_still_fits_a_table() -> None:
    found = combine.combine(row("@a", 1, 0, 1, 1), row("@a", 424, 0, 424, 1), "s").row
    assert times(found)[0] == 21 and times(found)[2] < 10**18
