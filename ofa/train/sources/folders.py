"""Images in class folders, the layout of ImageNet: root/<class>/<image>."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofa.files import read_capped
from ofa.train.sources import decode, errors
from ofa.train.sources.decode import Encoded, Problems
from ofa.train.sources.names import Names, joined, packed, printable

_ENDINGS = tuple(f".{extension}".encode() for extension in decode.EXTENSIONS)
# Folders are listed side by side because a network's disk answers each question slowly, but many at a time.
_LISTERS = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Folder(Encoded):
    """A ``Source`` (see ``ofa.train.sources``) of image files; ``ignored`` counts the other files among them."""

    root: Path
    names: Names
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    ignored: int
    fingerprint: str
    channels: int
    problems: Problems
    threads: int
    skipped: dict[str, int] = field(default_factory=dict)

    def order(self, seed: Sequence[int]) -> NDArray[np.int64]:
        """Return all indices in the order of one epoch, int64[n]: a permutation by the seed alone."""
        return np.random.default_rng(list(seed)).permutation(len(self))

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image's file; raises FileInvalid where it cannot be read or is too large."""
        return read_capped(self._path(index), max_bytes=decode.MOST_BYTES, what="image")

    def place(self, index: int) -> str:
        """Return the path of an image."""
        return printable(str(self._path(index)))

    def _path(self, index: int) -> Path:
        return self.root / self.classes[int(self.labels[index])] / self.names[index]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Listing:
    """The images of one class, sorted by name, with their sizes int64[n]; -1 for a link that leads nowhere."""

    names: Names
    sizes: NDArray[np.int64]
    ignored: int


def read(root: Path, *, channels: int = 3, problems: Problems = "raise", threads: int = 1) -> Folder:
    """List the images of class folders; labels follow the sorted names of the classes.

    Files directly in a class folder that end in jpg, jpeg, png, bmp or webp are images; links may lead anywhere, hidden
    files do not exist. Raises FileInvalid where a folder cannot be listed, there is no class, or one has no image.
    """
    root = Path(root)
    classes, others = _classes(root)
    if not classes:
        raise errors.no_class_folders(root)
    digest = hashlib.sha256()
    listings = []
    with ThreadPoolExecutor(_LISTERS) as pool:
        for name, listing in zip(classes, pool.map(lambda name: _listing(root / name), classes), strict=True):
            if not len(listing.names):
                raise errors.class_empty(root, name)
            for part in (name.encode() + b"/", listing.names.text, listing.names.ends.astype("<i8").data):
                digest.update(part)
            digest.update(listing.sizes.astype("<i8").data)
            listings.append(listing)
    return Folder(
        root=root,
        names=joined([listing.names for listing in listings]),
        labels=np.repeat(np.arange(len(classes), dtype=np.int64), [len(listing.names) for listing in listings]),
        classes=tuple(classes),
        ignored=others + sum(listing.ignored for listing in listings),
        fingerprint=digest.hexdigest(),
        channels=channels,
        problems=problems,
        threads=threads,
    )


def sorted_otherwise(root: Path) -> tuple[int, list[str]]:
    """Return how many images lie directly in a folder, and which folders in it hold some: neither is a layout.

    Raises what ``read`` does of folders.
    """
    return len(_listing(root).names), [name for name in _classes(root)[0] if len(_listing(root / name).names)]


def _classes(root: Path) -> tuple[list[str], int]:
    """Return the sorted names of the class folders and the number of files beside them."""
    found, others = [], 0
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    found.append(entry.name)
                else:
                    others += 1
    except OSError as fault:
        raise errors.folder_unreadable(root, fault) from fault
    for name in found:
        if printable(name) != name:
            raise errors.class_unnamed(root, printable(name))
    return sorted(found), others


def _listing(folder: Path) -> _Listing:
    """Return the images directly in a class folder."""
    images, ignored = [], 0
    try:
        with os.scandir(os.fsencode(folder)) as entries:
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                # A broken link to an image stays an image, so that it is not lost in silence; a pipe would block.
                if entry.name.lower().endswith(_ENDINGS) and (entry.is_file() or _leads_nowhere(entry)):
                    images.append((entry.name, _size_bytes(entry)))
                else:
                    ignored += 1
    except OSError as fault:
        raise errors.folder_unreadable(folder, fault) from fault
    images.sort()
    sizes = np.array([size for _, size in images], dtype=np.int64)
    return _Listing(names=packed([name for name, _ in images]), sizes=sizes, ignored=ignored)


def _leads_nowhere(entry: os.DirEntry[bytes]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def _size_bytes(entry: os.DirEntry[bytes]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return -1
