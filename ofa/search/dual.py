"""A tighter bound of an additive part with trees: what a tree gets of each gene is bargained until all agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.bound import Factor, factor_of, most_of
from ofa.search.sums import Sum, Term, added
from ofa.search.trees import Ensemble, ranges_of
from ofa.space.core import SearchSpace

Values = NDArray[np.float64]

ITERATIONS = 200
# In parts of the range of a tree's leaves.
FIRST_STEP = 0.07


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """The leaves of all trees that some network reaches: value float64[L], tree int64[L].

    A pair is a leaf and a gene that its tree reads; ``leaf``, ``gene`` int64[P]. ``entries`` int64[E] are, pair after
    pair from ``starts`` int64[P] on, where the gene values that the leaf allows stand in effects float64[T, W], laid
    flat: for each tree the values of all genes, those of a gene from ``offsets`` int64[G] on, "not in use" first.
    """

    value: Values
    tree: NDArray[np.int64]
    leaf: NDArray[np.int64]
    gene: NDArray[np.int64]
    starts: NDArray[np.int64]
    entries: NDArray[np.int64]
    offsets: NDArray[np.int64]
    width: int
    constant: float

    @property
    def trees(self) -> int:
        """Return the number of trees."""
        return int(self.tree[-1]) + 1 if len(self.tree) else 0

    def spread(self) -> Values:
        """Return the range of each tree's leaves, float64[T]."""
        highest, lowest = np.full(self.trees, -np.inf), np.full(self.trees, np.inf)
        np.maximum.at(highest, self.tree, self.value)
        np.minimum.at(lowest, self.tree, self.value)
        return np.asarray(highest - lowest)

    def loosest(self, effects: Values) -> tuple[float, NDArray[np.int64], NDArray[np.int64]]:
        """Return the sum over trees of the largest leaf less the least effects float64[T, W] that it allows; and of
        the leaves that are largest the pairs, int64[Q], with the entry that has this least effect, int64[Q]."""
        own = effects.ravel()[self.entries]
        least = np.minimum.reduceat(own, self.starts) if len(self.starts) else own
        left = self.value - np.bincount(self.leaf, weights=least, minlength=len(self.value))
        order = np.lexsort((-left, self.tree))
        first = order[np.flatnonzero(np.diff(self.tree[order], prepend=-1))]
        largest = np.zeros(len(self.value), dtype=np.bool_)
        largest[first] = True
        pairs = np.flatnonzero(largest[self.leaf])
        sizes = np.diff(self.starts, append=len(self.entries))[pairs]
        begin = np.cumsum(sizes) - sizes
        at = np.arange(sizes.sum()) + np.repeat(self.starts[pairs] - begin, sizes)
        hits = np.flatnonzero(own[at] == np.repeat(least[pairs], sizes))
        firsts = np.searchsorted(hits, begin)
        return float(left[first].sum()) + self.constant, pairs, self.entries[at[hits[firsts]]]

    def shared(self, effects: Values) -> list[Term]:
        """Return the effects of all trees together, as terms of a sum."""
        total = effects.sum(axis=0)
        ends = [*self.offsets[1:].tolist(), self.width]
        return [
            Term(columns=(gene,), table=total[start:end])
            for gene, (start, end) in enumerate(zip(self.offsets.tolist(), ends, strict=True))
        ]


def forest(space: SearchSpace, ensembles: tuple[tuple[Ensemble, tuple[str, ...]], ...]) -> Forest:
    """Return the leaves of some ensembles, each with the names of its features."""
    offsets = np.cumsum([0, *(space.cardinalities[:-1].astype(np.int64) + 1)])
    width = int(space.cardinalities.astype(np.int64).sum()) + len(space.genes)
    values: list[float] = []
    numbers: list[int] = []
    pairs: list[tuple[int, int]] = []
    entries: list[NDArray[np.int64]] = []
    trees = [(tree, names) for ensemble, names in ensembles for tree in ensemble.trees]
    for number, (tree, names) in enumerate(trees):
        read = {column for leaf in tree for feature in leaf.ranges for column in ranges_of(space, names[feature])}
        for leaf in tree:
            allowed = {column: np.ones(int(space.cardinalities[column]) + 1, dtype=np.bool_) for column in read}
            for feature, (low, high) in leaf.ranges.items():
                for column, (least, most) in ranges_of(space, names[feature]).items():
                    allowed[column] &= (most >= low) & (least < high)
            if all(open_to.any() for open_to in allowed.values()):
                pairs += [(len(values), column) for column in sorted(allowed)]
                entries += [
                    number * width + offsets[column] + np.flatnonzero(allowed[column]) for column in sorted(allowed)
                ]
                values.append(leaf.value)
                numbers.append(number)
    sizes = np.array([len(one) for one in entries], dtype=np.int64)
    return Forest(
        value=np.array(values),
        tree=np.array(numbers, dtype=np.int64),
        leaf=np.array([leaf for leaf, _ in pairs], dtype=np.int64),
        gene=np.array([gene for _, gene in pairs], dtype=np.int64),
        starts=np.cumsum(sizes) - sizes,
        entries=np.concatenate(entries) if entries else np.zeros(0, dtype=np.int64),
        offsets=offsets,
        width=width,
        constant=sum(ensemble.constant + ensemble.slack for ensemble, _ in ensembles),
    )


def tightened(space: SearchSpace, base: Sum, trees: Forest, cost: Sum | None, at_most: float) -> Sum:
    """Return a sum that ``base`` and the trees together never exceed, as low as it gets near networks within a limit.

    Dual decomposition (Komodakis et al. 2007): effects of genes are moved between each tree and the additive part along
    the subgradient, and with them the price of the limit. Every step gives a valid sum; the lowest is kept.
    """
    effects = np.zeros((trees.trees, trees.width))
    gains = [factor_of(space, term) for term in base.terms]
    costs = [factor_of(space, term) for term in cost.terms] if cost else []
    price, best, lowest = 0.0, effects, np.inf
    spread = trees.spread()
    for number in range(ITERATIONS):
        shared = [factor_of(space, term) for term in trees.shared(effects)]
        priced = [Factor(columns=term.columns, table=-price * term.table) for term in costs]
        most, chosen = most_of(space, [*gains, *shared, *priced])
        rest, pairs, wanted = trees.loosest(effects)
        slack = at_most - cost.constant if cost else 0.0
        value = base.constant + most + price * slack + rest
        if value < lowest:
            lowest, best = value, effects.copy()
        tree, gene = trees.tree[trees.leaf[pairs]], trees.gene[pairs]
        has = tree * trees.width + trees.offsets[gene] + chosen[gene]
        apart, step = wanted != has, FIRST_STEP * spread[tree] / np.sqrt(1 + number)
        effects.ravel()[wanted[apart]] += step[apart]
        effects.ravel()[has[apart]] -= step[apart]
        if cost:
            over = float(cost.predict(chosen[None])[0]) - at_most
            price = max(0.0, price + _price_step(base, at_most) * over / at_most / np.sqrt(1 + number))
    rest, _, _ = trees.loosest(best)
    return added([base, Sum(constant=rest, terms=tuple(trees.shared(best)))])


def _price_step(base: Sum, at_most: float) -> float:
    """Return by how much a price moves where a limit is missed by all of itself: the spread of accuracy, per unit."""
    spread = sum(float(np.ptp(term.table)) for term in base.terms)
    return 0.5 * spread / at_most
