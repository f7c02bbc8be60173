"""What twins said of networks before their labels were known, kept beside the file of labels that rounds add to."""

from __future__ import annotations

import math
from pathlib import Path

from ofa import files
from ofa.space.core import SearchSpace
from ofa.twins import errors

SUFFIX = ".foretold.json"
MAX_BYTES = 64 * files.MEBIBYTE


def read(labels: Path, space: SearchSpace) -> dict[bytes, float]:
    """Return what was foretold of networks that rounds added to a file of labels, percent, by genome.

    NaN of those of a first round, whose twin had seen no label along a front. Empty where no round was, and where the
    file beside is one of other labels. Raises FileInvalid where it cannot be read.
    """
    path = labels.with_name(labels.name + SUFFIX)
    if not path.exists():
        return {}
    found = files.read_json(path, max_bytes=MAX_BYTES, what="file of what was foretold")
    try:
        if found["space"] != space.id or found["labels"] != _which(labels):
            return {}
        said = {bytes.fromhex(key): math.nan if top1 is None else float(top1) for key, top1 in found["said"].items()}
    except (TypeError, KeyError, AttributeError, ValueError) as fault:
        raise errors.not_foretold(path, f"it is not as it was written: {fault!r}") from fault
    if any(len(genome) != len(space.genes) or math.isinf(top1) for genome, top1 in said.items()):
        raise errors.not_foretold(path, f"it holds what is no genome of {space.id}, or no accuracy")
    return said


def write(labels: Path, space: SearchSpace, said: dict[bytes, float]) -> None:
    """Keep what `read` returns."""
    told = {genome.hex(): None if math.isnan(top1) else top1 for genome, top1 in said.items()}
    content = {"space": space.id, "labels": _which(labels), "said": told}
    files.write_atomic(labels.with_name(labels.name + SUFFIX), files.readable_json(content))


def _which(labels: Path) -> str:
    """Return what tells a file of labels from another, however much it grows: its first row, by hash."""
    with labels.open("rb") as file:
        return files.sha256_bytes(file.readline(files.MEBIBYTE) + file.readline(files.MEBIBYTE))
