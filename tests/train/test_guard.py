"""The guard: what it takes for a jump of the loss, what it does to weights and rate, and what a resumed one knows."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ofa.errors import VerificationFailed
from ofa.nn.supernet import Supernet
from ofa.train import folder, loop, schedule
from ofa.train.data import Data
from ofa.train.guard import Guard
from ofa.train.recipes import Recipe
from ofa.train.state import State


def settled(steps: int = 3) -> Guard:
    """Return a guard that has seen 20 losses of median 1."""
    guard = Guard(factor=2.0, steps=steps)
    for number in range(20):
        assert guard.judge(0.5 if number % 2 else 1.5) == "go"
    return guard


def test_losses_beyond_the_factor_times_the_median_are_skipped() -> None:
    guard = settled()
    assert guard.judge(1.99) == "go" and guard.judge(2.0) == "go"
    assert settled().judge(2.01) == "skip"


def test_the_median_is_no_mean() -> None:
    """Ten losses of 1.9 move a mean far more than the median of 31."""
    guard = Guard(factor=2.0, steps=3)
    for loss in [1.0] * 21 + [1.9] * 10:
        assert guard.judge(loss) == "go"
    assert guard.judge(2.1) == "skip" and guard.judge(1.95) == "go"


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_no_number_is_never_let_through(broken: float) -> None:
    assert Guard(factor=2.0, steps=3).judge(broken) == "skip" and settled().judge(broken) == "skip"


def test_the_first_losses_are_let_through_whatever_they_are() -> None:
    guard = Guard(factor=2.0, steps=3)
    assert [guard.judge(10.0**number) for number in range(20)] == ["go"] * 20
    assert guard.judge(1e30) == "skip"


def test_the_window_forgets_what_is_long_ago() -> None:
    guard = Guard(factor=2.0, steps=3)
    for _ in range(60):
        guard.judge(10.0)
    assert guard.judge(15.0) == "go"
    for _ in range(101):
        guard.judge(1.0)
    assert len(guard.recent) == 101 and guard.judge(15.0) == "skip"


def test_several_jumps_in_a_row_roll_back_and_leave_the_window_alone() -> None:
    guard = settled(steps=3)
    before = list(guard.recent)
    assert [guard.judge(9.0) for _ in range(7)] == ["skip", "skip", "roll_back", "skip", "skip", "roll_back", "skip"]
    assert guard.recent == before
    assert guard.judge(1.0) == "go"
    assert [guard.judge(9.0) for _ in range(3)] == ["skip", "skip", "roll_back"], "the row was broken by a good step"


def test_a_reset_forgets_losses_and_not_the_slow_down() -> None:
    guard = settled()
    guard.judge(9.0)
    guard.slow_until = 7
    guard.reset()
    assert (guard.recent, guard.in_a_row, guard.slow_until) == ([], 0, 7)
    assert guard.judge(9.0) == "go"


def test_a_resumed_guard_knows_what_the_first_one_knew() -> None:
    guard = settled()
    guard.judge(9.0)
    guard.slow_until = 12
    resumed = Guard(factor=2.0, steps=3)
    resumed.restore(json.loads(json.dumps(guard.to_json())))
    assert resumed == guard
    assert [resumed.judge(9.0) for _ in range(2)] == ["skip", "roll_back"]


Losses = Callable[[list[float]], None]


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> Losses:
    """Return a function that gives the steps of a training these losses, and all weights the same gradient."""

    def install(values: list[float]) -> None:
        given = iter(values)

        def told(supernet: Supernet, *_: Any) -> torch.Tensor:
            for value in supernet.parameters():
                value.grad = torch.ones_like(value)
            return torch.full((3,), next(given), dtype=torch.float64)

        monkeypatch.setattr(loop, "backward", told)

    return install


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / folder.METRICS).read_text().splitlines()]


@pytest.fixture
def long(recipe: Recipe) -> Recipe:
    """Return 30 steps of six an epoch, of the smallest subnet alone."""
    phase = schedule.Phase(name="one", epochs=5, learning_rate=1e-3, smallest=True)
    return dataclasses.replace(recipe, phases=(phase,), batch=16, holdout=32, guard_steps=2)


@pytest.mark.slow
def test_a_threefold_loss_goes_back_to_where_the_epoch_began_and_slows_down(
    long: Recipe, divided: Data, tmp_path: Path, losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = long.schedule(len(divided.train))
    assert plan.steps == 30 and plan.steps_per_epoch == 6
    losses([1.0] * 26 + [3.0, 3.0] + [1.0] * 2)
    kept: dict[int, dict[str, torch.Tensor]] = {}
    snapshot, went_back = State.take_snapshot, State.go_back

    def take(self: State) -> None:
        snapshot(self)
        kept[self.step] = {name: value.clone() for name, value in self.supernet.state_dict().items()}

    def go(self: State) -> None:
        before = {name: value.clone() for name, value in self.supernet.state_dict().items()}
        went_back(self)
        found, expected = self.supernet.state_dict(), kept[24]
        assert all(torch.equal(found[name], expected[name]) for name in expected), "the weights of the epoch's start"
        assert not all(torch.equal(found[name], before[name]) for name in before), "which two steps had changed"
        assert int(self.optimiser.state[self.parameters[0]]["step"]) == 24, "and the optimiser's memory"

    monkeypatch.setattr(State, "take_snapshot", take)
    monkeypatch.setattr(State, "go_back", go)
    loop.train(long, divided, tmp_path)
    lines = lines_of(tmp_path)
    assert sorted(kept) == [0, 6, 12, 18, 24]
    assert [line.get("event") for line in lines[26:]] == ["skip", "roll_back", None, None]
    assert "lr" not in lines[26] and "lr" not in lines[27]
    for at, factor in ((25, 1.0), (28, 0.5), (29, 0.5)):
        assert lines[at]["lr"] == pytest.approx(plan.rate(at) * factor)


@pytest.mark.slow
def test_an_infinite_gradient_costs_its_step_alone(
    long: Recipe, divided: Data, tmp_path: Path, losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of a step may be good where its gradient is not: two steps before an epoch's end, and at its start."""
    losses([1.0] * 30)
    good, calls = vars(loop)["backward"], iter(range(1, 31))

    def overflowing(supernet: Supernet, *others: Any) -> torch.Tensor:
        found = good(supernet, *others)
        if next(calls) in (5, 13):
            next(supernet.parameters()).grad = torch.full_like(next(supernet.parameters()), math.inf)
        return found

    monkeypatch.setattr(loop, "backward", overflowing)
    supernet = loop.train(long, divided, tmp_path)
    assert {line["step"]: line["event"] for line in lines_of(tmp_path) if "event" in line} == {5: "skip", 13: "skip"}
    assert [line["step"] for line in lines_of(tmp_path) if line["gradient_norm"] is None] == [5, 13]
    assert all(torch.isfinite(value).all() for value in supernet.parameters())


