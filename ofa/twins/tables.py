"""A twin from one latency table: its rows as tables of operators, its whole networks as measurements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ofa.estimate import known_ms, op_values_ms
from ofa.lut.format import Lut
from ofa.lut.heldout import genomes_of, learnt_of
from ofa.lut.rows import NANOSECONDS_PER_MS
from ofa.space.core import SearchSpace
from ofa.twins import errors, latency
from ofa.twins.latency import LatencyTwin, Quantity

MICROJOULES_PER_MJ = 1000.0
UNKNOWN = "unknown"


def fit(space: SearchSpace, lut: Lut, *, quantity: Quantity = "latency", seed: int = 0) -> LatencyTwin:
    """Fit the twin of a table for a space, to its networks of the splits "fit" and "verify": what a search chose and
    was measured then teaches the next twin. Held-out networks stay unseen.

    A twin of energy is fitted to networks whose energy was measured, beside their sums of ms where rows price every op;
    its card names what measured it. Raises SpaceMismatch where rows of ops are there and lack some op of the space
    (not of energy), UsageInvalid where nothing was measured.
    """
    energy = quantity == "energy"
    rows = [row for row in learnt_of(lut, space) if (row.energy_uj if energy else row.ns)]
    states = sorted({row.state for row in lut.rows if not row.key.startswith("@")})
    price = known_ms if energy else op_values_ms
    tables = {state: found for state in states if not np.isnan(found := price(lut, space, state)).any()}
    unit = MICROJOULES_PER_MJ if energy else NANOSECONDS_PER_MS
    values = np.array([(row.energy_uj if energy else row.ns) or 0 for row in rows]) / unit
    if energy and not rows:
        raise errors.no_energy(lut.name)
    # A handful of networks calibrates nothing: the plain sum, of ms, stands and says that it is not calibrated.
    few = len({row.genome for row in rows}) < latency.FEWEST_NETWORKS
    genomes = None if few and tables and not energy else genomes_of(space, rows)
    said: str | None = lut.header.precision
    twin = latency.fit(
        space,
        tables,
        genomes,
        None if genomes is None else values,
        quantity=quantity,
        precision=None if said == UNKNOWN else said,
        seed=seed,
    )
    about: dict[str, Any] = {"device": lut.header.device, "runtime": str(lut.header.runtime), "table": lut.name}
    twin.card.update(about | ({"energy_sources": list(lut.energy_sources)} if energy else {}))
    return twin
