"""A tight bound of an additive part with trees: a linear programme over gene values, their sums, and leaves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ofa.search.programme import Programme
from ofa.search.sums import Sum, Term
from ofa.search.trees import Forest, Leaf, Members
from ofa.space.core import SearchSpace

# A variable is 1 where a network has this choice. Of a gene or a sum of genes: the variables that say it has a value.
States = dict[float, list[int]]
# Sums of the same choices in another order differ by rounding alone.
DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """What no network exceeds: ``value`` within limits of ``at_most`` each, and within any others by their prices."""

    value: float
    at_most: tuple[float, ...]
    prices: tuple[float, ...]

    def at(self, limits: Sequence[float]) -> float:
        """Return what no network within other values of the same limits exceeds."""
        moved = zip(self.prices, limits, self.at_most, strict=True)
        return self.value + sum(price * (other - own) for price, other, own in moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """What is built: the programme; the variables of each gene value; states and thresholds of sums seen so far."""

    space: SearchSpace
    programme: Programme
    genes: tuple[list[int], ...]
    states: dict[Members, States] = field(default_factory=dict)
    below: dict[Members, tuple[list[float], list[int]]] = field(default_factory=dict)


def bound(
    space: SearchSpace, base: Sum, forests: Sequence[Forest], limits: Sequence[tuple[Sum, float]]
) -> Plane | None:
    """Return what ``base`` plus trees never exceed within limits, each a sum and what it is at most; None if unsolved.

    Every network is a point of the programme whose gain is its value, so the optimum bounds them all. Trees choose one
    leaf, and the leaves on one side of a split are open as far as genes, or sums of genes, are on that side (Misic
    2020, "Optimization of tree ensembles", section 2); a sum's value comes about gene by gene, as a flow.
    """
    programme = Programme()
    genes = tuple(programme.add(len(gene.choices) + 1) for gene in space.genes)
    model = _Model(space=space, programme=programme, genes=genes)
    _networks(model)
    constant = base.constant + sum(forest.ensemble.constant + forest.ensemble.slack for forest in forests)
    for column, value in _parts(model, base):
        programme.gains[column] = programme.gains.get(column, 0.0) + value
    rows, sizes = [], []
    for cost, at_most in limits:
        parts = _parts(model, cost)
        # A price for a limit is a number of ordinary size where the limit is.
        sizes.append(max((abs(value) for _, value in parts), default=0.0) or 1.0)
        rows.append(len(programme.most))
        most = (at_most - cost.constant) / sizes[-1]
        programme.row([(column, value / sizes[-1]) for column, value in parts], most=most)
    for forest in forests:
        for tree in forest.ensemble.trees:
            if len(tree) == 1:
                constant += tree[0].value
            else:
                _tree(model, tree, forest.members)
    found = programme.bound()
    if found is None:
        return None
    prices = tuple(float(found[1][row]) / size for row, size in zip(rows, sizes, strict=True))
    return Plane(value=found[0] + constant, at_most=tuple(at_most for _, at_most in limits), prices=prices)


def _networks(model: _Model) -> None:
    """Say which gene values make a network: one of each gene, and a block has some as far as the depth keeps it."""
    space, programme = model.space, model.programme
    for column, gene in enumerate(space.genes):
        unused, *used = model.genes[column]
        programme.equal([unused, *used], total=1.0)
        if gene.block is None:
            programme.equal([unused])
            continue
        depth = space.at(f"s{gene.stage}.depth")
        kept = [
            variable
            for variable, choice in zip(model.genes[depth][1:], space.genes[depth].choices, strict=True)
            if choice > gene.block
        ]
        programme.equal(used, kept)


def _parts(model: _Model, total: Sum) -> list[tuple[int, float]]:
    """Return the variables whose values times a factor add up to a sum, less its constant."""
    return [part for term in total.terms for part in _term(model, term)]


def _term(model: _Model, term: Term) -> list[tuple[int, float]]:
    """Return the same of one term: of one gene its values; of several, a variable for each joint value."""
    table = term.table[tuple(slice(len(model.genes[column])) for column in term.columns)]
    if len(term.columns) == 1:
        return list(zip(model.genes[term.columns[0]], table.tolist(), strict=True))
    possible = np.argwhere(_possible(model.space, term.columns, table.shape))
    joint = model.programme.add(len(possible))
    for axis, column in enumerate(term.columns):
        order = np.argsort(possible[:, axis], kind="stable")
        ends = np.searchsorted(possible[order, axis], np.arange(table.shape[axis] + 1))
        for value, (start, end) in enumerate(itertools.pairwise(ends.tolist())):
            model.programme.equal([joint[at] for at in order[start:end]], [model.genes[column][value]])
    return list(zip(joint, table[tuple(possible.T)].tolist(), strict=True))


def _possible(space: SearchSpace, columns: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Say which joint values of genes some network may have: genes of a block are in use together, others always."""
    values = np.indices(shape)
    possible = np.ones(shape, dtype=np.bool_)
    blocks: dict[tuple[int | None, int], NDArray[np.bool_]] = {}
    for axis, column in enumerate(columns):
        gene, used = space.genes[column], values[axis] > 0
        if gene.block is None:
            possible &= used
        else:
            possible &= used == blocks.setdefault((gene.stage, gene.block), used)
    return possible


