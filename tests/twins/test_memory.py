"""The memory twin: its features are exact, it finds what a device was made of, and it says how far it is off."""

from __future__ import annotations

import numpy as np
import pytest

from ofa.errors import SpaceMismatch, UsageInvalid
from ofa.graphs.ir import graph_of
from ofa.lut.format import Header, Lut, NetworkRow
from ofa.space import sample
from ofa.space.core import Genomes, SearchSpace
from ofa.space.facts import peak_activation_bytes
from ofa.space.mobilenet_v3 import mobilenet_v3_tiny
from ofa.space.ops import ops_of
from ofa.space.resnet50 import resnet50
from ofa.twins import memory

TINY = mobilenet_v3_tiny(1.0, 1, 10)
EMPTY_KIB = 40_000


def true_kib(space: SearchSpace, genomes: Genomes, parameters: float = 2.25, activations: float = 1.5) -> np.ndarray:
    """Return the peaks of a device that keeps parameters and activations so often, and 2,000 KiB beside the runtime."""
    own = memory.features(space, genomes) @ np.array([parameters, activations, 16])
    return np.asarray(EMPTY_KIB + 2000 + own / 1024)


def table(genomes: Genomes, kib: np.ndarray, *, holdout: int = 0, empty: object = EMPTY_KIB) -> Lut:
    """Return a table of nothing but networks of known memory, the last ``holdout`` of them held out."""
    rows = [
        NetworkRow(
            space=TINY.id, id=TINY.subnet(genome).id, genome=bytes(genome).hex(),
            split="holdout" if place >= len(genomes) - holdout else "fit", status="ok", ns=5, lo=4, hi=6, cpu_ns=5,
            wall_ns=5, rounds=3, flags=(), session="s", peak_rss_kib=None if np.isnan(peak) else round(peak),
        )
        for place, (genome, peak) in enumerate(zip(genomes, kib, strict=True))
    ]  # fmt: skip
    header = Header(
        device="stand-in", runtime="onnxruntime", runtime_version="1", precision="fp32", conditions="cpu-1t",
        environment={"cpu": "none"}, protocol={}, simulated=False, created="2026-01-01",
    )  # fmt: skip
    return Lut(header=header, rows=(), networks=tuple(rows), sessions=({"id": "s", "empty_rss_kib": empty},))


@pytest.mark.slow
@pytest.mark.parametrize("space", [TINY, resnet50(1.0, 3, 1000)], ids=["tiny", "resnet50"])
def test_features_are_those_of_the_exported_network(space: SearchSpace) -> None:
    genomes = sample.random(space, 3, np.random.default_rng(1))
    found = memory.features(space, genomes)
    for genome, (parameters, activations, wide) in zip(genomes, found, strict=True):
        subnet = space.subnet(genome)
        ops = ops_of(subnet)
        for op in (*ops[:3], ops[-1]):
            assert memory.parameter_bytes(op) == graph_of([op]).weight_bytes
        assert parameters == sum(memory.parameter_bytes(op) for op in ops)
        filters = [node.weight for op in ops for node in graph_of([op]).nodes if node.weight is not None]
        assert wide == sum(array.nbytes for array in filters if array.shape[1] == 1 and array.shape[2:] == (7, 7))
        assert activations == peak_activation_bytes(subnet)


@pytest.mark.slow
def test_what_a_device_holds_is_found_and_foretold() -> None:
    genomes = sample.random(TINY, 30, np.random.default_rng(0))
    twin = memory.fit_memory(table(genomes, true_kib(TINY, genomes), holdout=10), TINY)
    assert twin.base_kib == pytest.approx(EMPTY_KIB + 2000, rel=1e-3)
    assert twin.weights == pytest.approx(
        {"parameter_bytes": 2.25, "activation_bytes": 1.5, "wide_filter_bytes": 16}, rel=0.05
    )
    unseen = sample.random(TINY, 50, np.random.default_rng(9))
    np.testing.assert_allclose(twin.predict(unseen), true_kib(TINY, unseen), rtol=1e-4)
    np.testing.assert_array_equal(twin(unseen), twin.predict(unseen))
    assert twin.card["samples"] == 20 and twin.card["left_out_mape_pct"] < 0.01
    held_out = twin.card["holdout"]
    assert held_out["networks"] == 10 and held_out["mape_pct"] < 0.01 and held_out["less_empty_mape_pct"] < 0.2
    assert held_out["spearman"] > 0.99


def test_no_weight_is_below_zero() -> None:
    genomes = sample.random(TINY, 30, np.random.default_rng(0))
    twin = memory.fit(TINY, genomes, true_kib(TINY, genomes, activations=-0.5))
    assert twin.weights["activation_bytes"] == 0 and twin.weights["parameter_bytes"] > 0 and twin.base_kib > 0


def test_the_held_out_error_is_that_of_networks_it_did_not_see() -> None:
    """The held-out ones hold a tenth more than the fitted ones say."""
    genomes = sample.random(TINY, 30, np.random.default_rng(0))
    kib = true_kib(TINY, genomes)
    kib[20:] *= 1.1
    twin = memory.fit_memory(table(genomes, kib, holdout=10), TINY)
    assert twin.card["holdout"]["mape_pct"] == pytest.approx(100 * (1 - 1 / 1.1), rel=1e-3)
    assert twin.card["holdout"]["less_empty_mape_pct"] > 20


def test_a_table_without_held_out_networks_or_an_empty_one_says_less() -> None:
    genomes = sample.random(TINY, 12, np.random.default_rng(0))
    kib = true_kib(TINY, genomes)
    kib[0] = np.nan
    whole = memory.fit_memory(table(genomes, kib), TINY).card
    assert whole["samples"] == 11 and whole["holdout"] == {
        "networks": 0, "mape_pct": None, "less_empty_mape_pct": None, "spearman": None,
    }  # fmt: skip
    unknown = memory.fit_memory(table(genomes, kib, holdout=2, empty="unreadable"), TINY).card["holdout"]
    assert unknown["networks"] == 2 and unknown["mape_pct"] is not None and unknown["less_empty_mape_pct"] is None


def test_what_cannot_be_fitted_is_refused() -> None:
    genomes = sample.random(TINY, 10, np.random.default_rng(0))
    kib = true_kib(TINY, genomes)
    with pytest.raises(UsageInvalid, match="too few"):
        memory.fit_memory(table(genomes, kib, holdout=4), TINY)
    with pytest.raises(UsageInvalid, match="too few"):
        memory.fit_memory(table(genomes, kib), mobilenet_v3_tiny(1.0, 3, 10))
    with pytest.raises(UsageInvalid, match="positive"):
        memory.fit(TINY, genomes, kib * 0)
    with pytest.raises(SpaceMismatch):
        memory.fit(TINY, genomes + 99, kib)
