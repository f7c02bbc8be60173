"""Training: it learns, and wherever it was interrupted it ends with the very weights of one that was not."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ofa.errors import FileInvalid, SpaceMismatch
from ofa.nn.supernet import build
from ofa.train import checkpoint, data, loop, recipes
from ofa.train.distill import soft_cross_entropy
from ofa.train.recipes import Recipe


def states(folder: Path) -> tuple[checkpoint.Checkpoint, str]:
    return checkpoint.load(folder / loop.CHECKPOINT), (folder / loop.METRICS).read_text()


def same(first: Path, second: Path) -> bool:
    """Say whether two trainings ended with equal weights, optimiser state and log, bit for bit."""
    (mine, log), (theirs, other) = states(first), states(second)
    weights = all(torch.equal(mine.model[name], value) for name, value in theirs.model.items())
    moments = [
        torch.equal(mine.optimiser["state"][number][name], value)
        for number, values in theirs.optimiser["state"].items()
        for name, value in values.items()
    ]
    return mine.step == theirs.step and weights and bool(moments) and all(moments) and log == other


@pytest.mark.slow
def test_stopping_anywhere_changes_nothing(recipe: Recipe, tmp_path: Path) -> None:
    loop.train(recipe, tmp_path / "whole")
    for stop in (0, 1, 3):
        loop.train(recipe, tmp_path / str(stop), stop_at=stop)
        assert loop.trained(tmp_path / str(stop), recipe) is None
        loop.train(recipe, tmp_path / str(stop))
        assert same(tmp_path / str(stop), tmp_path / "whole"), stop
    found = loop.trained(tmp_path / "whole", recipe)
    assert found is not None
    right = checkpoint.load(tmp_path / "whole" / loop.CHECKPOINT).model
    assert all(torch.equal(value, right[name]) for name, value in found.state_dict().items())


def test_ctrl_c_leaves_the_last_whole_step(recipe: Recipe, tmp_path: Path) -> None:
    def interrupt(found: loop.Progress) -> None:
        if found.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(recipe, tmp_path / "broken", on_step=interrupt)
    assert checkpoint.load(tmp_path / "broken" / loop.CHECKPOINT).step == 4
    loop.train(recipe, tmp_path / "broken")
    loop.train(recipe, tmp_path / "whole")
    assert same(tmp_path / "broken", tmp_path / "whole")


def test_ctrl_c_inside_an_update_keeps_the_checkpoint_before(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an optimiser step is no step: what is on the disk then is of an earlier one."""
    loop.train(recipe, tmp_path, stop_at=2)
    before = (tmp_path / loop.CHECKPOINT).read_bytes()

    def half(self: torch.optim.AdamW, closure: object = None) -> None:
        self.param_groups[0]["params"][0].data.add_(1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", half)
    with pytest.raises(KeyboardInterrupt):
        loop.train(recipe, tmp_path)
    assert (tmp_path / loop.CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("at", [3, 6])
def test_ctrl_c_while_corners_are_watched_loses_no_line(
    at: int, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle and at the last step: the line with the corners must not be lost, nor any other step repeated."""
    watched = dataclasses.replace(recipe, corner_steps=3)
    watch = (data.scenes("train", 16, 1), data.scenes("twin", 16, 2))
    measured, steps = loop._corner_accuracies, list[None]()

    def interrupted(*arguments: Any) -> dict[str, float]:
        steps.append(None)
        if len(steps) == at // 3:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(loop, "_corner_accuracies", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.train(watched, tmp_path / "broken", watch=watch)
    assert checkpoint.load(tmp_path / "broken" / loop.CHECKPOINT).step == at - 1
    loop.train(watched, tmp_path / "broken", watch=watch)
    monkeypatch.setattr(loop, "_corner_accuracies", measured)
    loop.train(watched, tmp_path / "whole", watch=watch)
    assert same(tmp_path / "broken", tmp_path / "whole")
    assert (tmp_path / "broken" / loop.METRICS).read_text().count("corners") == 2


@pytest.mark.slow
def test_the_loss_falls_and_corners_are_watched(recipe: Recipe, tmp_path: Path) -> None:
    longer = dataclasses.replace(recipe, steps=60, batch=32, warmup_steps=10, corner_steps=60)
    watch = (data.scenes("train", 64, 1), data.scenes("twin", 64, 2))
    seen: list[loop.Progress] = []
    loop.train(longer, tmp_path, watch=watch, on_step=seen.append)
    assert [found.step for found in seen] == list(range(1, 61))
    assert np.mean([found.loss for found in seen[-10:]]) < np.mean([found.loss for found in seen[:10]]) - 0.05
    corners = seen[-1].corners
    assert corners is not None and {"max", "min", "min@16"} <= set(corners)
    assert all(0 <= top1 <= 100 for top1 in corners.values())
    lines = [json.loads(line) for line in (tmp_path / loop.METRICS).read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 61)) and lines[-1]["corners"] == corners


def test_another_recipe_does_not_go_on_here(recipe: Recipe, tmp_path: Path) -> None:
    loop.train(recipe, tmp_path, stop_at=1)
    before = (tmp_path / loop.CHECKPOINT).read_bytes()
    with pytest.raises(FileInvalid, match="another recipe"):
        loop.train(dataclasses.replace(recipe, learning_rate=1e-3), tmp_path)
    with pytest.raises(SpaceMismatch, match="does not hold a supernet of"):
        loop.train(dataclasses.replace(recipe, width=0.5), tmp_path)
    loop.train(dataclasses.replace(recipe, log_steps=3), tmp_path, stop_at=2)
    assert before != (tmp_path / loop.CHECKPOINT).read_bytes()


class Evil:
    """What a pickle can do when it is trusted."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("evil-was-here"),))  # type: ignore[return-value]


def test_a_bad_checkpoint_is_refused_and_left(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loop.train(recipe, tmp_path, stop_at=1)
    path = tmp_path / loop.CHECKPOINT
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
            loop.train(recipe, tmp_path)
        assert caught.value.exit_code == 3 and caught.value.why and caught.value.hints
        assert path.read_bytes() == content
    assert not (tmp_path / "evil-was-here").exists()


def test_the_rate_rises_then_falls_to_nothing(recipe: Recipe) -> None:
    longer = dataclasses.replace(recipe, steps=100, warmup_steps=10)
    rates = [loop.learning_rate(longer, step) for step in range(101)]
    assert rates[9] == rates[10] == longer.learning_rate == max(rates)
    assert np.all(np.diff(rates[:10]) > 0) and np.all(np.diff(rates[10:]) < 0) and rates[100] == pytest.approx(0)


def test_a_sandwich_has_both_ends_at_one_resolution(recipe: Recipe) -> None:
    space = recipe.search_space()
    seen = set()
    for step in range(40):
        subnets = loop.sandwich(space, recipe, step)
        assert len(subnets) == 2 + recipe.random_subnets
        resolution = subnets[0].resolution
        assert subnets[0] == space.corner("max", resolution) and subnets[1] == space.corner("min", resolution)
        assert {subnet.resolution for subnet in subnets} == {resolution}
        assert subnets == loop.sandwich(space, recipe, step)
        seen.add(resolution)
    assert seen == set(space.resolutions)


def test_transforms_norms_and_biases_are_not_decayed(recipe: Recipe) -> None:
    supernet = build(recipe.search_space(), seed=0)
    decayed, spared = loop._optimiser(supernet, recipe).param_groups
    names = {id(value): name for name, value in supernet.named_parameters()}
    assert decayed["weight_decay"] == recipe.weight_decay and spared["weight_decay"] == 0
    assert all(names[id(value)].endswith(".weight") and value.ndim > 1 for value in decayed["params"])
    told = {names[id(value)] for value in spared["params"]}
    assert any("transform_5" in name for name in told) and any("norms" in name for name in told)
    assert any(name.endswith("bias") for name in told)
    assert len(told) + len(decayed["params"]) == len(names)


def test_distillation_is_cross_entropy_to_a_teacher_that_learns_nothing() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 10, requires_grad=True), torch.randn(5, 10, requires_grad=True)
    loss = soft_cross_entropy(student, teacher)
    by_hand = -(teacher.softmax(1) * F.log_softmax(student, 1)).sum(1).mean()
    assert torch.allclose(loss, by_hand)
    loss.backward()
    assert student.grad is not None and teacher.grad is None


def test_only_what_changes_weights_changes_a_recipes_id(recipe: Recipe) -> None:
    assert Recipe(**recipe.to_json()) == recipe
    changed: Any = dataclasses.replace
    for name in ("log_steps", "corner_steps", "checkpoint_steps"):
        assert changed(recipe, **{name: 77}).id == recipe.id
    for name, value in (("seed", 5), ("batch", 8), ("label_smoothing", 0.2), ("width", 1.2)):
        assert changed(recipe, **{name: value}).id != recipe.id
    assert recipes.RECIPES["demo"]() == recipes.demo()
