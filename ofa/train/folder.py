"""A training's folder: the resolved recipe, where it ran, its log, the last two checkpoints, the best, the teacher."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ofa import console
from ofa.errors import FileInvalid
from ofa.files import MEBIBYTE, read_json, readable_json, write_atomic
from ofa.nn.supernet import Supernet
from ofa.space.core import SearchSpace
from ofa.train import checkpoint, errors, lines
from ofa.train.checkpoint import Checkpoint

if TYPE_CHECKING:
    from ofa.train.data import Data
    from ofa.train.recipes import Recipe
    from ofa.train.state import State

CHECKPOINT, PREVIOUS, BEST, TEACHER = "checkpoint.pt", "checkpoint.previous.pt", "best.pt", "teacher.pt"
DAMAGED = "checkpoint.damaged.pt"
METRICS, RECIPE, DATA, ENVIRONMENT = "metrics.jsonl", "recipe.json", "data.json", "environment.jsonl"

WORDS = {
    "loss": "loss, mean of a step's subnets",
    "loss_first": "loss of its first subnet",
    "loss_last": "loss of its last subnet",
}


def begin(folder: Path, recipe: Recipe, data: Data) -> None:
    """Make the folder, and write what is trained on what, and that a session has begun.

    Raises UsageInvalid where that would replace files that no training wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not begun(folder):
        check_ours(folder, recipe)
        write_atomic(folder / RECIPE, readable_json(recipe.to_json()))
        write_atomic(folder / DATA, readable_json(described(data)))
    here = environment()
    if (before := _last_threads(folder)) not in (None, here["cpu_threads"]):
        console.warn(errors.other_threads(before, here["cpu_threads"]))
    lines.append(folder / ENVIRONMENT, json.dumps(here, sort_keys=True))


def _last_threads(folder: Path) -> int | None:
    """Return on how many CPU threads a folder's last session computed, None where none is known."""
    try:
        found = json.loads(lines.whole(folder / ENVIRONMENT)[-1])["cpu_threads"]
    except (ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, int) else None


def begun(folder: Path) -> bool:
    """Say whether a folder holds a training that can go on, sound or not."""
    return (folder / CHECKPOINT).exists() or (folder / PREVIOUS).exists()


def check_ours(folder: Path, recipe: Recipe) -> None:
    """Raise UsageInvalid where a file has a name of ours and there is no recipe, which a training writes first."""
    path = folder / RECIPE
    taken = [name for name in (RECIPE, DATA, METRICS, ENVIRONMENT, BEST, TEACHER) if (folder / name).exists()]
    found = read_json(path, max_bytes=MEBIBYTE, what="recipe") if path.exists() else None
    if taken and (not isinstance(found, dict) or found.keys() != recipe.to_json().keys()):
        raise errors.not_ours(folder, taken)


def check_begin(folder: Path, *, resume: bool) -> None:
    """Raise UsageInvalid where a folder holds a training that was not asked to go on."""
    if not resume and begun(folder):
        raise errors.run_begun(folder)


def summary(folder: Path) -> dict[str, Any]:
    """Return what a training has come to: its last line of the log, and where its weights are."""
    last: dict[str, Any] = json.loads((lines.whole(folder / METRICS) or ["{}"])[-1])
    return last | {"checkpoint": str(folder / CHECKPOINT), "log": str(folder / METRICS)}


def in_words(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary under names that say which of a step's subnets a loss is of; the log keeps its short ones."""
    return {WORDS.get(name, name): value for name, value in facts.items()}


def described(data: Data) -> dict[str, Any]:
    """Return what a folder says of its images."""
    return {
        "fingerprint": data.source.fingerprint,
        "classes": list(data.source.classes),
        "channels": data.source.channels,
        "images": len(data.source),
        "trained_on": len(data.train),
        "held_back": len(data.holdout),
        "calibration": len(data.calibration),
        "mean": list(data.mean),
        "std": list(data.std),
    }


def environment() -> dict[str, Any]:
    """Return where and with what this process runs."""
    return {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_id(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("torch", "numpy")}},
    }


