"""The latency twin: finds the mix of tables a device uses, lets trees in only with proof, bounds what it predicts."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from ofa.errors import FileInvalid, SpaceMismatch, UsageInvalid
from ofa.lut.calibrate import fit as calibrated
from ofa.search import extremes
from ofa.space import sample
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.space.layers import layers_of
from ofa.space.mobilenet_v3 import mobilenet_v3, mobilenet_v3_tiny
from ofa.twins import calibrate, latency
from ofa.twins.measured import TABLE, TABLE_AND_OPS

TINY = mobilenet_v3_tiny(1.0, 1, 10)
MBV3 = mobilenet_v3(1.0, 3, 1000)


def tables(space: SearchSpace, seed: int = 0) -> dict[str, np.ndarray]:
    """Make a hot and a cold table, ms, from each operator's MACs and luck."""
    rng = np.random.default_rng(seed)
    index = index_of(space)
    hot = index.values(lambda op: op.macs * 1e-6 + 0.02) * rng.uniform(0.8, 1.2, len(index.ops))
    return {"hot": hot, "cold": hot * rng.uniform(1.2, 2.5, len(index.ops))}


def measured(space: SearchSpace, count: int, seed: int, noise: float = 0.01) -> tuple[Genomes, np.ndarray]:
    """Measure networks on a device that runs 0.3 hot + 0.6 cold + 0.15 ms."""
    rng = np.random.default_rng(seed)
    genomes = sample.random(space, count, rng)
    index, known = index_of(space), tables(space)
    true_ms = 0.3 * index.sum(genomes, known["hot"]) + 0.6 * index.sum(genomes, known["cold"]) + 0.15
    return genomes, true_ms * np.exp(noise * rng.normal(size=count))


@pytest.mark.slow
def test_mix_of_tables_is_found_and_is_the_additive_part() -> None:
    twin = latency.fit(TINY, tables(TINY), *measured(TINY, 40, 0, noise=0.0), seed=0)
    assert twin.card["weights"] == pytest.approx({"hot": 0.3, "cold": 0.6}, abs=1e-6)
    assert twin.constant_ms == pytest.approx(0.15, abs=1e-6)
    assert twin.card["chosen"] == TABLE
    unseen, true_ms = measured(TINY, 200, 1, noise=0.0)
    np.testing.assert_allclose(twin.predict(unseen), true_ms, rtol=1e-6)
    summed = index_of(TINY).sum(unseen, twin.op_values_ms) + twin.constant_ms
    np.testing.assert_array_equal(twin.predict(unseen), summed)


def test_weights_are_never_negative() -> None:
    rng = np.random.default_rng(0)
    sums = rng.uniform(1, 2, size=(30, 2))
    mix = calibrated(sums, 3 * sums[:, 0] - 0.5 * sums[:, 1])
    assert (mix.weights >= 0).all()
    assert mix.constant >= 0


def test_relative_error_is_what_calibration_minimises() -> None:
    sums = np.array([[1.0], [1.0], [1.0], [100.0], [100.0]])
    mix = calibrated(sums, np.array([1.0, 1.1, 0.9, 130.0, 90.0]))
    # A fit of plain squared errors would follow the two large networks to 1.1.
    assert mix.predict(np.array([[1.0]]))[0] == pytest.approx(0.98, abs=0.03)


def test_so_much_for_each_op_is_found_where_it_is_there_and_only_there() -> None:
    genomes, latency_ms = measured(TINY, 25, 0, noise=0.01)
    assert latency.fit(TINY, tables(TINY), genomes, latency_ms).card["chosen"] == TABLE
    each_ms = 0.2 * float(np.median(latency_ms)) / 10
    more_ms = latency_ms + each_ms * index_of(TINY).sum(genomes, np.ones(len(index_of(TINY).ops)))
    twin = latency.fit(TINY, tables(TINY), genomes, more_ms)
    assert twin.card["chosen"] == TABLE_AND_OPS
    unseen, plain_ms = measured(TINY, 100, 1, noise=0.0)
    true_ms = plain_ms + each_ms * index_of(TINY).sum(unseen, np.ones(len(index_of(TINY).ops)))
    assert np.mean(np.abs(twin.predict(unseen) / true_ms - 1)) < 0.02


def test_left_out_ratios_equal_refitting() -> None:
    genomes, latency_ms = measured(TINY, 25, 0, noise=0.05)
    index, known = index_of(TINY), tables(TINY)
    sums = np.stack([index.sum(genomes, known[name]) for name in ("cold", "hot")], axis=1)
    ratios = calibrate.left_out(sums, latency_ms)
    kept = np.arange(25) != 7
    alone = calibrated(sums[kept], latency_ms[kept]).predict(sums[[7]])[0]
    assert ratios[7] == pytest.approx(latency_ms[7] / alone)


