"""A tighter bound of an additive part with trees: what a tree gets of each gene is bargained until all agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.bound import Factor, factor_of, most_of
from ofa.search.sums import Sum, added, of_genes
from ofa.search.trees import Ensemble, ranges_of
from ofa.space.core import SearchSpace

Values = NDArray[np.float64]

ITERATIONS = 200
# In parts of the range of a tree's leaves.
FIRST_STEP = 0.07
# Larger than any effect: a value that a leaf rules out.
NEVER = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """The leaves of all trees: value float64[L], tree int64[L], gene values allowed bool[L, G, C + 1].

    ``read`` bool[T, G] says which genes a tree reads.
    """

    value: Values
    tree: NDArray[np.int64]
    allowed: NDArray[np.bool_]
    read: NDArray[np.bool_]
    constant: float

    def spread(self) -> Values:
        """Return the range of each tree's leaves, float64[T]."""
        highest, lowest = np.full(len(self.read), -np.inf), np.full(len(self.read), np.inf)
        np.maximum.at(highest, self.tree, self.value)
        np.minimum.at(lowest, self.tree, self.value)
        return np.asarray(highest - lowest)

    def loosest(self, effects: Values) -> tuple[float, NDArray[np.int64], NDArray[np.int64]]:
        """Return the sum over trees of the largest leaf less the least effects float64[T, G, C + 1] that it allows, the
        leaf of each tree, and the gene values of each leaf that have these least effects, int64[L, G]."""
        own = np.where(self.allowed, effects[self.tree], NEVER)
        at = own.argmin(axis=2)
        least = np.take_along_axis(own, at[:, :, None], axis=2)[:, :, 0]
        left = self.value - (least * self.read[self.tree]).sum(axis=1)
        order = np.lexsort((-left, self.tree))
        first = order[np.flatnonzero(np.diff(self.tree[order], prepend=-1))]
        return float(left[first].sum()) + self.constant, first, at


def forest(space: SearchSpace, ensembles: tuple[tuple[Ensemble, tuple[str, ...]], ...]) -> Forest:
    """Return the leaves of some ensembles, each with the names of its features."""
    values: list[float] = []
    numbers: list[int] = []
    masks: list[NDArray[np.bool_]] = []
    reads: list[NDArray[np.bool_]] = []
    shape = (len(space.genes), int(space.cardinalities.max()) + 1)
    offered = np.arange(shape[1]) <= space.cardinalities[:, None]
    for ensemble, names in ensembles:
        for tree in ensemble.trees:
            read = np.zeros(shape[0], dtype=np.bool_)
            for leaf in tree:
                allowed = offered.copy()
                for feature, (low, high) in leaf.ranges.items():
                    for column, (least, most) in ranges_of(space, names[feature]).items():
                        count = len(least)
                        allowed[column, :count] &= (most >= low) & (least < high)
                        read[column] = True
                values.append(leaf.value)
                numbers.append(len(reads))
                masks.append(allowed)
            reads.append(read)
    return Forest(
        value=np.array(values),
        tree=np.array(numbers, dtype=np.int64),
        allowed=np.array(masks),
        read=np.array(reads),
        constant=sum(ensemble.constant + ensemble.slack for ensemble, _ in ensembles),
    )


def tightened(space: SearchSpace, base: Sum, trees: Forest, cost: Sum | None, at_most: float) -> Sum:
    """Return a sum that ``base`` and the trees together never exceed, as low as it gets near networks within a limit.

    Dual decomposition (Komodakis et al. 2007): effects of genes are moved between each tree and the additive part along
    the subgradient, and with them the price of the limit. Every step gives a valid sum; the lowest is kept.
    """
    count = len(trees.read)
    effects = np.zeros((count, *trees.allowed.shape[1:]))
    gains = [factor_of(space, term) for term in base.terms]
    costs = [factor_of(space, term) for term in cost.terms] if cost else []
    price, best, lowest = 0.0, effects, np.inf
    spread = trees.spread()
    for number in range(ITERATIONS):
        shared = [factor_of(space, term) for term in of_genes(effects.sum(axis=0)).terms]
        priced = [Factor(columns=term.columns, table=-price * term.table) for term in costs]
        most, chosen = most_of(space, [*gains, *shared, *priced])
        rest, leaves, at = trees.loosest(effects)
        slack = at_most - cost.constant if cost else 0.0
        value = base.constant + most + price * slack + rest
        if value < lowest:
            lowest, best = value, effects.copy()
        step = FIRST_STEP * spread / np.sqrt(1 + number)
        wanted = at[leaves]
        tree, gene = np.nonzero(trees.read & (wanted != chosen))
        effects[tree, gene, wanted[tree, gene]] += step[tree]
        effects[tree, gene, chosen[gene]] -= step[tree]
        if cost:
            over = float(cost.predict(chosen[None])[0]) - at_most
            price = max(0.0, price + _price_step(base, at_most) * over / at_most / np.sqrt(1 + number))
    rest, _, _ = trees.loosest(best)
    return added([base, of_genes(best.sum(axis=0), rest)])


def _price_step(base: Sum, at_most: float) -> float:
    """Return by how much a price moves where a limit is missed by all of itself: the spread of accuracy, per unit."""
    spread = sum(float(np.ptp(term.table)) for term in base.terms)
    return 0.5 * spread / at_most
