"""A supernet's training state as one file: tensors, numbers and text only, written whole and read back."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ofa.files import read_capped, write_atomic
from ofa.train import errors

FORMAT = "ofa-checkpoint/1"
MOST_BYTES = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Weights and optimiser state after ``step`` steps of the recipe with id ``recipe``."""

    space: str
    recipe: str
    step: int
    model: Mapping[str, Tensor]
    optimiser: Mapping[str, Any]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all, and read it back; raise FileInvalid where it did not reach the disk."""
    buffer = io.BytesIO()
    torch.save(
        {
            "format": FORMAT,
            "space": checkpoint.space,
            "recipe": checkpoint.recipe,
            "step": checkpoint.step,
            "model": dict(checkpoint.model),
            "optimiser": dict(checkpoint.optimiser),
        },
        buffer,
    )
    write_atomic(path, buffer.getvalue())
    found = load(path)
    same = found.step == checkpoint.step and found.model.keys() == checkpoint.model.keys()
    if not same or not all(torch.equal(found.model[name], value.cpu()) for name, value in checkpoint.model.items()):
        raise errors.checkpoint_broken(path, "what was read back is not what was written")


def load(path: Path) -> Checkpoint:
    """Read a checkpoint with ``weights_only``; raise FileInvalid where it is none, cut short or of another format."""
    raw = read_capped(path, max_bytes=MOST_BYTES, what="checkpoint")
    try:
        facts = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as fault:
        raise errors.checkpoint_broken(path, str(fault).partition("\n")[0]) from fault
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise errors.checkpoint_broken(path, f"its format is not '{FORMAT}'")
    try:
        return Checkpoint(**{key: facts[key] for key in ("space", "recipe", "step", "model", "optimiser")})
    except KeyError as fault:
        raise errors.checkpoint_broken(path, f"it has no {fault}") from fault
