"""Tables of one truth measured again and again: by the host's own statistics, with as much noise as is asked for."""

from __future__ import annotations

import numpy as np

import ofa.space as spaces
from harness.stats import over_rounds, spread_of
from ofa.lut.format import Header, Lut, NetworkRow, Row
from ofa.space import sample
from ofa.space.index import ops_in

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
KEYS = [op.key for op in ops_in(SPACE)][::3]
NOISE = 0.01
HEADER = Header(
    device="phone", runtime="litert", runtime_version="2", precision="fp32", conditions="cpu", environment={"a": 1},
    protocol={}, simulated=False, created="2026-01-01",
)  # fmt: skip


def built(rng: np.random.Generator, factors: dict[str, float] | None = None, *, level: float = 1.0, rounds: int = 5,
          own_spread: bool = False) -> Lut:  # fmt: skip
    """Return a table of one truth whose rounds scatter by 1 %; ``own_spread``: every interval by its own rounds."""
    names = [(key, state) for key in KEYS for state in ("cold", "hot")]
    networks = [SPACE.subnet(genome) for genome in sample.random(SPACE, 24, np.random.default_rng(1))]
    count = len(names) + len(networks)
    truth = np.exp(np.random.default_rng(0).normal(13, 1, count)) * level
    truth *= [(factors or {}).get(key, 1.0) for key, _ in names] + [1.0] * len(networks)
    values = truth[:, None] * np.exp(rng.normal(0, NOISE, (count, rounds)))
    spread = None if own_spread else spread_of(values.tolist())
    found = [over_rounds(row, spread) for row in values.tolist()]
    times = [(round(one.value), round(one.lo), round(one.hi)) for one in found]
    rows = [
        Row(key, state, "ok", *own, None, None, rounds, (), "") for (key, state), own in zip(names, times, strict=False)
    ]
    whole = [
        NetworkRow(SPACE.id, subnet.id, bytes(subnet.array).hex(), "fit", "ok", *own, None, None, rounds, (), "")
        for subnet, own in zip(networks, times[len(names) :], strict=True)
    ]
    return Lut(header=HEADER, rows=tuple(rows), networks=tuple(whole))
