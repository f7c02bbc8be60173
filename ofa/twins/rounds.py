"""Active rounds: a twin is fitted, labels are made where it would look for the best, and it is fitted again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ofa.space.core import Genomes
from ofa.twins import accuracy
from ofa.twins.accuracy import AccuracyTwin
from ofa.twins.genes import Space

Vector = NDArray[np.float64]
Label = Callable[[Genomes], Vector]
# Returns genomes that were not labelled yet, given the twin, those that were, and the number of the round.
Propose = Callable[[AccuracyTwin, Genomes, int], Genomes]


def gather(
    space: Space, genomes: Genomes, label: Label, propose: Propose, *, rounds: int, seed: int = 0, threads: int = 1
) -> tuple[Genomes, Vector]:
    """Return ``genomes`` uint8[n, G] and those proposed in each of some rounds, with their labels.

    ``label`` returns top-1, percent float64[n]. A search picks where a twin errs upwards; labels along the front that
    it would choose pull these errors down (iterative data selection in BRP-NAS, arXiv 2007.08668). Raises what
    labelling and fitting raise.
    """
    top1 = np.asarray(label(genomes), dtype=np.float64)
    for number in range(rounds):
        twin = accuracy.fit(space, genomes, top1, seed=seed, threads=threads)
        more = propose(twin, genomes, number)
        if not len(more):
            break
        genomes, top1 = np.concatenate([genomes, more]), np.concatenate([top1, label(more)])
    return genomes, top1


def learn(
    space: Space, genomes: Genomes, label: Label, propose: Propose, *, rounds: int, seed: int = 0, threads: int = 1
) -> AccuracyTwin:
    """Return the twin fitted to what `gather` returns; raises what it and fitting raise."""
    genomes, top1 = gather(space, genomes, label, propose, rounds=rounds, seed=seed, threads=threads)
    return accuracy.fit(space, genomes, top1, seed=seed, threads=threads)
