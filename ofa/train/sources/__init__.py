"""Where training images come from: arrays in a file, class folders or tar shards, all read by number.

A source gives any image at any time and the order of an epoch as a function of its seed alone, so that a training goes
on in the middle of an epoch without reading what came before.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ofa.errors import FileInvalid
from ofa.train.sources import arrays, errors, folders, shards
from ofa.train.sources.decode import Cut, Problems

Split = Literal["train", "test"]
# What a split's file or folder may be called. Where a data set has both, its 'val' is meant: the test images of
# ImageNet and others have no labels.
NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("val", "test")}


class Source(Protocol):
    """Labelled images by number, 0 to n - 1."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes in label order."""

    @property
    def channels(self) -> int:
        """Return 3 for RGB images, 1 for grey ones."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the label of each image, int64[n]; each of 0 to k - 1 occurs."""

    @property
    def fingerprint(self) -> str:
        """Return a SHA-256 in hex that changes when the data changes.

        It is taken over the file's bytes (arrays), all paths and sizes (folders), or the shards' names and sizes and
        where each image lies in them (shards).
        """

    @property
    def skipped(self) -> dict[str, int]:
        """Return how often each unreadable image was replaced by another, by path; ``load`` adds to it."""

    @property
    def cut(self) -> Cut:
        """Return what evaluation looks at of an image: all of it ("none"), or its middle (``decode.evaluation_box``).

        What is cut from a file's image is rounded to 8 bits once it has been resized; an array is not cut.
        """

    def __len__(self) -> int:
        """Return the number of images."""

    def whole(self, index: int) -> NDArray[np.uint8]:
        """Return an image as it is before it is cut and resized, uint8[h, w, c]; raises FileInvalid where it cannot be
        read."""

    def order(self, seed: Sequence[int]) -> NDArray[np.int64]:
        """Return all indices in the order of one epoch, int64[n]: a pure function of the seed."""

    def load(
        self,
        indices: ArrayLike,
        *,
        side_px: int | None,
        crops: NDArray[np.float32] | None,
        among: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.uint8]:
        """Return images uint8[n, h, w, c] in the order of ``indices``.

        An image is cut to ``crops[i]`` = (top, left, height, width) as fractions of it, and resized to ``side_px`` x
        ``side_px`` with antialiasing. Without crops arrays are returned as stored, whatever the side, and an image of
        a file is cut as for evaluation (``decode.evaluation_box``). Raises FileInvalid
        for an unreadable image unless the source skips those, UsageInvalid for a missing side or impossible crops. What
        stands in for a skipped one is of ``among`` (bool over all images; None: any), so that no training is shown what
        it holds back.
        """


def open_source(
    path: Path,
    *,
    split: Split,
    problems: Problems = "raise",
    channels: int | None = None,
    threads: int | None = None,
) -> Source:
    """Open the images of a split, whichever way ``path`` holds them; the first of these that is there is taken.

    An .npz file (training images only); a folder with train.npz; with shards train*.tar or train/*.tar; with class
    folders train/<class>/<image>. For the test split the names begin with val, or else test. Images in files are
    decoded with 3 ``channels`` unless 1 is asked for, by as many ``threads`` as there are usable cores unless told.
    Raises FileInvalid listing what was looked for where nothing is there, and what ``arrays.read``, ``folders.read``
    and ``shards.read`` raise; UsageInvalid where arrays have other channels than asked for.
    """
    path = Path(path)
    if path.suffix == ".npz" and path.is_file():
        if split != "train":
            raise errors.only_training_images(path)
        return _with_channels(arrays.read(path), path, channels)
    workers = len(os.sched_getaffinity(0)) if threads is None else threads
    for name in NAMES[split]:
        if (path / f"{name}.npz").is_file():
            return _with_channels(arrays.read(path / f"{name}.npz"), path / f"{name}.npz", channels)
        if tars := sorted(path.glob(f"{name}*.tar")) or sorted((path / name).glob("*.tar")):
            return shards.read(tars, channels=channels or 3, problems=problems, threads=workers)
        if (path / name).is_dir():
            return folders.read(path / name, channels=channels or 3, problems=problems, threads=workers)
    raise _absent(path, split)


def holds(path: Path, split: Split) -> bool:
    """Say whether a folder has anything that is named as the images of a split are, usable or not."""
    return any((path / name).is_dir() or any(path.glob(f"{name}*.tar")) for name in NAMES[split]) or any(
        (path / f"{name}.npz").is_file() for name in NAMES[split]
    )


def _absent(path: Path, split: Split) -> FileInvalid:
    """Return what is wrong with a path that no images are read from: how they lie there, where there are some."""
    if path.is_dir() and not holds(path, "train"):
        loose, classes = folders.sorted_otherwise(path)
        if classes:
            mistaken = path.resolve().name in {name for names in NAMES.values() for name in names}
            return (
                errors.split_itself(path, split)
                if mistaken
                else errors.split_unnamed(path, split, classes, {each: names[0] for each, names in NAMES.items()})
            )
        if loose:
            return errors.images_unsorted(path, split, loose, NAMES[split][0])
    return errors.no_images_at(path, split, _looked_for(split))


def same_classes(train: Source, test: Source) -> None:
    """Raise FileInvalid, naming the first difference, unless two sources have the same classes in the same order."""
    if train.classes != test.classes:
        raise errors.other_classes(train.classes, test.classes)


def _with_channels(source: arrays.Arrays, path: Path, channels: int | None) -> arrays.Arrays:
    """Return the source; arrays are not converted, so they must have the channels asked for."""
    if channels not in (None, source.channels):
        raise errors.other_channels(path, source.channels, channels)
    return source


def _looked_for(split: Split) -> list[str]:
    """Return what a folder may hold for a split, in the order it is looked for."""
    return [
        found
        for name in NAMES[split]
        for found in (f"{name}.npz", f"{name}*.tar", f"{name}/*.tar", f"{name}/<class>/<image>")
    ]
