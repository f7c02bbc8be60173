"""Whether the choices of a recipe can be: each of its type, no number out of its range."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

from ofa.space.errors import shown
from ofa.train.recipes import Recipe
from ofa.train.schedule import NOTHING_OPEN, Phase

# Least and most of what could not be otherwise, or would end a training with no words for it.
RANGES: Mapping[str, tuple[float, float]] = {
    "batch": (1, 1 << 24),
    "shards": (1, 1 << 16),
    "rate_batch": (1, 1 << 24),
    "seed": (0, 2**63 - 1),
    "momentum": (0, 1),
    "weight_decay": (0, math.inf),
    "transform_decay": (0, math.inf),
    "clip_norm": (0, math.inf),
    "label_smoothing": (0, 1),
    "dropout": (0, 0.999),
    "ema_decay": (0, 1),
    "hard_weight": (0, math.inf),
    "student_weight": (0, math.inf),
    "std": (1e-6, math.inf),
    "holdout": (0, math.inf),
    "calibration": (1, math.inf),
    "guard_factor": (1, math.inf),
    "guard_steps": (1, math.inf),
    "log_steps": (1, math.inf),
    "corner_steps": (0, math.inf),
    "checkpoint_steps": (1, math.inf),
    "checkpoint_s": (0, math.inf),
    "workers": (0, 1 << 12),
    "epochs": (1e-9, 1e9),
    "learning_rate": (0, math.inf),
    "warmup_epochs": (0, 1e9),
    "random": (0, 1 << 16),
    "choices": (1, math.inf),
}


def problem(recipe: Recipe) -> str:
    """Return what is wrong with a recipe's choices, "" where nothing is."""
    if found := _first(recipe):
        return found
    if not recipe.phases:
        return "it has no phases"
    for number, phase in enumerate(recipe.phases):
        if found := _first(phase):
            return f"phase '{phase.name}': {found}"
        if found := _impossible(phase, first=number == 0):
            return f"phase '{phase.name}' {found}"
    if recipe.shards > recipe.batch:
        return f"{recipe.shards:,} shards are more than the {recipe.batch:,} images of a batch"
    return ""


def _impossible(phase: Phase, *, first: bool) -> str:
    """Say what choices of a phase contradict each other, or would change nothing; "" where none does."""
    if phase.subnets < 1:
        return "trains no subnet"
    if unknown := [kind for kind in phase.choices if kind not in NOTHING_OPEN]:
        return f"opens {shown(unknown[0])}; what can be opened is {', '.join(NOTHING_OPEN)}"
    if phase.teacher == "in_place" and not phase.largest:
        return "learns from the largest subnet of each step (teacher 'in_place'), and does not train it ('largest')"
    if phase.teacher == "frozen" and first:
        return "learns from the network of the first phase (teacher 'frozen'), and is the first"
    return ""


def misfit(owner: type[Recipe] | type[Phase], name: str, value: Any) -> str:
    """Return what a choice must be where ``value`` is not, else ""."""
    hint = typing.get_type_hints(owner)[name]
    if not _fits(value, hint):
        return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    least, most = RANGES.get(name, (-math.inf, math.inf))
    numbers = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
    inside = all(least <= number <= most for number in numbers if isinstance(number, (int, float)))
    return "" if inside else (f"at least {least:,}" if most == math.inf else f"{least:,} to {most:,}")


def apart(name: str, was: Any, now: Any) -> str:
    """Say that a choice differs, and how."""
    old, new = (f"{value:g}" if isinstance(value, float) else shown(value) for value in (was, now))
    # Two numbers that are the same to six digits, or the two kinds of one number.
    old, new = (shown(was), shown(now)) if old == new else (old, new)
    return f"'{name}' was {old} and is {new}"


def phases_apart(was: Sequence[Phase], now: Sequence[Phase]) -> str:
    """Say in what the phases of two recipes differ first: a phase written out whole is cut before it comes to that."""
    if [phase.name for phase in was] != [phase.name for phase in now]:
        return apart("phases", [phase.name for phase in was], [phase.name for phase in now])
    old, new, name = next(
        (old, new, field.name)
        for old, new in zip(was, now, strict=True)
        for field in fields(Phase)
        if getattr(old, field.name) != getattr(new, field.name)
    )
    told = apart(name, getattr(old, name), getattr(new, name))
    return f"phase '{old.name}': {told}" + (" (--epochs-scale)" if name == "epochs" else "")


def _first(owner: Recipe | Phase) -> str:
    """Say what is wrong with the first choice that cannot be, "" where all can."""
    for field in fields(owner):
        value = getattr(owner, field.name)
        if wanted := misfit(type(owner), field.name, value):
            return f"'{field.name}' is {shown(value)}, and must be {wanted}"
    return ""


def _fits(value: Any, hint: Any) -> bool:
    """Say whether a value is of an annotated type: a plain type, a literal, a tuple, a mapping, or one of several."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in options
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(part, options[0]) for part in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(part, options[1]) for part in value.values())
    if options:
        return any(_fits(value, option) for option in options)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        # Compared and not asked math.isfinite: an integer may be too large to become a float.
        return isinstance(value, (int, float)) and -1e300 < value < 1e300
    return isinstance(value, hint)
