"""Training a supernet: the sandwich rule with in-place distillation, resumable at any step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import ofa.space as S
from ofa.files import readable_json, write_atomic
from ofa.nn.supernet import Supernet, build
from ofa.space.core import SearchSpace, Subnet
from ofa.train import checkpoint, data, errors, lines
from ofa.train.checkpoint import Checkpoint
from ofa.train.data import Images
from ofa.train.distill import soft_cross_entropy
from ofa.train.evaluate import top1
from ofa.train.recipes import Recipe

CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.jsonl"
RECIPE = "recipe.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What ``on_step`` is told: how far, the largest subnet's loss, corner accuracies where measured."""

    step: int
    steps: int
    loss: float
    corners: dict[str, float] | None


def train(
    recipe: Recipe,
    folder: Path,
    *,
    stop_at: int | None = None,
    watch: tuple[Images, Images] | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Supernet:
    """Train a supernet into ``folder`` (recipe.json, metrics.jsonl, checkpoint.pt), or go on where that folder stopped.

    What a step does is a pure function of the recipe and the step's number, so an interrupted run ends with the very
    weights of an uninterrupted one (bit-equal on one CPU with one number of threads). KeyboardInterrupt leaves a
    checkpoint of the last whole step and is raised again. ``stop_at`` ends early, as an interruption would. ``watch``
    holds calibration and evaluation images for the accuracy of the corner subnets, measured every
    ``recipe.corner_steps``. Raises FileInvalid where the folder holds another recipe or a damaged checkpoint.
    """
    folder = Path(folder)
    run = _begin(recipe, folder)
    last_step = recipe.steps if stop_at is None else min(stop_at, recipe.steps)
    saved_s = time.monotonic()
    try:
        while run.step < last_step:
            due = (run.step + 1) % recipe.corner_steps == 0 or run.step + 1 == recipe.steps
            # Watching corners takes seconds: an interrupt there must cost this step alone.
            if watch is not None and due and run.step:
                run.save(folder)
            loss, facts = run.advance()
            corners = _corner_accuracies(run.supernet, *watch) if watch is not None and due else None
            if corners is not None:
                facts["corners"] = corners
            if corners is not None or run.step % recipe.log_steps == 0:
                lines.append(folder / METRICS, json.dumps(facts, sort_keys=True))
            run.whole = True
            if on_step is not None:
                on_step(Progress(step=run.step, steps=recipe.steps, loss=loss, corners=corners))
            stale = time.monotonic() - saved_s >= recipe.checkpoint_s
            if run.step < last_step and (stale or run.step % recipe.checkpoint_steps == 0):
                run.save(folder)
                saved_s = time.monotonic()
    except KeyboardInterrupt:
        if run.whole:
            run.save(folder)
        raise
    run.save(folder)
    return run.supernet


def trained(folder: Path, recipe: Recipe) -> Supernet | None:
    """Return the supernet of a folder where its training is complete, else None; errors as in ``train``."""
    path = Path(folder) / CHECKPOINT
    if not path.exists():
        return None
    found = _checked(path, recipe)
    if found.step < recipe.steps:
        return None
    supernet: Supernet = build(recipe.search_space(), seed=recipe.seed)
    _restore(path, supernet, found)
    return supernet


class _Run:
    """A training between two steps."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.step = 0
        # False from an optimiser step until its line is in the log: a checkpoint of it would lose that line for good.
        self.whole = True
        supernet = build(recipe.search_space(), seed=recipe.seed)
        self.supernet: Supernet = supernet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.optimiser = _optimiser(self.supernet, recipe)

    def advance(self) -> tuple[float, dict[str, Any]]:
        """Do one step; return the largest subnet's loss and what the log says of the step."""
        recipe = self.recipe
        subnets = sandwich(self.supernet.space, recipe, self.step)
        images, labels = data.training_batch(recipe.seed, self.step, recipe.batch)
        x = data.resized(images, subnets[0].resolution)
        self.optimiser.zero_grad(set_to_none=True)
        teacher = self.supernet(x, subnets[0])
        loss = F.cross_entropy(teacher, labels, label_smoothing=recipe.label_smoothing)
        loss.backward()
        students = []
        for subnet in subnets[1:]:
            student = soft_cross_entropy(self.supernet(x, subnet), teacher)
            (student * (recipe.student_weight / (len(subnets) - 1))).backward()
            students.append(student.item())
        rate = learning_rate(recipe, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        norm = nn.utils.clip_grad_norm_(self.supernet.parameters(), recipe.clip_norm)
        self.whole = False
        self.optimiser.step()
        self.step += 1
        return loss.item(), {
            "step": self.step,
            "resolution": subnets[0].resolution,
            "loss": round(loss.item(), 6),
            "loss_min": round(students[0], 6),
            "lr": rate,
            "gradient_norm": round(float(norm), 6),
        }

    def save(self, folder: Path) -> None:
        """Write the checkpoint."""
        state = Checkpoint(
            space=self.supernet.space.id,
            recipe=self.recipe.id,
            step=self.step,
            model=self.supernet.state_dict(),
            optimiser=self.optimiser.state_dict(),
        )
        checkpoint.save(folder / CHECKPOINT, state)


def sandwich(space: SearchSpace, recipe: Recipe, step: int) -> list[Subnet]:
    """Return the subnets of one step, largest first, then smallest, then random ones, all at one random resolution."""
    rng = np.random.default_rng([recipe.seed, step])
    resolution = int(rng.choice(space.resolutions))
    drawn = S.sample.random(space, recipe.random_subnets, rng)
    corners = [space.corner("max", resolution), space.corner("min", resolution)]
    drawn[:, space.at("resolution")] = corners[0].genome[space.at("resolution")]
    return [*corners, *(space.subnet(genome) for genome in drawn)]


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the rate of a step: linear warm-up, then half a cosine to 0."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    gone = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * (1 + math.cos(math.pi * gone)) / 2


def _optimiser(supernet: Supernet, recipe: Recipe) -> torch.optim.Optimizer:
    """Decay weights, but no scale, shift, bias or kernel transform: those would be drawn away from where they start."""
    decayed = {name for name, value in supernet.named_parameters() if value.ndim > 1 and "transform_" not in name}
    groups = [
        {"params": [v for n, v in supernet.named_parameters() if n in decayed], "weight_decay": recipe.weight_decay},
        {"params": [v for n, v in supernet.named_parameters() if n not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def _begin(recipe: Recipe, folder: Path) -> _Run:
    """Start anew, or from the checkpoint of a folder; cut the log back to it."""
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(recipe)
    path = folder / CHECKPOINT
    if path.exists():
        found = _checked(path, recipe)
        _restore(path, run.supernet, found, run.optimiser)
        run.step = found.step
    write_atomic(folder / RECIPE, readable_json(recipe.to_json()))
    kept = [line for line in lines.whole(folder / METRICS) if _step_of(line) <= run.step]
    lines.rewrite(folder / METRICS, kept)
    return run


def _checked(path: Path, recipe: Recipe) -> Checkpoint:
    """Read a checkpoint that this recipe made."""
    found = checkpoint.load(path)
    space_id = recipe.search_space().id
    if found.space != space_id:
        raise errors.other_space(path, found.space, space_id)
    if found.recipe != recipe.id:
        raise errors.other_run(path, found.recipe, recipe.id)
    return found


def _restore(path: Path, supernet: Supernet, found: Checkpoint, optimiser: torch.optim.Optimizer | None = None) -> None:
    """Put a checkpoint's state into a supernet and its optimiser; raise FileInvalid where it is of other weights."""
    try:
        supernet.load_state_dict(found.model)
        if optimiser is not None:
            optimiser.load_state_dict(dict(found.optimiser))
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise errors.checkpoint_broken(path, "its weights are not those of this supernet") from fault


def _step_of(line: str) -> float:
    """Return the step of a line of the log; infinity where it says none, so that the line is dropped."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _corner_accuracies(supernet: Supernet, calibration: Images, images: Images) -> dict[str, float]:
    """Return the top-1 (percent) of the corner subnets at the largest resolution, and of min at the smallest."""
    space = supernet.space
    subnets = {name: space.corner(name) for name in space.corners()}
    subnets[f"min@{min(space.resolutions)}"] = space.corner("min", min(space.resolutions))
    return {name: round(top1(supernet, subnet, calibration, images), 4) for name, subnet in subnets.items()}
