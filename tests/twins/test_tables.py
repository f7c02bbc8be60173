"""Twins of tables: the rows price, the networks calibrate, what is held out stays unseen, energy needs a meter."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ofa.errors import UsageInvalid
from ofa.lut.format import Lut
from ofa.lut.header import Header, Precision
from ofa.lut.rows import NetworkRow, Row
from ofa.space import sample
from ofa.space.index import index_of
from ofa.space.mobilenet_v3 import mobilenet_v3_tiny
from ofa.twins import latency, saved, tables

TINY = mobilenet_v3_tiny(1.0, 1, 10)


def op_ns() -> np.ndarray:
    """Return a made-up time of each op, ns."""
    return index_of(TINY).values(lambda op: 2000.0 + op.macs / 50).round()


def table(networks: int, *, rows: bool = True, precision: Precision = "fp32", energy: bool = False) -> Lut:
    """Make a table whose networks take 1.25 times the sum of their rows, and 3 mJ a ms; every fifth is held out."""
    ops, values = index_of(TINY).ops, op_ns()
    genomes = sample.unique(sample.random(TINY, networks, np.random.default_rng(0)))
    ns = (1.25 * index_of(TINY).sum(genomes, values)).round().astype(int)
    found = []
    for place, (genome, time) in enumerate(zip(genomes, ns.tolist(), strict=True)):
        subnet = TINY.subnet(genome)
        split = "holdout" if place % 5 == 4 else "fit"
        row = NetworkRow(
            TINY.id, subnet.id, bytes(subnet.genome).hex(), split, "ok", time, time, time, None, None, 9, (), "s"
        )
        spent = 3 * time // 1000
        said = {"energy_uj": spent, "energy_lo": spent, "energy_hi": spent, "energy_source": "rail"}
        found.append(row._replace(**said) if energy else row)
    priced = [
        Row(op.key, "cold", "ok", int(value), int(value), int(value), None, None, 9, (), "s")
        for op, value in zip(ops, values, strict=True)
    ]
    header = Header(
        device="board", runtime="litert", runtime_version="2", precision=precision, conditions="1t",
        environment={"threads": 1}, protocol={"rounds": 9}, units=1, simulated=True, created="2026-01-01",
    )  # fmt: skip
    return Lut(header=header, rows=tuple(priced) if rows else (), networks=tuple(found), sessions=({"id": "s"},))


def test_a_table_and_its_fit_networks_become_a_twin() -> None:
    lut = table(45)
    twin = tables.fit(TINY, lut)
    fitted = sum(row.split == "fit" for row in lut.networks)
    assert (twin.card["samples"], twin.card["chosen"], twin.card["precision"]) == (fitted, "table", "fp32")
    assert twin.card["weights"]["cold"] == pytest.approx(1.25, rel=1e-3)
    assert (twin.card["device"], twin.card["runtime"]) == ("board", "litert")


def test_networks_that_were_verified_later_teach_the_next_twin_and_held_out_ones_do_not() -> None:
    lut = table(45)
    fitted = sum(row.split == "fit" for row in lut.networks)
    places = [place for place, row in enumerate(lut.networks) if row.split == "fit"][:6]
    told = [row._replace(split="verify") if place in places else row for place, row in enumerate(lut.networks)]
    assert tables.fit(TINY, dataclasses.replace(lut, networks=tuple(told))).card["samples"] == fitted
    fewer = [row for place, row in enumerate(lut.networks) if place not in places]
    assert tables.fit(TINY, dataclasses.replace(lut, networks=tuple(fewer))).card["samples"] == fitted - len(places)


def test_networks_alone_are_enough() -> None:
    twin = tables.fit(TINY, table(60, rows=False, precision="unknown"))
    assert twin.card["tables"] == [] and twin.card["precision"] is None
    genomes = sample.random(TINY, 200, np.random.default_rng(9))
    truth = 1.25e-6 * index_of(TINY).sum(genomes, op_ns())
    assert np.mean(np.abs(twin.predict(genomes) / truth - 1)) < 0.03


def test_rows_alone_are_a_plain_sum() -> None:
    twin = tables.fit(TINY, table(4))
    assert twin.card["calibrated"] is False
    np.testing.assert_allclose(twin.op_values_ms, op_ns() * 1e-6)


def test_energy_is_learned_from_networks_whose_energy_was_measured(tmp_path: Path) -> None:
    twin = tables.fit(TINY, table(60, energy=True), quantity="energy")
    assert (twin.card["quantity"], twin.card["energy_sources"]) == ("energy", ["rail"])
    genomes = sample.random(TINY, 50, np.random.default_rng(9))
    truth_mj = 3 * 1.25e-6 * index_of(TINY).sum(genomes, op_ns())
    assert np.mean(np.abs(twin.predict(genomes) / truth_mj - 1)) < 0.01
    assert twin.card["chosen"] == "table" and "cold as it is" not in twin.card["models"]
    # Without rows the work in networks is priced; a few networks do not turn ms into mJ.
    alone = tables.fit(TINY, table(60, rows=False, energy=True), quantity="energy")
    assert np.mean(np.abs(alone.predict(genomes) / truth_mj - 1)) < 0.05
    with pytest.raises(UsageInvalid, match="too few"):
        tables.fit(TINY, table(4, energy=True), quantity="energy")
    twin.save(tmp_path)
    found = saved.load(tmp_path)
    assert isinstance(found, latency.LatencyTwin)
    np.testing.assert_array_equal(found.predict(genomes), twin.predict(genomes))


def test_a_table_without_energy_is_refused() -> None:
    with pytest.raises(UsageInvalid, match="says nothing of energy"):
        tables.fit(TINY, table(20), quantity="energy")
    empty = dataclasses.replace(table(4, rows=False), networks=())
    with pytest.raises(UsageInvalid, match="0 different measured networks are too few"):
        tables.fit(TINY, empty)
