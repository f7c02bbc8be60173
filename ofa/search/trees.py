"""Boosted trees from above: a sum that no prediction of theirs exceeds, each tree bounded by what one place tells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa.search.sums import Sum, Term
from ofa.space.core import SearchSpace

Values = NDArray[np.float64]
Ranges = tuple[Values, Values]
# Of a feature: the genes whose choices it adds up, as columns; a block that is not in use adds nothing.
Members = tuple[int, ...]

FLOAT32_ROUNDING = 2.0**-24


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A leaf: its value, and for each feature on its path the half-open range [low, high) that leads to it."""

    value: float
    ranges: dict[int, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Trees whose leaves add up, and a constant."""

    constant: float
    trees: tuple[tuple[Leaf, ...], ...]

    @property
    def slack(self) -> float:
        """Return what rounding may add to a prediction, whose leaves are added up in float32.

        A sum of n terms rounds by at most ``n u / (1 - n u)`` of the sum of their sizes (Higham 2002, section 4.2).
        """
        part = (len(self.trees) + 1) * FLOAT32_ROUNDING
        sizes = abs(self.constant) + sum(max(abs(leaf.value) for leaf in tree) for tree in self.trees)
        return part / (1 - part) * sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """An ensemble, and the genes that each of its features adds up; None where nothing is known of a feature."""

    ensemble: Ensemble
    members: tuple[Members | None, ...]


def read(model: bytes, weight: float = 1.0) -> Ensemble:
    """Return the trees of xgboost's JSON, leaves times ``weight``; ValueError where it is no plain sum of trees."""
    # Here, because the library of trees takes half a second to load; whoever holds trees has loaded it.
    from ofa.twins.boost import OBJECTIVES

    learner = json.loads(model)["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree" or learner["objective"]["name"] not in OBJECTIVES.values():
        raise ValueError("only trees of squared or absolute error are a plain sum of leaves")
    base = float(str(learner["learner_model_param"]["base_score"]).strip("[]"))
    trees = tuple(tuple(_leaves(tree, weight)) for tree in booster["model"]["trees"])
    return Ensemble(constant=weight * base, trees=trees)


def _leaves(tree: dict[str, Any], weight: float) -> list[Leaf]:
    """Return the leaves of one tree."""
    found: list[Leaf] = []
    waiting: list[tuple[int, dict[int, tuple[float, float]]]] = [(0, {})]
    while waiting:
        node, ranges = waiting.pop()
        left, right = tree["left_children"][node], tree["right_children"][node]
        split = float(np.float32(tree["split_conditions"][node]))
        if left < 0:
            found.append(Leaf(value=weight * split, ranges=ranges))
            continue
        feature = tree["split_indices"][node]
        low, high = ranges.get(feature, (-np.inf, np.inf))
        waiting.append((left, ranges | {feature: (low, min(high, split))}))
        waiting.append((right, ranges | {feature: (max(low, split), high)}))
    return found


def above(space: SearchSpace, forest: Forest) -> Sum:
    """Return a sum that no prediction of the trees exceeds.

    A tree is bounded for each value of the genes of one place (resolution, depth, block) by the largest leaf that they
    leave open; of the places a tree reads, that which bounds it lowest on average is taken.
    """
    ensemble, total = forest.ensemble, dict[tuple[int, ...], Values]()
    for tree in ensemble.trees:
        read = {forest.members[feature] for leaf in tree for feature in leaf.ranges}
        columns, table = min(
            ((place, _largest(space, tree, forest, place)) for place in _places(space, frozenset(read))),
            key=lambda found: float(found[1][_valid(space, found[0])].mean()),
        )
        total[columns] = total.get(columns, 0.0) + table
    terms = tuple(Term(columns=columns, table=table) for columns, table in sorted(total.items()))
    return Sum(constant=ensemble.constant + ensemble.slack, terms=terms)


def _largest(space: SearchSpace, tree: tuple[Leaf, ...], forest: Forest, place: tuple[int, ...]) -> Values:
    """Return the largest leaf that each combination of gene values of a place leaves open, 0 where none is."""
    best = np.full([len(space.genes[column].choices) + 1 for column in place], -np.inf)
    for leaf in tree:
        possible = np.ones(best.shape, dtype=np.bool_)
        for feature, (low, high) in leaf.ranges.items():
            members = forest.members[feature]
            if members is not None:
                least, most = _ranges(space, place, members)
                possible &= (most >= low) & (least < high)
        best = np.where(possible, np.maximum(best, leaf.value), best)
    return np.where(np.isfinite(best), best, 0.0)


@lru_cache(maxsize=4096)
def _places(space: SearchSpace, read: frozenset[Members | None]) -> tuple[tuple[int, ...], ...]:
    """Return the places that some features tell of, as gene columns; the resolution is of every place.

    A block says next to nothing of a sum over several stages.
    """
    resolution = space.at("resolution")
    found: set[tuple[int, ...]] = {(resolution,)}
    for members in read:
        stages = {space.genes[column].stage for column in members or ()}
        if None in stages or len(stages) != 1:
            continue
        for gene in (space.genes[column] for column in members or ()):
            depth = space.at(f"s{gene.stage}.depth")
            own = [
                column
                for column, other in enumerate(space.genes)
                if gene.block is not None and (other.stage, other.block) == (gene.stage, gene.block)
            ]
            found.add(tuple(sorted({resolution, depth, *own})))
    return tuple(sorted(found))


@lru_cache(maxsize=4096)
def _grid(space: SearchSpace, place: tuple[int, ...]) -> tuple[NDArray[np.int64], ...]:
    """Return the gene value that each entry of a place's table stands for, an array for each of its genes."""
    return tuple(np.indices([len(space.genes[column].choices) + 1 for column in place]))


@lru_cache(maxsize=4096)
def _valid(space: SearchSpace, place: tuple[int, ...]) -> NDArray[np.bool_]:
    """Say which entries of a place's table some network has."""
    grid = dict(zip(place, _grid(space, place), strict=True))
    valid = np.ones(next(iter(grid.values())).shape, dtype=np.bool_)
    for column, values in grid.items():
        gene = space.genes[column]
        if gene.block is None:
            valid &= values > 0
        else:
            depth = space.at(f"s{gene.stage}.depth")
            blocks = np.array([0, *space.genes[depth].choices])[grid[depth]]
            valid &= (values > 0) == (blocks > gene.block)
    return valid


@lru_cache(maxsize=16384)
def _ranges(space: SearchSpace, place: tuple[int, ...], members: Members) -> Ranges:
    """Return the least and the most that a sum of genes can be for each entry of a place's table, as trees compare."""
    shape = _grid(space, place)[0].shape
    least, most = np.zeros(shape), np.zeros(shape)
    grid = dict(zip(place, _grid(space, place), strict=True))
    for column in members:
        gene = space.genes[column]
        if column in grid:
            exact = np.array([0, *gene.choices], dtype=np.float64)[grid[column]]
            least, most = least + exact, most + exact
            continue
        low, high = min(gene.choices), max(gene.choices)
        depth = space.at(f"s{gene.stage}.depth") if gene.block is not None else None
        if depth is None or gene.block is None:
            least, most = least + low, most + high
        elif depth in grid:
            kept = np.array([0, *space.genes[depth].choices])[grid[depth]] > gene.block
            least, most = least + np.where(kept, low, 0.0), most + np.where(kept, high, 0.0)
        else:
            always = min(space.genes[depth].choices) > gene.block
            least, most = least + (low if always else min(low, 0.0)), most + high
    return _float32(least), _float32(most)


def _float32(values: Values) -> Values:
    """Return values as trees see them: their splits are float32, and 0.2 is below 0.2 there if it is not made so."""
    return values.astype(np.float32).astype(np.float64)


def by_resolution(space: SearchSpace, forest: Forest) -> Values:
    """Return what no prediction exceeds at each resolution, float64[R + 1]; entry 0 stands for no network."""
    ensemble, place = forest.ensemble, (space.at("resolution"),)
    total = sum((_largest(space, tree, forest, place) for tree in ensemble.trees), np.zeros(len(space.resolutions) + 1))
    return np.asarray(total + ensemble.constant + ensemble.slack)
