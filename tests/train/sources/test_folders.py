"""Class folders: what counts as an image, in which order, and what is said where a folder is not as it should be."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ofa.errors import FileInvalid
from ofa.train.sources import decode, folders
from ofa.train.sources.names import joined, packed

from .conftest import Crops, Encode, Picture

ENDINGS = ("jpg", "JPEG", "png", "bmp", "webp", "PNG")


@pytest.fixture
def root(tmp_path: Path, pictures: Picture, encode: Encode) -> Path:
    """Return folders b and a of six images each; names in no order, kinds told by content."""
    for at, picture in enumerate(pictures):
        folder = tmp_path / "images" / "ba"[at // 6]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{'zaymbx'[at % 6]}.{ENDINGS[at % 6]}").write_bytes(encode(picture))
    return tmp_path / "images"


def test_labels_follow_sorted_classes_and_images_sorted_names(root: Path, pictures: Picture, whole: Crops) -> None:
    source = folders.read(root)
    assert source.classes == ("a", "b") and source.channels == 3 and len(source) == 12 and source.ignored == 0
    np.testing.assert_array_equal(source.labels, [0] * 6 + [1] * 6)
    within = np.argsort(list("zaymbx"))
    rows = np.concatenate([6 + within, within])
    np.testing.assert_array_equal(source.load(np.arange(12), side_px=32, crops=whole), pictures[rows])
    np.testing.assert_array_equal(source.load([9, 2, 9], side_px=32, crops=whole[:3]), pictures[rows[[9, 2, 9]]])
    assert folders.read(root, channels=1).load([0], side_px=16, crops=None).shape == (1, 16, 16, 1)


def test_other_files_are_counted_hidden_ones_are_not(root: Path) -> None:
    before = folders.read(root)
    for name in ("README", "a/notes.txt", "b/anim.gif"):
        (root / name).write_bytes(b"x")
    for name in (".cache/x.jpg", "a/.x.jpg", "a/more/deeper.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    os.mkfifo(root / "a" / "pipe.jpg")
    after = folders.read(root)
    assert after.ignored == 5 and after.classes == before.classes and len(after) == 12
    assert after.fingerprint == before.fingerprint


def test_links_lead_anywhere_and_broken_ones_are_not_lost(root: Path, tmp_path: Path) -> None:
    (root / "a").rename(tmp_path / "elsewhere")
    (root / "a").symlink_to(tmp_path / "elsewhere")
    (root / "b" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "z.jpg")
    (root / "b" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    source = folders.read(root)
    assert len(source) == 14 and source.classes == ("a", "b")
    linked = next(at for at in range(14) if source.place(at).endswith("link.jpg"))
    assert source.encoded(linked) == (tmp_path / "elsewhere" / "z.jpg").read_bytes()
    with pytest.raises(FileInvalid, match=r"lost\.jpg' cannot be read"):
        source.load([linked, linked + 1], side_px=8, crops=None)
    skipping = folders.read(root, problems="skip")
    skipping.load([linked + 1], side_px=8, crops=None)
    assert skipping.skipped == {str(root / "b" / "lost.jpg"): 1}


def test_the_fingerprint_is_that_of_paths_and_sizes(root: Path) -> None:
    seen = [folders.read(root).fingerprint]
    (root / "a" / "z.jpg").rename(root / "a" / "zz.jpg")
    seen.append(folders.read(root).fingerprint)
    (root / "a" / "zz.jpg").rename(root / "b" / "zz.jpg")
    seen.append(folders.read(root).fingerprint)
    with (root / "b" / "zz.jpg").open("ab") as stream:
        stream.write(b"x")
    seen.append(folders.read(root).fingerprint)
    (root / "b").rename(root / "c")
    seen.append(folders.read(root).fingerprint)
    assert len(set(seen)) == 5 and folders.read(root).fingerprint == seen[-1]


def test_the_order_is_a_permutation_by_the_seed(root: Path) -> None:
    source = folders.read(root)
    for seed in ((0, 1), (0, 2)):
        np.testing.assert_array_equal(np.sort(source.order(seed)), np.arange(12))
        np.testing.assert_array_equal(source.order(seed), folders.read(root).order(seed))
    assert not np.array_equal(source.order((0, 1)), source.order((0, 2)))


def test_what_is_no_set_of_class_folders_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "none").mkdir()
    (root / "none" / "notes.txt").write_bytes(b"x")
    with pytest.raises(FileInvalid, match="class 'none' has no image"):
        folders.read(root)
    with pytest.raises(FileInvalid, match="holds no class folders"):
        folders.read(root / "a")
    with pytest.raises(FileInvalid, match="cannot be listed"):
        folders.read(root / "a" / "z.jpg")
    bad = os.fsencode(root) + b"/\xff"
    os.mkdir(bad)
    with pytest.raises(FileInvalid, match=r"it is '\\xff'"):
        folders.read(root)


def test_a_class_that_cannot_be_listed_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.scandir

    def refusing(path: str | bytes | Path) -> object:
        if os.fsencode(path).endswith(b"/b"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(FileInvalid, match=r"/b' cannot be listed\n.*Permission denied"):
        folders.read(root)


def test_a_file_too_large_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MOST_BYTES", 100)
    with pytest.raises(FileInvalid, match=r"a/a\.JPEG' is too large"):
        folders.read(root).load([0], side_px=8, crops=None)


def test_a_name_that_is_no_text_is_read_and_told(root: Path, encode: Encode, pictures: Picture, whole: Crops) -> None:
    with open(os.fsencode(root) + b"/a/\xff.png", "wb") as stream:
        stream.write(encode(pictures[0]))
    with open(os.fsencode(root) + b"/a/\xfe.png", "wb") as stream:
        stream.write(b"damaged")
    source = folders.read(root, problems="skip")
    np.testing.assert_array_equal(source.load([7], side_px=32, crops=whole[:1])[0], pictures[0])
    source.load([6], side_px=32, crops=None)
    assert source.skipped == {f"{root}/a/\\xfe.png": 1}


def test_names_are_kept_whole_however_they_are_joined() -> None:
    parts = [[b"a", b"bc"], [], [b""], ["dé".encode(), b"\xff"]]
    names = joined([packed(part) for part in parts])
    assert [names[at] for at in range(len(names))] == ["a", "bc", "", "dé", "\udcff"]
    assert len(joined([])) == 0
