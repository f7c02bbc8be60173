"""A latency table times genomes: the latency of whole populations as one array gather, explained row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa.lut import errors
from ofa.lut.format import Lut
from ofa.lut.rows import MEASURED, NANOSECONDS_PER_MS, USABLE, Row
from ofa.space.core import Genomes, SearchSpace, Subnet
from ofa.space.index import index_of
from ofa.space.ops import ops_of

Vector = NDArray[np.float64]

# Which state is taken where none is asked for and no network of the table tells which is nearer: the cold sum is an
# upper one, whether the data of a network's ops stay in the caches (small networks) or not.
PREFERRED = ("cold", "hot", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """The plain sum of a table's rows in one state, ms, for any genome of a space.

    ``op_values_ms`` is float64[n_ops], parallel to ``index_of(space).ops``. A sum of rows is no measured network: how
    far the two lie apart is what a latency twin calibrates.
    """

    space: SearchSpace
    state: str
    op_values_ms: Vector

    def predict(self, genomes: Genomes) -> Vector:
        """Return the sum, ms, float64[n], for canonical genomes uint8[n, G]."""
        return index_of(self.space).sum(genomes, self.op_values_ms)

    __call__ = predict


def estimator(lut: Lut, space: SearchSpace, state: str | None = None, *, measured_only: bool = False) -> Estimator:
    """Return the estimator of a table for a space; ``state`` by default that whose sums lie nearest to the networks of
    the space that were measured with the table, and without such networks cold.

    Raises SpaceMismatch where the table has no such state, or no usable row for some op of the space; with
    ``measured_only`` no modelled row is usable.
    """
    chosen = state_of(lut, space, state)
    values_ms = op_values_ms(lut, space, chosen, measured_only=measured_only)
    return Estimator(space=space, state=chosen, op_values_ms=values_ms)


def state_of(lut: Lut, space: SearchSpace, state: str | None = None) -> str:
    """Return the state asked for, or the one of a table that is nearest to whole networks; raises SpaceMismatch where
    the table has no such rows."""
    found = {row.state for row in lut.rows if not row.key.startswith("@")}
    if state is None:
        known = [name for name in PREFERRED if name in found]
        apart = {name: _apart(lut, space, name) for name in known} if len(known) > 1 else {}
        state = min(known, key=lambda name: apart.get(name, 0.0), default=PREFERRED[0])
    if state not in found:
        raise errors.state_absent(lut.name, state, found)
    return state


def _apart(lut: Lut, space: SearchSpace, state: str) -> float:
    """Return how far the sums of a state lie from a table's measured networks of a space: the log of the median ratio.

    0 without networks. Raises SpaceMismatch where the state lacks an op of one.
    """
    rows = [row for row in lut.networks if row.space == space.id and row.ns is not None]
    if not rows:
        return 0.0
    sums_ms = price(lut, [space.subnet(bytes.fromhex(row.genome)) for row in rows], state)
    measured_ms = np.array([row.ns or 0 for row in rows]) / NANOSECONDS_PER_MS
    return abs(float(np.median(np.log(sums_ms / measured_ms))))


def op_values_ms(lut: Lut, space: SearchSpace, state: str, *, measured_only: bool = False) -> Vector:
    """Return the latency of each op, ms, float64[n_ops]; raises SpaceMismatch where one has no usable row.

    A twin or a search that must not rest on modelled rows takes its values with ``measured_only``.
    """
    keys = [op.key for op in index_of(space).ops]
    values_ms = _values_ms(lut, keys, state, measured_only=measured_only)
    _refuse_missing(lut, keys, values_ms, state, of=space.id)
    return values_ms


def known_ms(lut: Lut, space: SearchSpace, state: str) -> Vector:
    """Return the latency of each op of a space, ms, float64[n_ops]; NaN where the table has no usable row of it."""
    return _values_ms(lut, [op.key for op in index_of(space).ops], state, measured_only=False)


def price(lut: Lut, subnets: Sequence[Subnet], state: str, *, measured_only: bool = False) -> Vector:
    """Return the sum of each of some subnets of one space, ms, float64[n]; only their own ops need a usable row.

    Raises SpaceMismatch naming the first subnet that has an op without one.
    """
    genomes = np.stack([subnet.array for subnet in subnets])
    found = sums(lut, subnets[0].space, genomes, state, measured_only=measured_only)
    for row in np.flatnonzero(np.isnan(found))[:1]:
        explain(lut, subnets[row], state, measured_only=measured_only)
    return found


def sums(lut: Lut, space: SearchSpace, genomes: Genomes, state: str, *, measured_only: bool = False) -> Vector:
    """Return the sum of each canonical genome uint8[n, G], ms, float64[n]; NaN where an op of it has no usable row."""
    index = index_of(space)
    return index.sum(genomes, _values_ms(lut, [op.key for op in index.ops], state, measured_only=measured_only))


def explain(lut: Lut, subnet: Subnet, state: str | None = None, *, measured_only: bool = False) -> list[dict[str, Any]]:
    """Return the rows an estimate is the sum of, in network order: key, status, ms, its interval, share in percent.

    Raises SpaceMismatch where a row of the subnet is missing or unusable.
    """
    chosen = state_of(lut, subnet.space, state)
    keys = [op.key for op in ops_of(subnet)]
    values_ms = _values_ms(lut, keys, chosen, measured_only=measured_only)
    _refuse_missing(lut, keys, values_ms, chosen, of=f"{subnet.space.id} {subnet.id}")
    rows = {row.key: row for row in lut.rows if row.state == chosen}
    total_ms = float(values_ms.sum())
    return [_line(rows[key], float(ms), total_ms) for key, ms in zip(keys, values_ms, strict=True)]


def _values_ms(lut: Lut, keys: Sequence[str], state: str, *, measured_only: bool) -> Vector:
    """Return the latency of each key, ms, float64[n]; NaN where it has no usable row."""
    statuses = USABLE & MEASURED if measured_only else USABLE
    known = {row.key: row.ns for row in lut.rows if row.state == state and row.status in statuses}
    return np.array([known.get(key) for key in keys], dtype=np.float64) / NANOSECONDS_PER_MS


def _refuse_missing(lut: Lut, keys: Sequence[str], values_ms: Vector, state: str, *, of: str) -> None:
    """Raise SpaceMismatch where a value is NaN, naming the first key; ``of`` says whose ops they are."""
    missing = [key for key, lacks in zip(keys, np.isnan(values_ms), strict=True) if lacks]
    if not missing:
        return
    refused = next((row for row in lut.rows if (row.key, row.state) == (missing[0], state)), None)
    raise errors.ops_missing(
        lut.name,
        of=of,
        state=state,
        missing=len(missing),
        needed=len(keys),
        first=missing[0],
        unusable=refused.status if refused else "",
        spaces=sorted({network.space for network in lut.networks}),
    )


def _line(row: Row, ms: float, total_ms: float) -> dict[str, Any]:
    """Describe one row of a sum."""
    return {
        "key": row.key,
        "status": row.status,
        "ms": ms,
        "lo_ms": (row.lo or 0) / NANOSECONDS_PER_MS,
        "hi_ms": (row.hi or 0) / NANOSECONDS_PER_MS,
        "share_pct": 100 * ms / total_ms,
    }
