"""What an optimiser's step does beside its own: the moving average, transforms drawn to identity, what is decayed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ofa.nn.supernet import Supernet
from ofa.space.core import SearchSpace
from ofa.train import checkpoint, folder, loop, recipes
from ofa.train.data import Data
from ofa.train.recipes import Recipe
from ofa.train.state import State, optimiser_of

CPU = torch.device("cpu")


def state_of(recipe: Recipe, space: SearchSpace) -> State:
    return State(recipe, space, recipe.schedule(96), CPU)


def moved(state: State, size: float = 1.0) -> None:
    """Give every weight a gradient, unlike from weight to weight."""
    generator = torch.Generator().manual_seed(state.step)
    for value in state.parameters:
        value.grad = size * torch.randn(value.shape, generator=generator)


def copied(state: State) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.supernet.state_dict().items()}


def test_the_moving_average_is_that_of_the_weights_of_each_step(recipe: Recipe, space: SearchSpace) -> None:
    state = state_of(dataclasses.replace(recipe, ema_decay=0.8), space)
    expected = copied(state)
    for step in range(3):
        state.step = step
        moved(state)
        state.update()
        weights = copied(state)
        expected = {name: 0.8 * value + 0.2 * weights[name] for name, value in expected.items()}
    assert state.ema.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(state.ema[name], value)
        assert not torch.equal(state.ema[name], weights[name]), name
    assert not state_of(recipe, space).ema


def test_the_moving_average_begins_with_the_weights_a_training_begins_with(
    recipe: Recipe, divided: Data, supernet: Supernet, space: SearchSpace, tmp_path: Path
) -> None:
    """Were it to begin with random ones, the average of a fine-tuned network would be mostly these."""
    alone = recipes.finetune(recipe, space.corner("min", 16), origin="0" * 64, epochs=1, learning_rate=0.0)
    averaged = dataclasses.replace(alone, ema_decay=0.9)
    loop.train(averaged, divided, tmp_path, start=supernet.state_dict(), stop_at=2)
    ema = checkpoint.load(tmp_path / folder.CHECKPOINT).ema
    for name, value in supernet.state_dict().items():
        torch.testing.assert_close(ema[name], value)


def test_the_moving_average_goes_back_with_the_weights(recipe: Recipe, space: SearchSpace) -> None:
    """It would never forget one weight that was no number."""
    state = state_of(dataclasses.replace(recipe, ema_decay=0.8), space)
    moved(state)
    state.update()
    expected = {name: value.clone() for name, value in state.ema.items()}
    state.take_snapshot()
    for value in state.parameters:
        value.grad = torch.full_like(value, torch.nan)
    state.update()
    state.go_back()
    assert all(torch.equal(value, expected[name]) for name, value in state.ema.items())


def test_only_transforms_in_use_are_drawn_to_identity(recipe: Recipe, space: SearchSpace) -> None:
    drawing = dataclasses.replace(recipe, transform_decay=20.0)
    state = state_of(drawing, space)
    for value in state.transforms:
        value.data.add_(torch.ones_like(value))
        value.grad = torch.zeros_like(value)
    unused = state.transforms[0]
    unused.grad = None
    before = [value.clone() for value in state.transforms]
    rate = state.update()
    share = 20.0 * rate
    assert 0.01 < share < 1 and len(state.transforms) > 4
    assert torch.equal(unused, before[0])
    for value, old in list(zip(state.transforms, before, strict=True))[1:]:
        torch.testing.assert_close(value.detach(), old + share * (torch.eye(len(old)) - old))
    others = [value for name, value in state.supernet.named_parameters() if "transform_" not in name]
    assert others and all(value.grad is None for value in others)


def test_transforms_stay_without_that_decay(recipe: Recipe, space: SearchSpace) -> None:
    state = state_of(recipe, space)
    for value in state.transforms:
        value.data.add_(1.0)
        value.grad = torch.zeros_like(value)
    before = [value.clone() for value in state.transforms]
    state.update()
    assert all(torch.equal(value, old) for value, old in zip(state.transforms, before, strict=True))


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_weights_decay_and_nothing_else(optimiser: str, recipe: Recipe, space: SearchSpace) -> None:
    """A step of zero gradients at a rate of 0.5 takes half of the weight decay from weights alone."""
    changed: dict[str, object] = {"optimiser": optimiser, "weight_decay": 0.1, "momentum": 0.9}
    state = state_of(dataclasses.replace(recipe, **changed), space)  # type: ignore[arg-type]
    optimiser_found = optimiser_of(state.supernet, state.recipe)
    names = dict(state.supernet.named_parameters())
    for value in names.values():
        value.data.fill_(1.0)
        value.grad = torch.zeros_like(value)
    for group in optimiser_found.param_groups:
        group["lr"] = 0.5
    optimiser_found.step()
    shrunk = {name for name, value in names.items() if not torch.equal(value, torch.ones_like(value))}
    assert shrunk == {name for name in names if name.endswith("weight") and ".convs." in name}
    # Nesterov's momentum looks one step ahead: 1.9 times the decay at the first step.
    expected = 1 - 0.5 * 0.1 * (1.9 if optimiser == "sgd" else 1.0)
    assert all(torch.allclose(names[name], torch.tensor(expected)) for name in shrunk)


def test_the_gradient_is_clipped_to_its_norm_and_told(recipe: Recipe, space: SearchSpace) -> None:
    state = state_of(dataclasses.replace(recipe, clip_norm=2.0), space)
    moved(state, 3.0)
    norm = float(torch.cat([value.grad.flatten() for value in state.parameters if value.grad is not None]).norm())
    told = state.clip()
    rate = state.update()
    kept = float(torch.cat([value.grad.flatten() for value in state.parameters if value.grad is not None]).norm())
    assert told == pytest.approx(norm, rel=1e-4) and norm > 100 and kept == pytest.approx(2.0, rel=1e-3)
    assert rate == state.schedule.rate(0)
    free = state_of(dataclasses.replace(recipe, clip_norm=None), space)
    moved(free, 3.0)
    free.clip()
    kept = float(torch.cat([value.grad.flatten() for value in free.parameters if value.grad is not None]).norm())
    assert kept == pytest.approx(norm, rel=1e-4)


@pytest.mark.slow
def test_training_in_bfloat16_lowers_the_loss_on_its_own_images(recipe: Recipe, divided: Data, tmp_path: Path) -> None:
    """The smallest subnet alone, four times over the same 96 images."""
    (phase,) = recipe.phases
    alone = dataclasses.replace(phase, epochs=4, largest=False, random=0, teacher="none")
    short = dataclasses.replace(recipe, phases=(alone,), precision="bf16", batch=32, label_smoothing=0.0)
    losses: list[float] = []
    found = loop.train(short, divided, tmp_path, on_step=lambda told: losses.append(told.loss))
    assert len(losses) == 12 and all(value.dtype == torch.float32 for value in found.parameters())
    assert sum(losses[-3:]) < sum(losses[:3]) - 0.3, losses
