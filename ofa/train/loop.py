"""Training a supernet, by one process or many, resumable at any step."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ofa import console
from ofa.errors import OfaError
from ofa.lock import alone
from ofa.nn.blocks import Finish, batch_statistics
from ofa.nn.regional import Regional
from ofa.nn.supernet import Supernet, build
from ofa.space.core import SearchSpace
from ofa.train import errors, lines, teacher
from ofa.train import folder as run_folder
from ofa.train.checkpoint import Checkpoint
from ofa.train.data import Ahead, Batch, Data, Feed, Images
from ofa.train.evaluate import corner_accuracies
from ofa.train.interrupt import end_quietly, terminable, unbroken
from ofa.train.ranks import Ranks, reduced
from ofa.train.recipes import Recipe
from ofa.train.sources import errors as image_errors
from ofa.train.sources.arrays import Arrays
from ofa.train.state import State
from ofa.train.step import Task, backward


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What ``on_step`` is told: how far, the mean loss of the step's subnets, corner accuracies where measured.

    ``facts`` is what the log says of the step, whether or not it gets a line.
    """

    step: int
    steps: int
    phase: str
    loss: float
    corners: dict[str, float] | None
    facts: Mapping[str, Any] = field(default_factory=dict)


def train(
    recipe: Recipe,
    data: Data,
    folder: Path,
    *,
    ranks: Ranks | None = None,
    start: Mapping[str, Tensor] | None = None,
    stop_at: int | None = None,
    watch: tuple[Images, Images] | None = None,
    on_step: Callable[[Progress], None] | None = None,
    on_log: Callable[[Mapping[str, Any]], None] | None = None,
) -> Supernet:
    """Train a supernet into ``folder``, or go on where that folder stopped; see `ofa.train.folder` for what it holds.

    What a step does is a pure function of the recipe, the data and the step's number, so an interrupted run ends with
    the very weights of an uninterrupted one (bit-equal on one CPU with one number of threads), and one process with
    those of many (to rounding). KeyboardInterrupt leaves a checkpoint of the last whole step and is raised again;
    SIGTERM is one too.
    ``start`` holds the weights a new training begins with (random ones otherwise; ``recipe.origin`` should name them).
    ``stop_at`` ends early, as an interruption would. ``watch`` holds calibration and evaluation images for the accuracy
    of the corner subnets, measured every ``recipe.corner_steps`` and at the end of each phase. ``on_log`` is given each
    line of the log. Raises FileInvalid where the folder holds another recipe, other data or a damaged checkpoint,
    UsageInvalid where another process trains in it, and VerificationFailed where every loss is broken, from whatever
    weights.
    """
    folder, ranks = Path(folder), ranks or Ranks()
    training = Training(recipe, data, folder, ranks, start)
    training.on_log = on_log
    with terminable(), alone(folder) if ranks.first else nullcontext():
        training.begin()
        steps = training.state.schedule.steps
        last = steps if stop_at is None else min(stop_at, steps)
        try:
            training.run(last, watch, on_step)
        except KeyboardInterrupt:
            if training.whole:
                training.save()
            raise
        training.save()
        training.tell_replaced()
    return training.state.supernet


def trained(folder: Path, recipe: Recipe, data: Data) -> Supernet | None:
    """Return the supernet of a folder where its training is complete, else None; errors as in ``train``."""
    space = recipe.search_space(data.source.channels, len(data.source.classes))
    found = run_folder.latest(Path(folder), recipe, data, space)
    if found is None or found.step < recipe.schedule(len(data.train)).steps:
        return None
    supernet: Supernet = build(space, seed=recipe.seed)
    run_folder.restore(Path(folder), supernet, found)
    return supernet


