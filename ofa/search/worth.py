"""Worth: what a network is to a search on its way, which may pass a limit by a little and prices what each takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search.archive import Archive, Scored
from ofa.search.limits import ROUNDING, Values

# How far a limit that has a price may be passed on the way. Tried on published tables, like `exchange.PRICED`.
OVER = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """The price of every limit, float64[L], points for a unit: 0 where none is known; and ``at_most`` float64[L].

    Networks that pass a limit a little, and those that leave some of it, are a change away from better ones that meet
    it, so a search that does not see the former, and holds the latter for worse than they are, ends in more places
    (strategic oscillation, Glover and Hao 2011). At its price, a network above a limit and one below it compare as the
    best networks there do (Everett 1963).
    """

    price: Values
    at_most: Values

    @staticmethod
    def of(archive: Archive, price: Values | None = None) -> Worth:
        """Return the worth under an archive's limits; without a price it is the accuracy."""
        at_most = np.array([limit.at_most for limit in archive.limits], dtype=np.float64)
        return Worth(price=np.zeros(len(at_most)) if price is None else price, at_most=at_most)

    @property
    def most(self) -> Values:
        """Return the most of each limit that is met on the way, float64[L]."""
        return self.at_most * np.where(self.price > 0, 1.0 + OVER, 1.0 + ROUNDING)

    def admits(self, values: Values) -> NDArray[np.bool_]:
        """Say of which rows of ``values`` float64[..., L] no limit is passed by more than is allowed on the way."""
        return np.asarray((values <= self.most).all(axis=-1))

    def __call__(self, scored: Scored) -> Values:
        """Return the worth of scored networks, percent, float64[n]: their accuracy, less the price of what they pass a
        limit by, and with that of what they leave of it."""
        return np.asarray(scored.accuracy - (scored.values - self.at_most) @ self.price)
