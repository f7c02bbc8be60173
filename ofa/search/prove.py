"""What is proven before and after a search: that limits can be met, and what no network within them exceeds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from ofa.search import errors, knapsack
from ofa.search.limits import ROUNDING, Limit
from ofa.search.linear import Plane
from ofa.search.proof import Above
from ofa.search.sums import Sum
from ofa.space.core import Genomes, SearchSpace, Subnet

NO_PROOF = (
    "nothing is proven of this predictor: only additive models, trees on top of one, and ReLU networks have a bound"
)
PROVEN = "an exact dynamic programme over the additive part"
LEAVES = "{proven}, other parts at the largest their leaves allow"
LINES = "an exact dynamic programme over linear bounds of its hidden units"
PROGRAMME = "a linear programme over genes, their sums and leaves, all limits together, its prices checked"
MERGED = ", partial networks of nearly equal cost counted as one of the best of them at the least cost"
TOO_LOOSE = "linear bounds of its many hidden units say no more than that no subnet exceeds {bound:.0f} %"
PERCENT = 100.0
NO_LIMIT = ", whatever the limits: none of them has an additive part"


def possible(limits: Sequence[Limit], named: Callable[[Genomes], Subnet]) -> None:
    """Raise NoSubnetFits where a limit lies below the exact minimum of the space."""
    for limit in limits:
        known = limit.floor() if limit.floor else None
        if known is not None and known.least > limit.at_most * (1 + ROUNDING):
            raise errors.below_floor(
                limit.name,
                at_most=limit.at_most,
                floor=known.least,
                unit=limit.unit,
                subnet=named(known.argleast).id,
            )


def together(space: SearchSpace, limits: Sequence[Limit]) -> None:
    """Raise NoSubnetFits where two limits are proven to exclude each other, naming the nearest that do not."""
    for one, other in itertools.combinations((limit for limit in limits if limit.below is not None), 2):
        least, others = _least_within(space, one, other), _least_within(space, other, one)
        if least > one.at_most * (1 + ROUNDING) or others > other.at_most * (1 + ROUNDING):
            raise errors.excluded(
                (one.name, one.at_most, one.unit, least), (other.name, other.at_most, other.unit, others)
            )


def _least_within(space: SearchSpace, one: Limit, other: Limit) -> float:
    """Return what one limit's value is at least, for every network that meets the other; both have an additive part."""
    assert one.below is not None and other.below is not None
    # The least is the most of the negative.
    found = knapsack.solve(space, one.below.scaled(-1.0), other.below, other.at_most, relaxed=True)
    if found is None:
        raise errors.below_bound(other.name, at_most=other.at_most, unit=other.unit)
    return -found.gain


def planes(space: SearchSpace, above: Sum | Above | None, limits: Sequence[Limit]) -> list[Plane]:
    """Return what a linear programme proves of an additive part with trees, all limits together; of others nothing."""
    if not isinstance(above, Above) or not above.forests:
        return []
    found = above.within(space, [(limit.below, limit.at_most * (1 + ROUNDING)) for limit in limits if limit.below])
    return [] if found is None else [found]


def upper_bound(
    space: SearchSpace, above: Sum | Above | None, limits: Sequence[Limit], known: Sequence[Plane] | None = None
) -> tuple[float | None, str]:
    """Return what no network within the limits exceeds, and what that rests on; None and why where nothing is proven.

    Every limit with an additive part gives a bound, for it alone, and all together give ``planes`` where the predictor
    has trees, which takes seconds (``known``: planes found for other values of these limits); the lowest counts.
    """
    if above is None:
        return None, NO_PROOF
    added = [limit for limit in limits if limit.below is not None]
    costs: list[tuple[Sum | None, float]] = [(limit.below, limit.at_most) for limit in added] or [(None, np.inf)]
    trees = isinstance(above, Above) and bool(above.forests)
    plain = above.leaves(space) if isinstance(above, Above) else above
    found = [knapsack.solve(space, plain, cost, at_most, relaxed=True) for cost, at_most in costs]
    exact = not trees and all(limit.exact for limit in added)
    lines = isinstance(above, Above) and above.lines
    proven = LINES if lines else PROVEN
    alone = proven if exact else LEAVES.format(proven=proven)
    bounds = [(each.gain, alone + ("" if each.exact else MERGED)) for each in found if each is not None]
    values = [limit.at_most * (1 + ROUNDING) for limit in added]
    bounds += [(plane.at(values), PROGRAMME) for plane in (planes(space, above, limits) if known is None else known)]
    if not bounds:
        return None, NO_PROOF
    lowest, reason = min(bounds)
    if lines and lowest > PERCENT:
        return None, TOO_LOOSE.format(bound=lowest)
    reason += NO_LIMIT if limits and not added else ""
    # The same numbers added in another order may differ by this much.
    return lowest + ROUNDING * abs(lowest), reason