class Training:
    """One process of a training."""

    def __init__(
        self, recipe: Recipe, data: Data, folder: Path, ranks: Ranks, start: Mapping[str, Tensor] | None = None
    ) -> None:
        self.recipe, self.data, self.folder, self.ranks = recipe, data, folder, ranks
        self.space: SearchSpace = recipe.search_space(data.source.channels, len(data.source.classes))
        self.shards = ranks.shards(recipe.shards)
        self.feed = Feed(data, recipe, self.space, self.shards)
        self.state = State(recipe, self.space, recipe.schedule(len(data.train)), ranks.device)
        if start is not None:
            self.state.start_from(start)
        self.teacher: teacher.Teacher | None = None
        self.finish: Finish = Regional() if recipe.compile == "regional" else batch_statistics
        self.on_log: Callable[[Mapping[str, Any]], None] | None = None
        # Images in files are decoded ahead, by so many processes: more than there are cores would only be slower.
        self.workers = 0 if isinstance(data.source, Arrays) else min(recipe.workers, len(os.sched_getaffinity(0)))
        self.only = None if recipe.subnet is None else self.space.subnet(recipe.subnet)
        self.best = -math.inf
        # False from an optimiser step until its line is in the log: a checkpoint of it would lose that line for good.
        self.whole = True
        # Unreadable images by path that steps were shown others for; worker processes count for themselves.
        self.replaced: set[str] = set()
        # The step of the checkpoint that the folder holds: written anew it would be other bytes, and another file.
        self.saved: int | None = None

    def begin(self) -> None:
        """Start anew or from the folder's checkpoint, alike on all processes."""
        if self.ranks.first:
            # Looked at first: a folder of another training stays as it is.
            found = run_folder.latest(self.folder, self.recipe, self.data, self.space)
            run_folder.begin(self.folder, self.recipe, self.data)
        else:
            found = None
        found = self.ranks.from_first(found)
        if found is not None:
            run_folder.restore(self.folder, self.state.supernet, found, self.state)
            self._begin_teacher()
            self.saved = found.step
        if self.ranks.first:
            self.best = run_folder.cut_log(self.folder, self.state.step)

    def run(
        self,
        last: int,
        watch: tuple[Images, Images] | None,
        on_step: Callable[[Progress], None] | None,
    ) -> None:
        """Do the steps up to number ``last``."""
        recipe, state = self.recipe, self.state
        saved_s = time.monotonic()
        for batches in self._batches(state.step, last):
            if state.phase != state.schedule.at(state.step):
                self._begin_phase()
            due = watch is not None and self._watched(state.step + 1)
            # Watching corners takes seconds: an interrupt there must cost this step alone.
            if due and state.step:
                self.save()
            # Nor may it come between a step and its line.
            with nullcontext() if due else unbroken():
                facts = self.advance(batches)
                if due and watch is not None:
                    facts["corners"] = corner_accuracies(state.supernet, *watch, self.ranks, self.only)
                    # Before its line: what the log calls best is never weights that were not kept.
                    self._keep_best(facts["corners"])
                self._log(facts)
                self.whole = True
            if state.guard is not None and state.guard.helpless:
                raise errors.diverged(self.folder, state.guard.in_a_row)
            if on_step is not None and self.ranks.first:
                on_step(self._progress(facts))
            stale = time.monotonic() - saved_s >= recipe.checkpoint_s
            if state.step < last and (stale or state.step % recipe.checkpoint_steps == 0):
                self.save()
                saved_s = time.monotonic()

    def advance(self, batches: Sequence[Batch]) -> dict[str, Any]:
        """Do one step; return what the log says of it."""
        state, recipe = self.state, self.recipe
        phase = state.schedule.phases[state.phase]
        task = Task(
            recipe=recipe,
            data=self.data,
            phase=phase,
            step=state.step,
            device=self.ranks.device,
            teacher=self.teacher if phase.teacher == "frozen" else None,
            finish=self.finish,
        )
        state.optimiser.zero_grad(set_to_none=True)
        losses = backward(state.supernet, task, self.shards, batches)
        self.replaced.update(*(batch.skipped for batch in batches))
        unread = sum(times for batch in batches for times in batch.skipped.values())
        *numbers, skipped = reduced(state.parameters, self.ranks, torch.cat([losses, losses.new_tensor([unread])]))
        losses = torch.stack(numbers) / recipe.shards
        loss, first, final = (float(value) for value in losses)
        facts: dict[str, Any] = {
            "step": state.step + 1,
            "epoch": round((state.step + 1) / state.schedule.steps_per_epoch, 4),
            "phase": phase.name,
            "loss": round(loss, 6),
            "loss_first": round(first, 6),
            "loss_last": round(final, 6),
        }
        if skipped:
            facts["skipped"] = int(skipped)
        self.whole = False
        norm = state.clip()
        facts["gradient_norm"] = round(norm, 6)
        # A gradient that is no number would break all weights for good, however good the loss.
        verdict = "go" if state.guard is None else state.guard.judge(loss if math.isfinite(norm) else norm)
        if verdict == "go":
            # Only weights that a step has found good are worth going back to.
            if state.guard is not None and state.step % state.schedule.steps_per_epoch == 0:
                state.take_snapshot()
            facts["lr"] = state.update()
        elif verdict == "roll_back":
            state.go_back()
        if verdict != "go":
            facts["event"] = verdict
        state.step += 1
        return facts

    def save(self) -> None:
        """Write the checkpoint, unless that of this step is there."""
        if self.ranks.first and self.state.step != self.saved:
            run_folder.keep(self.folder, self._checkpoint())
            self.saved = self.state.step

    def tell_replaced(self) -> None:
        """Warn where unreadable images were replaced, in steps or in what is measured beside them, by any process."""
        places = sorted(set().union(*self.ranks.gathered(self.replaced | set(self.data.source.skipped))))
        if places and self.ranks.first:
            console.warn(image_errors.replaced(places))

    def _batches(self, first: int, last: int) -> Iterator[list[Batch]]:
        """Yield what the steps read; images in files are decoded ahead by worker processes."""
        loader: torch.utils.data.DataLoader[list[Batch] | OfaError] = torch.utils.data.DataLoader(
            Ahead(self.feed),
            batch_size=None,
            sampler=range(first, last),
            num_workers=self.workers,
            worker_init_fn=end_quietly,
            pin_memory=self.ranks.device.type == "cuda",
        )
        for batches in loader:
            if isinstance(batches, OfaError):
                raise batches
            yield batches

    def _begin_phase(self) -> None:
        """Begin the phase of the next step; the first one's network becomes the teacher of those that have one."""
        state = self.state
        if state.phase == 0 and self.ranks.first:
            run_folder.keep_teacher(self.folder, self._checkpoint())
        state.begin_phase()
        self._begin_teacher()

    def _begin_teacher(self) -> None:
        """Take up the teacher of the phase that has begun."""
        if self.state.phase < 1 or self.state.schedule.phases[self.state.phase].teacher != "frozen" or self.teacher:
            return
        found = run_folder.teacher(self.folder, self.space) if self.ranks.first else None
        network = build(self.space).to(self.ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        weights = self.ranks.from_first(found)
        network.load_state_dict(weights)
        images = self.data.images("calibration", self.ranks.device)
        self.teacher = teacher.frozen(network, images, self.recipe.teacher_mode)

    def _watched(self, step: int) -> bool:
        """Say whether the corners are measured after step number ``step`` (from 1)."""
        every = self.recipe.corner_steps
        return step in self.state.schedule.starts or (every > 0 and step % every == 0)

    def _log(self, facts: dict[str, Any]) -> None:
        """Write a line where it is due."""
        due = facts.keys() & {"corners", "event", "skipped"} or facts["step"] % self.recipe.log_steps == 0
        due = due or facts["step"] == self.state.schedule.steps
        if due and self.ranks.first:
            # JSON has no word for a loss that is no number.
            plain = {
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in facts.items()
            }
            lines.append(self.folder / run_folder.METRICS, json.dumps(plain, sort_keys=True, allow_nan=False))
            if self.on_log is not None:
                self.on_log(facts)

    def _keep_best(self, corners: dict[str, float]) -> None:
        """Keep the weights whose corners are best on average."""
        mean = float(np.mean(list(corners.values())))
        if mean > self.best and self.ranks.first:
            self.best = mean
            run_folder.keep_best(self.folder, self._checkpoint())

    def _progress(self, facts: dict[str, Any]) -> Progress:
        """Return what is told after a step."""
        return Progress(
            step=facts["step"],
            steps=self.state.schedule.steps,
            phase=facts["phase"],
            loss=facts["loss"],
            corners=facts.get("corners"),
            facts=facts,
        )

    def _checkpoint(self) -> Checkpoint:
        """Return the state as a file holds it."""
        state = self.state
        model: dict[str, Tensor] = state.supernet.state_dict()
        return Checkpoint(
            space=self.space.id,
            recipe=self.recipe.id,
            data=self.data.source.fingerprint,
            git=run_folder.git_id(),
            seed=self.recipe.seed,
            step=state.step,
            samples=state.step * self.recipe.batch,
            epoch=state.step // state.schedule.steps_per_epoch,
            phase=state.phase,
            model=model,
            ema=state.ema,
            optimiser=state.optimiser.state_dict(),
            guard=state.guard.to_json() if state.guard is not None else {},
            snapshot=state.snapshot,
            tail=lines.whole(self.folder / run_folder.METRICS)[-20:],
        )
