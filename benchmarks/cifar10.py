"""Real images for the training benchmarks: CIFAR-10 as lossless planes, from a folder the user names."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ofa.train.sources import arrays
from ofa.train.sources.arrays import Arrays

WANTED = "a folder with cifar10_train.npz and cifar10_test_dev.npz"


def read(path: Path, first: int | None = None) -> Arrays:
    """Decode one file, or its first images: planes G, R-G, B-G (modulo 256), differenced down the rows."""
    if not path.is_file():
        sys.exit(f"no '{path}': this benchmark needs {WANTED}")
    with np.load(path, allow_pickle=False) as stored:
        planes = np.cumsum(stored["delta"][:, :first], axis=2, dtype=np.uint8)
        labels, classes = stored["labels"][:first].astype(np.int64), [str(name) for name in stored["classes"]]
    images = np.stack([planes[1] + planes[0], planes[0], planes[2] + planes[0]], axis=-1)
    return arrays.of(images, labels, classes)
