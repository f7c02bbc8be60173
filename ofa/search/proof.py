"""What a twin proves: a sum that accuracy never exceeds, or that latency never lies below; one function for a kind."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ofa.search import linear, relu, trees
from ofa.search.sums import Sum, Term, added, of_genes, of_ops
from ofa.space.core import SearchSpace

if TYPE_CHECKING:
    from ofa.twins.accuracy import AccuracyTwin
    from ofa.twins.latency import LatencyTwin

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Above:
    """A predictor that never exceeds an additive part and some trees.

    ``lines``: the additive part is not the predictor's own, but lies above it by the lines about its hidden units.
    """

    base: Sum
    forests: tuple[trees.Forest, ...] = ()
    lines: bool = False
    # By space. A front asks at every point, and each time it would be the same; a copy of other parts asks anew.
    _leaves: dict[SearchSpace, Sum] = field(init=False, default_factory=dict, compare=False, repr=False)

    def leaves(self, space: SearchSpace) -> Sum:
        """Return a sum that it never exceeds, each tree bounded alone."""
        if space not in self._leaves:
            self._leaves[space] = added([self.base, *(trees.above(space, forest) for forest in self.forests)])
        return self._leaves[space]

    def within(self, space: SearchSpace, limits: Sequence[tuple[Sum, float]]) -> linear.Plane | None:
        """Return what it never exceeds within limits, all parts together: seconds for hundreds of trees."""
        return linear.bound(space, self.base, self.forests, limits)


def accuracy_above(twin: AccuracyTwin) -> Above:
    """Return what bounds an accuracy twin from above: its additive part, and its trees by their leaves.

    Raises ValueError where its boosters are not plain sums of trees.
    """
    from ofa.twins.features import tree_members

    members = tree_members(twin.space)
    read = [trees.read(bytes(booster.save_raw("json")), weight) for weight, booster in twin.boosters]
    return Above(
        base=of_genes(twin.base.gene_values, twin.base.constant),
        forests=tuple(trees.Forest(ensemble=ensemble, members=members) for ensemble in read),
    )


def above_of(predictor: object) -> Above | None:
    """Return what bounds a predictor that is an accuracy twin, or its method ``predict``; None of every other."""
    # A twin was made, or read, by a module that is loaded then; loading it for others would take a second.
    known = sys.modules.get("ofa.twins.accuracy")
    twin = getattr(predictor, "__self__", predictor)
    if known is None or not isinstance(twin, known.AccuracyTwin) or predictor not in (twin, twin.predict):
        return None
    try:
        return accuracy_above(twin)
    except ValueError:
        return None


def network_above(space: SearchSpace, network: relu.Network) -> Above:
    """Return what bounds a ReLU network on one-hot genes from above: a sum, by linear bounds of its hidden units."""
    return Above(base=relu.above(space, network), lines=True)


def latency_below(twin: LatencyTwin) -> Sum:
    """Return a sum that no prediction of a latency twin lies below: its additive part at the trees' smallest factor.

    The factor is the smallest for each resolution. Raises ValueError where its booster is not a plain sum of trees.
    """
    from ofa.twins.features import latency_features, tree_members

    space = twin.space
    table = of_ops(space, twin.op_values_ms, twin.constant_ms)
    if twin.trees is None:
        return table
    nobody = np.zeros((0, len(space.genes)), dtype=np.uint8)
    genes = tree_members(space)
    # What stands before the genes depends on the whole network: nothing is assumed of it.
    others = latency_features(space, nobody, np.zeros(0)).shape[1] - len(genes)
    flipped = trees.read(bytes(twin.trees.save_raw("json")), -1.0)
    forest = trees.Forest(ensemble=flipped, members=(None,) * others + genes)
    factors = np.exp(-trees.by_resolution(space, forest))
    resolution = space.at("resolution")
    terms = [Term(columns=(resolution,), table=np.full(len(factors), table.constant) * factors)]
    for term in table.terms:
        shape = [1] * term.table.ndim
        shape[term.columns.index(resolution)] = len(factors)
        terms.append(replace(term, table=term.table * factors.reshape(shape)))
    return Sum(constant=0.0, terms=tuple(terms))
