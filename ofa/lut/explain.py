"""What a table's error on held-out networks is made of: those that it prices worst, and the rows behind each price."""

from __future__ import annotations

from typing import Any

import numpy as np

import ofa.space as spaces
from ofa.lut import heldout
from ofa.lut.format import Lut
from ofa.lut.rows import NANOSECONDS_PER_MS, USABLE, NetworkRow
from ofa.space.ops import ops_of

MOST_NETWORKS = 3


def farthest_off(lut: Lut, count: int = MOST_NETWORKS) -> list[dict[str, Any]]:
    """Return the held-out networks that a table prices worst by the way it chose, worst first; none without any.

    Each has "space", "id", "resolution" (px), "measured_ms", "again_ms" (None where it was not measured again),
    "predicted_ms", "error_pct" of the measured, and "rows": its ops in order, by "key", with their ms in each state
    that the way mixes ("cold_ms", "hot_ms"). Prices fitted to whole networks alone have no rows.
    """
    said = heldout.of_table(lut)["calibration"]
    if said is None:
        return []
    found = heldout.judged(lut)
    predicted_ms = found.predicted_ms[said["chosen"]]
    measured_ms = np.array([row.ns or 0 for row in found.rows]) / NANOSECONDS_PER_MS
    off = predicted_ms / measured_ms - 1
    states = [name for name in said["chosen"].split("+") if name not in (heldout.NETWORKS, heldout.OPS)]
    return [
        {
            **{"space": found.rows[place].space, "id": found.rows[place].id, "resolution": found.groups[place][1]},
            "measured_ms": float(measured_ms[place]),
            "again_ms": _ms(found.rows[place].again_ns),
            "predicted_ms": float(predicted_ms[place]),
            "error_pct": round(100 * float(off[place]), 3),
            "rows": _rows(lut, found.rows[place], states),
        }
        for place in np.argsort(-np.abs(off), kind="stable")[:count].tolist()
    ]


def _rows(lut: Lut, network: NetworkRow, states: list[str]) -> list[dict[str, Any]]:
    """Return the rows that a network's price is made of, in network order."""
    subnet = spaces.by_id(network.space).subnet(bytes.fromhex(network.genome))
    ns = {(row.key, row.state): row.ns for row in lut.rows if row.status in USABLE}
    return [
        {"key": op.key, **{f"{state}_ms": _ms(ns[op.key, state]) for state in states}}
        for op in ops_of(subnet)
        if states
    ]


def _ms(ns: int | None) -> float | None:
    """Return ns as ms."""
    return None if ns is None else ns / NANOSECONDS_PER_MS
