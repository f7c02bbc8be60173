"""Labels subnets and fits the accuracy twin: random ones first, then those that the twin itself would choose.

A search picks where a twin errs upwards. Labels around the front it would choose pull these errors down (active
learning; iterative data selection in BRP-NAS, arXiv 2007.08668).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import ofa.space as spaces
from harness.choose import unseen
from harness.stats import spread
from ofa import console
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of

if TYPE_CHECKING:
    from ofa.nn.supernet import Supernet
    from ofa.train.data import Images
    from ofa.twins.accuracy import AccuracyTwin

LABELS = "labels.csv"
POPULATION, GENERATIONS = 256, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What labels are made with: a supernet, images for batch norm, images to be right about, the file of labels.

    ``origin`` is JSON that names the checkpoint and the images: labels of another origin are refused.
    """

    supernet: Supernet
    path: Path
    calibration: Images
    images: Images
    seed: int
    origin: Mapping[str, Any]


def learn(lesson: Lesson, *, first: int, rounds: int, each: int) -> AccuracyTwin:
    """Return the twin fitted to ``first`` random labels and, in each of ``rounds``, ``each`` more along its own front.

    Labels that the file holds are not measured again. Raises FileInvalid where they are of another origin, and what
    labelling and fitting raise.
    """
    from ofa.twins import rounds as active

    space = lesson.supernet.space
    rng = np.random.default_rng([lesson.seed, 4])
    genomes = spaces.sample.unique(spaces.sample.random(space, 2 * first, rng))[:first]
    with console.progress("labelling", first + rounds * each) as advance:
        return active.learn(
            space,
            genomes,
            lambda more: _labelled(lesson, more, advance),
            lambda twin, seen, number: along_front(space, twin, seen, each, seed=number),
            rounds=rounds,
            seed=lesson.seed,
        )


def _labelled(lesson: Lesson, genomes: Genomes, advance: Callable[..., None]) -> NDArray[np.float64]:
    """Return the accuracy, percent, of some subnets."""
    from ofa.train import label

    return label.label(
        lesson.supernet,
        genomes,
        lesson.path,
        calibration=lesson.calibration,
        images=lesson.images,
        origin=lesson.origin,
        on_label=lambda subnet, top1: advance(note=f"{subnet.id}: {top1:.1f} %"),
    )


def along_front(space: SearchSpace, twin: AccuracyTwin, seen: Genomes, count: int, *, seed: int) -> Genomes:
    """Return up to ``count`` genomes along the front of predicted accuracy over MACs that were not seen yet."""
    from ofa.search import Limit, extremes, find

    index = index_of(space)
    macs = index.values(lambda op: op.macs * 1e-6)
    ends = extremes(space, macs)

    def predict_macs(genomes: Genomes) -> NDArray[np.float64]:
        return index.sum(genomes, macs)

    limit = Limit(name="MACs", predict=predict_macs, at_most=ends.most, unit="M", floor=lambda: ends)
    known = {bytes(genome) for genome in seen}
    found = find(space, unseen(twin.predict, known), [limit], seed=seed, population=POPULATION, generations=GENERATIONS)
    front = [point.genome for point in found.front if bytes(point.genome) not in known]
    return np.stack([front[place] for place in spread(len(front), count)]) if front else seen[:0]
