"""A table of whole networks alone: its ops priced by what they add to the networks, as modelled rows.

For devices whose blocks cannot be timed one by one: runners that print summaries, engines that take minutes to build.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa.lut import errors, heldout, physics
from ofa.lut.format import Lut, Row
from ofa.lut.header import FILLED
from ofa.lut.student import NORMAL_95, measured
from ofa.space.core import SearchSpace
from ofa.space.ops import Op

Vector = NDArray[np.float64]

STATE, FLAG = "-", "filled-networks"
RESAMPLES = 40
# No interval is narrower than this on the log scale: two networks measured twice differ by as much.
LEAST_DEVIATION = 0.01


def is_whole(lut: Lut) -> bool:
    """Say whether a table has networks and no row of an op."""
    return bool(lut.networks) and not any(not row.key.startswith("@") for row in lut.rows)


def priced(lut: Lut, space: SearchSpace, ops: Sequence[Op]) -> Lut:
    """Return the table with a modelled row for each op, in state "-", from its fit networks of ``space``.

    The time that every network takes whatever it is made of stands with the head, of which each has one, so that the
    plain sum of a network's rows is its latency. The 95 % interval is from fits to networks drawn with repetition
    (bootstrap, Efron 1979). Raises SpaceMismatch for fewer than 40 measured networks of the space to fit to.
    """
    rows = [row for row in lut.networks if row.space == space.id and row.split == "fit" and measured(row)]
    if len(rows) < physics.FEWEST_NETWORKS:
        raise errors.nothing_to_learn(
            lut.name,
            f"{len(rows)} networks of {space.id} are measured to fit to; {physics.FEWEST_NETWORKS} are the fewest",
            what="whole networks (ofa bench --fit)",
        )
    genomes = heldout.genomes_of(space, rows)
    ns = np.array([row.ns or 0 for row in rows], dtype=np.float64)
    rng = np.random.default_rng(0)
    fits = [_op_ns(physics.fit_networks(space, genomes, ns), ops)]
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(rows), size=len(rows))
        fits.append(_op_ns(physics.fit_networks(space, genomes[drawn], ns[drawn]), ops))
    values = np.maximum(fits[0], 1.0)
    deviations = np.maximum(np.log(np.maximum(fits[1:], 1.0) / values).std(axis=0), LEAST_DEVIATION)
    factors = np.exp(NORMAL_95 * deviations)
    filled = [
        Row(op.key, STATE, "modelled", *_times(value, factor), None, None, 0, (FLAG,), "")
        for op, value, factor in zip(ops, values.tolist(), factors.tolist(), strict=True)
    ]
    before = lut.header.protocol.get(FILLED)
    facts: dict[str, Any] = {"space": space.id, "state": STATE, "rows": {"networks": len(filled)}, "fit": len(rows)}
    protocol = {**lut.header.protocol, FILLED: [*(before if isinstance(before, list) else []), facts]}
    header = lut.header.model_copy(update={"protocol": protocol})
    return replace(lut, header=header, rows=(*lut.rows, *filled)).sorted()


def _op_ns(model: physics.NetworkModel, ops: Sequence[Op]) -> Vector:
    """Return the time of each op, ns, float64[n], the constant with the head."""
    return model.price(ops) + model.constant_ns * np.array([op.kind == "head" for op in ops])


def _times(value: float, factor: float) -> tuple[int, int, int]:
    """Return ns with its interval, whole and in order."""
    return round(value), max(1, int(value / factor)), round(value * factor) + 1
