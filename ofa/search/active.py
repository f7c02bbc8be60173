"""What is worth a label next: networks along fronts that a twin would choose from, none of which was labelled yet."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import TYPE_CHECKING

import numpy as np

from ofa.search.bound import ends
from ofa.search.finding import find
from ofa.search.limits import Limit, Predictor, Values
from ofa.search.sums import of_ops
from ofa.space import sample
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.twins.work import op_columns

if TYPE_CHECKING:
    from ofa.twins.accuracy import AccuracyTwin

# On the tiny space predicted fronts were as good after five generations as after twenty, and a round waits for five.
POPULATION, GENERATIONS = 256, 5
MILLIONTH = 1e-6
# Below any accuracy, percent.
SEEN = 100.0
# Fronts of a round beside that over MACs, each on a device of its own.
DEVICES = 4
# How much devices differ (standard deviations of logs): in what a kind of work costs, and in what it does at a stage.
KIND_SD, STAGE_SD = 1.0, 0.3


def along_front(space: SearchSpace, twin: AccuracyTwin, seen: Genomes, count: int, *, seed: int) -> Genomes:
    """Return up to ``count`` genomes along fronts of predicted accuracy that are not among ``seen``.

    One front is over MACs, the others over the latency of devices that are made up: a network that is chosen for a
    device is unlike those along MACs, and a twin errs on what it has seen none of.
    """
    prices = [index_of(space).values(lambda op: op.macs * MILLIONTH), *made_up(space, DEVICES, seed=seed)]
    # Each has one at least: of fewer networks than fronts, the first fronts.
    prices = prices[:count]
    known = {bytes(genome) for genome in seen}
    found: list[bytes] = []
    for number, values in enumerate(prices):
        front = _front(space, unseen(twin.predict, known), values, seed=seed)
        fresh = [genome for genome in front if genome not in known]
        # Where a front has too few, the next ones are asked for more.
        found += _spread(fresh, (count - len(found)) // (len(prices) - number))
        known.update(found)
    if not found:
        return seen[:0]
    return np.frombuffer(b"".join(found), dtype=np.uint8).reshape(len(found), -1)


def _front(space: SearchSpace, accuracy: Predictor, values: Values, *, seed: int) -> list[bytes]:
    """Return the genomes on the front of accuracy over a sum of what each op takes, the least first."""
    cost = of_ops(space, values)
    most = ends(space, cost)
    limit = Limit(name="cost", predict=cost, at_most=most.most, unit="", floor=lambda: most)
    found = find(space, accuracy, [limit], seed=seed, population=POPULATION, generations=GENERATIONS)
    return [bytes(point.genome) for point in found.front]


def _spread(front: list[bytes], count: int) -> list[bytes]:
    """Return up to ``count`` of a front: the one in the middle of each of so many equal parts.

    Not its ends: the cheapest network is the same one on every front.
    """
    count = min(count, len(front))
    return [front[(2 * part + 1) * len(front) // (2 * count)] for part in range(count)]


def made_up(space: SearchSpace, count: int, *, seed: int) -> list[Values]:
    """Return what every op of a space takes on devices that are made up, float64[n_ops] each, in no unit.

    On each, every kind of work (`ofa.twins.work`) takes of the mean network's time a share that is drawn anew, and more
    or less of it at each stage. What depthwise convolutions cost is drawn for each kernel apart: a runtime may have
    fast code for 3 x 3 and none for 7 x 7.
    """
    amounts, names = op_columns(space)
    priced = np.array([", part " in name for name in names])
    kinds, kind = np.unique([name.partition(",")[0] for name in np.array(names)[priced]], return_inverse=True)
    _, group = np.unique([re.sub(r" k\d+", "", name) for name in kinds], return_inverse=True)
    rng = np.random.default_rng([seed, 5])
    drawn = sample.random(space, 256, rng)
    means = np.array([index_of(space).sum(drawn, values).mean() for values in amounts[:, priced].T])
    of_groups = np.bincount(group[kind], weights=means)
    found = []
    for _ in range(count):
        prices = np.exp(rng.normal(0, KIND_SD, len(kinds))) / of_groups[group]
        weights = prices[kind] * np.exp(rng.normal(0, STAGE_SD, len(kind)))
        found.append(amounts[:, priced] @ weights)
    return found


def unseen(predict: Predictor, known: Container[bytes]) -> Predictor:
    """Return a predictor of accuracy, percent, that marks genomes known already down by 100 points."""

    def marked(genomes: Genomes) -> Values:
        met = np.array([bytes(genome) in known for genome in genomes], dtype=np.float64)
        return np.asarray(predict(genomes) - SEEN * met)

    return marked
