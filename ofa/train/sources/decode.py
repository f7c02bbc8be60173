"""Encoded images made into arrays: cut and resized, and refused or replaced where they cannot be read."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ofa.errors import FileInvalid, OfaError, package_missing
from ofa.train.sources import errors

if TYPE_CHECKING:
    from PIL import Image, ImageFile

Problems = Literal["raise", "skip"]
Cut = Literal["none", "middle"]
Box = tuple[float, float, float, float]

EXTENSIONS = ("jpg", "jpeg", "png", "bmp", "webp")
MOST_BYTES = 256 << 20
# A file of some kilobytes may claim any size. Pillow itself only warns from 89 million on.
MOST_PIXELS = 80_000_000

# An image that is kept whole is made so small that this many pixels hold it.
WHOLE_PX = 512

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
# A JPEG is decoded at half, a quarter or an eighth of its size where that still leaves this many pixels for each one
# wanted: the antialiasing that follows then hides how coarsely the decoder shrinks.
_DRAFT_GAP = 2.0
# Crops are float32: top + height may exceed 1 by its rounding.
_SLACK = 1e-5


class Files(Protocol):
    """What holds encoded images by number."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes in label order."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the label of each image, int64[n]."""

    @property
    def channels(self) -> int:
        """Return the channels images are decoded to: 3 for RGB, 1 for grey."""

    @property
    def problems(self) -> Problems:
        """Return what an unreadable image leads to."""

    @property
    def threads(self) -> int:
        """Return how many images are decoded at a time."""

    @property
    def skipped(self) -> dict[str, int]:
        """Return how often each unreadable image was replaced, by path."""

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image; raises FileInvalid where they cannot be read."""

    def place(self, index: int) -> str:
        """Return where an image is, for messages."""


class Encoded:
    """What sources of encoded images have in common: all but where an image lies and in which order they are read."""

    __slots__ = ()

    @property
    def cut(self) -> Cut:
        """Return "middle": that is what evaluation looks at."""
        return "middle"

    def __len__(self: Files) -> int:
        """Return the number of images."""
        return len(self.labels)

    def whole(self: Files, index: int) -> NDArray[np.uint8]:
        """Return an image before it is cut and resized; what it raises is in ``decode.whole``."""
        return whole(self.encoded(index), self.place(index), channels=self.channels)

    def load(
        self: Files,
        indices: ArrayLike,
        *,
        side_px: int | None,
        crops: NDArray[np.float32] | None = None,
        among: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.uint8]:
        """Return images uint8[n, side_px, side_px, c], cut and resized; what it raises is in ``decode.batch``."""
        return batch(self, indices, side_px=side_px, crops=crops, among=among)


