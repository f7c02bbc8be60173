"""A training between two steps: weights, optimiser, moving average, guard; how a phase begins and a step ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ofa.nn import sort
from ofa.nn.supernet import Supernet, build
from ofa.space.core import SearchSpace
from ofa.train.guard import Guard
from ofa.train.recipes import Recipe
from ofa.train.sampling import kind_of
from ofa.train.schedule import Phase, Schedule


class State:
    """What a training remembers from step to step."""

    def __init__(self, recipe: Recipe, space: SearchSpace, schedule: Schedule, device: torch.device) -> None:
        self.recipe, self.schedule, self.device = recipe, schedule, device
        self.step, self.phase = 0, -1
        supernet = build(space, seed=recipe.seed)
        self.supernet: Supernet = supernet.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.parameters = list(self.supernet.parameters())
        self.transforms = [value for name, value in self.supernet.named_parameters() if "transform_" in name]
        self.optimiser = optimiser_of(self.supernet, recipe)
        self.ema: dict[str, Tensor] = {}
        if recipe.ema_decay is not None:
            self.ema = {name: value.detach().clone() for name, value in self.supernet.state_dict().items()}
        self.guard: Guard | None = None
        if recipe.guard_factor is not None:
            self.guard = Guard(factor=recipe.guard_factor, steps=recipe.guard_steps)
        self.snapshot: dict[str, Any] = {}

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Begin with given weights instead of random ones, and their average with them."""
        self.supernet.load_state_dict(weights)
        for name, value in self.ema.items():
            value.copy_(weights[name])

    def begin_phase(self) -> None:
        """Begin the phase that the next step belongs to: sort channels where it says so, start the optimiser afresh."""
        before = self.schedule.phases[self.phase] if self.phase >= 0 else None
        self.phase = self.schedule.at(self.step)
        phase = self.schedule.phases[self.phase]
        if phase.sort and self.recipe.importance != "none":
            trained = trained_choices(self.supernet.space, before)
            moved = sort.sort_channels(self.supernet, self.recipe.importance, trained)
            sort.apply(moved, self.ema)
        self.optimiser = optimiser_of(self.supernet, self.recipe)
        if self.guard is not None:
            self.guard.reset()
            self.take_snapshot()

    def take_snapshot(self) -> None:
        """Keep this state, on the CPU, for going back to."""
        state = {"model": self.supernet.state_dict(), "optimiser": self.optimiser.state_dict(), "ema": self.ema}
        self.snapshot = _copied(state)

    def go_back(self) -> None:
        """Return to the state of the snapshot, and slow down for one epoch; the step's number stays."""
        assert self.guard is not None
        self.supernet.load_state_dict(self.snapshot["model"])
        self.optimiser.load_state_dict(_copied(self.snapshot["optimiser"]))
        # Checkpoints of earlier versions hold none.
        for name, value in self.snapshot.get("ema", {}).items():
            self.ema[name].copy_(value)
        self.guard.slow_until = self.step + self.schedule.steps_per_epoch

    def clip(self) -> float:
        """Clip the gradient that is there to the recipe's norm; return the norm it had."""
        return float(nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm or float("inf")))

    def update(self) -> float:
        """Do the optimiser's step with the gradients that are there; return the learning rate."""
        recipe = self.recipe
        rate = self.schedule.rate(self.step)
        if self.guard is not None and self.step < self.guard.slow_until:
            rate /= 2
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        with torch.no_grad():
            if recipe.transform_decay:
                self._draw_to_identity(rate * recipe.transform_decay)
            if recipe.ema_decay is not None:
                for name, value in self.supernet.state_dict().items():
                    self.ema[name].lerp_(value, 1 - recipe.ema_decay)
        return rate

    def _draw_to_identity(self, share: float) -> None:
        """Move the kernel transforms in use a little towards identity, from where they start and have no effect."""
        for transform in self.transforms:
            if transform.grad is not None:
                transform.lerp_(torch.eye(len(transform), device=transform.device), share)


def trained_choices(space: SearchSpace, before: Phase | None) -> dict[str, int]:
    """Return how many of the largest choices of every elastic kind of width a phase trained (None: the largest)."""
    counts: dict[str, int] = {}
    for gene in space.genes:
        kind = kind_of(gene)
        if kind in ("expand", "width") and len(gene.choices) > 1:
            opened = 1 if before is None else before.choices.get(kind, len(gene.choices))
            counts[kind] = max(counts.get(kind, 1), min(opened, len(gene.choices)))
    return counts


def optimiser_of(supernet: Supernet, recipe: Recipe) -> torch.optim.Optimizer:
    """Decay weights, but no scale, shift, bias or kernel transform: those would be drawn away from where they start."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, value in supernet.named_parameters():
        (decayed if value.ndim > 1 and "transform_" not in name else free).append(value)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    return torch.optim.AdamW(groups, lr=0.0)


def _copied(tree: Any) -> Any:
    """Return nested dictionaries and lists with every tensor copied to the CPU."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, Mapping):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree
