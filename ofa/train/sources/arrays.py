"""Images that fit in memory: an .npz file of arrays, or arrays as they are."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ofa.errors import OfaError
from ofa.files import canonical_json, sha256_file
from ofa.train import augment
from ofa.train.sources import decode, errors

# As stored and, where compressed, as unpacked: all of it is kept in memory.
MOST_BYTES = 32 << 30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrays:
    """A ``Source`` (see ``ofa.train.sources``) of images uint8[n, h, w, c]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    fingerprint: str
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Return 3 for RGB images, 1 for grey ones."""
        return int(self.images.shape[3])

    @property
    def cut(self) -> decode.Cut:
        """Return "none": arrays are taken as stored."""
        return "none"

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def whole(self, index: int) -> NDArray[np.uint8]:
        """Return an image as stored, uint8[h, w, c]."""
        image: NDArray[np.uint8] = self.images[index]
        return image

    def order(self, seed: Sequence[int]) -> NDArray[np.int64]:
        """Return all indices in the order of one epoch, int64[n]: a permutation by the seed alone."""
        return np.random.default_rng(list(seed)).permutation(len(self))

    def load(
        self,
        indices: ArrayLike,
        *,
        side_px: int | None = None,
        crops: NDArray[np.float32] | None = None,
        among: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.uint8]:
        """Return the stored images of the indices, uint8[n, h, w, c]; cut to ``crops`` and resized where given.

        All can be read, so ``among`` says nothing here.
        """
        found = self.images[np.asarray(indices, dtype=np.int64)]
        if crops is None:
            return found
        if side_px is None:
            raise errors.no_side()
        cuts = [_cut(image, crop, side_px) for image, crop in zip(found, crops.tolist(), strict=True)]
        return np.concatenate(cuts)


def read(path: Path) -> Arrays:
    """Read an .npz file: ``images`` uint8[n, h, w] or [n, h, w, c], ``labels`` [n], optional names ``classes`` [k].

    Without ``classes`` they are named by their numbers. Raises FileInvalid where the file is damaged or too large, or
    an array is of another type or shape, holds a label out of range, or leaves a class without an image.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes = sum(part.file_size for part in archive.infolist())
        if max(path.stat().st_size, unpacked_bytes) > MOST_BYTES:
            raise errors.arrays_broken(path, f"it holds {unpacked_bytes:,} bytes; at most {MOST_BYTES:,} are read")
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in ("images", "labels", "classes") if name in stored}
    except OfaError:
        raise
    # A damaged file fails in any way: BadZipFile, ValueError, MemoryError where a header claims too much.
    except Exception as fault:
        raise errors.arrays_broken(path, str(fault).partition("\n")[0] or type(fault).__name__) from fault
    for name in ("images", "labels"):
        if name not in found:
            raise errors.arrays_broken(path, f"it has no array '{name}'")
    if strange := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
        raise errors.arrays_broken(path, f"'{strange[0]}' is no array")
    images, labels, classes = found["images"], found["labels"], found.get("classes")
    return _checked(path, images, labels, classes, sha256_file(path))


def of(images: NDArray[np.uint8], labels: NDArray[Any], classes: Sequence[str] | None = None) -> Arrays:
    """Return arrays as a source; shapes and errors as in ``read``."""
    names = None if classes is None else np.array(list(classes), dtype=np.str_)
    shapes = [list(images.shape), str(images.dtype), list(labels.shape), None if classes is None else list(classes)]
    digest = hashlib.sha256(canonical_json(shapes).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return _checked(None, images, labels, names, digest.hexdigest())


def _cut(image: NDArray[np.uint8], crop: Sequence[float], side_px: int) -> NDArray[np.uint8]:
    """Return an image [h, w, c] cut to (top, left, height, width) in fractions, by whole pixels; [1, side, side, c]."""
    left, top, right, bottom = (round(edge) for edge in decode.crop_box(image.shape[1], image.shape[0], crop))
    part = torch.from_numpy(image[top : max(bottom, top + 1), left : max(right, left + 1)])
    cut: NDArray[np.uint8] = augment.resized(part.permute(2, 0, 1)[None].float(), side_px).round().byte().numpy()
    return cut.transpose(0, 2, 3, 1)


def _checked(path: Path | None, images: Any, labels: Any, classes: Any, fingerprint: str) -> Arrays:
    """Return the source once every array is what it must be."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise errors.arrays_broken(path, f"'images' is {_kind(images)}, not uint8[n, h, w] or [n, h, w, c]")
    if images.ndim == 4 and images.shape[3] not in (1, 3):
        raise errors.arrays_broken(path, f"'images' is {_kind(images)}: the last axis is for 1 or 3 channels")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise errors.arrays_broken(path, f"'labels' is {_kind(labels)}, not one integer for each of {len(images):,}")
    names = _names(path, classes) if classes is not None else None
    present = np.unique(labels)
    most = len(names) if names is not None else len(present)
    # Compared as Python integers: uint64 beside int64 would become float.
    if int(present[0]) < 0 or (names is not None and int(present[-1]) >= most):
        wrong = int(present[0]) if int(present[0]) < 0 else int(present[-1])
        raise errors.arrays_broken(
            path, f"image {int(np.argmax(labels == wrong)):,} has the label {wrong}, {_of(names)}"
        )
    for label in range(most):
        if label >= len(present) or int(present[label]) != label:
            raise errors.class_empty(path, str(label) if names is None else names[label])
    return Arrays(
        images=np.ascontiguousarray(images if images.ndim == 4 else images[..., None]),
        labels=labels.astype(np.int64),
        classes=names if names is not None else tuple(str(label) for label in range(most)),
        fingerprint=fingerprint,
    )


def _names(path: Path | None, classes: Any) -> tuple[str, ...]:
    """Return the names of the classes: text, or bytes of UTF-8, each once."""
    if classes.ndim != 1 or classes.dtype.kind not in "US":
        raise errors.arrays_broken(path, f"'classes' is {_kind(classes)}, not one name a class")
    try:
        names = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in classes.tolist())
    except UnicodeDecodeError as fault:
        raise errors.arrays_broken(path, "a name in 'classes' is no UTF-8") from fault
    if len(set(names)) != len(names):
        raise errors.arrays_broken(path, "a name occurs twice in 'classes'")
    return names


def _kind(array: Any) -> str:
    """Return type and shape for a message."""
    return f"{array.dtype}{list(array.shape)}"


def _of(names: tuple[str, ...] | None) -> str:
    """Say which labels there may be."""
    return "but labels begin at 0" if names is None else f"but there are {len(names):,} classes, 0 to {len(names) - 1}"
