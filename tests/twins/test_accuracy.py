"""The accuracy twin: learns an additive truth from few labels, lets trees in where they help, knows its error."""

from __future__ import annotations

import csv
import json
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ofa.errors import FileInvalid, SpaceMismatch, UsageInvalid
from ofa.space import sample
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.space.mobilenet_v3 import mobilenet_v3, mobilenet_v3_tiny
from ofa.space.resnet50 import resnet50
from ofa.twins import accuracy, features, members, ridge
from ofa.twins.accuracy import AccuracyTwin
from ofa.twins.latency import LatencyTwin

MBV3 = mobilenet_v3(1.0, 3, 1000)
TINY = mobilenet_v3_tiny(1.0, 1, 10)


def additive_truth(space: SearchSpace, genomes: Genomes) -> np.ndarray:
    """Give every choice a worth that rises with it, and saturates."""
    rng = np.random.default_rng(7)
    steps = rng.random((len(space.genes), int(space.cardinalities.max()) + 1))
    steps[:, 0] = 0.0
    worth = np.sqrt(np.cumsum(steps, axis=1))
    return 60.0 + worth[np.arange(len(space.genes)), genomes].sum(axis=1)


def crossed_truth(space: SearchSpace, genomes: Genomes) -> np.ndarray:
    """Add what no additive model can say: depth is worth more at a high resolution."""
    values = genomes.astype(float)
    return additive_truth(space, genomes) + 0.5 * values[:, 0] * (values[:, space.at("s3.depth")] - 2.0)


def labelled(space: SearchSpace, count: int, seed: int, truth=additive_truth, noise: float = 0.1):
    rng = np.random.default_rng(seed)
    genomes = sample.random(space, count, rng)
    return genomes, truth(space, genomes) + noise * rng.normal(size=count)


