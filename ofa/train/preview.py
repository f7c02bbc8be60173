"""What a training would do, before it does it: phases, steps, hours and memory, from a few real steps of each phase."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from ofa.nn.supernet import build
from ofa.train import teacher
from ofa.train.data import Data
from ofa.train.evaluate import statistics
from ofa.train.loop import Training
from ofa.train.ranks import Ranks
from ofa.train.recipes import Recipe

# The first step of a phase warms up; the others are timed, at random resolutions and subnets as in training.
_STEPS = 4


def trials(recipe: Recipe, data: Data) -> int:
    """Return of how many parts ``preview`` tells that they are done: steps of each phase, and what is measured once."""
    starts = recipe.schedule(len(data.train)).starts
    return sum(min(_STEPS, after - first) for first, after in pairwise(starts)) + _measures(recipe, data)


def preview(recipe: Recipe, data: Data, ranks: Ranks, on_trial: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Return what a training would do, for this process; nothing is written. ``on_trial`` is told of each of `trials`.

    Times are the mean of a few steps of each phase on this device, so they are rough; where other processes load ahead,
    a step waits for its share of their time only where that is more than its own. Memory is the most this process has
    held so far (on a GPU, the most that torch has allocated there), without those that load, MiB.
    """
    training = Training(recipe, data, Path(), ranks)
    state, plan = training.state, training.state.schedule
    training.teacher = _stand_in(training)
    state.guard = None
    phases = []
    for number, phase in enumerate(plan.phases):
        state.phase = number
        steps = plan.starts[number + 1] - plan.starts[number]
        step_s = _step_s(training, plan.starts[number], min(_STEPS, steps), on_trial)
        phases.append(
            {
                "phase": phase.name,
                "epochs": round(steps / plan.steps_per_epoch, 2),
                "steps": steps,
                "subnets_a_step": phase.subnets,
                "teacher": phase.teacher,
                "learning_rate": phase.learning_rate,
                "s_a_step": round(step_s, 4),
                "hours": round(steps * step_s / 3600, 3),
            }
        )
    if _measures(recipe, data):
        statistics(state.supernet, training.space.corner("max"), data.images("calibration", ranks.device))
        on_trial()
    return {
        "recipe": recipe.name,
        "space": training.space.id,
        "images": {"trained_on": len(data.train), "held_back": len(data.holdout)},
        "batch": recipe.batch,
        "processes": ranks.size,
        "device": str(ranks.device),
        "steps": plan.steps,
        "hours": round(sum(float(str(entry["hours"])) for entry in phases), 3),
        "memory_mib": round(_memory_mib(ranks.device)),
        "phases": phases,
    }


def _measures(recipe: Recipe, data: Data) -> bool:
    """Say whether statistics are measured: corners tested on images held back, and a calibrated teacher, have a layer's
    outputs for many images held at once."""
    taught = any(phase.teacher == "frozen" for phase in recipe.phases)
    return len(data.holdout) > 0 or (recipe.teacher_mode == "eval" and taught)


def _stand_in(training: Training) -> teacher.Teacher:
    """Return a teacher that costs what the real one will."""
    network = build(training.space).to(training.ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    images = training.data.images("calibration", training.ranks.device)
    # Few images: what all of them take is no part of a step's time.
    few = dataclasses.replace(images, indices=images.indices[:16])
    return teacher.frozen(network, few, training.recipe.teacher_mode)


def _step_s(training: Training, first: int, count: int, on_trial: Callable[[], None]) -> float:
    """Return the mean time of some steps from number ``first`` on, s."""
    taken = []
    for step in range(first, first + count):
        training.state.step = step
        began_s = time.perf_counter()
        batches = training.feed[step]
        loaded_s = time.perf_counter()
        training.advance(batches)
        if training.ranks.device.type == "cuda":
            torch.cuda.synchronize()
        loading_s, step_s = loaded_s - began_s, time.perf_counter() - loaded_s
        # What the guard keeps takes memory beside a step's own.
        if step == first and training.recipe.guard_factor is not None:
            training.state.take_snapshot()
        on_trial()
        taken.append(max(loading_s / training.workers, step_s) if training.workers else loading_s + step_s)
    timed = taken[1:] or taken
    return sum(timed) / len(timed)


def _memory_mib(device: torch.device) -> float:
    """Return the most memory held so far, MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