@pytest.mark.slow
def test_noise_does_not_let_trees_in_but_a_real_pattern_does() -> None:
    chosen = [
        latency.fit(TINY, tables(TINY), *measured(TINY, 60, seed, noise=0.03), seed=0).card["chosen"]
        for seed in range(4)
    ]
    assert chosen.count(TABLE) >= 3
    genomes, latency_ms = measured(TINY, 300, 0)
    slow = latency_ms * (1.0 + 0.4 * (genomes[:, TINY.at("resolution")] >= 4))
    twin = latency.fit(TINY, tables(TINY), genomes, slow, seed=0)
    assert twin.card["chosen"].endswith("+boosted")
    errors = {name: scores["mape_percent"] for name, scores in twin.card["models"].items()}
    assert errors[twin.card["chosen"]] < 0.5 * errors[TABLE]
    unseen, plain = measured(TINY, 300, 1, noise=0.0)
    true_ms = plain * (1.0 + 0.4 * (unseen[:, TINY.at("resolution")] >= 4))
    assert np.mean(np.abs(twin.predict(unseen) / true_ms - 1)) < 0.04


@pytest.mark.slow
def test_few_networks_keep_the_additive_form_whatever_the_folds_say() -> None:
    genomes, latency_ms = measured(TINY, 49, 0)
    slow = latency_ms * (1.0 + 0.4 * (genomes[:, TINY.at("resolution")] >= 4))
    twin = latency.fit(TINY, tables(TINY), genomes, slow, seed=0)
    assert twin.trees is None
    assert "49" in twin.card["reason"]
    assert "+boosted" not in twin.card["chosen"]


@pytest.mark.slow
def test_upper_bound_holds_as_often_as_it_says() -> None:
    held = []
    for seed in range(24):
        twin = latency.fit(TINY, tables(TINY), *measured(TINY, 20, seed, noise=0.05), seed=0)
        unseen, latency_ms = measured(TINY, 500, 1000 + seed, noise=0.05)
        held.append(np.mean(latency_ms <= twin.upper(unseen, coverage=0.9)))
    assert 0.87 <= np.mean(held) <= 0.96
    np.testing.assert_array_equal(twin.upper(unseen, 0.8), twin.predict(unseen) * twin.upper_factor(0.8))
    assert twin.upper_factor(0.5) < twin.upper_factor(0.9)


@pytest.mark.slow
def test_card_promises_of_the_interval_what_it_keeps() -> None:
    twin = latency.fit(TINY, tables(TINY), *measured(TINY, 20, 0), seed=0)
    assert "no finite-sample guarantee" in twin.card["interval"]["method"]


@pytest.mark.slow
def test_card_compares_with_macs_and_with_the_tables_as_they_are() -> None:
    twin = latency.fit(TINY, tables(TINY), *measured(TINY, 30, 0), seed=0)
    models = twin.card["models"]
    assert {TABLE, latency.MACS, "hot as it is", "cold as it is"} < set(models)
    assert models[TABLE]["mape_percent"] < models[latency.MACS]["mape_percent"]
    assert models["hot as it is"]["bias_percent"] < -5
    assert models["cold as it is"]["bias_percent"] > 5
    assert json.loads(json.dumps(twin.card, allow_nan=False)) == twin.card


def test_without_measured_networks_the_cold_table_is_used_as_it_is() -> None:
    twin = latency.fit(TINY, tables(TINY))
    genomes, _ = measured(TINY, 50, 0)
    np.testing.assert_array_equal(twin.predict(genomes), index_of(TINY).sum(genomes, tables(TINY)["cold"]))
    assert twin.card["calibrated"] is False
    with pytest.raises(UsageInvalid, match="cannot give a bound"):
        twin.upper(genomes)


def test_one_table_and_few_networks() -> None:
    twin = latency.fit(TINY, {"cold": tables(TINY)["cold"]}, *measured(TINY, 8, 0), seed=0)
    unseen, true_ms = measured(TINY, 200, 1, noise=0.0)
    assert np.mean(np.abs(twin.predict(unseen) / true_ms - 1)) < 0.1
    with pytest.raises(UsageInvalid, match="8 residuals are too few"):
        twin.upper(unseen, 0.9)
    with pytest.raises(UsageInvalid, match="too few to fit"):
        latency.fit(TINY, tables(TINY), *measured(TINY, 4, 0))


