"""Opening a data set: every layout is recognised, and all give the same images."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from ofa.errors import FileInvalid, PackageMissing, UsageInvalid
from ofa.train.data import Images
from ofa.train.sources import Source, Split, arrays, folders, open_source, same_classes, shards

from .conftest import Encode, Picture, WriteTar

LABELS = np.arange(12) % 3


def as_arrays(path: Path, pictures: Picture) -> None:
    np.savez(path, images=pictures, labels=LABELS)


def as_folders(root: Path, pictures: Picture, encode: Encode) -> None:
    for at, picture in enumerate(pictures):
        path = root / str(at % 3) / f"{at:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(picture))


def as_shards(pattern: str, root: Path, pictures: Picture, encode: Encode, write_tar: WriteTar) -> None:
    for shard in range(2):
        rows = range(6 * shard, 6 * shard + 6)
        members = [m for at in rows for m in ((f"{at}.png", encode(pictures[at])), (f"{at}.cls", b"%d" % (at % 3)))]
        write_tar(root / pattern.format(shard), members)


def as_sets(source: Source) -> set[tuple[int, bytes]]:
    """Return label and pixels of every image, whatever their order."""
    crops = np.tile(np.array([0, 0, 1, 1], dtype=np.float32), (len(source), 1))
    images = source.load(np.arange(len(source)), side_px=32, crops=crops)
    return {(int(label), image.tobytes()) for label, image in zip(source.labels, images, strict=True)}


def test_every_layout_gives_the_same_images(
    tmp_path: Path, pictures: Picture, encode: Encode, write_tar: WriteTar
) -> None:
    expected = {(at % 3, picture.tobytes()) for at, picture in enumerate(pictures)}
    splits: tuple[tuple[Split, str], ...] = (("train", "train"), ("test", "val"), ("test", "test"))
    for split, name in splits:
        root = tmp_path / name
        (root / "npz").mkdir(parents=True)
        as_arrays(root / "npz" / f"{name}.npz", pictures)
        as_folders(root / "folders" / name, pictures, encode)
        as_shards(name + "-{}.tar", root / "flat", pictures, encode, write_tar)
        as_shards(name + "/{}.tar", root / "deep", pictures, encode, write_tar)
        kinds = {"npz": arrays.Arrays, "folders": folders.Folder, "flat": shards.Shards, "deep": shards.Shards}
        for layout, kind in kinds.items():
            source = open_source(root / layout, split=split, threads=1)
            assert isinstance(source, kind) and source.classes == ("0", "1", "2") and source.channels == 3
            # A source goes to other processes where those load the batches.
            assert as_sets(pickle.loads(pickle.dumps(source))) == expected and source.skipped == {}
    single = open_source(tmp_path / "train" / "npz" / "train.npz", split="train")
    assert as_sets(single) == expected


def test_val_is_meant_where_there_is_test_as_well(tmp_path: Path, pictures: Picture, encode: Encode) -> None:
    as_folders(tmp_path / "test", pictures, encode)
    as_folders(tmp_path / "val", pictures[:6], encode)
    assert len(open_source(tmp_path, split="test")) == 6


def test_what_was_looked_for_is_told(tmp_path: Path, pictures: Picture) -> None:
    with pytest.raises(FileInvalid, match=r"no train images\n.*train\.npz, train\*\.tar, train/\*\.tar, train/<class>"):
        open_source(tmp_path, split="train")
    with pytest.raises(FileInvalid, match=r"no test images\n.*val\.npz.* val/<class>/<image>, test\.npz"):
        open_source(tmp_path, split="test")
    with pytest.raises(FileInvalid, match="no such file or folder"):
        open_source(tmp_path / "none", split="train")
    (tmp_path / "a.zip").write_bytes(b"x")
    with pytest.raises(FileInvalid, match=r"neither a folder nor an \.npz file"):
        open_source(tmp_path / "a.zip", split="train")
    as_arrays(tmp_path / "a.npz", pictures)
    with pytest.raises(UsageInvalid, match="training images only"):
        open_source(tmp_path / "a.npz", split="test")


def test_channels_are_those_asked_for(tmp_path: Path, pictures: Picture, encode: Encode, write_tar: WriteTar) -> None:
    as_folders(tmp_path / "a" / "train", pictures, encode)
    as_shards("train{}.tar", tmp_path / "b", pictures, encode, write_tar)
    for name in "ab":
        source = open_source(tmp_path / name, split="train", channels=1)
        assert source.channels == 1 and source.load([0], side_px=16, crops=None).shape == (1, 16, 16, 1)
    as_arrays(tmp_path / "a.npz", pictures)
    assert open_source(tmp_path / "a.npz", split="train", channels=3).channels == 3
    with pytest.raises(UsageInvalid, match="have 3 channels, not 1"):
        open_source(tmp_path / "a.npz", split="train", channels=1)


@pytest.mark.parametrize(
    ("lie", "given", "split", "said"),
    [
        ("*.png", ".", "train", r"12 lie directly in this one\n.*/train/<class>/<image>'"),
        (
            "*/*.png",
            ".",
            "train",
            r"holds folders of images \('0', '1', '2'\).*\n.*/train/0/<image>'\n.*fifth of each class into '.*/val'",
        ),
        ("other/*/*.png", "absent", "train", r"no such file or folder\n.*one of these: train.npz, train\*.tar, "),
        ("train/*/*.png", "train", "train", r"classes of one split.*\n.*name the folder above it: --data "),
        ("train/*/*.png", ".", "test", r"looked for val.*\n.*put them there as one of these.*--split holdout"),
    ],
)
def test_images_that_lie_otherwise_are_told_where_to_lie(
    lie: str, given: str, split: Split, said: str, tmp_path: Path, pictures: Picture, encode: Encode
) -> None:
    folder = (tmp_path / lie).parent
    for at, picture in enumerate(pictures):
        path = (folder.parent / str(at % 3) if folder.name == "*" else folder) / f"{at:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(picture))
    with pytest.raises(FileInvalid, match=said):
        open_source(tmp_path / given, split=split)


def test_classes_must_be_the_same_in_the_same_order(pictures: Picture) -> None:
    def source(names: str) -> Source:
        return arrays.of(pictures[: len(names)], np.arange(len(names)), list(names))

    same_classes(source("abc"), source("abc"))
    for train, test, message in (
        ("abc", "ab", r"3 classes .* 2 of test images\n.*'c' is only among the training images"),
        ("ab", "abc", "'c' is only among the test images"),
        ("abx", "aby", "'x' is only among the training images; 'y' is only among the test images"),
        ("abc", "acb", "in another order"),
    ):
        with pytest.raises(FileInvalid, match=message):
            same_classes(source(train), source(test))


def test_pillow_is_asked_for_by_its_extra(
    tmp_path: Path, pictures: Picture, encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_folders(tmp_path / "train", pictures, encode)
    source = open_source(tmp_path, split="train", problems="skip")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(PackageMissing, match=r"pip install .*\[train\]"):
        source.load([0], side_px=8, crops=None)


def test_real_images_are_the_same_from_every_layout(
    data_folder: Path, tmp_path: Path, encode: Encode, write_tar: WriteTar
) -> None:
    """CIFAR-10: planes G, R-G, B-G, each row as its difference to the one above."""
    with np.load(data_folder / "images" / "cifar10_mini_train.npz", allow_pickle=False) as stored:
        planes = np.cumsum(stored["delta"][:, :200], axis=2, dtype=np.uint8)
        labels, classes = stored["labels"][:200], stored["classes"]
    images = np.stack([planes[1] + planes[0], planes[0], planes[2] + planes[0]], axis=-1)
    np.savez(tmp_path / "train.npz", images=images, labels=labels, classes=classes)
    members = []
    for at, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "folders" / "train" / f"{label}" / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(image))
        members += [(f"{at}.png", encode(image)), (f"{at}.cls", b"%d" % label)]
    write_tar(tmp_path / "shards" / "train.tar", members)
    stored_images = open_source(tmp_path, split="train")
    assert len(stored_images.classes) == 10 and len(as_sets(stored_images)) == 200
    for layout in ("folders", "shards"):
        assert as_sets(open_source(tmp_path / layout, split="train")) == as_sets(stored_images)


def test_an_exported_model_says_what_is_cut_of_its_images(pictures: Picture, encode: Encode, tmp_path: Path) -> None:
    """Whoever shows it whole photographs where it was trained and tested on their middle gets other answers."""
    place = tmp_path / "train" / "one" / "a.png"
    place.parent.mkdir(parents=True)
    place.write_bytes(encode(pictures[0]))
    for cut in ("middle", "none"):
        found = Images.all_of(open_source(tmp_path, split="train"), (0.5,), (0.5,)).preprocessing()
        assert found["cut"] == cut
        np.savez(tmp_path / "train.npz", images=pictures, labels=np.zeros(len(pictures), dtype=np.int64))
