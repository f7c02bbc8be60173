"""The error of a table on its own held-out networks: known truths, and what the latency twin would say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import ofa.space as spaces
from ofa.lut.format import Lut, NetworkRow, Row
from ofa.lut.heldout import calibrated, held_out
from ofa.space import sample
from ofa.space.index import index_of
from ofa.twins import calibrate

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)


def additive(table: Lut, *, holdout_off: float = 1.0, fit: int = 20, holdout: int = 10) -> Lut:
    """Return a table whose networks take 0.3 of the hot and 0.6 of the cold sum and 40 us; held-out ones are off."""
    rng = np.random.default_rng(0)
    index = index_of(SPACE)
    prices = {state: rng.integers(20_000, 400_000, len(index.ops)).astype(float) for state in ("hot", "cold")}
    genomes = sample.unique(sample.random(SPACE, 2 * (fit + holdout), rng))[: fit + holdout]
    ns = 0.3 * index.sum(genomes, prices["hot"]) + 0.6 * index.sum(genomes, prices["cold"]) + 40_000
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
    (found,) = held_out(additive(table, holdout_off=1.25))
    assert (found["mape_pct"], found["bias_pct"]) == (20.0, -20.0)


def test_the_calibration_is_the_latency_twins() -> None:
    rng = np.random.default_rng(3)
    for weights in ([0.5, 0.5], [1.0, -0.8], [-1.0, 2.0], [0.0, 0.0]):
        sums = rng.uniform(1, 3, (30, 2))
        latency = np.maximum(sums @ np.array(weights) + 0.1, 0.05) * rng.uniform(0.9, 1.1, 30)
        ours, twins = calibrated(sums, latency), calibrate.fit(sums, latency)
        assert ours.weights == pytest.approx(twins.weights, abs=1e-9)
        assert ours.constant == pytest.approx(twins.constant, abs=1e-9)


def test_what_keeps_a_table_from_having_an_error_is_said(table: Lut) -> None:
    whole = additive(table)
    cases = {
        "5 networks to fit": dataclasses.replace(whole, networks=additive(table, fit=4).networks),
        "1 held out": dataclasses.replace(whole, networks=additive(table, holdout=0).networks),
        "do not price": dataclasses.replace(whole, rows=whole.rows[:10]),
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