def test_unusable_tables_are_refused() -> None:
    good = tables(TINY)["hot"]
    with pytest.raises(UsageInvalid, match="table 'hot' has shape"):
        latency.fit(TINY, {"hot": good[:-1]})
    for bad in (np.nan, -1.0, np.inf):
        with pytest.raises(UsageInvalid, match="among the latencies of table 'hot' is a value"):
            latency.fit(TINY, {"hot": np.append(good[:-1], bad)})
    with pytest.raises(UsageInvalid, match="measured networks, a table"):
        latency.fit(TINY, {})
    genomes, latency_ms = measured(TINY, 20, 0)
    with pytest.raises(UsageInvalid, match="positive"):
        latency.fit(TINY, {"hot": good}, genomes, latency_ms * 0)


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, 300])
def test_saved_twin_predicts_the_same_bits(tmp_path: Path, count: int) -> None:
    genomes, latency_ms = measured(TINY, count, 0)
    latency_ms = latency_ms * (1.0 + 0.4 * (genomes[:, 0] >= 4)) if count == 300 else latency_ms
    twin = latency.fit(TINY, tables(TINY), genomes, latency_ms, seed=0)
    assert (twin.trees is not None) == (count == 300)
    twin.save(tmp_path)
    again = latency.load(tmp_path, TINY)
    unseen, _ = measured(TINY, 100, 1)
    np.testing.assert_array_equal(again.upper(unseen), twin.upper(unseen))
    np.testing.assert_array_equal(again.op_values_ms, twin.op_values_ms)
    assert again.card["weights"] == twin.card["weights"]


@pytest.mark.slow
def test_foreign_or_damaged_files_are_refused(tmp_path: Path) -> None:
    twin = latency.fit(TINY, tables(TINY), *measured(TINY, 20, 0), seed=0)
    twin.save(tmp_path)
    with pytest.raises(SpaceMismatch):
        latency.load(tmp_path, MBV3)
    dataclasses.replace(twin, op_values_ms=twin.op_values_ms[:-1]).save(tmp_path / "short")
    with pytest.raises(FileInvalid, match="cannot be used"):
        latency.load(tmp_path / "short", TINY)
    (tmp_path / "arrays.npz").write_bytes((tmp_path / "arrays.npz").read_bytes()[:100])
    with pytest.raises(FileInvalid, match="cannot be used"):
        latency.load(tmp_path, TINY)


@pytest.mark.slow
def test_prices_from_few_networks_let_no_network_of_the_space_take_less_than_no_time() -> None:
    for seed in range(6):
        genomes, latency_ms = measured(MBV3, 15, seed, noise=0.2)
        twin = latency.fit(MBV3, {}, genomes, latency_ms)
        assert extremes(MBV3, twin.op_values_ms, twin.constant_ms).least > 0


def test_gpu_measurements_are_predicted_from_prices_of_macs_and_activations() -> None:
    folder = Path(os.environ.get("OFA_TEST_DATA", "/nowhere")) / "latency" / "ofa_mbv3_help"
    if not folder.is_dir():
        pytest.skip("no measured OFA latencies: set OFA_TEST_DATA to a folder with latency/ofa_mbv3_help")
    rows = list(csv.DictReader((folder / "archs.csv").open()))
    genomes = np.zeros((len(rows), len(MBV3.genes)), dtype=np.uint8)
    for column, gene in enumerate(MBV3.genes):
        kind = gene.name.rsplit(".", 1)[-1]
        short = {"resolution": "r", "depth": f"d{gene.stage}"}.get(kind)
        if gene.block is not None:
            short = f"{ {'kernel': 'ks', 'expand': 'e'}[kind] }{gene.stage}_{gene.block + 1}"
        picks = {0: 0} | {int(choice): value for value, choice in enumerate(gene.choices, 1)}
        genomes[:, column] = [picks[int(row[str(short)])] for row in rows]
    latency_ms = np.array([float(row["2080ti_64"]) for row in csv.DictReader((folder / "latency_ms.csv").open())])
    index = index_of(MBV3)
    prices = {
        "macs": index.values(lambda op: op.macs * 1e-9),
        "activations": index.values(
            lambda op: sum(layer.out_channels * layer.out_size**2 for layer in layers_of(op)) * 1e-7
        ),
    }
    order = np.random.default_rng(0).permutation(len(rows))
    seen, unseen = order[:100], order[1000:]
    twin = latency.fit(MBV3, prices, genomes[seen], latency_ms[seen], seed=0)
    predicted = twin.predict(genomes[unseen])
    assert spearmanr(predicted, latency_ms[unseen])[0] >= 0.975
    assert np.mean(np.abs(predicted / latency_ms[unseen] - 1)) <= 0.035
    assert 0.84 <= np.mean(latency_ms[unseen] <= twin.upper(genomes[unseen])) <= 0.96
