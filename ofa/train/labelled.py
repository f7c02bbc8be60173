"""Measured accuracies as they stand in a file: read without torch, by whoever learns from them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ofa.errors import SpaceMismatch
from ofa.space.core import Genomes, SearchSpace, Subnet
from ofa.train import errors, lines

COLUMNS = ("id", "genome", "resolution", "top1", "stderr", "images", "precision")


class Row(NamedTuple):
    """A labelled subnet: its top-1, percent, on how many images, in which precision."""

    subnet: Subnet
    top1: float
    images: int
    precision: str


def read(path: Path, space: SearchSpace) -> tuple[Genomes, NDArray[np.float64]]:
    """Return the genomes uint8[n, G] and top-1 (percent) float64[n] of a file of labels; a torn last row is left out.

    Raises FileInvalid where the file is not one of labels of ``space``.
    """
    found = rows(path, space)
    genomes = np.array([row.subnet.genome for row in found], dtype=np.uint8).reshape(-1, len(space.genes))
    return genomes, np.array([row.top1 for row in found])


def precision_of(path: Path, space: SearchSpace) -> str | None:
    """Return the one precision of all labels, None without labels; raise FileInvalid where there are several."""
    found = sorted({row.precision for row in rows(path, space)})
    if len(found) > 1:
        raise errors.not_labels(path, f"its rows are of several precisions: {', '.join(found)}")
    return found[0] if found else None


def rows(path: Path, space: SearchSpace) -> list[Row]:
    """Return the whole rows of a file of labels; raise FileInvalid where it is not one of labels of ``space``."""
    try:
        cells = list(csv.reader(lines.whole(path)))
    except csv.Error as fault:
        raise errors.not_labels(path, f"it is no CSV file: {fault}") from fault
    # What has no whole line is either our torn header, or a file of someone else's that must not be replaced.
    torn = not cells and (not path.exists() or ",".join(COLUMNS).encode().startswith(path.read_bytes()))
    if torn:
        return []
    if not cells or tuple(cells[0]) != COLUMNS:
        raise errors.not_labels(path, f"its columns are not {', '.join(COLUMNS)}")
    return [_row(path, space, number, row) for number, row in enumerate(cells[1:], 2)]


def _row(path: Path, space: SearchSpace, number: int, row: list[str]) -> Row:
    """Return one row after checking that it describes a subnet."""
    try:
        found = Row(space.subnet(bytes.fromhex(row[1])), float(row[3]), int(row[5]), row[6])
    except (ValueError, IndexError) as fault:
        raise errors.not_labels(path, f"line {number} cannot be read: {fault}") from fault
    except SpaceMismatch as fault:
        raise errors.other_labels(path, number, space.id) from fault
    if found.subnet.id != row[0] or not 0 <= found.top1 <= 100 or found.images < 1:
        raise errors.other_labels(path, number, space.id)
    return found


def images_of(path: Path, space: SearchSpace) -> int:
    """Return on how many images the rows of a file of labels were counted, which is the same of all; 0 without rows."""
    return max((row.images for row in rows(path, space)), default=0)
