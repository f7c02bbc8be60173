"""One step's gradients: every subnet of every shard forward and backward, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ofa.nn.blocks import Finish, batch_statistics
from ofa.nn.supernet import Supernet
from ofa.space.core import Subnet
from ofa.train import augment, distill
from ofa.train.data import Batch, Data
from ofa.train.recipes import Recipe
from ofa.train.sampling import AUGMENT, SUBNETS, resolution_of, subnets_of
from ofa.train.schedule import Phase
from ofa.train.teacher import Teacher

# Sums over shards: the loss of all subnets, of the first one and of the last one.
Losses = Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a step needs to know, whoever computes which of its shards."""

    recipe: Recipe
    data: Data
    phase: Phase
    step: int
    device: torch.device
    teacher: Teacher | None = None
    finish: Finish = batch_statistics

    def subnets(self, supernet: Supernet, shard: int) -> list[Subnet]:
        """Return the subnets of a shard, all at the step's resolution."""
        if self.recipe.subnet is not None:
            return [supernet.space.subnet(self.recipe.subnet)]
        stream = shard if self.recipe.sampling == "independent" else 0
        rng = np.random.default_rng([self.recipe.seed, SUBNETS, self.step, stream])
        resolution = resolution_of(supernet.space, self.recipe, self.step)
        return subnets_of(supernet.space, self.phase, resolution, rng)

    def generator(self, shard: int) -> torch.Generator:
        """Return the source of this shard's random changes of images and of dropout."""
        words = np.random.SeedSequence([self.recipe.seed, AUGMENT, self.step, shard]).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(words[0] >> 1))


def backward(supernet: Supernet, task: Task, shards: Sequence[int], batches: Sequence[Batch]) -> Losses:
    """Add the gradients of some shards of a step into the supernet; return their losses, float64[3].

    The gradient is the mean over all shards of the recipe, wherever the others are computed.
    """
    total = torch.zeros(3, dtype=torch.float64)
    for shard, batch in zip(shards, batches, strict=True):
        total += _shard(supernet, task, shard, batch)
    return total


def _shard(supernet: Supernet, task: Task, shard: int, batch: Batch) -> Losses:
    """Run one shard's images through its subnets."""
    recipe, generator = task.recipe, task.generator(shard)
    subnets = task.subnets(supernet, shard)
    x = augment.augmented(
        batch.images.to(task.device, non_blocking=True),
        subnets[0].resolution,
        task.data.mean,
        task.data.std,
        kind=recipe.augmentation,
        generator=generator,
    )
    labels = batch.labels.to(task.device, non_blocking=True)
    with _precision(task):
        goal = task.teacher(x).float() if task.teacher is not None else None
    losses = []
    for number, subnet in enumerate(subnets):
        largest = task.phase.largest and number == 0
        drops = recipe.dropout > 0 and (largest or not task.phase.largest)
        with _precision(task):
            dropout = (recipe.dropout, generator) if drops else None
            logits = supernet(x, subnet, dropout=dropout, finish=task.finish)
        loss = _loss(recipe, logits.float(), labels, None if largest else goal)
        (loss * _weight(task, largest)).backward()
        losses.append(loss.detach())
        if largest and task.phase.teacher == "in_place":
            goal = logits.detach().float()
    values = torch.stack(losses).double().cpu()
    return torch.stack([values.mean(), values[0], values[-1]])


def _loss(recipe: Recipe, logits: Tensor, labels: Tensor, goal: Tensor | None) -> Tensor:
    """Return a subnet's loss: its labels where it has no teacher, else its teacher and, as weighted, its labels."""
    if goal is None:
        return distill.hard(logits, labels, recipe.label_smoothing)
    loss = distill.LOSSES[recipe.distillation](logits, goal)
    if recipe.hard_weight:
        loss = loss + recipe.hard_weight * distill.hard(logits, labels, recipe.label_smoothing)
    return loss


def _weight(task: Task, largest: bool) -> float:
    """Return what a subnet's loss counts in its step."""
    if largest:
        return 1 / task.recipe.shards
    students = task.phase.subnets - task.phase.largest
    shared = students if task.recipe.gradients == "mean" else 1
    beside = task.recipe.student_weight if task.phase.largest else 1.0
    return beside / shared / task.recipe.shards


def _precision(task: Task) -> torch.autocast:
    """Return the context in which networks run: bfloat16 where the recipe says so."""
    return torch.autocast(task.device.type, dtype=torch.bfloat16, enabled=task.recipe.precision == "bf16")
