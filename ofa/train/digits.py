"""Cluttered scenes of handwritten digits: one whole digit to name, among pieces of others, on noise.

The digits are scikit-learn's 1,797 images of 8x8 px (UCI "Optical Recognition of Handwritten Digits"), which install
with the package. The splits draw from disjoint digits: ``ofa demo`` never labels or tests a supernet on a digit it was
trained on. A part held back of one split shows its digits in other scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ofa.errors import package_missing
from ofa.train.sources import arrays
from ofa.train.sources.arrays import Arrays

Split = Literal["train", "twin", "test"]
SHARES: dict[Split, float] = {"train": 0.4, "twin": 0.3, "test": 0.3}
# How many scenes `--data digits` and the demo have: what the demo trains, the other verbs open by that name.
TRAINING_SCENES, TEST_SCENES = 25_600, 4_000
SIDE = 32
CLASSES = 10
PIECES = 3

_SPLIT_SEED = 0
_CHUNK = 4096
# The whole digit's height in px of a 32 px scene: at 16 px the smallest are 5 px high, and hard to read.
_DIGIT_PX = (9.0, 24.0)
_PIECE_PX = (5.0, 10.0)
_INK = (0.6, 1.0)
_NOISE = (0.01, 0.06)


@lru_cache(maxsize=len(SHARES))
def sources(split: Split) -> NDArray[np.int64]:
    """Return a split's indices into scikit-learn's digits: disjoint between splits, alike in class and in difficulty.

    Within a class, digits are ordered by their distance from the class mean and dealt out ten at a time: with a few
    hundred digits a split, chance alone would make one of them points easier than another.
    """
    digits, labels = _digits()
    rng = np.random.default_rng(_SPLIT_SEED)
    order = {name: at for at, name in enumerate(SHARES)}
    dealt = np.repeat(np.arange(len(SHARES)), [round(10 * share) for share in SHARES.values()])
    chosen = []
    for label in range(CLASSES):
        own = np.flatnonzero(labels == label)
        distance = np.linalg.norm(digits[own] - digits[own].mean(0), axis=(1, 2))
        own = own[np.argsort(distance, kind="stable")]
        hands = np.concatenate([rng.permutation(dealt) for _ in range(-(-len(own) // len(dealt)))])
        chosen.append(own[hands[: len(own)] == order[split]])
    return np.sort(np.concatenate(chosen))


def scenes(split: Split, count: int, seed: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Compose ``count`` scenes of a split: images uint8[count, 32, 32, 1] and labels int64[count] in 0-9.

    A pure function of its arguments. Raises PackageMissing without scikit-learn.
    """
    digits, classes = _digits()
    own = sources(split)
    rng = np.random.default_rng([list(SHARES).index(split), *seed])
    images = np.empty((count, SIDE, SIDE, 1), dtype=np.uint8)
    labels = np.empty(count, dtype=np.int64)
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        # Every digit equally often, as far as the count allows: a set of scenes is then as hard as its digits are.
        picked = np.concatenate([rng.permutation(own) for _ in range(-(-size // len(own)))])[:size]
        others = _of_other_classes(rng, own, classes, classes[picked])
        images[start : start + size, :, :, 0] = _compose(rng, digits[picked], digits[others])
        labels[start : start + size] = classes[picked]
    return images, labels


def source(split: Split, count: int, seed: int) -> Arrays:
    """Return a fixed set of scenes as a training source."""
    images, labels = scenes(split, count, (seed,))
    return arrays.of(images, labels, [str(value) for value in range(CLASSES)])


@lru_cache(maxsize=1)
def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scikit-learn's digits as ink in 0-1, float32[1797, 8, 8], with their classes."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as fault:
        raise package_missing("scikit-learn", extra="train", needed_for="the digits of the demo") from fault
    bunch = load_digits()
    return (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)


def _of_other_classes(
    rng: np.random.Generator, own: NDArray[np.int64], classes: NDArray[np.int64], label: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Draw the digits that pieces are cut from, int64[n, PIECES]: any class but the scene's own."""
    by_class = [own[classes[own] == value] for value in range(CLASSES)]
    other = (label[:, None] + rng.integers(1, CLASSES, (len(label), PIECES))) % CLASSES
    place = rng.random(other.shape)
    sizes = np.array([len(members) for members in by_class])
    table = np.zeros((CLASSES, sizes.max()), dtype=np.int64)
    for value, members in enumerate(by_class):
        table[value, : len(members)] = members
    picked: NDArray[np.int64] = table[other, (place * sizes[other]).astype(np.int64)]
    return picked


def _compose(rng: np.random.Generator, digits: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Place each digit float32[n, 8, 8] among pieces of ``others`` float32[n, PIECES, 8, 8]: uint8[n, 32, 32]."""
    count = len(digits)
    layers = np.concatenate([digits[:, None], others * _cuts(rng, count)], axis=1)
    smallest = np.array([_DIGIT_PX[0]] + [_PIECE_PX[0]] * PIECES)
    largest = np.array([_DIGIT_PX[1]] + [_PIECE_PX[1]] * PIECES)
    height_px = rng.uniform(smallest, largest, (count, 1 + PIECES))
    margin = 1 - height_px / SIDE
    # A whole digit stays inside the scene; a piece may be cut by its edge.
    reach = np.concatenate([margin[:, :1], np.ones((count, PIECES))], axis=1)[..., None]
    centre = rng.uniform(-1, 1, (count, 1 + PIECES, 2)) * reach
    ink = rng.uniform(*_INK, (count, 1 + PIECES, 1, 1))
    placed = _place(layers, height_px / SIDE, centre, rng.uniform(-0.25, 0.25, (count, 1 + PIECES)))
    scene = (placed * ink).max(axis=1)
    level = rng.uniform(0.0, 0.25, (count, 1, 1))
    noise = rng.normal(size=scene.shape) * rng.uniform(*_NOISE, (count, 1, 1))
    drawn: NDArray[np.uint8] = (255 * np.clip(level + (1 - level) * scene + noise, 0, 1)).round().astype(np.uint8)
    return drawn


def _cuts(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Return masks float32[count, PIECES, 8, 8] that keep one side of a random line near the middle of a digit."""
    angle = rng.uniform(0, 2 * np.pi, (count, PIECES, 1, 1))
    offset = rng.uniform(0.0, 1.5, (count, PIECES, 1, 1))
    row, column = np.meshgrid(np.arange(8) - 3.5, np.arange(8) - 3.5, indexing="ij")
    beyond = np.cos(angle) * row + np.sin(angle) * column - offset
    masks: NDArray[np.float32] = np.clip(beyond + 0.5, 0, 1).astype(np.float32)
    return masks


def _place(
    layers: NDArray[np.float32], size: NDArray[np.float64], centre: NDArray[np.float64], angle: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Draw 8x8 layers [n, l, 8, 8] at ``size`` (share of the scene), ``centre`` (-1..1) and ``angle`` (radians)."""
    count, depth = size.shape
    cosine, sine = np.cos(angle) / size, np.sin(angle) / size
    rows = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], -2)
    shift = -(rows @ centre[..., None])
    theta = torch.from_numpy(np.concatenate([rows, shift], -1).reshape(-1, 2, 3).astype(np.float32))
    grid = F.affine_grid(theta, [count * depth, 1, SIDE, SIDE], align_corners=False)
    flat = torch.from_numpy(np.ascontiguousarray(layers, dtype=np.float32)).reshape(-1, 1, 8, 8)
    drawn = F.grid_sample(flat, grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    placed: NDArray[np.float32] = drawn.clamp_(0, 1).reshape(count, depth, SIDE, SIDE).numpy()
    return placed