def test_only_weights_that_gave_a_good_step_are_kept(
    long: Recipe, divided: Data, tmp_path: Path, losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch that begins in the middle of broken steps begins with what may have broken them."""
    losses([1.0] * 4 + [math.nan] * 5 + [1.0] * 21)
    kept, snapshot = list[int](), State.take_snapshot

    def take(self: State) -> None:
        snapshot(self)
        kept.append(self.step)

    monkeypatch.setattr(State, "take_snapshot", take)
    loop.train(dataclasses.replace(long, guard_steps=5), divided, tmp_path)
    assert sorted(set(kept)) == [0, 12, 18, 24]


def test_a_training_that_going_back_does_not_mend_ends(
    long: Recipe, divided: Data, tmp_path: Path, losses: Losses
) -> None:
    losses([1.0] * 4 + [math.nan] * 26)
    with pytest.raises(VerificationFailed, match="lost its way") as caught:
        loop.train(long, divided, tmp_path)
    assert "10 steps in a row" in caught.value.why and caught.value.hints
    assert [line.get("event") for line in lines_of(tmp_path)[4:]] == ["skip", "roll_back"] * 5


@pytest.mark.slow
def test_after_an_epoch_the_rate_is_whole_again(long: Recipe, divided: Data, tmp_path: Path, losses: Losses) -> None:
    losses([1.0] * 3 + [math.nan, math.nan] + [1.0] * 25)
    loop.train(long, divided, tmp_path)
    plan, lines = long.schedule(len(divided.train)), lines_of(tmp_path)
    slowed = [round(lines[at]["lr"] / plan.rate(at), 6) for at in range(5, 13)]
    assert slowed == [0.5] * 5 + [1.0] * 3, "a step after it was slowed for the six steps from the one that went back"


@pytest.mark.slow
def test_a_new_phase_has_losses_of_its_own(long: Recipe, divided: Data, tmp_path: Path, losses: Losses) -> None:
    """The second phase's losses are nine times as high from its first step on, as a random subnet's may be."""
    (phase,) = long.phases
    two = dataclasses.replace(phase, name="two", epochs=1)
    losses([1.0] * 24 + [9.0] * 6)
    loop.train(dataclasses.replace(long, phases=(dataclasses.replace(phase, epochs=4), two)), divided, tmp_path / "two")
    assert not any("event" in line for line in lines_of(tmp_path / "two"))
    losses([1.0] * 24 + [9.0] * 6)
    loop.train(long, divided, tmp_path / "one")
    assert [line.get("event") for line in lines_of(tmp_path / "one")[24:]] == ["skip", "roll_back"] * 3
