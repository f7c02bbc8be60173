"""Progress of work in phases: what was there when a phase began, and how many rounds there are at most."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from virtual import OPS, STILL, phone, plan_of

from harness import journal as journals
from harness import waits
from harness.phases import phases
from harness.session import run


def test_rounds_that_were_there_say_nothing_of_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(float(second) for second in (0, 0, 20, 40))
    monkeypatch.setattr("ofa.console.time", SimpleNamespace(monotonic=lambda: next(clock)))
    with phases("measuring") as tell:
        tell(80, 100, "greeting phone")
        tell(81, 100, "round 9")
        tell(82, 100, "round 9")
    assert capsys.readouterr().err.splitlines() == [
        "measuring: 81 of 100, 20 s, about 380 s left · round 9",
        "measuring: 82 of 100, 40 s, about 360 s left · round 9",
    ]


def test_a_device_that_is_waited_for_says_nothing_of_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other work kept it busy for ten minutes before the first round, and it cooled for five within it."""
    clock = iter(float(second) for second in (0, 10, 20, 620, 640, 650, 950, 960))
    monkeypatch.setattr("ofa.console.time", SimpleNamespace(monotonic=lambda: next(clock)))
    with phases("measuring") as tell:
        tell(0, 100, "greeting phone")
        waits.working(lambda text, share: tell(0, 100, f"round 1 of 2, {text}"), 0.25, 1.5)
        tell(0, 100, "round 1 of 2")
        tell(10, 100, "round 1 of 2")
        waits.resting(lambda text, share: tell(10, 100, f"networks again, round 1 of 2, attempt 2, {text}"), 0.1, 71.0)
        tell(10, 100, "round 1 of 2")
        tell(15, 100, "round 1 of 2, 70 °C, canaries moved 1.0 %")
    said = capsys.readouterr().err.splitlines()
    assert "10 of 100" in said[3] and "640 s, about 360 s left" in said[3]
    assert "10 of 100" in said[5] and "950 s, about 450 s left" in said[5]
    assert said[6] == "measuring: 15 of 100, 960 s, about 340 s left · round 1 of 2, 70 °C, canaries moved 1.0 %"


@pytest.mark.slow
def test_rounds_beyond_the_plan_are_counted_as_the_most_there_may_be(tmp_path: Path) -> None:
    device = phone(tmp_path, **STILL | {"round_noise": 0.04})
    plan = plan_of(device, OPS[:6], rounds_most=5)
    told: list[tuple[int, int, str]] = []
    with journals.resume(tmp_path / "journal.sqlite", plan) as journal:
        run(plan, device=device, journal=journal, on_progress=lambda *step: told.append(step))
    planned = [step for step in told if " of at least 2" in step[2]]
    assert planned and {total for _, total, _ in planned} == {2 * len(plan.items)}
    later = [step for step in told if " of at most 5" in step[2]]
    first = next(step for step in later if step[2].startswith("round 3"))
    assert {total for _, total, _ in later} == {first[1]} and first[1] > 2 * len(plan.items)
    assert told[-1][0] == told[-1][1] <= first[1]
