"""Repair: shrink the genes of a network that misses its limits, a few at a time, until it meets them."""

from __future__ import annotations

import numpy as np

from ofa.search.archive import Archive
from ofa.space.core import Genomes

ROUNDS = 40


def repair(archive: Archive, genomes: Genomes, rng: np.random.Generator) -> Genomes:
    """Return genomes uint8[n, G] in which rows that missed a limit took smaller choices until they met it.

    The further a row is off, the more genes shrink at once. A row that cannot be repaired this way comes back as
    small as it got; nothing is scored for accuracy.
    """
    repaired = genomes.copy()
    pending = np.arange(len(genomes))
    for _ in range(ROUNDS):
        missed = archive.violation(repaired[pending])
        pending, missed = pending[missed > 0], missed[missed > 0]
        if not len(pending):
            break
        rows = repaired[pending]
        # A step of one gene is worth a percent or two, so this many genes bring a row near its limit, not past it.
        steps = np.clip((missed * 12).astype(np.int64), 1, 8)
        lottery = np.where(rows > 1, rng.random(rows.shape), 2.0)
        drawn = np.argsort(np.argsort(lottery, axis=1), axis=1) < steps[:, None]
        shrunk = archive.space.canonical(rows - (drawn & (rows > 1)).astype(np.uint8))
        if (shrunk == rows).all():
            break
        repaired[pending] = shrunk
    return repaired
