"""Spaces declared as genes alone: the twin works over any of them, and is told apart from all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from ofa.errors import FileInvalid, SpaceMismatch
from ofa.space.core import Gene
from ofa.twins import accuracy, features, fit_accuracy
from ofa.twins.genes import GeneSpace

LAYERS = tuple(
    Gene(name=f"s{stage}.b{at}.block", choices=(0, 3, 6), stage=stage, block=at)
    for at, stage in enumerate((1, 1, 2, 2))
)
ORDERED = GeneSpace(id="layers", genes=LAYERS, rising=frozenset({"block"}))
CELL = GeneSpace(
    id="cell",
    genes=tuple(Gene(name=f"e{at}.op", choices=(0, 1, 2), stage=1, block=at) for at in range(4)),
    ordered=False,
)


def drawn(space: GeneSpace, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(1, 4, size=(count, len(space.genes))).astype(np.uint8)


def test_amounts_are_summed_and_names_are_counted() -> None:
    genomes = np.array([[1, 2, 3, 3], [2, 2, 0, 1]], dtype=np.uint8)
    sums = features.stage_sums(ORDERED, genomes)
    assert sums.names == ("s1.blocks", "s2.blocks")
    np.testing.assert_array_equal(sums.matrix, [[3, 12], [6, 0]])
    counts = features.stage_sums(CELL, genomes)
    assert counts.names == ("s1.ops = 0", "s1.ops = 1", "s1.ops = 2")
    np.testing.assert_array_equal(counts.matrix, [[1, 1, 2], [1, 2, 0]])


@pytest.mark.parametrize("space", [ORDERED, CELL], ids=lambda space: space.id)
def test_trees_know_which_columns_rise_and_which_are_sums(space: GeneSpace) -> None:
    found = features.tree_features(space, drawn(space, 5))
    rising, sums = features.rising_columns(space), features.sum_columns(space)
    assert found.matrix.shape[1] == len(found.names) == len(rising) == len(sums)
    assert any(rising) == (space is ORDERED)
    assert all(
        "all" in name or "s1" in name or "s2" in name for name, own in zip(found.names, sums, strict=True) if own
    )
    assert not sums[: len(space.genes)].any()


@pytest.mark.slow
@pytest.mark.parametrize("space", [ORDERED, CELL], ids=lambda space: space.id)
def test_a_twin_is_fitted_saved_and_refused_elsewhere(space: GeneSpace, tmp_path: Path) -> None:
    worth = np.random.default_rng(3).random((len(space.genes), 4))
    genomes = np.unique(drawn(space, 70), axis=0)
    top1 = 70 + 5 * worth[np.arange(len(space.genes)), genomes].sum(axis=1)
    twin = fit_accuracy(space, genomes, top1, seed=0)
    unseen = drawn(space, 60, 1)
    truth = worth[np.arange(len(space.genes)), unseen].sum(axis=1)
    assert spearmanr(twin.predict(unseen), truth)[0] > 0.9
    assert twin.card["models"][twin.card["chosen"]]["spearman_within_resolution"] is None
    twin.save(tmp_path)
    np.testing.assert_array_equal(accuracy.load(tmp_path, space).predict(unseen), twin.predict(unseen))
    with pytest.raises(SpaceMismatch):
        accuracy.load(tmp_path, GeneSpace(id=space.id, genes=space.genes[:-1]))
    with pytest.raises(FileInvalid, match="cannot be used"):
        accuracy.load(tmp_path)


def test_foreign_genomes_are_refused() -> None:
    spoilt: list[np.ndarray] = [np.full((2, 4), 4, np.uint8), np.ones((2, 3), np.uint8), np.ones((2, 4), np.int64)]
    for bad in spoilt:
        with pytest.raises(SpaceMismatch, match="do not belong to 'layers'"):
            ORDERED.check(bad)
