"""Decoding: the right pixels of the right cut, from any kind of file; nothing unreadable goes unnoticed."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ofa.errors import FileInvalid, UsageInvalid
from ofa.train.sources import decode, folders

from .conftest import Crops, Encode, Picture

WHOLE = (0.0, 0.0, 1.0, 1.0)


def smooth(width: int, height: int) -> Picture:
    """Return a picture without sharp edges, as photographs have few."""
    x, y = np.meshgrid(np.linspace(0, 7, width), np.linspace(0, 5, height))
    waves = np.stack([np.sin(x + y), np.cos(2 * x - y), np.sin(x * y / 3)], -1)
    return (127 + 120 * waves).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_pictures_come_back_exactly(kind: str, pictures: Picture, encode: Encode) -> None:
    rgb = decode.decode(encode(pictures[0], kind), "", channels=3, side_px=32, crop=WHOLE)
    np.testing.assert_array_equal(rgb, pictures[0])
    grey = decode.decode(encode(pictures[0, ..., 0], kind), "", channels=1, side_px=32, crop=WHOLE)
    np.testing.assert_array_equal(grey[..., 0], pictures[0, ..., 0])


def test_grey_becomes_rgb_and_rgb_grey(pictures: Picture, encode: Encode) -> None:
    rgb = decode.decode(encode(pictures[0, ..., 0]), "", channels=3, side_px=32, crop=WHOLE)
    np.testing.assert_array_equal(rgb, np.repeat(pictures[0, ..., :1], 3, axis=2))
    grey = decode.decode(encode(pictures[0]), "", channels=1, side_px=32, crop=WHOLE)
    assert np.abs(grey[..., 0] - pictures[0] @ [0.299, 0.587, 0.114]).max() <= 1


def test_a_crop_is_top_left_height_width(pictures: Picture, encode: Encode) -> None:
    crop = (0.125, 0.5, 0.25, 0.25)
    cut = decode.decode(encode(pictures[0]), "", channels=3, side_px=8, crop=crop)
    np.testing.assert_array_equal(cut, pictures[0, 4:12, 16:24])
    flat = np.zeros((20, 40, 3), dtype=np.uint8)
    flat[10:, 10:20] = 200
    stretched = decode.decode(encode(flat), "", channels=3, side_px=16, crop=(0.5, 0.25, 0.5, 0.25))
    assert stretched.shape == (16, 16, 3) and stretched[4:-4, 4:-4].min() == 200


def test_the_smallest_crop_is_a_pixel(pictures: Picture, encode: Encode) -> None:
    cut = decode.decode(encode(pictures[0]), "", channels=3, side_px=4, crop=(1.0, 1.0, 1e-6, 1e-6))
    assert np.abs(cut[-1, -1].astype(int) - pictures[0, -1, -1]).max() <= 1


@pytest.mark.parametrize(("width", "height", "side"), [(150, 100, 32), (61, 203, 28), (20, 20, 32), (640, 40, 30)])
def test_evaluation_cuts_as_resize_and_centre_crop_do(width: int, height: int, side: int, encode: Encode) -> None:
    picture = smooth(width, height)
    shorter = int(np.ceil(side / 0.875))
    scale = shorter / min(width, height)
    size = (shorter, int(height * scale)) if width <= height else (int(width * scale), shorter)
    resized = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    expected = np.asarray(resized.crop((left, top, left + side, top + side))).astype(int)
    found = decode.decode(encode(picture), "", channels=3, side_px=side)
    # Pillow rounds after each of its two passes.
    assert np.abs(found - expected).max() <= 2 and np.abs(found - expected).mean() < 0.1


def test_shrinking_is_antialiased(encode: Encode) -> None:
    board = np.indices((128, 128)).sum(0) % 2 * 255
    shrunk = decode.decode(encode(board.astype(np.uint8)), "", channels=1, side_px=16, crop=WHOLE)
    assert np.abs(shrunk.astype(int) - 127).max() <= 3


@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(
    channels: int, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = encode(smooth(801, 603), "JPEG", quality=90)
    crop = (0.1, 0.2, 0.7, 0.6)
    small = decode.decode(raw, "", channels=channels, side_px=32, crop=crop).astype(int)
    monkeypatch.setattr(decode, "_DRAFT_GAP", 1e9)
    full = decode.decode(raw, "", channels=channels, side_px=32, crop=crop).astype(int)
    assert 0 < np.abs(small - full).mean() < 1.5 and np.abs(small - full).max() <= 6


def test_odd_modes_become_what_they_show(pictures: Picture, encode: Encode, recwarn: pytest.WarningsRecorder) -> None:
    picture = Image.fromarray(pictures[0])
    with_alpha = picture.convert("RGBA")
    with_alpha.putalpha(7)
    np.testing.assert_array_equal(
        decode.decode(encode(with_alpha), "", channels=3, side_px=32, crop=WHOLE), pictures[0]
    )
    palette = picture.quantize(16)
    shown = np.asarray(palette.convert("RGB"))
    raw = encode(palette, transparency=bytes(range(16)))
    np.testing.assert_array_equal(decode.decode(raw, "", channels=3, side_px=32, crop=WHOLE), shown)
    cmyk = encode(Image.fromarray(smooth(32, 32)).convert("CMYK"), "JPEG", quality=95)
    shown = decode.decode(cmyk, "", channels=3, side_px=32, crop=WHOLE)
    assert np.abs(shown.astype(int) - smooth(32, 32)).mean() < 5
    deep = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64
    found = decode.decode(encode(Image.fromarray(deep)), "", channels=1, side_px=32, crop=WHOLE)
    np.testing.assert_array_equal(found[..., 0], deep >> 8)
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_what_was_cut_short_is_refused(kind: str, pictures: Picture, encode: Encode) -> None:
    raw = encode(pictures[0], kind)
    for share in (0, 0.01, 0.1, 0.5, 0.9, 0.97):
        with pytest.raises(FileInvalid, match="image 'here' cannot be read"):
            decode.decode(raw[: int(share * len(raw))], "here", channels=3, side_px=8)


def test_damage_never_escapes_as_another_error(pictures: Picture, encode: Encode) -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for kind in ("JPEG", "PNG", "BMP", "WEBP"):
        raw = np.frombuffer(encode(pictures[0], kind), dtype=np.uint8)
        for _ in range(60):
            damaged = raw.copy()
            damaged[rng.integers(0, min(len(raw), 200), 3)] = rng.integers(0, 256, 3)
            try:
                decode.decode(damaged.tobytes(), "", channels=3, side_px=8)
            except FileInvalid:
                refused += 1
    assert refused > 60


def test_other_formats_and_bombs_are_refused(pictures: Picture, encode: Encode) -> None:
    for raw in (encode(pictures[0], "GIF"), encode(pictures[0], "TIFF"), b"not an image"):
        with pytest.raises(FileInvalid, match="no JPEG, PNG, BMP or WebP"):
            decode.decode(raw, "", channels=3, side_px=8)
    with pytest.raises(FileInvalid, match=r"10,000 x 8,001 px; at most 80,000,000"):
        decode.decode(bomb(10_000, 8_001), "", channels=3, side_px=8)
    with pytest.raises(FileInvalid, match="exceeds limit"):
        decode.decode(bomb(60_000, 60_000), "", channels=3, side_px=8)


def bomb(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds almost nothing."""
    buffer = io.BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    raw = bytearray(buffer.getvalue())
    raw[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    return bytes(raw)


@pytest.fixture
def folder(tmp_path: Path, pictures: Picture, encode: Encode) -> Path:
    """Return class folders a and b of six pictures each; in a, 02.png to 04.png are damaged."""
    for at, picture in enumerate(pictures):
        path = tmp_path / "ab"[at // 6] / f"{at:02}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(picture)[: 300 if at in (2, 3, 4) else None])
    return tmp_path


@pytest.mark.parametrize("threads", [1, 3])
def test_the_unreadable_are_replaced_within_their_class_and_counted(
    threads: int, folder: Path, pictures: Picture, whole: Crops
) -> None:
    source = folders.read(folder, problems="skip", threads=threads)
    images = source.load(np.arange(12), side_px=32, crops=whole)
    np.testing.assert_array_equal(images, pictures[[0, 1, 5, 5, 5, *range(5, 12)]])
    place = {at: str(folder / "a" / f"{at:02}.png") for at in (2, 3, 4)}
    assert source.skipped == {place[2]: 1, place[3]: 2, place[4]: 3}
    source.load([4], side_px=32, crops=None)
    assert source.skipped == {place[2]: 1, place[3]: 2, place[4]: 4}


def test_what_stands_in_is_of_the_images_that_may(folder: Path, pictures: Picture, whole: Crops) -> None:
    """A training must not be shown an image that it holds back in place of one that is broken."""
    source = folders.read(folder, problems="skip")
    allowed = ~np.isin(np.arange(12), [0, 5])
    images = source.load([2, 3], side_px=32, crops=whole[:2], among=allowed)
    np.testing.assert_array_equal(images, pictures[[1, 1]])
    with pytest.raises(FileInvalid, match="no image of class 'a' can be read"):
        source.load([2], side_px=32, crops=None, among=allowed & (np.arange(12) > 1))


def test_behind_the_last_of_a_class_comes_its_first(folder: Path, pictures: Picture, whole: Crops) -> None:
    (folder / "a" / "05.png").write_bytes(b"")
    source = folders.read(folder, problems="skip")
    np.testing.assert_array_equal(source.load([3], side_px=32, crops=whole[:1])[0], pictures[0])
    for at in range(2):
        (folder / "a" / f"{at:02}.png").unlink()
    with pytest.raises(FileInvalid, match="no image of class 'a' can be read"):
        source.load([3], side_px=32, crops=None)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_unreadable_is_named_where_none_is_skipped(threads: int, folder: Path) -> None:
    source = folders.read(folder, threads=threads)
    with pytest.raises(FileInvalid, match=r"a/03\.png"):
        source.load([8, 3, 2, 1], side_px=32, crops=None)
    assert source.skipped == {}


def test_threads_change_nothing(folder: Path) -> None:
    crops = np.random.default_rng(0).uniform(0.05, 0.45, (12, 4)).astype(np.float32)
    rows = np.random.default_rng(1).permutation(12)
    found = [
        folders.read(folder, problems="skip", threads=threads).load(rows, side_px=24, crops=crops)
        for threads in (1, 2, 5)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_sizes_and_crops_are_checked(folder: Path) -> None:
    source = folders.read(folder)
    with pytest.raises(UsageInvalid, match="need a size"):
        source.load([0], side_px=None, crops=None)
    for crop in ([0, 0, 0, 1], [-0.1, 0, 1, 1], [0, 0.5, 1, 0.6], [0, 0, np.nan, 1], [0, 0, 1, np.inf]):
        with pytest.raises(UsageInvalid, match="crops do not fit 1 images"):
            source.load([0], side_px=8, crops=np.array([crop], dtype=np.float32))
    with pytest.raises(UsageInvalid, match="crops do not fit 2 images"):
        source.load([0, 1], side_px=8, crops=np.full((1, 4), 0.5, dtype=np.float32))
    assert source.load([], side_px=8, crops=None).shape == (0, 8, 8, 3)


def test_a_whole_image_is_uncut_and_not_too_large(pictures: Picture, encode: Encode) -> None:
    whole = decode.whole(encode(pictures[0]), "", channels=3)
    np.testing.assert_array_equal(whole, pictures[0])
    assert decode.whole(encode(pictures[0]), "", channels=1).shape == (*pictures[0].shape[:2], 1)
    large = decode.whole(encode(smooth(1200, 300), "JPEG"), "", channels=3)
    assert large.shape == (128, 512, 3)
    with pytest.raises(FileInvalid, match="'torn'"):
        decode.whole(b"torn", "torn", channels=3)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_middle_of_a_decoded_image_is_that_of_its_file(channels: int, encode: Encode) -> None:
    image = smooth(90, 61)
    expected = decode.decode(encode(image), "", channels=channels, side_px=24)
    whole = decode.whole(encode(image), "", channels=channels)
    np.testing.assert_array_equal(decode.cut_middle(whole, 24), expected)
