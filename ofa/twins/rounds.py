"""Active rounds: a twin is fitted, labels are made where it would look for the best, and it is fitted again."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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
# Told of genomes that a round is about to label, and of what its twin foretells, percent float64[n].
Keep = Callable[[Genomes, Vector], None]


class Gathered(NamedTuple):
    """Genomes uint8[n, G] with their top-1, percent float64[n], and what was foretold of it, NaN where nothing was."""

    genomes: Genomes
    top1: Vector
    foretold: Vector


def gather(
    space: Space,
    genomes: Genomes,
    label: Label,
    propose: Propose,
    *,
    rounds: int,
    seed: int = 0,
    threads: int = 1,
    grown: bool = False,
    keep: Keep | None = None,
) -> Gathered:
    """Return ``genomes`` uint8[n, G] and those proposed in each of some rounds, with their labels.

    Of those proposed from the second round on it holds what the twin of their round foretold, too: that is how far off
    twins are of networks that they themselves picked, which no error of networks drawn at random says. ``label``
    returns top-1, percent float64[n]. A search picks where a twin errs upwards; labels along the front that it would
    choose pull these errors down (iterative data selection in BRP-NAS, arXiv 2007.08668). With ``grown`` the first
    round counts as a later one: ``genomes`` hold some of earlier rounds. ``keep`` is told before labels are made, so
    that an interrupt loses nothing. Raises what labelling and fitting raise.
    """
    top1 = np.asarray(label(genomes), dtype=np.float64)
    foretold = np.full(len(top1), np.nan)
    for number in range(rounds):
        twin = accuracy.fit(space, genomes, top1, seed=seed, threads=threads)
        more = propose(twin, genomes, number)
        if not len(more):
            break
        # A twin that has seen no label along a front, as all later ones have, errs more than they do.
        said = twin.predict(more) if grown or number else np.full(len(more), np.nan)
        if keep is not None:
            keep(more, said)
        foretold = np.concatenate([foretold, said])
        genomes, top1 = np.concatenate([genomes, more]), np.concatenate([top1, label(more)])
    return Gathered(genomes, top1, foretold)


def learn(
    space: Space, genomes: Genomes, label: Label, propose: Propose, *, rounds: int, seed: int = 0, threads: int = 1
) -> AccuracyTwin:
    """Return the twin fitted to what `gather` returns; raises what it and fitting raise."""
    found = gather(space, genomes, label, propose, rounds=rounds, seed=seed, threads=threads)
    return accuracy.fit(space, found.genomes, found.top1, foretold=found.foretold, seed=seed, threads=threads)
