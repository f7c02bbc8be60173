"""A linear programme over numbers from 0 to 1, and a bound of its optimum that holds however well it was solved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class Programme:
    """Maximise ``gains`` of variables between 0 and 1 whose ``rows`` each stay within two ends; built row by row."""

    variables: int = 0
    gains: dict[int, float] = field(default_factory=dict)
    columns: list[int] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    least: list[float] = field(default_factory=list)
    most: list[float] = field(default_factory=list)

    def add(self, number: int) -> list[int]:
        """Return the numbers of so many new variables."""
        self.variables += number
        return list(range(self.variables - number, self.variables))

    def row(self, parts: Iterable[tuple[int, float]], *, least: float = -np.inf, most: float) -> None:
        """Ask that the sum of variables, each times its factor, be at most ``most``, and at least ``least``.

        ``least`` is ``most`` or nothing.
        """
        columns, factors = zip(*parts, strict=True)
        self.columns += columns
        self.factors += factors
        self.sizes.append(len(columns))
        self.least.append(least)
        self.most.append(most)

    def equal(self, ones: Iterable[int], others: Iterable[int] = (), total: float = 0.0) -> None:
        """Ask that some variables add up to others, and ``total`` more."""
        parts = [(column, 1.0) for column in ones] + [(column, -1.0) for column in others]
        self.row(parts, least=total, most=total)

    def bound(self) -> tuple[float, Values] | None:
        """Return what no gain exceeds, and by how much one more at each row's ``most`` raises that, float64[rows].

        In exact arithmetic it is the optimum. None where the solver found no prices.

        The prices of rows that a solver ends with are good to its tolerance only. Whatever they are, the gain of a
        point that meets all rows is at most what the rows cost at these prices and, of every variable, what it still
        gains at one of its two ends (weak duality; Neumaier and Shcherbina 2004, section 2).
        """
        # Here, not above: they take as long to load as everything else that a search begins with.
        from scipy.optimize import linprog
        from scipy.sparse import csr_matrix

        gains = np.zeros(self.variables)
        gains[list(self.gains)] = list(self.gains.values())
        starts = np.cumsum([0, *self.sizes])
        shape = (len(self.sizes), self.variables)
        rows = csr_matrix((np.array(self.factors), np.array(self.columns), starts), shape=shape)
        most = np.array(self.most)
        equal = np.array(self.least) == most
        found = linprog(
            -gains, A_ub=rows[~equal], b_ub=most[~equal], A_eq=rows[equal], b_eq=most[equal], method="highs-ipm"
        )
        if found.status != 0:
            return None
        prices = np.zeros(len(most))
        prices[~equal] = np.maximum(-found.ineqlin.marginals, 0.0)
        prices[equal] = -found.eqlin.marginals
        left = gains - rows.T @ prices
        return float(most @ prices + np.maximum(left, 0.0).sum()), prices
