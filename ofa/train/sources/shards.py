"""Images in tar shards, the layout of WebDataset: indexed once, then read anywhere."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofa.errors import FileInvalid
from ofa.files import canonical_json, read_capped, sha256_bytes, write_atomic
from ofa.folders import cache_folder
from ofa.train.sources import decode, errors, tars
from ofa.train.sources.decode import Encoded, Problems
from ofa.train.sources.names import Names, joined, printable

# An epoch mixes the images of this many shards at a time, so that a batch reads from no more files than these.
WINDOW_SHARDS = 8

_INDEX = "ofa-shards/1"
_MOST_INDEX_BYTES = 4 << 30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Index:
    """Where the images are: how many each shard holds int64[s], and what ``tars.Part`` says of all of them."""

    counts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int64]
    names: Names


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shards(Encoded):
    """A ``Source`` (see ``ofa.train.sources``) of images in tars; classes are named by their numbers.

    ``starts`` int64[s + 1] is the index of each shard's first image; images lie at ``offsets`` with ``sizes`` bytes.
    """

    paths: tuple[Path, ...]
    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    names: Names
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    fingerprint: str
    channels: int
    problems: Problems
    threads: int
    skipped: dict[str, int] = field(default_factory=dict)

    def order(self, seed: Sequence[int]) -> NDArray[np.int64]:
        """Return all indices in the order of one epoch, int64[n]: a permutation by the seed alone.

        Shards come in random order, and the images of ``WINDOW_SHARDS`` at a time are mixed: so reads stay local, as
        they must on disks that seek. Shards whose images are sorted by class should be written anew.
        """
        rng = np.random.default_rng(list(seed))
        shuffled = rng.permutation(len(self.paths))
        windows = [shuffled[at : at + WINDOW_SHARDS] for at in range(0, len(shuffled), WINDOW_SHARDS)]
        images = [np.concatenate([np.arange(*self.starts[shard : shard + 2]) for shard in own]) for own in windows]
        return np.concatenate([rng.permutation(own) for own in images])

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image; raises FileInvalid where they cannot be read or are too many."""
        size_bytes = int(self.sizes[index])
        if size_bytes > decode.MOST_BYTES:
            why = f"it has {size_bytes:,} bytes; at most {decode.MOST_BYTES:,} are read"
            raise errors.image_broken(self.place(index), why)
        try:
            handle = os.open(self._path(index), os.O_RDONLY)
            try:
                raw = os.pread(handle, size_bytes, int(self.offsets[index]))
            finally:
                os.close(handle)
        except OSError as fault:
            raise errors.image_broken(self.place(index), fault.strerror or str(fault)) from fault
        if len(raw) != size_bytes:
            raise errors.image_broken(self.place(index), "the shard ends before it: it has changed since it was opened")
        return raw

    def place(self, index: int) -> str:
        """Return the path of an image's shard and its name there."""
        return printable(f"{self._path(index)}:{self.names[index]}")

    def _path(self, index: int) -> Path:
        return self.paths[int(np.searchsorted(self.starts, index, side="right")) - 1]


