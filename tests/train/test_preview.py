"""A preview says what a training would do, in the very steps it would have, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from ofa.train import loop, preview, schedule, teacher
from ofa.train.data import Data, Feed
from ofa.train.ranks import Ranks
from ofa.train.recipes import Recipe
from ofa.train.state import State


@pytest.fixture
def two(recipe: Recipe) -> Recipe:
    """Return a phase without a teacher and a short one with the first phase's network as teacher."""
    first = schedule.Phase(name="first", epochs=5, learning_rate=1e-3, smallest=True)
    second = dataclasses.replace(first, name="second", epochs=1 / 3, learning_rate=5e-4, random=1, teacher="frozen")
    return dataclasses.replace(recipe, phases=(first, second))


def test_phases_and_steps_are_the_schedules(
    two: Recipe, divided: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = two.schedule(len(divided.train))
    done: list[tuple[int, str]] = []
    advance = loop.Training.advance

    def counted(self: loop.Training, batches: Any) -> dict[str, Any]:
        facts = advance(self, batches)
        done.append((facts["step"], facts["phase"]))
        return facts

    monkeypatch.setattr(loop.Training, "advance", counted)
    told: list[int] = []
    found = preview.preview(two, divided, Ranks(), lambda: told.append(len(done)))
    assert told == [1, 2, 3, 4, 5, 6, 6] and len(told) == preview.trials(two, divided), "a bar moves with each of them"
    assert [phase["steps"] for phase in found["phases"]] == [30, 2] and found["steps"] == plan.steps == 32
    assert [phase["epochs"] for phase in found["phases"]] == [5, 0.33]
    assert [phase["subnets_a_step"] for phase in found["phases"]] == [1, 2]
    assert [phase["teacher"] for phase in found["phases"]] == ["none", "frozen"]
    assert [phase["learning_rate"] for phase in found["phases"]] == [1e-3, 5e-4]
    assert done == [(step, "first") for step in (1, 2, 3, 4)] + [(31, "second"), (32, "second")]
    assert found["images"] == {"trained_on": 96, "held_back": 32}
    assert (found["batch"], found["processes"], found["device"], found["recipe"]) == (16, 1, "cpu", "demo")
    assert found["space"] == "mobilenet_v3_tiny-w1.0-c1-n10" and found["memory_mib"] > 50
    assert not list(tmp_path.iterdir())


def test_hours_are_the_steps_times_what_one_took(two: Recipe, divided: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take 100 s, but for the first of each phase, which warms up and takes 900."""
    now_s = 0.0

    def advance(self: loop.Training, _: Any) -> dict[str, Any]:
        nonlocal now_s
        now_s += 900 if self.state.step in self.state.schedule.starts else 100
        return {}

    monkeypatch.setattr(loop.Training, "advance", advance)
    monkeypatch.setattr("ofa.train.preview.time", SimpleNamespace(perf_counter=lambda: now_s))
    found = preview.preview(two, divided, Ranks())
    assert [phase["s_a_step"] for phase in found["phases"]] == [100, 100]
    assert [phase["hours"] for phase in found["phases"]] == [round(3000 / 3600, 3), round(200 / 3600, 3)]
    assert found["hours"] == pytest.approx(3200 / 3600, abs=2e-3)
    once = dataclasses.replace(two, phases=(dataclasses.replace(two.phases[0], epochs=1 / 6),))
    assert preview.preview(once, divided, Ranks())["phases"][0]["s_a_step"] == 900, "a phase of one step has no other"


@pytest.mark.slow
def test_the_stand_in_for_a_frozen_teacher_is_of_the_recipes_kind(
    two: Recipe, divided: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a training in bfloat16 with a calibrated teacher would meet, a dry run meets first."""
    kinds: list[str] = []
    frozen = teacher.frozen

    def seen(*arguments: Any) -> teacher.Teacher:
        kinds.append(arguments[2])
        return frozen(*arguments)

    monkeypatch.setattr(teacher, "frozen", seen)
    preview.preview(dataclasses.replace(two, precision="bf16"), divided, Ranks())
    preview.preview(dataclasses.replace(two, teacher_mode="train"), divided, Ranks())
    assert kinds == ["eval", "train"]


@pytest.mark.parametrize(("workers", "cores", "step_s"), [(0, 8, 400), (2, 8, 150), (4, 8, 100), (4, 2, 150)])
def test_what_is_loaded_ahead_costs_what_a_step_waits_for_it(
    workers: int, cores: int, step_s: int, two: Recipe, divided: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes 100 s, and loading it 300 s of one process."""
    now_s = 0.0

    def spend(seconds: float) -> Any:
        def spent(*_: Any) -> dict[str, Any]:
            nonlocal now_s
            now_s += seconds
            return {}

        return spent

    monkeypatch.setattr(loop.Training, "advance", spend(100))
    monkeypatch.setattr(Feed, "__getitem__", spend(300))
    monkeypatch.setattr("ofa.train.preview.time", SimpleNamespace(perf_counter=lambda: now_s))
    # As if the images were in files.
    monkeypatch.setattr(loop, "Arrays", SimpleNamespace)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    found = preview.preview(dataclasses.replace(two, workers=workers), divided, Ranks())
    assert [phase["s_a_step"] for phase in found["phases"]] == [step_s, step_s]


@pytest.mark.parametrize(("mode", "holdout", "times"), [("eval", 0, 1), ("train", 32, 1), ("train", 0, 0)])
def test_memory_counts_what_statistics_and_the_guard_hold(
    mode: Literal["eval", "train"],
    holdout: int,
    times: int,
    two: Recipe,
    divided: Data,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Statistics are measured where a training measures some: of corners, or of a calibrated teacher."""
    measured: list[tuple[int, int]] = []
    kept: list[int] = []
    monkeypatch.setattr(loop.Training, "advance", lambda *_: {})
    monkeypatch.setattr(
        preview, "statistics", lambda _, subnet, images: measured.append((subnet.resolution, len(images)))
    )
    monkeypatch.setattr(State, "take_snapshot", lambda state: kept.append(state.step))
    parts = dataclasses.replace(divided, holdout=divided.holdout[:holdout])
    preview.preview(dataclasses.replace(two, teacher_mode=mode), parts, Ranks())
    assert measured == [(32, 32)] * times and len(kept) == 2
    preview.preview(dataclasses.replace(two, teacher_mode=mode, guard_factor=None), parts, Ranks())
    assert len(kept) == 2
