"""Images on their way to a network: batches by step number, and the one resize that training and evaluation share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ofa.train import digits
from ofa.train.digits import Split

# Pixel values (v / 255 - MEAN) / SPREAD reach the network, here as in exported files.
MEAN = 0.25
SPREAD = 0.25


def resized(images: NDArray[np.uint8], resolution: int) -> Tensor:
    """Return uint8[n, h, w, c] as normalised float32[n, c, r, r] in channels_last order, resized with antialiasing."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    if x.shape[2] != resolution or x.shape[3] != resolution:
        x = F.interpolate(x, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=True)
    return ((x / 255 - MEAN) / SPREAD).contiguous(memory_format=torch.channels_last)


def training_batch(seed: int, step: int, size: int) -> tuple[NDArray[np.uint8], Tensor]:
    """Compose the training scenes of one step: uint8[size, 32, 32, 1] and labels int64[size]; never the same twice."""
    images, labels = digits.scenes("train", size, (seed, step))
    return images, torch.from_numpy(labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """A fixed set of images uint8[n, h, w, c] with labels int64[n]; each resolution is made once and kept."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    _at: dict[int, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def at(self, resolution: int) -> Tensor:
        """Return all images as float32[n, c, r, r]."""
        if resolution not in self._at:
            self._at[resolution] = resized(self.images, resolution)
        return self._at[resolution]


def scenes(split: Split, count: int, seed: int) -> Images:
    """Return a fixed set of cluttered digits of a split."""
    images, labels = digits.scenes(split, count, (seed,))
    return Images(images=images, labels=labels)
