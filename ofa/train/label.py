"""Measured accuracies of many subnets: what an accuracy twin learns from."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofa.errors import SpaceMismatch
from ofa.nn.supernet import Supernet
from ofa.space.core import Genomes, SearchSpace, Subnet
from ofa.train import errors, lines
from ofa.train.data import Images
from ofa.train.evaluate import top1

COLUMNS = ("id", "genome", "resolution", "top1", "images", "precision")
PRECISION = "fp32"


def label(
    supernet: Supernet,
    genomes: Genomes,
    path: Path,
    *,
    calibration: Images,
    images: Images,
    on_label: Callable[[Subnet, float], None] | None = None,
) -> NDArray[np.float64]:
    """Measure the top-1 (percent) on ``images`` of each genome uint8[n, G], float64[n]; one row of ``path`` at a time.

    Each subnet gets batch-norm statistics of its own from ``calibration``, which should be training images. Rows that
    the file holds already are not measured again, so an interrupted run goes on where it stopped; a file of another
    space or other columns raises FileInvalid. ``on_label`` is told of every subnet, found or measured.
    """
    space = supernet.space
    space.check(genomes)
    known = _begun(path, space)
    found = np.empty(len(genomes))
    for row, genome in enumerate(genomes):
        subnet = space.subnet(genome)
        if subnet.id not in known:
            known[subnet.id] = round(top1(supernet, subnet, calibration, images), 4)
            lines.append(path, _row(subnet, known[subnet.id], len(images)))
        found[row] = known[subnet.id]
        if on_label is not None:
            on_label(subnet, found[row])
    return found


def read(path: Path, space: SearchSpace) -> tuple[Genomes, NDArray[np.float64]]:
    """Return the genomes uint8[n, G] and top-1 (percent) float64[n] of a file of labels; a torn last row is left out.

    Raises FileInvalid where the file is not one of labels of ``space``.
    """
    rows = _rows(path, space)
    genomes = np.array([subnet.genome for subnet, _ in rows], dtype=np.uint8).reshape(-1, len(space.genes))
    return genomes, np.array([accuracy for _, accuracy in rows])


def _begun(path: Path, space: SearchSpace) -> dict[str, float]:
    """Return what a file of labels holds, by subnet id, and leave the file ready for more rows."""
    known = _rows(path, space) if path.exists() else []
    text = [",".join(COLUMNS), *lines.whole(path)[1:]]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines.rewrite(path, text)
    return {subnet.id: accuracy for subnet, accuracy in known}


def _rows(path: Path, space: SearchSpace) -> list[tuple[Subnet, float]]:
    """Read the whole rows of a file of labels."""
    try:
        rows = list(csv.reader(lines.whole(path)))
    except csv.Error as fault:
        raise errors.not_labels(path, f"it is no CSV file: {fault}") from fault
    # What has no whole line is either our torn header, or a file of someone else's that must not be replaced.
    torn = not rows and (not path.exists() or ",".join(COLUMNS).encode().startswith(path.read_bytes()))
    if torn:
        return []
    if not rows or tuple(rows[0]) != COLUMNS:
        raise errors.not_labels(path, f"its columns are not {', '.join(COLUMNS)}")
    found = []
    for number, row in enumerate(rows[1:], 2):
        try:
            subnet = space.subnet(list(bytes.fromhex(row[1])))
            accuracy = float(row[3])
        except (ValueError, IndexError) as fault:
            raise errors.not_labels(path, f"line {number} cannot be read: {fault}") from fault
        except SpaceMismatch as fault:
            raise errors.not_labels(path, f"line {number}: {fault.what}") from fault
        if subnet.id != row[0] or not 0 <= accuracy <= 100:
            raise errors.not_labels(path, f"line {number} does not describe a subnet of '{space.id}'")
        found.append((subnet, accuracy))
    return found


def _row(subnet: Subnet, accuracy: float, images: int) -> str:
    """Return the text of one row."""
    genome = bytes(subnet.genome).hex()
    return f"{subnet.id},{genome},{subnet.resolution},{accuracy},{images},{PRECISION}"