@lru_cache(maxsize=1)
def git_id() -> str:
    """Return the commit that this code was checked out at, with "+" where files were changed; "" outside a checkout."""
    own = Path(__file__)
    # An environment may lie inside another project's checkout, whose commit says nothing of this code.
    tracked = ["git", "ls-files", "--error-unmatch", own.name]
    described = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        for command in (tracked, described):
            found = subprocess.run(command, cwd=own.parent, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def keep(folder: Path, found: Checkpoint) -> None:
    """Write the checkpoint, the one before it kept beside it."""
    path = folder / CHECKPOINT
    if path.exists():
        (folder / PREVIOUS).unlink(missing_ok=True)
        try:
            # A second name for the same file: the folder is never without its last checkpoint.
            os.link(path, folder / PREVIOUS)
        # Some file systems give a file one name only.
        except OSError:
            path.replace(folder / PREVIOUS)
    checkpoint.save(path, found)


def keep_best(folder: Path, found: Checkpoint) -> None:
    """Write the weights that were best so far."""
    checkpoint.save(folder / BEST, _weights(found))


def keep_teacher(folder: Path, found: Checkpoint) -> None:
    """Write the network that later phases learn from."""
    checkpoint.save(folder / TEACHER, _weights(found))


def teacher(folder: Path, space: SearchSpace) -> Mapping[str, Tensor]:
    """Return the weights of the frozen teacher; raise FileInvalid where there is none of this space."""
    if not (folder / TEACHER).exists():
        raise errors.no_teacher(folder / TEACHER)
    found = checkpoint.load(folder / TEACHER)
    if found.space != space.id:
        raise errors.other_space(folder / TEACHER, found.space, space.id)
    return found.model


def latest(folder: Path, recipe: Recipe, data: Data, space: SearchSpace) -> Checkpoint | None:
    """Return the last checkpoint of a folder, or the one before where only that is sound; None where there is none.

    A damaged one is set aside then: the next to be written would take the place of the sound one. Raises SpaceMismatch
    or FileInvalid where it is of another space, recipe or data.
    """
    last, previous = folder / CHECKPOINT, folder / PREVIOUS
    if not begun(folder):
        return None
    path, damage = last if last.exists() else previous, ""
    try:
        found = checkpoint.load(path)
    except FileInvalid as fault:
        if path == previous or not previous.exists():
            raise
        path, damage = previous, f"{fault.what}: {fault.why}"
        found = checkpoint.load(path)
    if found.space != space.id:
        raise errors.other_space(path, found.space, space.id)
    if found.recipe != recipe.id:
        raise errors.other_run(path, found.recipe, recipe.id)
    if found.data != data.source.fingerprint:
        raise errors.other_data(path, found.data, data.source.fingerprint)
    if damage:
        last.replace(folder / DAMAGED)
        console.warn(f"{damage}; it is '{DAMAGED}' now, and '{PREVIOUS}' is the last one")
    return found


def restore(folder: Path, supernet: Supernet, found: Checkpoint, state: State | None = None) -> None:
    """Put a checkpoint into a supernet, and into the rest of a training; FileInvalid where it is of other weights."""
    try:
        supernet.load_state_dict(found.model)
        if state is not None:
            state.optimiser.load_state_dict(dict(found.optimiser))
            state.step, state.phase = found.step, found.phase
            state.snapshot = dict(found.snapshot)
            for name, value in state.ema.items():
                value.copy_(found.ema[name])
            if state.guard is not None:
                state.guard.restore(found.guard)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise errors.checkpoint_broken(folder / CHECKPOINT, "its weights are not those of this supernet") from fault


def cut_log(folder: Path, step: int) -> float:
    """Drop lines of the log beyond a step, which come again; return the best mean corner accuracy in the rest."""
    kept, best = [], -math.inf
    for line in lines.whole(folder / METRICS):
        try:
            facts = json.loads(line)
            inside = facts["step"] <= step
        except (ValueError, KeyError, TypeError):
            continue
        if inside:
            kept.append(line)
            if corners := facts.get("corners"):
                best = max(best, float(np.mean(list(corners.values()))))
    lines.rewrite(folder / METRICS, kept)
    return best


def _weights(found: Checkpoint) -> Checkpoint:
    """Return a checkpoint without what only its continuation needs."""
    return Checkpoint(
        space=found.space, recipe=found.recipe, data=found.data, git=found.git, seed=found.seed, step=found.step,
        samples=found.samples, epoch=found.epoch, phase=found.phase, model=found.model, ema=found.ema, tail=found.tail,
    )  # fmt: skip
