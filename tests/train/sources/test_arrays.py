"""Arrays as a source: what an .npz file may hold, and what is refused before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa.errors import FileInvalid
from ofa.train.sources import arrays

from .conftest import Picture

LABELS = np.arange(12, dtype=np.uint8) % 3


def saved(path: Path, **parts: Any) -> Path:
    np.savez_compressed(path, **parts)
    return path


def test_a_file_comes_back(tmp_path: Path, pictures: Picture) -> None:
    path = saved(tmp_path / "a.npz", images=pictures, labels=LABELS, classes=np.array(["x", "y", "z"]))
    source = arrays.read(path)
    assert (len(source), source.channels, source.classes) == (12, 3, ("x", "y", "z"))
    assert source.labels.dtype == np.int64
    np.testing.assert_array_equal(source.labels, LABELS)
    rows = [7, 7, 0]
    np.testing.assert_array_equal(source.load(rows), pictures[rows])
    np.testing.assert_array_equal(source.load(rows, side_px=8), pictures[rows])
    half = np.array([(0.5, 0, 0.5, 0.5)] * len(rows), dtype=np.float32)
    side = pictures.shape[1]
    np.testing.assert_array_equal(
        source.load(rows, side_px=side // 2, crops=half), pictures[rows][:, side // 2 :, : side // 2]
    )
    point = np.array([(0.999, 0.999, 0.001, 0.001)] * len(rows), dtype=np.float32)
    corner = np.broadcast_to(pictures[rows][:, -1:, -1:], (len(rows), 5, 5, pictures.shape[3]))
    np.testing.assert_array_equal(source.load(rows, side_px=5, crops=point), corner)


def test_grey_images_get_a_channel_and_classes_numbers(tmp_path: Path, pictures: Picture) -> None:
    source = arrays.read(saved(tmp_path / "a.npz", images=pictures[..., 0], labels=LABELS.astype(np.int32)))
    assert source.load([3]).shape == (1, 32, 32, 1) and source.channels == 1 and source.classes == ("0", "1", "2")
    assert arrays.read(
        saved(tmp_path / "b.npz", images=pictures, labels=LABELS, classes=np.bytes_(["x", "y", "é".encode()]))
    )


def test_the_fingerprint_is_that_of_the_data(tmp_path: Path, pictures: Picture) -> None:
    path = saved(tmp_path / "a.npz", images=pictures, labels=LABELS)
    first = arrays.read(path).fingerprint
    assert arrays.read(path).fingerprint == first and len(first) == 64
    changed = pictures.copy()
    changed[4, 0, 0, 0] ^= 1
    assert arrays.read(saved(path, images=changed, labels=LABELS)).fingerprint != first
    in_memory = {
        arrays.of(pictures, LABELS).fingerprint,
        arrays.of(changed, LABELS).fingerprint,
        arrays.of(pictures, (LABELS + 1) % 3).fingerprint,
        arrays.of(pictures, LABELS, "xyz").fingerprint,
        arrays.of(pictures.reshape(12, 16, 64, 3), LABELS).fingerprint,
    }
    assert len(in_memory) == 5
    assert arrays.of(pictures.copy(), LABELS.astype(np.int64)).fingerprint in in_memory


def test_the_order_is_a_permutation_by_the_seed(pictures: Picture) -> None:
    source = arrays.of(np.repeat(pictures, 10, axis=0), np.repeat(LABELS, 10))
    orders = {seed: source.order(seed) for seed in ((0, 0), (0, 1), (1, 0))}
    for seed, order in orders.items():
        np.testing.assert_array_equal(np.sort(order), np.arange(120))
        np.testing.assert_array_equal(order, source.order(list(seed)))
    assert len({order.tobytes() for order in orders.values()}) == 3


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "float images": ({"images": np.zeros((12, 4, 4))}, r"'images' is float64\[12, 4, 4\]"),
    "flat images": ({"images": np.zeros((12, 16), np.uint8)}, r"uint8\[12, 16\]"),
    "no pixels": ({"images": np.zeros((12, 0, 4), np.uint8)}, r"uint8\[12, 0, 4\]"),
    "channels first": ({"images": np.zeros((12, 3, 32, 32), np.uint8)}, "the last axis is for 1 or 3 channels"),
    "float labels": ({"labels": LABELS.astype(float)}, r"'labels' is float64\[12\]"),
    "true or false": ({"labels": LABELS > 0}, r"'labels' is bool\[12\]"),
    "too few labels": ({"labels": LABELS[:-1]}, r"'labels' is uint8\[11\], not one integer for each of 12"),
    "one-hot labels": ({"labels": np.eye(3, dtype=int)[LABELS]}, r"'labels' is int64\[12, 3\]"),
    "a negative label": ({"labels": LABELS.astype(int) - 1}, "image 0 has the label -1, but labels begin at 0"),
    "a label too many": ({"classes": ["x", "y"]}, "image 2 has the label 2, but there are 2 classes, 0 to 1"),
    "a huge label": ({"labels": np.array([0] * 11 + [2**63], dtype=np.uint64)}, "class '1' has no image"),
    "a gap": ({"labels": LABELS * 2}, "class '1' has no image"),
    "an empty class": ({"classes": ["x", "y", "z", "none"]}, "class 'none' has no image"),
    "a name twice": ({"classes": ["x", "y", "x"]}, "occurs twice"),
    "numbers as names": ({"classes": [1, 2, 3]}, r"'classes' is int64\[3\]"),
    "a name that is no text": ({"classes": [b"x", b"y", b"\xff"]}, "no UTF-8"),
    "pickled names": ({"classes": np.array(["x", "y", "z"], dtype=object)}, "allow_pickle"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(case: str, tmp_path: Path) -> None:
    change, message = WRONG[case]
    parts: dict[str, Any] = {"images": np.zeros((12, 4, 4), np.uint8), "labels": LABELS} | change
    with pytest.raises(FileInvalid, match=message):
        arrays.read(saved(tmp_path / "a.npz", **parts))


def test_a_missing_array_or_file_is_named(tmp_path: Path, pictures: Picture) -> None:
    for name in ("images", "labels"):
        parts = {"images": pictures, "labels": LABELS}
        del parts[name]
        with pytest.raises(FileInvalid, match=f"no array '{name}'"):
            arrays.read(saved(tmp_path / "a.npz", **parts))
    with pytest.raises(FileInvalid, match="No such file"):
        arrays.read(tmp_path / "none.npz")


def test_damage_and_size_are_refused(tmp_path: Path, pictures: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.npz", images=pictures, labels=LABELS)
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(raw)
        # Within the compressed images, which a checksum guards.
        damaged[int(rng.integers(100, len(raw) // 2))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(FileInvalid, match="cannot be used"):
            arrays.read(path)
    for share in (0, 0.3, 0.99):
        path.write_bytes(raw[: int(share * len(raw))])
        with pytest.raises(FileInvalid, match="cannot be used"):
            arrays.read(path)
    path.write_bytes(raw)
    monkeypatch.setattr(arrays, "MOST_BYTES", 30_000)
    with pytest.raises(FileInvalid, match="at most 30,000"):
        arrays.read(path)
    with pytest.raises(FileInvalid, match="at most 30,000"):
        arrays.read(saved(tmp_path / "zeros.npz", images=np.zeros_like(pictures), labels=LABELS))


def test_a_member_that_is_no_array_is_refused(tmp_path: Path, pictures: Picture) -> None:
    import zipfile

    path = saved(tmp_path / "a.npz", labels=LABELS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images.npy", b"no array at all")
    with pytest.raises(FileInvalid, match="'images' is no array"):
        arrays.read(path)
