"""Networks measured a second time: later, in new processes, at the speed of the first; nothing twice, nothing lost."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import pytest

import ofa.space as spaces
from harness import journal as journals
from harness import plan as plans
from harness.again import plan_again
from harness.bench import Scope, bench, carry_out, plan_of
from harness.inventory import Device, simulated
from harness.simulation.machine import Machine
from harness.tables import AGAIN_JOURNAL, AGAIN_PLAN, JOURNAL, PLAN, table_in
from ofa.errors import FileInvalid, MeasurementRefused
from ofa.lut.format import Lut

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
SCOPE = Scope(fit=3, holdout=3, rounds=3, rounds_most=3, seed=0)


def phone(folder: Path, **parts: Any) -> Device:
    return simulated(folder / "files", machine=Machine(**parts), own_process=False)


def measured(folder: Path, scope: Scope = SCOPE, **parts: Any) -> Lut:
    return bench(SPACE, device=phone(folder, **parts), runtime="simulated", folder=folder, scope=scope)


@pytest.mark.slow
def test_every_network_is_measured_again_later(tmp_path: Path) -> None:
    lut = measured(tmp_path)
    first, second = plans.read(tmp_path / PLAN), plans.read(tmp_path / AGAIN_PLAN)
    assert [item.key for item in second.items] == [item.key for item in first.items if item.kind == "network"]
    assert {item.state for item in second.items} == {"hot"} and second.reference == first.reference
    assert (second.rounds, second.protocol) == (first.rounds, first.protocol) and second.seed != first.seed
    ratios = [row.again_ns / row.ns for row in lut.networks if row.again_ns and row.ns]
    # Another measurement of the same: near, and not the same number.
    assert len(ratios) == 6 and all(0.97 < ratio < 1.03 for ratio in ratios) and len(set(ratios)) > 4
    once, again = (next(one for one in lut.sessions if ("again" in one) == is_again) for is_again in (False, True))
    assert again["id"].endswith("-again") and again["rounds"] == [1, 2, 3]
    assert "reference_ns" not in again and again["again_reference_ns"]["hot"] > 0 and set(once["reference_ns"]) == {
        "hot", "cold",
    }  # fmt: skip


@pytest.mark.slow
def test_the_second_time_is_at_the_speed_of_the_first(tmp_path: Path) -> None:
    # By the time of the second pass the device is a good deal slower.
    lut = measured(tmp_path, drift_per_h=40.0, round_noise=0.001, slow_process_share=0.0)
    sessions = {"again" in session: session for session in lut.sessions}
    slower = sessions[True]["again_reference_ns"]["hot"] / sessions[False]["reference_ns"]["hot"]
    assert slower > 1.02
    assert median(row.again_ns / row.ns for row in lut.networks if row.again_ns and row.ns) == pytest.approx(
        1, abs=0.01
    )


@pytest.mark.slow
def test_progress_counts_both_and_what_is_interrupted_goes_on(tmp_path: Path) -> None:
    device, told = phone(tmp_path), []

    def stop_in_the_second(done: int, total: int, text: str) -> None:
        if text == "networks again, round 2 of 3":
            raise KeyboardInterrupt
        if "round" in text:
            told.append((done, total))

    with pytest.raises(KeyboardInterrupt):
        bench(SPACE, device=device, runtime="simulated", folder=tmp_path, scope=SCOPE, on_progress=stop_in_the_second)
    items = len(plans.read(tmp_path / PLAN).items)
    assert {total for _, total in told} == {3 * (items + 6)} and told == sorted(told)
    assert told[-1][0] >= 3 * items + 6
    lut = bench(SPACE, device=device, runtime="simulated", folder=tmp_path, scope=SCOPE)
    assert all(row.again_ns for row in lut.networks)
    # Only the round it was interrupted in is begun anew.
    for name, attempts in ((JOURNAL, [1, 1, 1]), (AGAIN_JOURNAL, [1, 2, 1])):
        with journals.open_journal(tmp_path / name) as journal:
            assert [journal.attempts_of(number) for number in range(3)] == attempts
    whole = measured(tmp_path / "whole")
    assert [row._replace(session="") for row in lut.networks] == [row._replace(session="") for row in whole.networks]


@pytest.mark.slow
def test_a_failed_network_has_no_second_time(tmp_path: Path) -> None:
    device = phone(tmp_path)
    plan = plan_of(SPACE, device=device, runtime="simulated", scope=SCOPE)
    later = plan_again(plan)
    assert later is not None
    broken = later.items[2]
    (device.transport.files / broken.file).write_text("{}")
    carry_out(plan, device=device, folder=tmp_path / "run")
    lut = table_in(tmp_path / "run", max_foreign_cores=1.0)
    found = {f"{row.space}:{row.id}": (row.status, row.again_ns) for row in lut.networks}
    assert found.pop(broken.key) == ("failed", None)
    assert len(found) == 5 and all(status != "failed" and ns for status, ns in found.values())


@pytest.mark.slow
def test_other_conditions_do_not_measure_again(tmp_path: Path) -> None:
    quick = Scope(fit=2, holdout=0, rounds=1, rounds_most=1, seed=0, again=False)
    lut = measured(tmp_path, quick)
    assert all(row.again_ns is None for row in lut.networks) and not (tmp_path / AGAIN_JOURNAL).exists()
    device = phone(tmp_path, power_mode="saving")
    plan = plan_of(SPACE, device=device, runtime="simulated", scope=quick)
    with pytest.raises(MeasurementRefused, match="no longer as it was"):
        carry_out(plan, device=device, folder=tmp_path)


@pytest.mark.slow
def test_a_second_journal_of_another_plan_is_refused(tmp_path: Path) -> None:
    quick = Scope(fit=2, holdout=0, rounds=1, rounds_most=1, seed=0)
    measured(tmp_path / "a", quick)
    measured(tmp_path / "b", Scope(fit=2, holdout=0, rounds=1, rounds_most=1, seed=3))
    (tmp_path / "b" / AGAIN_JOURNAL).replace(tmp_path / "a" / AGAIN_JOURNAL)
    with pytest.raises(FileInvalid, match="another plan"):
        table_in(tmp_path / "a", max_foreign_cores=1.0)
    without = plans.read(tmp_path / "a" / PLAN)
    ops = tuple(item for item in without.items if item.kind == "op")
    assert plan_again(without.model_copy(update={"items": ops})) is None
