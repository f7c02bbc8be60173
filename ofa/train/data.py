"""A training set and how a step reads it: batches by step number, a part held back, fixed sets to measure on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ofa.errors import OfaError
from ofa.train import augment, errors
from ofa.train.ranks import CPU
from ofa.train.sampling import AUGMENT, ORDER, resolution_of

if TYPE_CHECKING:
    from ofa.space.core import SearchSpace
    from ofa.train.recipes import Recipe
    from ofa.train.sources import Source

# Images are held ready as float32 up to this much; larger sets are prepared anew for each network. The images that an
# ImageNet recipe calibrates every subnet on fit at 224 px.
_READY_BYTES = 2 << 30
_MEASURED_ON = 10_000
# Random cut of a training image: share of its area, and change of its proportions.
_AREA, _PROPORTION = (0.08, 1.0), (3 / 4, 4 / 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """A fixed set of images of a source with their labels int64[n], normalised by ``mean`` and ``std``."""

    source: Source
    indices: NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device = CPU
    _ready: dict[tuple[int, int], list[Tensor]] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.indices)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the label of each image."""
        labels: NDArray[np.int64] = self.source.labels[self.indices]
        return labels

    @classmethod
    def all_of(cls, source: Source, mean: tuple[float, ...], std: tuple[float, ...]) -> Images:
        """Return every image of a source."""
        return cls(source=source, indices=np.arange(len(source)), mean=mean, std=std)

    def preprocessing(self) -> dict[str, Any]:
        """Return what whoever runs an exported network must do to 8-bit pixels; ``cut`` is that of the source."""
        return {
            "cut": self.source.cut,
            "resize": "bilinear, antialiased",
            "divide_by": 255,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def batches(self, resolution: int, size: int = 256) -> Sequence[Tensor] | Iterator[Tensor]:
        """Return all images as float32[<= size, c, r, r] in order."""
        nbytes = len(self) * self.source.channels * resolution**2 * 4
        if nbytes > _READY_BYTES:
            return self._made(resolution, size)
        if (resolution, size) not in self._ready:
            held = sum(batch.nbytes for batches in self._ready.values() for batch in batches)
            if held + nbytes > _READY_BYTES:
                self._ready.clear()
            self._ready[resolution, size] = list(self._made(resolution, size))
        return self._ready[resolution, size]

    def _made(self, resolution: int, size: int) -> Iterator[Tensor]:
        """Load and prepare batch after batch."""
        for start in range(0, len(self), size):
            images = self.source.load(self.indices[start : start + size], side_px=resolution, crops=None)
            yield augment.prepared(torch.from_numpy(images).to(self.device), resolution, self.mean, self.std)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A training set in three parts by index: what is trained on, what is held back for labels and choices, and the
    images of the first part that batch-norm statistics are measured on."""

    source: Source
    train: NDArray[np.int64]
    holdout: NDArray[np.int64]
    calibration: NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def images(self, part: str, device: torch.device = CPU) -> Images:
        """Return ``holdout`` or ``calibration`` as a fixed set."""
        indices = self.holdout if part == "holdout" else self.calibration
        return Images(source=self.source, indices=indices, mean=self.mean, std=self.std, device=device)

    def watch(self, device: torch.device) -> tuple[Images, Images] | None:
        """Return what accuracies are measured on while training: calibration and held-out images; None without any."""
        return (self.images("calibration", device), self.images("holdout", device)) if len(self.holdout) else None


def divided(source: Source, recipe: Recipe) -> Data:
    """Divide a source as a recipe asks; a pure function of both.

    The part held back has every class in its share. Raises UsageInvalid where no images are left to train on, and
    where the recipe's mean or deviation is not one number a channel.
    """
    rng = np.random.default_rng([recipe.seed, ORDER])
    everything = rng.permutation(len(source))
    holdout = _by_class(source.labels, everything, recipe.holdout)
    train = np.setdiff1d(np.arange(len(source)), holdout)
    if not len(train):
        raise errors.too_few_images(len(source), recipe.holdout, recipe.batch)
    calibration = np.sort(rng.choice(train, min(recipe.calibration, len(train)), replace=False))
    mean, std = recipe.mean, recipe.std
    if mean is None or std is None:
        measured = _moments(source, train[:: max(1, len(train) // _MEASURED_ON)])
        mean, std = measured[0] if mean is None else mean, measured[1] if std is None else std
    mean, std = _by_channel("mean", mean, source.channels), _by_channel("std", std, source.channels)
    return Data(source=source, train=train, holdout=holdout, calibration=calibration, mean=mean, std=std)


def _by_channel(name: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Return one number a channel; a single one is that of all."""
    if len(values) not in (1, channels):
        raise errors.moments_apart(name, len(values), channels)
    return values * channels if len(values) == 1 else values


def _by_class(labels: NDArray[np.int64], order: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Pick ``count`` of the images in ``order``, every class in its share (largest remainders first); sorted."""
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * min(count, len(labels)) / len(labels)
    taken = np.floor(exact).astype(np.int64)
    for extra in np.argsort(taken - exact, kind="stable")[: min(count, len(labels)) - taken.sum()]:
        taken[extra] += 1
    ordered = labels[order]
    picked = [order[ordered == label][:number] for label, number in zip(classes, taken, strict=True)]
    return np.sort(np.concatenate(picked))


def _moments(source: Source, indices: NDArray[np.int64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of pixels in 0-1 by channel, over some images."""
    total, squares, count = np.zeros(source.channels), np.zeros(source.channels), 0
    for start in range(0, len(indices), 256):
        pixels = source.load(indices[start : start + 256], side_px=64, crops=None).reshape(-1, source.channels) / 255
        total, squares, count = total + pixels.sum(0), squares + (pixels**2).sum(0), count + len(pixels)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    return tuple(round(float(v), 5) for v in mean), tuple(round(float(v), 5) for v in std)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One shard of a step: images uint8[n, h, w, c] as loaded, labels int64[n], unreadable files replaced (by path)."""

    images: Tensor
    labels: Tensor
    skipped: Mapping[str, int] = field(default_factory=dict)

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory, from which a GPU copies while it computes; torch's loader asks."""
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


class Feed(torch.utils.data.Dataset[list[Batch]]):
    """What some shards of each step read, by step number: a pure function of the recipe, the data and the step.

    Raises UsageInvalid where the images do not fill one batch.
    """

    def __init__(self, data: Data, recipe: Recipe, space: SearchSpace, shards: Sequence[int]) -> None:
        if len(data.train) < recipe.batch:
            raise errors.too_few_images(len(data.source), recipe.holdout, recipe.batch)
        self.data, self.recipe, self.space, self.shards = data, recipe, space, tuple(shards)
        self.steps_per_epoch = max(1, len(data.train) // recipe.batch)
        self._trained = np.zeros(len(data.source), dtype=np.bool_)
        self._trained[data.train] = True
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def __getitem__(self, step: int) -> list[Batch]:
        """Return the shards of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        batch = self._ordered(epoch)[place * self.recipe.batch : (place + 1) * self.recipe.batch]
        parts = np.array_split(batch, self.recipe.shards)
        return [self._shard(step, shard, parts[shard]) for shard in self.shards]

    def _shard(self, step: int, shard: int, indices: NDArray[np.int64]) -> Batch:
        """Load one shard, cut at random where the recipe says so."""
        crops, side_px = None, resolution_of(self.space, self.recipe, step)
        if self.recipe.augmentation == "imagenet":
            crops = random_cuts(len(indices), np.random.default_rng([self.recipe.seed, AUGMENT, step, shard]))
        source = self.data.source
        before = dict(source.skipped)
        images = source.load(indices, side_px=side_px, crops=crops, among=self._trained)
        # Told with the batch: where worker processes load, each counts for itself.
        skipped = {path: times - before.get(path, 0) for path, times in source.skipped.items()}
        return Batch(
            images=torch.from_numpy(images),
            labels=torch.from_numpy(source.labels[indices]),
            skipped={path: times for path, times in skipped.items() if times},
        )

    def _ordered(self, epoch: int) -> NDArray[np.int64]:
        """Return the images of an epoch in its order."""
        if self._order is None or self._order[0] != epoch:
            order = self.data.source.order((self.recipe.seed, ORDER, epoch))
            self._order = (epoch, order[self._trained[order]])
        return self._order[1]


class Ahead(torch.utils.data.Dataset[list[Batch] | OfaError]):
    """A feed that gives errors instead of raising them: of one raised in a worker process only its text comes back."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def __getitem__(self, step: int) -> list[Batch] | OfaError:
        """Return the shards of a step, or why they cannot be read."""
        try:
            return self.feed[step]
        except OfaError as fault:
            return fault


def random_cuts(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw cuts (top, left, height, width) as shares of an image, float32[count, 4] (Inception, arXiv 1409.4842).

    Area uniform in 8-100 %; proportions log-uniform in 3/4-4/3, relative to those of the image itself.
    """
    area = rng.uniform(*_AREA, count)
    proportion = np.exp(rng.uniform(math.log(_PROPORTION[0]), math.log(_PROPORTION[1]), count))
    height, width = np.minimum(1, np.sqrt(area / proportion)), np.minimum(1, np.sqrt(area * proportion))
    top, left = rng.random(count) * (1 - height), rng.random(count) * (1 - width)
    return np.stack([top, left, height, width], 1).astype(np.float32)
