"""Training: it learns, and wherever it was interrupted it ends with the very weights of one that was not."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ofa.errors import FileInvalid, SpaceMismatch, UsageInvalid
from ofa.nn.supernet import Supernet
from ofa.space.core import SearchSpace
from ofa.train import checkpoint, data, digits, evaluate, folder, loop, recipes, schedule, step
from ofa.train.data import Data
from ofa.train.ranks import Ranks
from ofa.train.recipes import Recipe
from ofa.train.sources.arrays import Arrays

# Each trains a supernet, if only for a few steps.
pytestmark = pytest.mark.slow


def states(where: Path) -> tuple[checkpoint.Checkpoint, str]:
    return checkpoint.load(where / folder.CHECKPOINT), (where / folder.METRICS).read_text()


def same(first: Path, second: Path) -> bool:
    """Say whether two trainings ended with equal weights, optimiser state and log, bit for bit."""
    (mine, log), (theirs, other) = states(first), states(second)
    weights = all(torch.equal(mine.model[name], value) for name, value in theirs.model.items())
    averages = mine.ema.keys() == theirs.ema.keys() and all(
        torch.equal(mine.ema[name], value) for name, value in theirs.ema.items()
    )
    moments = [
        torch.equal(mine.optimiser["state"][number][name], value)
        for number, values in theirs.optimiser["state"].items()
        for name, value in values.items()
    ]
    alike = (mine.step, mine.phase, mine.guard) == (theirs.step, theirs.phase, theirs.guard)
    return alike and weights and averages and bool(moments) and all(moments) and log == other


@pytest.mark.parametrize("kind", ["recipe", "shrinking"])
def test_stopping_anywhere_changes_nothing(
    kind: str, request: pytest.FixtureRequest, divided: Data, tmp_path: Path
) -> None:
    chosen: Recipe = dataclasses.replace(request.getfixturevalue(kind), ema_decay=0.9)
    loop.train(chosen, divided, tmp_path / "whole")
    steps = chosen.schedule(len(divided.train)).steps
    for stop in (1, steps // 2, steps - 1):
        loop.train(chosen, divided, tmp_path / str(stop), stop_at=stop)
        assert loop.trained(tmp_path / str(stop), chosen, divided) is None
        loop.train(chosen, divided, tmp_path / str(stop))
        assert same(tmp_path / str(stop), tmp_path / "whole"), stop
    found = loop.trained(tmp_path / "whole", chosen, divided)
    assert found is not None
    right = checkpoint.load(tmp_path / "whole" / folder.CHECKPOINT).model
    assert all(torch.equal(value, right[name]) for name, value in found.state_dict().items())


KILLED = """
import sys, dataclasses
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from ofa.train import recipes, data, digits, loop
from ofa.train.recipes import from_json
import json
recipe = from_json(json.loads(Path(sys.argv[2]).read_text()))
divided = data.divided(digits.source("train", 128, 0), recipe)
loop.train(recipe, divided, Path(sys.argv[3]), on_step=lambda found: print(found.step, flush=True))
"""


def test_kill_9_in_mid_epoch_loses_nothing(shrinking: Recipe, divided: Data, tmp_path: Path) -> None:
    """A process killed between checkpoints goes on from the last one: parameters, losses and order bit-equal."""
    longer = dataclasses.replace(shrinking, checkpoint_steps=3, checkpoint_s=1e9)
    (tmp_path / "recipe.json").write_text(json.dumps(longer.to_json()))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    loop.train(longer, divided, tmp_path / "whole")
    torch.set_num_threads(threads)
    root = str(Path(loop.__file__).parents[2])
    command = [sys.executable, "-c", KILLED, root, str(tmp_path / "recipe.json"), str(tmp_path / "killed")]
    for kill_at in (5, 7, None):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=dict(os.environ, OMP_NUM_THREADS="1")
        )
        assert process.stdout is not None
        for line in process.stdout:
            if kill_at is not None and int(line) >= kill_at:
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.close()
        assert process.wait() == (0 if kill_at is None else -signal.SIGKILL)
    assert same(tmp_path / "killed", tmp_path / "whole")


def test_many_processes_keep_their_state_as_often_as_one(
    recipe: Recipe, divided: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process adds nothing here: what is computed does not matter."""
    monkeypatch.setattr("torch.distributed.all_reduce", lambda vector: vector)
    often = dataclasses.replace(recipe, checkpoint_s=0.0)
    training = loop.Training(often, divided, tmp_path, Ranks())
    training.begin()
    training.ranks = dataclasses.replace(training.ranks, size=2)
    training.run(2, None, lambda _: None)
    assert checkpoint.load(tmp_path / folder.CHECKPOINT).step == 1