def _tree(model: _Model, tree: tuple[Leaf, ...], members: tuple[Members | None, ...]) -> None:
    """Add a tree's leaves, of which one counts, each as far as what it asks of genes and sums is met."""
    programme = model.programme
    leaves = programme.add(len(tree))
    programme.equal(leaves, total=1.0)
    for variable, leaf in zip(leaves, tree, strict=True):
        programme.gains[variable] = leaf.value
    asked = [(leaf, feature, end) for leaf in tree for feature, ends in leaf.ranges.items() for end in ends]
    for feature, split in dict.fromkeys((feature, end) for _, feature, end in asked if np.isfinite(end)):
        own = members[feature]
        if own is None:
            continue
        within = [leaf.ranges.get(feature, (-np.inf, np.inf)) for leaf in tree]
        left = [(leaf, 1.0) for leaf, (_, high) in zip(leaves, within, strict=True) if high <= split]
        right = [(leaf, 1.0) for leaf, (low, _) in zip(leaves, within, strict=True) if low >= split]
        share = _below(model, own, split)
        if not isinstance(share, bool):
            programme.row([*left, (share, -1.0)], most=0.0)
            programme.row([*right, (share, 1.0)], most=1.0)
        elif closed := right if share else left:
            programme.row(closed, most=0.0)


def _below(model: _Model, members: Members, split: float) -> int | bool:
    """Return the variable that is 1 where a sum of genes is below a split; True or False where it always or never is.

    A staircase: each step is the one before and the states in between, so that no row is long.
    """
    states = _states(model, members)
    if members not in model.below:
        values, steps = sorted(states), list[int]()
        for value in values[:-1]:
            (step,) = model.programme.add(1)
            model.programme.equal([step], [*states[value], *steps[-1:]])
            steps.append(step)
        model.below[members] = values, steps
    values, steps = model.below[members]
    # Trees compare in float32.
    lower = sum(float(np.float32(value)) < split for value in values)
    if lower in (0, len(values)):
        return lower > 0
    return steps[lower - 1]


def _states(model: _Model, members: Members) -> States:
    """Return the states of the sum of some genes' choices: stage by stage, within a stage gene by gene."""
    if members in model.states:
        return model.states[members]
    stages = [tuple(own) for _, own in itertools.groupby(members, key=lambda column: model.space.genes[column].stage)]
    if len(members) == 1:
        found = _values(model, members[0])
    else:
        parts = [_states(model, own) for own in (stages if len(stages) > 1 else [(column,) for column in members])]
        found = parts[0]
        for part in parts[1:]:
            found = _joined(model.programme, found, part)
    model.states[members] = found
    return found


def _values(model: _Model, column: int) -> States:
    """Return the states of one gene; a block that is not in use adds nothing."""
    gene, (unused, *used) = model.space.genes[column], model.genes[column]
    states: States = {} if gene.block is None else {0.0: [unused]}
    for variable, choice in zip(used, gene.choices, strict=True):
        states.setdefault(float(choice), []).append(variable)
    return states


def _joined(programme: Programme, one: States, other: States) -> States:
    """Return the states of a sum of two: a variable for each pair of their states, which leads to the state it adds."""
    pairs = {(first, second): programme.add(1)[0] for first in one for second in other}
    for first, variables in one.items():
        programme.equal([pairs[first, second] for second in other], variables)
    for second, variables in other.items():
        programme.equal([pairs[first, second] for first in one], variables)
    joined: States = {}
    for (first, second), variable in pairs.items():
        joined.setdefault(round(first + second, DIGITS), []).append(variable)
    return joined
