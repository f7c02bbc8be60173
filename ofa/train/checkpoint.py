"""A supernet's training state as one file: tensors, numbers and text only, written whole and read back."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ofa.files import write_atomic
from ofa.nn.unpacking import unpacked
from ofa.train import errors

FORMAT = "ofa-checkpoint/2"
MOST_BYTES = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A training after ``step`` steps: weights, what the optimiser and the guard remember, and what made them.

    ``recipe`` and ``data`` are ids; ``git`` is the commit the code came from; ``tail`` holds the last lines of the log.
    ``phase`` is the number of the phase that has begun, -1 before the first. ``samples`` images were read. ``ema`` and
    ``snapshot`` (weights and optimiser state to go back to) are empty where unused.
    """

    space: str
    recipe: str = ""
    data: str = ""
    git: str = ""
    seed: int = 0
    step: int = 0
    samples: int = 0
    epoch: int = 0
    phase: int = -1
    model: Mapping[str, Tensor]
    ema: Mapping[str, Tensor] = field(default_factory=dict)
    optimiser: Mapping[str, Any] = field(default_factory=dict)
    guard: Mapping[str, Any] = field(default_factory=dict)
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    tail: Sequence[str] = ()


# What a file holds beside its format.
KINDS: dict[str, type] = {
    **dict.fromkeys(("space", "recipe", "data", "git"), str),
    **dict.fromkeys(("seed", "step", "samples", "epoch", "phase"), int),
    **dict.fromkeys(("model", "ema", "optimiser", "guard", "snapshot"), dict),
    "tail": list,
}


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all, and read it back; raise FileInvalid where it did not reach the disk."""
    facts: dict[str, Any] = {name: getattr(checkpoint, name) for name in KINDS}
    plain = {name: KINDS[name](value) if KINDS[name] in (dict, list) else value for name, value in facts.items()}
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **plain}, buffer)
    write_atomic(path, buffer.getvalue())
    load(path)
    # Bytes, not tensors: weights that diverged to not-a-number equal nothing, themselves included.
    if path.read_bytes() != buffer.getvalue():
        raise errors.checkpoint_broken(path, "what was read back is not what was written")


def load(path: Path) -> Checkpoint:
    """Read a checkpoint with ``weights_only``; raise FileInvalid where it is none, damaged or of another format."""
    facts = unpacked(path, max_bytes=MOST_BYTES, broken=errors.checkpoint_broken)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise errors.checkpoint_broken(path, f"its format is not '{FORMAT}'")
    for key, kind in KINDS.items():
        if not isinstance(facts.get(key), kind):
            raise errors.checkpoint_broken(path, f"it has no '{key}' of type {kind.__name__}")
    for part in ("model", "ema"):
        if not all(_plain(value) for value in facts[part].values()):
            raise errors.checkpoint_broken(path, f"its {part} holds more than plain tensors")
    return Checkpoint(**{key: facts[key] for key in KINDS})


def _plain(value: Any) -> bool:
    """Say whether a value is a tensor whose numbers are all there: neither sparse, nested, nor without storage."""
    if not isinstance(value, Tensor) or value.is_nested:
        return False
    return value.layout == torch.strided and value.device.type == "cpu"