def test_ctrl_c_leaves_the_last_whole_step(recipe: Recipe, divided: Data, tmp_path: Path) -> None:
    def interrupt(found: loop.Progress) -> None:
        if found.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(recipe, divided, tmp_path / "broken", on_step=interrupt)
    assert checkpoint.load(tmp_path / "broken" / folder.CHECKPOINT).step == 4
    loop.train(recipe, divided, tmp_path / "broken")
    loop.train(recipe, divided, tmp_path / "whole")
    assert same(tmp_path / "broken", tmp_path / "whole")


def test_ctrl_c_inside_an_update_keeps_the_checkpoint_before(
    recipe: Recipe, divided: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an optimiser step is no step: what is on the disk then is of an earlier one."""
    loop.train(recipe, divided, tmp_path, stop_at=2)
    before = (tmp_path / folder.CHECKPOINT).read_bytes()

    def half(self: torch.optim.AdamW, closure: object = None) -> None:
        self.param_groups[0]["params"][0].data.add_(1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", half)
    with pytest.raises(KeyboardInterrupt):
        loop.train(recipe, divided, tmp_path)
    assert (tmp_path / folder.CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("at", [3, 6])
def test_ctrl_c_while_corners_are_watched_loses_no_line(
    at: int, recipe: Recipe, divided: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle and at the last step: the line with the corners must not be lost, nor any other step repeated."""
    watched = dataclasses.replace(recipe, corner_steps=3)
    watch = (divided.images("calibration"), divided.images("holdout"))
    measured, steps = evaluate.corner_accuracies, list[None]()

    def interrupted(*arguments: Any) -> dict[str, float]:
        steps.append(None)
        if len(steps) == at // 3:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(loop, "corner_accuracies", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.train(watched, divided, tmp_path / "broken", watch=watch)
    assert checkpoint.load(tmp_path / "broken" / folder.CHECKPOINT).step == at - 1
    loop.train(watched, divided, tmp_path / "broken", watch=watch)
    monkeypatch.setattr(loop, "corner_accuracies", measured)
    loop.train(watched, divided, tmp_path / "whole", watch=watch)
    assert same(tmp_path / "broken", tmp_path / "whole")
    assert (tmp_path / "broken" / folder.METRICS).read_text().count("corners") == 2


def test_ctrl_c_while_the_best_weights_are_written_loses_them_not(
    recipe: Recipe, divided: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = dataclasses.replace(recipe, corner_steps=2)
    watch = (divided.images("calibration"), divided.images("holdout"))
    monkeypatch.setattr(loop, "corner_accuracies", lambda supernet, *_: {"max": 50.0})

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(folder, "keep_best", interrupted)
        loop.train(watched, divided, tmp_path, watch=watch, stop_at=4)
    loop.train(watched, divided, tmp_path, watch=watch, stop_at=4)
    assert checkpoint.load(tmp_path / folder.BEST).step == 2
    assert (tmp_path / folder.METRICS).read_text().count("corners") == 2


def test_the_loss_falls_and_corners_are_watched(recipe: Recipe, tmp_path: Path) -> None:
    longer = dataclasses.replace(
        recipe, batch=32, phases=schedule.sandwich(epochs=1, learning_rate=1e-2, warmup_epochs=0.2, random=1)
    )
    divided = data.divided(digits.source("train", 80 * 32 + longer.holdout, 0), longer)
    watch = (divided.images("calibration"), divided.images("holdout"))
    seen: list[loop.Progress] = []
    loop.train(longer, divided, tmp_path, watch=watch, on_step=seen.append)
    assert [found.step for found in seen] == list(range(1, 81))
    largest = [found.facts["loss_first"] for found in seen]
    assert np.mean(largest[-20:]) < np.mean(largest[:20]) - 0.05
    corners = seen[-1].corners
    assert corners is not None and {"max", "min", "min@16"} <= set(corners)
    assert all(0 <= top1 <= 100 for top1 in corners.values())
    lines = [json.loads(line) for line in (tmp_path / folder.METRICS).read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 81)) and lines[-1]["corners"] == corners
    assert checkpoint.load(tmp_path / folder.BEST).step == 80


def test_another_recipe_or_other_images_do_not_go_on_here(recipe: Recipe, divided: Data, tmp_path: Path) -> None:
    loop.train(recipe, divided, tmp_path, stop_at=1)
    before = (tmp_path / folder.CHECKPOINT).read_bytes()
    with pytest.raises(FileInvalid, match="another recipe"):
        loop.train(dataclasses.replace(recipe, weight_decay=1e-3), divided, tmp_path)
    with pytest.raises(SpaceMismatch, match="does not hold a supernet of"):
        loop.train(dataclasses.replace(recipe, width=0.5), divided, tmp_path)
    others = data.divided(digits.source("train", 128, 1), recipe)
    with pytest.raises(FileInvalid, match="other images"):
        loop.train(recipe, others, tmp_path)
    assert before == (tmp_path / folder.CHECKPOINT).read_bytes()
    loop.train(dataclasses.replace(recipe, log_steps=3), divided, tmp_path, stop_at=2)
    assert before != (tmp_path / folder.CHECKPOINT).read_bytes()


def test_two_processes_do_not_train_in_one_folder(
    recipe: Recipe, divided: Data, tmp_path: Path, busy: Callable[..., AbstractContextManager[None]]
) -> None:
    with busy(tmp_path), pytest.raises(UsageInvalid, match="another process"):
        loop.train(recipe, divided, tmp_path, stop_at=1)
    loop.train(recipe, divided, tmp_path, stop_at=0)


@pytest.mark.parametrize("foreign", [("metrics.jsonl",), ("recipe.json", "metrics.jsonl"), ("best.pt",)])
def test_files_that_no_training_wrote_are_left(
    foreign: tuple[str, ...], recipe: Recipe, divided: Data, tmp_path: Path
) -> None:
    for name in foreign:
        (tmp_path / name).write_text('{"pancakes": 4}\n')
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageInvalid, match="no training's"):
        loop.train(recipe, divided, tmp_path, stop_at=0)
    assert [(tmp_path / name).read_text() for name in foreign] == ['{"pancakes": 4}\n'] * len(foreign)
    for name in foreign:
        (tmp_path / name).unlink()
    # What a training leaves that was killed before its first checkpoint.
    loop.train(recipe, divided, tmp_path, stop_at=0)
    (tmp_path / folder.CHECKPOINT).unlink()
    loop.train(recipe, divided, tmp_path, stop_at=0)
    assert (tmp_path / folder.CHECKPOINT).exists() and (tmp_path / "notes.txt").read_text() == "mine"


