"""The error of a table on its own held-out networks: known truths, and what the latency twin would say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import ofa.space as spaces
from ofa.lut.format import Lut, NetworkRow, Row
from ofa.lut.heldout import genomes_of, held_out, of_table, predicted
from ofa.space import sample
from ofa.space.index import index_of
from ofa.space.ops import ops_of

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)


def additive(table: Lut, *, holdout_off: float = 1.0, fit: int = 20, holdout: int = 10, each_op: int = 0) -> Lut:
    """Return a table whose networks take 0.3 of the hot and 0.6 of the cold sum, 40 us, and so many ns for each op;
    held-out ones are off."""
    rng = np.random.default_rng(0)
    index = index_of(SPACE)
    prices = {state: rng.integers(20_000, 400_000, len(index.ops)).astype(float) for state in ("hot", "cold")}
    genomes = sample.unique(sample.random(SPACE, 2 * (fit + holdout), rng))[: fit + holdout]
    ns = 0.3 * index.sum(genomes, prices["hot"]) + 0.6 * index.sum(genomes, prices["cold"]) + 40_000
    ns += each_op * index.sum(genomes, np.ones(len(index.ops)))
    networks = []
    for place, (genome, value) in enumerate(zip(genomes, ns, strict=True)):
        split, off = ("fit", 1.0) if place < fit else ("holdout", holdout_off)
        time = (round(value * off), round(value * off) - 10, round(value * off) + 10)
        subnet = SPACE.subnet(genome)
        networks.append(
            NetworkRow(SPACE.id, subnet.id, bytes(genome).hex(), split, "ok", *time, None, None, 5, (), "s1")
        )
    rows = [
        Row(op.key, state, "ok", int(price), int(price) - 9, int(price) + 9, None, None, 5, (), "s1")
        for state in ("hot", "cold")
        for op, price in zip(index.ops, prices[state], strict=True)
    ]
    return dataclasses.replace(table, rows=tuple(rows), networks=tuple(networks))


def test_an_additive_truth_has_no_error(table: Lut) -> None:
    (found,) = held_out(additive(table))
    assert found == {"space": SPACE.id, "fit": 20, "holdout": 10, "mape_pct": 0.0, "bias_pct": 0.0}


def test_networks_that_take_longer_than_predicted_are_an_error(table: Lut) -> None:
    lut = additive(table, holdout_off=1.25)
    scored = of_table(lut)["calibration"]["scored"]
    assert scored["cold+hot"]["mape_pct"] == scored["cold+hot"]["worst_pct"] == 20.0
    assert scored["cold+hot"]["within_10_pct"] == 0.0 and scored["cold+hot"]["spearman"] == 1.0
    (found,) = held_out(lut)
    assert 10 < found["mape_pct"] <= 20.0 and found["bias_pct"] < -10, "the way with the least error is told"


def test_what_a_table_says_of_its_error(table: Lut) -> None:
    lut = additive(table, fit=60, holdout=40)
    found = of_table(lut)
    assert found["calibration"]["chosen"] == "cold+hot" and found["calibration"]["fit"] == 60
    assert set(found["calibration"]["scored"]) == {"cold", "hot", "cold+hot", "cold+hot+ops", "networks", "flops"}
    flops = found["calibration"]["scored"]["flops"]
    assert found["holdout"] == {
        "networks": 40, "mape_pct": 0.0, "within_10_pct": 100.0, "worst_pct": 0.0, "spearman": 1.0,
        "within_resolution_spearman": found["holdout"]["within_resolution_spearman"],
        "floor_mape_pct": None, "floor_within_resolution_spearman": None,
        "flops_only_mape_pct": flops["mape_pct"],
        "flops_only_within_resolution_spearman": flops["within_resolution_spearman"],
    }  # fmt: skip
    assert flops["mape_pct"] > 5, "prices of this table are random: MACs do not tell them"


def test_what_each_op_costs_in_a_network_beside_its_row_is_found(table: Lut) -> None:
    lut = additive(table, each_op=300_000)
    calibration = of_table(lut)["calibration"]
    assert calibration["chosen"] == "cold+hot+ops"
    assert calibration["scored"]["cold+hot+ops"]["mape_pct"] == 0.0 < calibration["scored"]["cold+hot"]["mape_pct"]
    found = predicted(lut, SPACE, genomes_of(SPACE, lut.networks))
    assert found is not None and found[0] == "cold+hot+ops"
    assert found[1] == pytest.approx([(row.ns or 0) / 1e6 for row in lut.networks], rel=1e-4)
    before = of_table(lut, among=["cold+hot", "hot", "flops"])["calibration"]
    assert before["chosen"] == "cold+hot" and set(before["scored"]) == {"cold+hot", "hot", "flops"}


def test_the_floor_is_what_two_measurements_of_a_network_differ_by(table: Lut) -> None:
    lut = additive(table, holdout=40)
    twice = tuple(row._replace(again_ns=round((row.ns or 0) * 1.03)) for row in lut.networks)
    holdout = of_table(dataclasses.replace(lut, networks=twice))["holdout"]
    assert holdout["floor_mape_pct"] == pytest.approx(3.0, abs=0.01) and holdout["mape_pct"] == 0
    rng = np.random.default_rng(1)
    apart = tuple(row._replace(again_ns=round((row.ns or 0) * rng.uniform(0.8, 1.2))) for row in lut.networks)
    wide = of_table(dataclasses.replace(lut, networks=apart))["holdout"]
    assert 7 < wide["floor_mape_pct"] < 13
    within = wide["floor_within_resolution_spearman"]
    assert within is None or within < 1


def test_what_keeps_a_table_from_having_an_error_is_said(table: Lut) -> None:
    whole = additive(table)
    cases = {
        "5 networks to fit": dataclasses.replace(whole, networks=additive(table, fit=4).networks),
        "1 held out": dataclasses.replace(whole, networks=additive(table, holdout=0).networks),
        "do not price these": dataclasses.replace(whole, rows=whole.rows[:10]),
        "does not know": dataclasses.replace(
            whole, networks=tuple(row._replace(space="mobilenet_v9-w1.0") for row in whole.networks)
        ),
        "a genome is none": dataclasses.replace(
            whole, networks=(whole.networks[0]._replace(genome="01"), *whole.networks[1:])
        ),
        "none of its space": dataclasses.replace(
            whole, networks=tuple(row._replace(genome="ff" * 22) for row in whole.networks)
        ),
    }
    for why, lut in cases.items():
        (found,) = held_out(lut)
        assert found["mape_pct"] is None and found["bias_pct"] is None and why in found["why"], why


def test_one_state_that_prices_everything_is_enough(table: Lut) -> None:
    whole = additive(table)
    partly = dataclasses.replace(whole, rows=tuple(row for row in whole.rows[1:]))
    (found,) = held_out(partly)
    assert found["mape_pct"] is not None and found["mape_pct"] > 0.1


def test_failed_and_thermal_networks_count_on_neither_side(table: Lut) -> None:
    whole = additive(table)
    spoilt = [row._replace(status="thermal", ns=(row.ns or 0) * 9, hi=(row.ns or 0) * 9) for row in whole.networks[:3]]
    (found,) = held_out(dataclasses.replace(whole, networks=(*spoilt, *whole.networks[3:])))
    assert (found["fit"], found["mape_pct"]) == (17, 0.0)


def test_a_table_without_networks_has_none(table: Lut) -> None:
    assert held_out(dataclasses.replace(table, networks=())) == []


def test_networks_are_priced_by_the_way_that_is_chosen(table: Lut) -> None:
    lut = additive(table)
    genomes = sample.unique(sample.random(SPACE, 30, np.random.default_rng(5)))
    index = index_of(SPACE)
    ns = {(row.key, row.state): row.ns or 0 for row in lut.rows}
    prices = {state: np.array([ns[op.key, state] for op in index.ops], dtype=float) for state in ("hot", "cold")}
    sums = {state: index.sum(genomes, values) for state, values in prices.items()}
    found = predicted(lut, SPACE, genomes)
    assert found is not None and found[0] == "cold+hot"
    assert found[1] == pytest.approx((0.3 * sums["hot"] + 0.6 * sums["cold"] + 40_000) / 1e6, rel=1e-4)
    assert predicted(dataclasses.replace(lut, networks=lut.networks[:3]), SPACE, genomes) is None
    few = dataclasses.replace(lut, rows=tuple(row for row in lut.rows if row.key == lut.rows[0].key))
    assert predicted(few, SPACE, genomes) is None


def test_a_table_of_some_ops_prices_the_networks_made_of_them(table: Lut) -> None:
    lut = additive(table)
    used = {op.key for row in lut.networks for op in ops_of(SPACE.subnet(list(bytes.fromhex(row.genome))))}
    some = dataclasses.replace(lut, rows=tuple(row for row in lut.rows if row.key in used))
    assert len(some.rows) < len(lut.rows) and held_out(some) == held_out(lut)