def read(paths: Sequence[Path], *, channels: int = 3, problems: Problems = "raise", threads: int = 1) -> Shards:
    """Open tar shards; their index is made once and kept in the cache folder until a shard changes.

    Raises FileInvalid where a shard cannot be read, for what ``tars.scan`` refuses, where there is no image at all,
    and where a class below the highest label has none.
    """
    paths = tuple(Path(path) for path in paths)
    facts = [_stat(path) for path in paths]
    sizes_bytes = np.array([fact.st_size for fact in facts], dtype=np.int64)
    # Where, how large and when written: a shard made anew is indexed anew, even where its size is the same.
    known_by = [[str(path.resolve()), fact.st_size, fact.st_mtime_ns] for path, fact in zip(paths, facts, strict=True)]
    kept_at = cache_folder() / "shards" / f"{sha256_bytes(canonical_json([_INDEX, known_by]).encode())}.npz"
    index = _kept(kept_at, sizes_bytes)
    if index is None:
        index = _made(paths, threads)
        # Where it cannot be kept, the next run makes it again.
        with suppress(FileInvalid):
            write_atomic(kept_at, _packed(index))
    starts = np.concatenate([[0], np.cumsum(index.counts)]).astype(np.int64)
    classes = _classes(paths, index, starts)
    digest = hashlib.sha256(canonical_json([[path.name for path in paths], sizes_bytes.tolist()]).encode())
    for column in (index.counts, index.offsets, index.sizes, index.labels):
        digest.update(column.astype("<i8").data)
    return Shards(
        paths=paths,
        starts=starts,
        offsets=index.offsets,
        sizes=index.sizes,
        names=index.names,
        labels=index.labels,
        classes=classes,
        fingerprint=digest.hexdigest(),
        channels=channels,
        problems=problems,
        threads=threads,
    )


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as fault:
        raise errors.shard_broken(path, "", fault.strerror or str(fault)) from fault


def _made(paths: Sequence[Path], threads: int) -> _Index:
    """Index all shards."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        parts = list(pool.map(tars.scan, paths))
    return _Index(
        counts=np.array([len(part.labels) for part in parts], dtype=np.int64),
        offsets=np.concatenate([part.offsets for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        names=joined([part.names for part in parts]),
    )


def _classes(paths: Sequence[Path], index: _Index, starts: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the classes once each has an image."""
    present = np.unique(index.labels)
    if not len(present):
        raise errors.shard_broken(paths[0], "", "neither it nor any shard beside it holds a labelled image")
    missing = np.setdiff1d(np.arange(present[-1]), present)
    if len(missing):
        last = int(np.argmax(index.labels))
        shard = paths[int(np.searchsorted(starts, last, side="right")) - 1]
        raise errors.label_gap(shard, index.names[last], int(present[-1]), int(missing[0]))
    return tuple(str(label) for label in present)


def _packed(index: _Index) -> bytes:
    """Return an index as the bytes of an .npz file."""
    buffer = io.BytesIO()
    text = np.frombuffer(index.names.text, dtype=np.uint8)
    columns = {name: getattr(index, name) for name in ("counts", "offsets", "sizes", "labels")}
    np.savez(buffer, allow_pickle=False, text=text, ends=index.names.ends, **columns)
    return buffer.getvalue()


def _kept(path: Path, shard_bytes: NDArray[np.int64]) -> _Index | None:
    """Return a kept index, or None where there is none or it cannot be one of shards of these sizes."""
    if not path.is_file():
        return None
    try:
        raw = read_capped(path, max_bytes=_MOST_INDEX_BYTES, what="index")
        with np.load(io.BytesIO(raw), allow_pickle=False) as kept:
            columns = [kept[name] for name in ("text", "ends", "counts", "offsets", "sizes", "labels")]
        kinds = [(column.dtype, column.ndim) for column in columns]
    # A damaged file fails in any way; whatever it was, the index is made again.
    except Exception:
        return None
    if kinds != [(np.dtype(np.uint8), 1)] + [(np.dtype(np.int64), 1)] * 5:
        return None
    text, ends, counts, offsets, sizes, labels = columns
    if len(counts) != len(shard_bytes) or counts.min(initial=0) < 0:
        return None
    if any(len(column) != counts.sum() for column in (ends, offsets, sizes, labels)):
        return None
    steps = np.diff(ends, prepend=0, append=len(text))
    if min(column.min(initial=0) for column in (offsets, sizes, labels, steps)) < 0:
        return None
    if (sizes > np.repeat(shard_bytes, counts) - offsets).any():
        return None
    names = Names(text=text.tobytes(), ends=ends)
    return _Index(counts=counts, offsets=offsets, sizes=sizes, labels=labels, names=names)
