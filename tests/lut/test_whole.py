"""Tables of whole networks alone: their ops are priced by what they add to networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import ofa.space as spaces
from ofa import estimate
from ofa.errors import SpaceMismatch
from ofa.lut import check, fill, heldout, physics, whole
from ofa.lut.format import Lut, NetworkRow
from ofa.lut.write import write
from ofa.space import sample
from ofa.space.index import index_of

pytestmark = pytest.mark.slow

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
# ns a unit of work: a device that is slow at one size of depthwise filters alone, and at starting.
PRICES = {"pointwise macs": 0.004, "depthwise taps k7": 0.3, "depthwise taps k3": 0.05, "weights": 0.1, "call": 900}
STARTING_NS = 20_000


def truth_ns(genomes: np.ndarray, *, skips_borders: bool = True) -> np.ndarray:
    """Return what networks take, ns, float64[n]."""
    index = index_of(SPACE)
    parts = [physics.by_kernel(op, 4, skips_borders=skips_borders) for op in index.ops]
    op_ns = np.array([sum(PRICES.get(name, 0.0) * amount for name, amount in part.items()) for part in parts])
    return index.sum(genomes, op_ns) + STARTING_NS


def of_networks(table: Lut, fit: int, holdout: int, noise: float = 0.0, *, skips_borders: bool = True) -> Lut:
    """Return a table of networks and nothing else."""
    rng = np.random.default_rng(0)
    genomes = sample.unique(sample.random(SPACE, 2 * (fit + holdout), rng))[: fit + holdout]
    ns = truth_ns(genomes, skips_borders=skips_borders)
    ns = np.rint(ns * np.exp(rng.normal(0, noise, len(genomes)))).astype(int).tolist()
    networks = []
    for place, (genome, value) in enumerate(zip(genomes, ns, strict=True)):
        split, subnet = "fit" if place < fit else "holdout", SPACE.subnet(genome)
        row = (SPACE.id, subnet.id, bytes(genome).hex(), split, "ok", value, value, value, None, None, 5, (), "s1")
        networks.append(NetworkRow(*row))
    return dataclasses.replace(table, rows=(), networks=tuple(networks))


@pytest.mark.parametrize("skips_borders", [True, False])
def test_networks_alone_price_networks_where_there_are_enough(table: Lut, skips_borders: bool) -> None:
    found = heldout.of_table(of_networks(table, 100, 50, skips_borders=skips_borders))
    assert found["calibration"]["chosen"] == "networks" and set(found["calibration"]["scored"]) == {"networks", "flops"}
    assert found["holdout"]["mape_pct"] < 0.2 < 1 < found["holdout"]["flops_only_mape_pct"]
    assert heldout.of_table(of_networks(table, physics.FEWEST_NETWORKS - 1, 50))["holdout"] is None


def test_too_few_networks_are_told_by_what_brings_more(table: Lut) -> None:
    with pytest.raises(SpaceMismatch, match="cannot be priced") as caught:
        fill.fill(of_networks(table, physics.FEWEST_NETWORKS - 1, 5), SPACE)
    assert caught.value.hints == ("measure more whole networks (ofa bench --fit) into this table",)


def test_a_filled_table_of_networks_sums_to_them(table: Lut, tmp_path: Path) -> None:
    lut = of_networks(table, 100, 50, noise=0.01)
    filled = fill.fill(lut, SPACE)
    assert {row.key for row in filled.rows} == {op.key for op in index_of(SPACE).ops}
    assert {(row.state, row.status, row.flags) for row in filled.rows} == {("-", "modelled", (whole.FLAG,))}
    unseen = sample.unique(sample.random(SPACE, 200, np.random.default_rng(9)))
    summed_ms = estimate.estimator(filled, SPACE).predict(unseen)
    assert float(np.mean(np.abs(summed_ms / (truth_ns(unseen) / 1e6) - 1))) < 0.01
    write(filled, tmp_path / "filled")
    assert check.check(tmp_path / "filled")["valid"]
    (said,) = check.show(tmp_path / "filled")["filled"]
    assert said == {"space": SPACE.id, "state": "-", "networks": len(filled.rows)}


def test_intervals_tell_what_networks_do_not(table: Lut) -> None:
    """The more the networks scatter, the less is known of an op."""
    calm, wild = (fill.fill(of_networks(table, 60, 5, noise=noise), SPACE) for noise in (0.005, 0.05))
    widths = [np.median([(row.hi or 0) / (row.lo or 1) for row in lut.rows]) for lut in (calm, wild)]
    assert 1.02 < widths[0] < widths[1]


def test_another_resolution_is_priced_by_the_work_in_it(table: Lut) -> None:
    filled = fill.fill(of_networks(table, 100, 5), SPACE, [40])
    stems = {row.key: row.ns or 0 for row in filled.rows if row.key.startswith("stem")}
    assert stems and all("x40" in key for key in stems)


def test_too_few_networks_are_refused_with_their_number(table: Lut) -> None:
    with pytest.raises(SpaceMismatch, match="12 networks of mobilenet_v3_tiny") as caught:
        fill.fill(of_networks(table, 12, 5), SPACE)
    assert caught.value.exit_code == 3
