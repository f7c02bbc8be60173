"""Scenes: disjoint digits in each split, the same scenes for the same seed, labels that say what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ofa.train import data, digits
from ofa.train.digits import SHARES, Split


def test_splits_are_disjoint_whole_and_alike_in_class() -> None:
    pictures, labels = digits._digits()
    splits = {split: digits.sources(split) for split in SHARES}
    joined = np.concatenate(list(splits.values()))
    assert len(joined) == len(pictures) == 1797 and len(np.unique(joined)) == 1797
    for split, share in SHARES.items():
        counts = np.bincount(labels[splits[split]], minlength=10)
        assert np.allclose(counts / np.bincount(labels), share, atol=0.03), split


def test_splits_are_alike_in_difficulty() -> None:
    """Mean distance from the class mean: it tells how untypical the digits of a split are."""
    pictures, labels = digits._digits()
    means = np.stack([pictures[labels == label].mean(0) for label in range(10)])
    distance = np.linalg.norm(pictures - means[labels], axis=(1, 2))
    told = [distance[digits.sources(split)].mean() for split in SHARES]
    assert max(told) / min(told) < 1.01


@pytest.mark.parametrize("split", SHARES)
def test_scenes_depend_on_split_and_seed_alone(split: Split) -> None:
    images, labels = digits.scenes(split, 50, (1, 2))
    again, same = digits.scenes(split, 50, (1, 2))
    assert images.shape == (50, 32, 32, 1) and images.dtype == np.uint8
    assert labels.dtype == np.int64 and set(labels) <= set(range(10))
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, same)
    assert not np.array_equal(images, digits.scenes(split, 50, (1, 3))[0])


def test_a_scene_shows_the_digit_its_label_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every digit is replaced by a flat square as bright as its class: the brightest whole square is the label's."""
    pictures, labels = digits._digits()
    flat = np.ones_like(pictures) * (0.1 + 0.09 * labels)[:, None, None].astype(np.float32)
    monkeypatch.setattr(digits, "_digits", lambda: (flat, labels))
    monkeypatch.setattr(digits, "_NOISE", (0.0, 0.0))
    monkeypatch.setattr(digits, "_INK", (1.0, 1.0))
    monkeypatch.setattr(digits, "_PIECE_PX", (0.5, 0.6))
    images, told = digits.scenes("train", 200, (0,))
    level = images.min(axis=(1, 2, 3)) / 255
    peak = np.median(np.sort(images.reshape(200, -1), axis=1)[:, -20:], axis=1) / 255
    read = ((peak - level) / (1 - level) - 0.1) / 0.09
    # Bicubic edges overshoot by some percent; a wrong label is off by classes.
    assert np.corrcoef(read, told)[0, 1] > 0.97 and np.abs(read - told).max() < 2


def test_images_are_normalised_resized_and_kept() -> None:
    source = digits.source("twin", 60, 0)
    images = data.Images.all_of(source, (0.25,), (0.5,))
    assert len(images) == 60

    def at(resolution: int) -> torch.Tensor:
        return torch.cat(list(images.batches(resolution, 4)))

    for resolution in (16, 28, 32):
        assert at(resolution).shape == (60, 1, resolution, resolution) and at(resolution).dtype == torch.float32
        assert images.batches(resolution, 4) is images.batches(resolution, 4)
    expected = (source.images[..., 0] / 255 - 0.25) / 0.5
    np.testing.assert_allclose(at(32)[:, 0].numpy(), expected, rtol=1e-5, atol=1e-6)
    assert abs(float(at(16).mean() - at(32).mean())) < 0.02