def test_a_kill_between_two_checkpoint_files_leaves_the_one_before(
    recipe: Recipe, divided: Data, tmp_path: Path
) -> None:
    loop.train(recipe, divided, tmp_path, stop_at=2)
    (tmp_path / folder.CHECKPOINT).replace(tmp_path / folder.PREVIOUS)
    loop.train(recipe, divided, tmp_path)
    loop.train(recipe, divided, tmp_path / "whole")
    assert same(tmp_path, tmp_path / "whole")


def test_a_damaged_checkpoint_costs_what_came_after_the_one_before(
    recipe: Recipe, divided: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stop in (1, 2):
        loop.train(recipe, divided, tmp_path, stop_at=stop)
    damaged = (tmp_path / folder.CHECKPOINT).read_bytes()[:-1000]
    (tmp_path / folder.CHECKPOINT).write_bytes(damaged)
    begun: list[int] = []
    loop.train(recipe, divided, tmp_path, stop_at=2, on_step=lambda found: begun.append(found.step))
    warned = capsys.readouterr().err
    assert begun == [2] and "cannot be used" in warned and folder.DAMAGED in warned
    found = {name: checkpoint.load(tmp_path / name).step for name in (folder.CHECKPOINT, folder.PREVIOUS)}
    assert found == {folder.CHECKPOINT: 2, folder.PREVIOUS: 1}
    assert (tmp_path / folder.DAMAGED).read_bytes() == damaged


@pytest.mark.parametrize("links", [True, False], ids=["links", "one name a file"])
def test_the_last_checkpoint_is_kept_while_the_next_is_written(
    links: bool, supernet: Supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: Path) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for number in (1, 2, 3):
        folder.keep(tmp_path, checkpoint.Checkpoint(space=supernet.space.id, step=number, model=supernet.state_dict()))
        steps = [checkpoint.load(path).step for path in sorted(tmp_path.iterdir())]
        assert steps == [number - 1, number][number == 1 :]  # checkpoint.previous.pt, checkpoint.pt
    monkeypatch.setattr(checkpoint, "write_atomic", refuse)
    with pytest.raises(PermissionError):
        folder.keep(tmp_path, checkpoint.Checkpoint(space=supernet.space.id, step=4, model=supernet.state_dict()))
    assert [checkpoint.load(path).step for path in sorted(tmp_path.iterdir())] == ([3, 3] if links else [3])


def test_the_teacher_is_the_first_phases_network(shrinking: Recipe, divided: Data, tmp_path: Path) -> None:
    first = shrinking.schedule(len(divided.train)).starts[1]
    loop.train(shrinking, divided, tmp_path / "first", stop_at=first)
    loop.train(shrinking, divided, tmp_path / "more", stop_at=first + 1)
    taught = checkpoint.load(tmp_path / "more" / folder.TEACHER).model
    trained = checkpoint.load(tmp_path / "first" / folder.CHECKPOINT).model
    assert all(torch.equal(value, trained[name]) for name, value in taught.items())
    (tmp_path / "more" / folder.TEACHER).unlink()
    with pytest.raises(FileInvalid, match="no teacher"):
        loop.train(shrinking, divided, tmp_path / "more")


class Evil:
    """What a pickle can do when it is trusted."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("evil-was-here"),))  # type: ignore[return-value]


def test_a_bad_checkpoint_is_refused_and_left(
    recipe: Recipe, divided: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loop.train(recipe, divided, tmp_path, stop_at=1)
    path = tmp_path / folder.CHECKPOINT
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    other, evil = io.BytesIO(), io.BytesIO()
    torch.save({"format": "something/1"}, other)
    torch.save({"format": checkpoint.FORMAT, "model": Evil()}, evil)
    cases = (b"", whole[:-1000], bytes(flipped), pickle.dumps(Evil()), other.getvalue(), evil.getvalue())
    for content in cases:
        path.write_bytes(content)
        with pytest.raises(FileInvalid) as caught:
            loop.train(recipe, divided, tmp_path)
        assert caught.value.exit_code == 3 and caught.value.why and caught.value.hints
        assert path.read_bytes() == content
    assert not (tmp_path / "evil-was-here").exists()


@pytest.mark.parametrize("kind", ["sparse", "meta", "nested"])
def test_weights_that_are_no_plain_tensors_are_refused(kind: str, supernet: Supernet, tmp_path: Path) -> None:
    kinds: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "sparse": lambda value: value.to_sparse(),
        "meta": lambda value: value.to("meta"),
        "nested": lambda value: torch.nested.nested_tensor([value.tolist()]),
    }
    model = {name: kinds[kind](value) for name, value in supernet.state_dict().items()}
    with pytest.raises(FileInvalid, match="plain tensors"):
        checkpoint.save(tmp_path / folder.CHECKPOINT, checkpoint.Checkpoint(space=supernet.space.id, model=model))


def test_a_loss_that_is_no_number_costs_the_step_and_then_goes_back(
    recipe: Recipe, divided: Data, scenes: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard skips steps of a broken loss, and after several of them takes up the weights it kept."""
    computed = step.backward
    calls = list[None]()

    def broken(*arguments: Any) -> torch.Tensor:
        losses: torch.Tensor = computed(*arguments)
        calls.append(None)
        return losses * float("nan") if 3 <= len(calls) <= 4 else losses

    monkeypatch.setattr(loop, "backward", broken)
    supernet = loop.train(dataclasses.replace(recipe, guard_steps=2), divided, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / folder.METRICS).read_text().splitlines()]
    assert [line.get("event") for line in lines] == [None, None, "skip", "roll_back", None, None]
    assert all(torch.isfinite(value).all() for value in supernet.parameters())
    slowed, full = lines[4]["lr"], recipe.schedule(len(divided.train)).rate(4)
    assert slowed == pytest.approx(full / 2)


def test_finetuning_trains_one_subnet_from_given_weights(
    recipe: Recipe, divided: Data, space: SearchSpace, supernet: Supernet, tmp_path: Path
) -> None:
    subnet = space.corner("min", 20)
    alone = recipes.finetune(recipe, subnet, origin="0" * 64, epochs=1, learning_rate=1e-3)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    found = loop.train(dataclasses.replace(alone, weight_decay=0.0), divided, tmp_path, start=before)
    changed = {name for name, value in found.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("stages.0.0.") for name in changed)
    assert not any(name.startswith("stages.0.1.") for name in changed), "a block that the subnet leaves out"
    wide = dict(found.named_parameters())["stages.0.0.convs.expand.weight"]
    kept = before["stages.0.0.convs.expand.weight"]
    assert torch.equal(wide[48:], kept[48:]) and not torch.equal(wide[:48], kept[:48]), "only the slice in use moves"
