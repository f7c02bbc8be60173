"""What is worth a label next: networks along the front that a twin would choose, none of which was labelled yet."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

import numpy as np

from ofa.search.bound import ends
from ofa.search.finding import find
from ofa.search.limits import Limit, Predictor, Values
from ofa.search.sums import of_ops
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of

if TYPE_CHECKING:
    from ofa.twins.accuracy import AccuracyTwin

POPULATION, GENERATIONS = 256, 20
MILLION = 1e-6
# Below any accuracy, percent.
SEEN = 100.0


def along_front(space: SearchSpace, twin: AccuracyTwin, seen: Genomes, count: int, *, seed: int) -> Genomes:
    """Return up to ``count`` genomes along the front of predicted accuracy over MACs that are not among ``seen``."""
    macs = of_ops(space, index_of(space).values(lambda op: op.macs * MILLION))
    most = ends(space, macs)
    limit = Limit(name="MACs", predict=macs, at_most=most.most, unit="M", floor=lambda: most)
    known = {bytes(genome) for genome in seen}
    found = find(space, unseen(twin.predict, known), [limit], seed=seed, population=POPULATION, generations=GENERATIONS)
    front = [point.genome for point in found.front if bytes(point.genome) not in known]
    if not front:
        return seen[:0]
    places = np.linspace(0, len(front) - 1, min(count, len(front)))
    return np.stack([front[place] for place in sorted({round(place) for place in places.tolist()})])


def unseen(predict: Predictor, known: Container[bytes]) -> Predictor:
    """Return a predictor of accuracy, percent, that marks genomes known already down by 100 points."""

    def marked(genomes: Genomes) -> Values:
        met = np.array([bytes(genome) in known for genome in genomes], dtype=np.float64)
        return np.asarray(predict(genomes) - SEEN * met)

    return marked
