"""From rounds to values: ratios to the reference, medians, intervals that hold, and the clock that is believed."""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness import journal as journals
from harness.inventory import Device
from harness.journal import Journal
from harness.plan import Plan
from harness.reduce import conditions, measured, reference_of, table
from harness.session import run
from harness.stats import over_rounds


def journal_of(rounds: list[Device], plan: Plan, path: Path) -> Journal:
    """Measure each round on a device of its own making."""
    journal = journals.create(path, plan)
    for number, device in enumerate(rounds):

        def stop(done: int, total: int, text: str, number: int = number) -> None:
            if done > (number + 1) * len(plan.items):
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            run(plan, device=device, journal=journal, on_progress=stop)
    return journal


@pytest.mark.slow
def test_a_process_that_is_slow_as_a_whole_cancels(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    devices = [stand_in(STAND_IN_SCALE=scale) for scale in ("1", "1.3", "1", "0.9", "1")]
    with journal_of(devices, plan(rounds=5), tmp_path / "journal.sqlite") as journal:
        values = measured(journal)
        assert conditions(journal).flags == ("drift",)
    for number in range(6):
        for place, state in enumerate(("cold", "hot")):
            value = values[f"op{number}.n1", state]
            assert value.ns == pytest.approx(1000 * (2 * number + place + 1), rel=0.002)
            assert value.hi is not None and value.lo is not None and value.hi / value.lo < 1.01
            assert value.rounds == 5 and value.status == "ok"


@pytest.mark.slow
def test_wall_time_is_believed_when_quiet_and_cpu_time_when_not(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    cases = {
        "quiet": ({"STAND_IN_WALL_OVER_CPU": "1.02"}, "wall_p10_ns"),
        "busy": ({"STAND_IN_WALL_OVER_CPU": "1.02", "STAND_IN_FOREIGN": "1.4"}, "cpu_min_ns"),
        "disturbed": ({"STAND_IN_WALL_OVER_CPU": "1.2"}, "cpu_min_ns"),
    }
    for name, (environment, basis) in cases.items():
        with journals.create(tmp_path / f"{name}.sqlite", plan()) as journal:
            run(journal.plan, device=stand_in(**environment), journal=journal)
            found = conditions(journal)
            value = measured(journal)["op5.n1", "hot"]
        assert found.basis == basis and found.wall_over_cpu is not None
        assert ("cpu" in value.flags) == (basis == "cpu_min_ns")
        assert value.cpu_ns == 12000 and value.wall_ns == pytest.approx(12000 * found.wall_over_cpu, rel=0.01)
        assert value.ns == (value.cpu_ns if basis == "cpu_min_ns" else value.wall_ns)


def test_cpu_time_is_not_believed_for_several_threads(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    with journals.create(tmp_path / "journal.sqlite", plan(threads=2)) as journal:
        run(journal.plan, device=stand_in(STAND_IN_FOREIGN="2"), journal=journal)
        assert conditions(journal).basis == "wall_p10_ns"


def test_what_cannot_be_run_is_a_row_with_its_reason(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    with journals.create(tmp_path / "journal.sqlite", plan()) as journal:
        run(journal.plan, device=stand_in("one fails"), journal=journal)
        values = measured(journal)
    failed = values["op1.n1", "hot"]
    assert failed.status == "failed" and failed.ns is None and "HardSwish" in failed.reason
    assert sum(value.status == "ok" for value in values.values()) == 11


def test_a_round_taken_twice_is_told_by_its_session(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    from ofa.errors import DeviceLost

    with journals.create(tmp_path / "journal.sqlite", plan()) as journal:
        with pytest.raises(DeviceLost):
            run(journal.plan, device=stand_in("dies"), journal=journal)
        run(journal.plan, device=stand_in(), journal=journal)
        rows = table(journal)
        assert all(not row.flags for row in rows.rows)
        assert sum(session["begun_anew"] for session in rows.sessions) == 3


def test_an_estimate_is_the_median_inside_its_interval() -> None:
    found = over_rounds([100.0, 101.0, 99.0, 140.0, 100.5])
    assert found.value == pytest.approx(100.5) and found.lo < 100.5 < found.hi and found.rounds == 5
    alone = over_rounds([7.0])
    assert alone.lo == alone.hi == pytest.approx(7.0) and alone.half_width == 0


@pytest.mark.parametrize("rounds", [3, 5, 8])
def test_the_interval_holds_the_truth_as_often_as_it_says(rounds: int) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for draw in np.exp(rng.normal(0.0, 0.015, size=(2000, rounds))):
        found = over_rounds(draw)
        held += found.lo <= 1.0 <= found.hi
    assert 0.945 <= held / 2000 <= 0.985


def test_the_interval_is_relative() -> None:
    small, large = over_rounds([1.0, 1.1, 0.9]), over_rounds([1000.0, 1100.0, 900.0])
    assert small.half_width == pytest.approx(large.half_width) and math.isfinite(large.hi)


def test_each_session_tells_its_own_reference(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    devices = [stand_in(STAND_IN_SCALE=scale) for scale in ("1", "1.5")]
    with journal_of(devices, plan(rounds=2), tmp_path / "journal.sqlite") as journal:
        first, second = (reference_of(journal, conditions(journal), [number]) for number in (0, 1))
    assert first["cold"] > 0 and second["cold"] == pytest.approx(1.5 * first["cold"], rel=0.01)
