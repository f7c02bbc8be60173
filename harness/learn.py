"""Labels subnets and fits the accuracy twin: random ones first, then those that the twin itself would choose.

A search picks where a twin errs upwards. Labels along fronts that it would choose from pull these errors down (active
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
from ofa import console
from ofa.space.core import Genomes

if TYPE_CHECKING:
    from ofa.nn.supernet import Supernet
    from ofa.train.data import Images
    from ofa.twins.accuracy import AccuracyTwin

LABELS = "labels.csv"


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
    """Return the twin fitted to ``first`` random labels and, in each of ``rounds``, ``each`` more along its own fronts.

    Labels that the file holds are not measured again. Raises FileInvalid where they are of another origin, and what
    labelling and fitting raise.
    """
    from ofa.search.active import along_front
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
        on_known=lambda count: advance(0, before=count),
    )