def batch(
    files: Files,
    indices: ArrayLike,
    *,
    side_px: int | None,
    crops: NDArray[np.float32] | None,
    among: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Return images uint8[n, side_px, side_px, c] in the order of ``indices``, whatever the number of threads.

    ``crops`` is float32[n, 4] as in ``decode``. Where the files skip problems, an unreadable image is replaced by the
    next readable one of its class (and of ``among``), cut alike, and counted; so labels stay true. Raises FileInvalid
    naming the image otherwise, or where a class has no readable image; UsageInvalid without a side or for crops that
    leave the image; PackageMissing without Pillow.
    """
    rows = np.asarray(indices, dtype=np.int64)
    if side_px is None:
        raise errors.no_side()
    if crops is not None and not _inside(crops, len(rows)):
        raise errors.wrong_crops(len(rows))
    _load_pillow()
    images = np.empty((len(rows), side_px, side_px, files.channels), dtype=np.uint8)

    def fill(at: int) -> list[str]:
        crop = None if crops is None else crops[at].tolist()
        images[at], passed = _readable(files, int(rows[at]), side_px, crop, among)
        return passed

    for passed in _each(fill, len(rows), files.threads):
        for place in passed:
            files.skipped[place] = files.skipped.get(place, 0) + 1
    return images


def decode(
    raw: bytes, place: str, *, channels: int, side_px: int, crop: Sequence[float] | None = None
) -> NDArray[np.uint8]:
    """Return an encoded image cut to ``crop`` and resized, uint8[side_px, side_px, channels].

    ``crop`` is (top, left, height, width) as fractions of the image; without it the cut is ``evaluation_box``. The
    filter is bilinear with antialiasing. As in the reference loaders of ImageNet, transparency is dropped and a
    camera's note of how it was held is not obeyed. Raises FileInvalid naming ``place`` where the image is damaged, cut
    short, too large, or neither JPEG, PNG, BMP nor WebP.
    """
    from PIL import Image

    with _opened(raw, place) as image:
        width, height = image.size
        box = evaluation_box(width, height, side_px) if crop is None else crop_box(width, height, crop)
        box = _drafted(image, box, channels, side_px)
        cut = _plain(image, channels).resize((side_px, side_px), Image.Resampling.BILINEAR, box=box)
        return np.asarray(cut).reshape(side_px, side_px, channels)


def whole(raw: bytes, place: str, *, channels: int) -> NDArray[np.uint8]:
    """Return an encoded image uint8[h, w, channels], uncut; a larger one is made to fit in 512 px each way.

    Raises what ``decode`` raises.
    """
    with _opened(raw, place) as image:
        plain = _plain(image, channels)
        plain.thumbnail((WHOLE_PX, WHOLE_PX))
        return np.asarray(plain).reshape(plain.height, plain.width, channels).copy()


def cut_middle(image: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return what ``decode`` makes of an image uint8[h, w, c] that is decoded, uint8[side_px, side_px, c]."""
    from PIL import Image

    box = evaluation_box(image.shape[1], image.shape[0], side_px)
    plain = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    cut = plain.resize((side_px, side_px), Image.Resampling.BILINEAR, box=box)
    return np.asarray(cut).reshape(side_px, side_px, image.shape[2])


@contextmanager
def _opened(raw: bytes, place: str) -> Iterator[ImageFile.ImageFile]:
    """Open an encoded image; whatever is wrong with it, here or as it is read, becomes FileInvalid naming ``place``."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(raw), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise errors.image_broken(place, f"it has {width:,} x {height:,} px; at most {MOST_PIXELS:,} are read")
            yield image
    except (OfaError, MemoryError):
        raise
    except UnidentifiedImageError as fault:
        raise errors.image_broken(
            place, "it is no JPEG, PNG, BMP or WebP image, or its beginning is damaged"
        ) from fault
    # A damaged image fails in any way: OSError, SyntaxError, ValueError, struct.error, DecompressionBombError.
    except Exception as fault:
        raise errors.image_broken(place, str(fault).partition("\n")[0] or type(fault).__name__) from fault


def evaluation_box(width: int, height: int, side_px: int) -> Box:
    """Return the (left, top, right, bottom) px that evaluation looks at: the middle, 7/8 of the shorter edge.

    Resizing this box gives what the usual two steps give, shorter edge to ceil(side_px / 0.875), then the middle
    side_px x side_px: the same whole pixels of the same resized image. The code published with Once-for-All (Cai et
    al., arXiv 1908.09791) evaluates so.
    """
    shorter_px = -(-side_px * 8 // 7)
    short = min(width, height)
    resized_width, resized_height = shorter_px * width // short, shorter_px * height // short
    left, top = round((resized_width - side_px) / 2), round((resized_height - side_px) / 2)
    across, down = width / resized_width, height / resized_height
    return left * across, top * down, (left + side_px) * across, (top + side_px) * down


def crop_box(width: int, height: int, crop: Sequence[float]) -> Box:
    """Return the (left, top, right, bottom) px of a crop (top, left, height, width) in fractions; at least 1 px."""
    top, left, tall, wide = crop
    x = min(left * width, width - 1.0)
    y = min(top * height, height - 1.0)
    return x, y, min(max((left + wide) * width, x + 1), width), min(max((top + tall) * height, y + 1), height)


def _drafted(image: ImageFile.ImageFile, box: Box, channels: int, side_px: int) -> Box:
    """Let a JPEG be decoded smaller where its size allows; return the box in the pixels it will then have."""
    width, height = image.size
    left, top, right, bottom = box
    share = _DRAFT_GAP * max(side_px / (right - left), side_px / (bottom - top))
    if share < 1:
        image.draft("L" if channels == 1 else "RGB", (math.ceil(width * share), math.ceil(height * share)))
    across, down = image.width / width, image.height / height
    return left * across, top * down, min(right * across, image.width), min(bottom * down, image.height)


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """Return an image of 8 bits a channel as RGB or grey."""
    from PIL import Image

    # Pillow would clip 16 bits to 8: nearly all of such an image would turn white.
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    # A palette's transparency must be unfolded before it is dropped, or Pillow warns.
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _readable(
    files: Files, index: int, side_px: int, crop: Sequence[float] | None, among: NDArray[np.bool_] | None
) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the image, or the next readable one of its class, and the places of those that were not."""
    passed: list[str] = []
    for at in _candidates(files.labels, index, among):
        try:
            image = decode(files.encoded(at), files.place(at), channels=files.channels, side_px=side_px, crop=crop)
            return image, passed
        except FileInvalid:
            if files.problems == "raise":
                raise
            passed.append(files.place(at))
    raise errors.none_readable(files.classes[int(files.labels[index])], passed[0])


def _candidates(labels: NDArray[np.int64], index: int, among: NDArray[np.bool_] | None) -> Iterator[int]:
    """Give an index, then those of the same class (and of ``among``) behind it, then those before it."""
    yield index
    own = np.flatnonzero(labels == labels[index] if among is None else (labels == labels[index]) & among)
    yield from own[own > index].tolist()
    yield from own[own < index].tolist()


def _each(task: Callable[[int], list[str]], count: int, threads: int) -> Iterable[list[str]]:
    """Give what a task returns for 0 to ``count`` - 1, in that order; Pillow decodes without Python's lock."""
    if threads <= 1 or count <= 1:
        yield from map(task, range(count))
        return
    with ThreadPoolExecutor(min(threads, count)) as pool:
        yield from pool.map(task, range(count))


def _inside(crops: NDArray[np.float32], count: int) -> bool:
    """Say whether there is one crop for each image and each lies in its image."""
    if crops.shape != (count, 4):
        return False
    start, extent = crops[:, :2], crops[:, 2:]
    return bool((start >= 0).all() and (extent > 0).all() and (start + extent <= 1 + _SLACK).all())


def _load_pillow() -> None:
    """Load the four decoders, before threads need them; Pillow would otherwise load all it has for the first WebP."""
    try:
        from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401
    except ImportError as fault:
        raise package_missing("pillow", extra="train", needed_for="training on image files") from fault
