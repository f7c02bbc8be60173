"""Hard limits of a search: what is predicted, how much is allowed, and by how much a network misses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ofa.errors import UsageInvalid
from ofa.search.bound import Extremes, extremes
from ofa.search.errors import energy_limit_without_source
from ofa.search.proof import latency_below
from ofa.search.sums import Sum
from ofa.space.core import Genomes

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
            raise UsageInvalid(
                f"a limit of {self.at_most:g} {self.unit} on {self.name} cannot be searched for",
                why="a limit is a finite number above zero",
                hint=f"give the largest {self.name} the network may have",
            )


def latency_limit(
    twin: LatencyTwin, at_most_ms: float, *, coverage: float | None = None, name: str = "latency"
) -> Limit:
    """Limit what a latency twin predicts or, with ``coverage``, its upper bound: at most ``at_most_ms``.

    The exact minimum is known where the twin is additive (no trees). Raises UsageInvalid where the twin rests on too
    few measured networks for ``coverage``.
    """
    factor = 1.0 if coverage is None else twin.upper_factor(coverage)

    def predict_ms(genomes: Genomes) -> Values:
        return twin.predict(genomes) * factor

    def floor() -> Extremes:
        return extremes(twin.space, twin.op_values_ms, twin.constant_ms).scaled(factor)

    return Limit(
        name=name,
        predict=predict_ms,
        at_most=at_most_ms,
        unit="ms",
        floor=floor if twin.trees is None else None,
        below=latency_below(twin).scaled(factor),
        exact=twin.trees is None,
    )


def violations(limits: Sequence[Limit], values: Values) -> Values:
    """Return float64[n]: by how much each row of ``values`` float64[n, L] exceeds its limits, in parts of the limit.

    0 means that every limit holds; several exceeded limits add up (Deb 2000, section 3). A part in 10^9 over counts as
    within: sums of the same numbers in another order differ by less.
    """
    allowed = np.array([limit.at_most for limit in limits], dtype=np.float64)
    excess = values / allowed - 1.0
    return np.asarray(np.where(excess > ROUNDING, excess, 0.0).sum(axis=1))