@lru_cache(maxsize=1)
def crossed_twin() -> accuracy.AccuracyTwin:
    """Fit a twin with trees once, for the tests that only save it."""
    return accuracy.fit(TINY, *labelled(TINY, 200, 0, crossed_truth), seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("space", [MBV3, TINY, resnet50(1.0, 3, 1000)], ids=lambda space: space.name)
def test_additive_truth_is_learned_from_300_labels(space: SearchSpace) -> None:
    twin = accuracy.fit(space, *labelled(space, 300, 0), seed=0)
    unseen, labels = labelled(space, 1000, 1, noise=0.0)
    assert spearmanr(twin.predict(unseen), labels)[0] > 0.97


@pytest.mark.slow
def test_sixty_labels_are_enough_to_rank() -> None:
    twin = accuracy.fit(TINY, *labelled(TINY, 60, 0), seed=0)
    unseen, labels = labelled(TINY, 1000, 1, noise=0.0)
    assert spearmanr(twin.predict(unseen), labels)[0] > 0.9
    assert twin.card["samples"] == 60


@pytest.mark.slow
def test_trees_are_chosen_where_genes_interact_and_lower_the_error() -> None:
    twin = accuracy.fit(TINY, *labelled(TINY, 800, 0, crossed_truth), seed=0)
    assert twin.card["chosen"] == accuracy.BOOSTED
    scores = twin.card["models"]
    assert scores[accuracy.BOOSTED]["rmse_points"] < 0.8 * scores[accuracy.BASE]["rmse_points"]
    unseen, labels = labelled(TINY, 2000, 1, crossed_truth, noise=0.0)
    errors = [np.sqrt(np.mean((model.predict(unseen) - labels) ** 2)) for model in (twin, twin.base)]
    assert errors[0] < 0.8 * errors[1]


def test_choice_follows_the_one_standard_error_rule() -> None:
    rng = np.random.default_rng(0)
    residuals = rng.normal(size=400)
    slightly_worse = residuals * np.tile([1.1, 0.905], 200)
    assert 0 < np.mean(slightly_worse**2 - residuals**2) < np.std(slightly_worse**2 - residuals**2) / 20
    for simple, other in ((accuracy.BASE, accuracy.TREES), (accuracy.TREES, accuracy.BASE)):
        far = {other: residuals * 2.0}
        same = far | {simple: residuals, accuracy.BOOSTED: slightly_worse}
        worse = far | {simple: residuals, accuracy.BOOSTED: residuals * 1.3}
        better = far | {simple: residuals * 1.3, accuracy.BOOSTED: residuals}
        assert accuracy.choose(same)[0] == accuracy.BOOSTED
        assert accuracy.choose(better)[0] == accuracy.BOOSTED
        assert accuracy.choose(worse)[0] == simple


@pytest.mark.slow
def test_intervals_cover_what_they_claim() -> None:
    covered = []
    for seed in range(5):
        twin = accuracy.fit(TINY, *labelled(TINY, 150, seed, crossed_truth, noise=1.0), seed=0)
        unseen, labels = labelled(TINY, 1000, 100 + seed, crossed_truth, noise=1.0)
        low, high = twin.interval(unseen, coverage=0.9)
        covered.append(np.mean((low <= labels) & (labels <= high)))
    assert 0.86 <= np.mean(covered) <= 0.94
    narrow = twin.interval(unseen, coverage=0.5)
    assert (narrow[1] - narrow[0] < high - low).all()


@pytest.mark.slow
def test_intervals_are_as_wide_as_twins_err_on_such_networks() -> None:
    """Good networks are told more exactly where their labels scatter less, and both kinds are covered."""

    def drawn(count: int, seed: int) -> tuple[Genomes, NDArray[np.float64], NDArray[np.bool_]]:
        genomes, labels = labelled(TINY, count, seed, crossed_truth, noise=0.0)
        poor = labels < np.median(labels)
        scatter = np.random.default_rng(seed).normal(0, np.where(poor, 2.0, 0.2))
        return genomes, labels + scatter, poor

    genomes, labels, _ = drawn(300, 0)
    twin = accuracy.fit(TINY, genomes, labels, seed=0)
    unseen, actual, poor = drawn(1000, 1)
    low, high = twin.interval(unseen, coverage=0.9)
    held, width = (low <= actual) & (actual <= high), high - low
    assert width[poor].mean() > 1.5 * width[~poor].mean()
    assert 0.84 <= held[poor].mean() <= 0.96 and 0.84 <= held[~poor].mean() <= 0.98
    # One width for all would be too much for these.
    constant = np.quantile(np.abs(twin.left_out), 0.9)
    assert (np.abs(actual - twin.predict(unseen)) <= constant)[~poor].mean() > held[~poor].mean()


def test_leave_one_out_residuals_equal_refitting() -> None:
    genomes, labels = labelled(TINY, 40, 0)
    hot = features.one_hot(TINY, genomes)
    sums = features.sums_of_one_hot(TINY)
    fitted = ridge._fit_scaled(hot, sums, labels, 0.3)
    spread = (hot @ sums).std(axis=0)
    design = np.hstack([(hot @ sums)[:, spread > 1e-9] / spread[spread > 1e-9], 0.3 * hot])
    for left in (0, 17, 39):
        kept = np.arange(40) != left
        mean, label_mean = design[kept].mean(axis=0), labels[kept].mean()
        centred = design[kept] - mean
        gram = centred.T @ centred + fitted.penalty * np.eye(design.shape[1])
        weights = np.linalg.solve(gram, centred.T @ (labels[kept] - label_mean))
        predicted = label_mean + (design[left] - mean) @ weights
        assert fitted.left_out[left] == pytest.approx(labels[left] - predicted, rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_same_labels_give_the_same_files_in_any_order(tmp_path: Path) -> None:
    genomes, labels = labelled(TINY, 300, 0, crossed_truth)
    turned = np.random.default_rng(5).permutation(300)
    accuracy.fit(TINY, genomes, labels, seed=3).save(tmp_path / "a")
    accuracy.fit(TINY, genomes[turned], labels[turned], seed=3).save(tmp_path / "b")
    for name in ("card.json", "arrays.npz", "trees-1.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.slow
def test_equal_networks_count_once() -> None:
    genomes, labels = labelled(TINY, 60, 0)
    twin = accuracy.fit(TINY, np.concatenate([genomes, genomes]), np.concatenate([labels - 1, labels + 1]), seed=0)
    alone = accuracy.fit(TINY, genomes, labels, seed=0)
    np.testing.assert_allclose(twin.predict(genomes), alone.predict(genomes), atol=1e-5)
    assert twin.card["samples"] == 60


@pytest.mark.slow
def test_saved_twin_predicts_the_same_bits(tmp_path: Path) -> None:
    twin = crossed_twin()
    twin.save(tmp_path)
    again = accuracy.load(tmp_path, TINY)
    unseen, _ = labelled(TINY, 100, 1)
    np.testing.assert_array_equal(again.predict(unseen), twin.predict(unseen))
    np.testing.assert_array_equal(again.interval(unseen)[0], twin.interval(unseen)[0])
    assert again.card["models"] == twin.card["models"]


@pytest.mark.slow
def test_twin_of_another_space_is_refused(tmp_path: Path) -> None:
    accuracy.fit(TINY, *labelled(TINY, 60, 0), seed=0).save(tmp_path)
    with pytest.raises(SpaceMismatch, match=r"does not belong to 'mobilenet_v3-w1.0'"):
        accuracy.load(tmp_path, MBV3)
    wider = mobilenet_v3_tiny(1.2, 1, 10)
    assert wider.genes == TINY.genes
    with pytest.raises(SpaceMismatch, match=r"does not belong to 'mobilenet_v3_tiny-w1.2-c1-n10'"):
        accuracy.load(tmp_path, wider)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["card.json", "arrays.npz", "trees-1.json"])
@pytest.mark.parametrize("damage", ["cut", "absent", "changed"])
def test_damaged_file_is_refused(tmp_path: Path, name: str, damage: str) -> None:
    crossed_twin().save(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "absent":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content.replace(accuracy.SCHEMA.encode(), b"accuracy-twin/9") + b" x")
    with pytest.raises(FileInvalid) as refusal:
        accuracy.load(tmp_path, TINY)
    assert refusal.value.why
    assert refusal.value.hints


@pytest.mark.slow
def test_other_version_and_not_finite_arrays_are_refused(tmp_path: Path) -> None:
    import dataclasses

    twin = accuracy.fit(TINY, *labelled(TINY, 60, 0), seed=0)
    dataclasses.replace(twin, card=twin.card | {"schema": "accuracy-twin/1"}).save(tmp_path / "version")
    with pytest.raises(FileInvalid, match="cannot be used") as refusal:
        accuracy.load(tmp_path / "version", TINY)
    assert "accuracy-twin/1" in refusal.value.why
    dataclasses.replace(twin, left_out=np.array([1.0, np.nan])).save(tmp_path / "nan")
    with pytest.raises(FileInvalid) as refusal:
        accuracy.load(tmp_path / "nan", TINY)
    assert "not finite" in refusal.value.why


def test_unusable_labels_are_refused() -> None:
    genomes, labels = labelled(TINY, 60, 0)
    with pytest.raises(UsageInvalid, match="19 different accuracy labels are too few"):
        accuracy.fit(TINY, genomes[:19], labels[:19], seed=0)
    with pytest.raises(UsageInvalid, match="among the accuracy labels is a value that is not a finite") as caught:
        accuracy.fit(TINY, genomes, np.where(labels != labels[7], labels, np.nan), seed=0)
    assert caught.value.why == "row 7, counted from 0, is nan"
    with pytest.raises(UsageInvalid, match="shape"):
        accuracy.fit(TINY, genomes, labels[:-1], seed=0)
    with pytest.raises(SpaceMismatch):
        accuracy.fit(MBV3, genomes, labels, seed=0)


def test_what_is_no_genome_of_the_space_is_refused_by_name() -> None:
    """One genome alone, a gene beyond its choices, other numbers: the sums of ops would have answered some of them."""
    genomes, _ = labelled(TINY, 4, 0)
    base = ridge.Additive(constant=60.0, gene_values=np.zeros((len(TINY.genes), 9)))
    top1 = AccuracyTwin(space=TINY, base=base, boosters=(), left_out=np.zeros(9), left_out_at=np.zeros(9), card={})
    ms = LatencyTwin(
        space=TINY,
        op_values_ms=np.ones(len(index_of(TINY).ops)),
        constant_ms=0.0,
        trees=None,
        ratios=np.ones(9),
        card={},
    )
    beyond = genomes.copy()
    beyond[2, 3] = 9
    for twin in (top1, ms):
        assert twin.predict(genomes).shape == (4,)
        for wrong in (genomes[0], genomes.astype(np.int64)):
            with pytest.raises(SpaceMismatch, match="genomes of shape"):
                twin.predict(wrong)
        with pytest.raises(SpaceMismatch, match=f"genome 2 is not .*\n.*gene '{TINY.genes[3].name}' has value 9"):
            twin.predict(beyond)


def real_labels() -> tuple[Genomes, np.ndarray]:
    """Read measured ImageNet accuracies of OFA subnets, or skip."""
    path = Path(os.environ.get("OFA_TEST_DATA", "/nowhere")) / "accuracy" / "ofa_mbv3_in1k.csv"
    if not path.is_file():
        pytest.skip("no measured OFA accuracies: set OFA_TEST_DATA to a folder with accuracy/ofa_mbv3_in1k.csv")
    rows = list(csv.DictReader(path.open()))
    genomes = np.zeros((len(rows), len(MBV3.genes)), dtype=np.uint8)
    for column, gene in enumerate(MBV3.genes):
        kind = gene.name.rsplit(".", 1)[-1]
        short = {"resolution": "r", "depth": f"d{gene.stage}"}.get(kind)
        if gene.block is not None:
            short = f"{ {'kernel': 'ks', 'expand': 'e'}[kind] }{gene.stage}_{gene.block + 1}"
        picks = {0: 0} | {int(choice): value for value, choice in enumerate(gene.choices, 1)}
        genomes[:, column] = [picks[int(row[str(short)])] for row in rows]
    MBV3.check(genomes)
    return genomes, np.array([float(row["top1"]) for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize(("count", "ranks"), [(100, 0.98), (500, 0.986)])
def test_measured_imagenet_accuracies_are_ranked(count: int, ranks: float) -> None:
    genomes, labels = real_labels()
    found, covered = [], []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(labels))
        seen, unseen = order[:count], order[count:]
        twin = accuracy.fit(MBV3, genomes[seen], labels[seen], seed=0)
        found.append(spearmanr(twin.predict(genomes[unseen]), labels[unseen])[0])
        low, high = twin.interval(genomes[unseen])
        covered.append(np.mean((low <= labels[unseen]) & (labels[unseen] <= high)))
    assert np.mean(found) >= ranks
    assert 0.86 <= np.mean(covered) <= 0.94


@pytest.mark.slow
def test_card_is_plain_json() -> None:
    twin = accuracy.fit(TINY, *labelled(TINY, 60, 0), seed=0)
    assert json.loads(json.dumps(twin.card, allow_nan=False)) == twin.card
    assert set(twin.card["models"]) == {*accuracy.FORMS, *members.NAMES}
    assert sum(twin.card["weights"].values()) == pytest.approx(1.0, abs=1e-5)
    assert twin.card["interval"]["coverage"] == 0.9
    assert "no finite-sample guarantee" in twin.card["interval"]["method"]
