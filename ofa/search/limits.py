"""Hard limits of a search: what is predicted, how much is allowed, and by how much a network misses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ofa.search.bound import Extremes, ends, extremes
from ofa.search.errors import energy_limit_without_source, limit_unusable
from ofa.search.proof import latency_below
from ofa.search.sums import Sum, of_ops
from ofa.space.core import Genomes, SearchSpace
from ofa.space.facts import op_peak_bytes
from ofa.space.index import index_of
from ofa.space.ops import Op

if TYPE_CHECKING:
    from ofa.twins.latency import LatencyTwin

ROUNDING = 1e-9

Values = NDArray[np.float64]
Predictor = Callable[[Genomes], Values]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A network may have at most ``at_most`` of what ``predict`` returns (float64[n] for canonical uint8[n, G]).

    ``floor`` returns the exact extremes of ``predict`` over the space, where they are known: then an impossible limit
    is refused with proof. Without it the search looks for the smallest value itself and says that it is not proven.
    ``below`` is a sum that ``predict`` never lies below, and with ``exact`` equals: what is proven of a search rests on
    it. ``source`` is what measured the values that ``predict`` rests on (`Lut.energy_sources`): a limit of energy (its
    unit is one of joules) is refused without, since most devices say nothing of what they draw.
    """

    name: str
    predict: Predictor
    at_most: float
    unit: str
    floor: Callable[[], Extremes] | None = None
    below: Sum | None = None
    exact: bool = False
    source: str | None = None

    def __post_init__(self) -> None:
        """Refuse a limit that no value can be compared with."""
        if self.unit.endswith("J") and not self.source:
            raise energy_limit_without_source(f"{self.at_most:g} {self.unit}")
        if not np.isfinite(self.at_most) or self.at_most <= 0:
            raise limit_unusable(self.name, at_most=self.at_most, unit=self.unit)
        if self.floor is not None:
            # Every island of a search asks for it.
            object.__setattr__(self, "floor", cache(self.floor))


def latency_limit(
    twin: LatencyTwin, at_most_ms: float, *, coverage: float | None = None, name: str = "latency"
) -> Limit:
    """Limit what a latency twin predicts or, with ``coverage``, its upper bound: at most ``at_most_ms``.

    The exact minimum is known where the twin is additive (no trees). Raises UsageInvalid where the twin rests on too
    few measured networks for ``coverage``.
    """
    return twin_limit(twin, at_most_ms, coverage=coverage, name=name, unit="ms")


def twin_limit(
    twin: LatencyTwin, at_most: float, *, coverage: float | None, name: str, unit: str, source: str | None = None
) -> Limit:
    """Limit the same of a twin of energy too, in the twin's own unit; ``source`` is what measured the energy."""
    factor = 1.0 if coverage is None else twin.upper_factor(coverage)

    def predict(genomes: Genomes) -> Values:
        return twin.predict(genomes) * factor

    def floor() -> Extremes:
        return extremes(twin.space, twin.op_values_ms, twin.constant_ms).scaled(factor)

    return Limit(
        name=name,
        predict=predict,
        at_most=at_most,
        unit=unit,
        floor=floor if twin.trees is None else None,
        below=latency_below(twin).scaled(factor),
        exact=twin.trees is None,
        source=source,
    )


def sum_limit(space: SearchSpace, name: str, at_most: float, unit: str, of: Callable[[Op], float]) -> Limit:
    """Limit a value that the ops of a network add up to: MACs, parameters, bytes of a file."""
    total = of_ops(space, index_of(space).values(of))

    def floor() -> Extremes:
        return ends(space, total)

    return Limit(name=name, predict=total, at_most=at_most, unit=unit, floor=floor, below=total, exact=True)


def activation_limit(space: SearchSpace, at_most_bytes: float, name: str = "activation memory") -> Limit:
    """Limit the most bytes of activations alive at once, fp32, batch 1 (`ofa.space.facts.peak_activation_bytes`)."""
    index = index_of(space)
    peaks = index.values(lambda op: float(op_peak_bytes(op)))

    def predict(genomes: Genomes) -> Values:
        return index.most(genomes, peaks)

    def floor() -> Extremes:
        return extremes(space, peaks, combine=np.maximum)

    return Limit(name=name, predict=predict, at_most=at_most_bytes, unit="B", floor=floor)


def violations(limits: Sequence[Limit], values: Values) -> Values:
    """Return float64[n]: by how much each row of ``values`` float64[n, L] exceeds its limits, in parts of the limit.

    0 means that every limit holds; several exceeded limits add up (Deb 2000, section 3). A part in 10^9 over counts as
    within: sums of the same numbers in another order differ by less.
    """
    allowed = np.array([limit.at_most for limit in limits], dtype=np.float64)
    excess = values / allowed - 1.0
    return np.asarray(np.where(excess > ROUNDING, excess, 0.0).sum(axis=1))
