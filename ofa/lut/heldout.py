"""How far a table is from whole networks: its rows summed, calibrated on those for fitting, checked on the held-out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ofa.space as spaces
from ofa import score
from ofa.errors import FileInvalid
from ofa.lut.format import Lut
from ofa.lut.rows import USABLE, NetworkRow
from ofa.lut.student import measured
from ofa.space.core import SearchSpace
from ofa.space.index import index_of

Vector = NDArray[np.float64]

# As many as the latency twin asks for.
FEWEST_NETWORKS = 5
NANOSECONDS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What a network's latency is: ``sums @ weights + constant``, all of zero or more."""

    weights: Vector
    constant: float

    def predict(self, sums: Vector) -> Vector:
        """Return latencies float64[n] for sums of rows float64[n, T]."""
        return np.asarray(sums @ self.weights + self.constant)


def held_out(lut: Lut) -> list[dict[str, Any]]:
    """Return a table's error on its own held-out networks, one entry for each space it has networks of.

    An entry has "space", "fit" and "holdout" (how many networks), and in percent "mape_pct" and "bias_pct" (the mean
    of predicted over measured less 1), or None and "why". The prediction is the sum of rows in each state that prices
    the whole space, mixed as the latency twin mixes them; it depends on the table alone.
    """
    return [_of_space(lut, identity) for identity in sorted({row.space for row in lut.networks})]


def _of_space(lut: Lut, identity: str) -> dict[str, Any]:
    """Return the entry of one space."""
    rows = [row for row in lut.networks if row.space == identity and measured(row)]
    fit = [row for row in rows if row.split == "fit"]
    holdout = [row for row in rows if row.split == "holdout"]
    entry = {"space": identity, "fit": len(fit), "holdout": len(holdout), "mape_pct": None, "bias_pct": None}
    try:
        space = spaces.by_id(identity)
    except FileInvalid:
        return entry | {"why": "this version does not know the space"}
    priced = _priced(lut, space)
    if not priced:
        return entry | {"why": "its rows do not price the whole space"}
    if len(fit) < FEWEST_NETWORKS or not holdout:
        return entry | {"why": f"it takes {FEWEST_NETWORKS} networks to fit and 1 held out"}
    try:
        sums = [_sums(space, priced, part) for part in (fit, holdout)]
    except (FileInvalid, ValueError):
        return entry | {"why": "a genome is none of its space"}
    predicted_ms, measured_ms = calibrated(sums[0], _ms(fit)).predict(sums[1]), _ms(holdout)
    bias_pct = 100 * float(np.mean(predicted_ms / measured_ms - 1.0))
    return entry | {"mape_pct": round(score.mape_pct(predicted_ms, measured_ms), 3), "bias_pct": round(bias_pct, 3)}


def _priced(lut: Lut, space: SearchSpace) -> list[Vector]:
    """Return the ms of each op, float64[n_ops], for every state in which all of them have a usable row."""
    found = []
    for state in sorted({row.state for row in lut.rows}):
        ns = {row.key: row.ns for row in lut.rows if row.state == state and row.status in USABLE}
        values = [ns.get(op.key) for op in index_of(space).ops]
        if None not in values:
            found.append(np.array(values, dtype=np.float64) / NANOSECONDS_PER_MS)
    return found


def _sums(space: SearchSpace, priced: list[Vector], rows: list[NetworkRow]) -> Vector:
    """Return the sums of networks in each state, ms, float64[n, T]; raises for genomes that are none of the space."""
    genomes = np.array([list(bytes.fromhex(row.genome)) for row in rows], dtype=np.uint8)
    space.check(genomes)
    return np.stack([index_of(space).sum(genomes, values) for values in priced], axis=1)


def _ms(rows: list[NetworkRow]) -> Vector:
    """Return what networks were measured at, ms."""
    return np.array([row.ns or 0 for row in rows]) / NANOSECONDS_PER_MS


def calibrated(sums: Vector, latency: Vector) -> Mix:
    """Fit weights and a constant of zero or more for sums float64[n, T] to latencies float64[n], by relative error.

    The same least squares as the latency twin's (`ofa.twins.calibrate`), which needs scipy: with so few columns, the
    best of all subsets without a negative weight is the answer exactly (Lawson and Hanson 1974, chapter 23).
    """
    scale = np.append(np.maximum(sums.mean(axis=0), 1e-300), 1.0)
    design = np.column_stack([sums, np.ones(len(sums))]) / scale / latency[:, None]
    best, least = np.zeros(len(scale)), float("inf")
    for size in range(1, len(scale) + 1):
        for chosen in combinations(range(len(scale)), size):
            weights = np.zeros(len(scale))
            weights[list(chosen)] = np.linalg.lstsq(design[:, chosen], np.ones(len(latency)), rcond=None)[0]
            squares = float(np.sum((design @ weights - 1.0) ** 2))
            if (weights >= 0).all() and squares < least:
                best, least = weights, squares
    return Mix(weights=(best / scale)[:-1], constant=float((best / scale)[-1]))
