"""Tar shards: every image found where it is, whatever the tar's format; no damage taken for the end."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa.errors import FileInvalid
from ofa.folders import cache_folder
from ofa.train.sources import decode, shards, tars

from .conftest import Crops, Encode, Picture, WriteTar

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}


@pytest.fixture
def samples(pictures: Picture, encode: Encode) -> list[tuple[str, bytes]]:
    """Return the members of twelve samples of three classes."""
    pairs = [(f"s{at:02}.png", encode(picture), f"s{at:02}.cls") for at, picture in enumerate(pictures)]
    return [
        member for at, (image, raw, label) in enumerate(pairs) for member in ((label, b"%d" % (at % 3)), (image, raw))
    ]


@pytest.mark.parametrize("kind", FORMATS)
def test_random_access_gives_what_reading_in_order_does(
    kind: str, tmp_path: Path, samples: list[tuple[str, bytes]], write_tar: WriteTar, pictures: Picture, whole: Crops
) -> None:
    deep = "/".join(["folder" * 8] * 3)
    paths = [
        write_tar(tmp_path / "1.tar", samples[:10], FORMATS[kind]),
        write_tar(tmp_path / "2.tar", [], FORMATS[kind]),
        write_tar(tmp_path / "3.tar", [(f"{deep}/{name}", raw) for name, raw in samples[10:]], FORMATS[kind]),
    ]
    source = shards.read(paths, threads=2)
    np.testing.assert_array_equal(source.labels, np.arange(12) % 3)
    assert source.classes == ("0", "1", "2") and source.channels == 3 and len(source) == 12
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_array_equal(source.load(order, side_px=32, crops=whole), pictures[order])
    told = [(path, member) for path in paths for member in in_order(path) if member.name.endswith(".png")]
    assert [source.place(at) for at in range(12)] == [f"{path}:{member.name}" for path, member in told]


def in_order(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        return archive.getmembers()


def test_samples_may_hold_more_and_labels_may_be_json(tmp_path: Path, write_tar: WriteTar, encode: Encode) -> None:
    raw = encode(np.zeros((8, 8, 3), np.uint8))
    members = [
        ("__info__.json", b"{}"),
        (".hidden.jpg", b"x"),
        ("a/x.v1.JPG", raw),
        ("a/x.cls", b"0"),
        ("a/x.JPG", raw),
        ("a/x.txt", b"a caption"),
        ("b/x.json", json.dumps({"label": 1, "source": "here"}).encode()),
        ("b/x.jpeg", raw),
        ("c.json", json.dumps({"label": 0}).encode()),
        ("c.cls", b" 2\n"),
        ("c.webp", raw),
        ("README", b"x"),
    ]
    path = write_tar(tmp_path / "a.tar", members)
    with tarfile.open(path, "a") as archive:
        for name, kind in (("folder.jpg", tarfile.DIRTYPE), ("d.jpg", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a/x.JPG"
            archive.addfile(member)
    part = tars.scan(path)
    assert [part.names[at] for at in range(3)] == ["a/x.JPG", "b/x.jpeg", "c.webp"]
    assert part.labels.tolist() == [0, 1, 2] and len(part.names) == 3
    assert part.sizes.tolist() == [len(raw)] * 3
    whole = path.read_bytes()
    assert all(whole[offset : offset + len(raw)] == raw for offset in part.offsets)


WRONG: dict[str, tuple[list[tuple[str, bytes]], str]] = {
    "no label": ([("a.jpg", b"x"), ("b.jpg", b"x"), ("b.cls", b"0")], r"'a\.jpg' on\n.*no label: 'a\.cls' must"),
    "a label elsewhere": ([("a.jpg", b"x"), ("b.jpg", b"x"), ("a.cls", b"0")], r"'a\.jpg' on\n.*no label"),
    "JSON without it": ([("a.jpg", b"x"), ("a.json", b'{"name": 3}')], r"'a\.jpg' on\n.*no label"),
    "JSON that is a list": ([("a.jpg", b"x"), ("a.json", b"[1]")], r"'a\.jpg' on\n.*no label"),
    "JSON of text": ([("a.jpg", b"x"), ("a.json", b'{"label": "1"}')], r"'a\.json' on\n.*'label' is no integer"),
    "JSON of truth": ([("a.jpg", b"x"), ("a.json", b'{"label": true}')], "'label' is no integer"),
    "no JSON": ([("a.jpg", b"x"), ("a.json", b"{")], r"'a\.json' on\n.*not valid JSON"),
    "deep JSON": ([("a.jpg", b"x"), ("a.json", b"[" * 100_000)], r"'a\.json' on\n.*not valid JSON"),
    "large JSON": ([("a.jpg", b"x"), ("a.json", b" " * (2 << 20))], "at most 1,048,576 are read"),
    "a name as label": ([("a.jpg", b"x"), ("a.cls", b"cat")], r"'a\.cls' on\n.*not hold one integer"),
    "an empty label": ([("a.jpg", b"x"), ("a.cls", b"")], r"'a\.cls' on\n.*not hold one integer"),
    "a long label": ([("a.jpg", b"x"), ("a.cls", b"0" * 65)], r"'a\.cls' on\n.*65 bytes"),
    "a negative label": ([("a.jpg", b"x"), ("a.cls", b"-1")], r"'a\.cls' on\n.*label -1 is out of range"),
    "a large label": ([("a.jpg", b"x"), ("a.json", b'{"label": 65536}')], r"'a\.json' on\n.*65536 is out of range"),
    "no image": ([("a.tiff", b"x"), ("a.cls", b"0")], r"'a\.cls' on\n.*'a' has 0 images"),
    "two images": ([("a.jpg", b"x"), ("a.png", b"x"), ("a.cls", b"0")], r"'a\.png' on\n.*'a' has 2 images"),
    "two labels": ([("a.jpg", b"x"), ("a.cls", b"0"), ("a.cls", b"1")], "'a' has 2 labels"),
    "a gap": (
        [("a.jpg", b"x"), ("a.cls", b"0"), ("b.jpg", b"x"), ("b.cls", b"2")],
        r"label 1, .*\n.*'b\.jpg' of shard",
    ),
    "nothing": ([("README", b"x")], "holds a labelled image"),
}


@pytest.mark.parametrize("case", WRONG)
def test_samples_that_are_not_one_labelled_image_are_named(case: str, tmp_path: Path, write_tar: WriteTar) -> None:
    members, message = WRONG[case]
    path = write_tar(tmp_path / "shard.tar", members)
    with pytest.raises(FileInvalid, match=message) as caught:
        shards.read([path])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_tar_cut_anywhere_is_refused(
    kind: str, tmp_path: Path, samples: list[tuple[str, bytes]], write_tar: WriteTar
) -> None:
    members = [(f"{'long' * 30}/{name}" if kind != "ustar" else name, raw) for name, raw in samples[:6]]
    path = write_tar(tmp_path / "a.tar", members, FORMATS[kind])
    raw = path.read_bytes()
    last = in_order(path)[-1]
    end = last.offset_data + -(-last.size // 512) * 512
    for length in (*range(0, end, 100), *range(0, end, 512), end, end + 511):
        path.write_bytes(raw[:length])
        with pytest.raises(FileInvalid, match=r"shard '.*a\.tar' cannot be used"):
            tars.scan(path)
    path.write_bytes(raw[: end + 512])
    assert len(tars.scan(path).labels) == 3


def test_a_damaged_header_is_refused_wherever_it_is(
    tmp_path: Path, samples: list[tuple[str, bytes]], write_tar: WriteTar
) -> None:
    path = write_tar(tmp_path / "a.tar", samples[:6])
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    for at, member in enumerate(in_order(path)):
        for place in (0, 100, 124, 130, 148, 156, 257, *rng.integers(0, 500, 5)):
            damaged = bytearray(raw)
            damaged[member.offset + int(place)] ^= 0x15
            path.write_bytes(damaged)
            with pytest.raises(FileInvalid, match="cannot be used") as caught:
                tars.scan(path)
            # Members of one sample are read together: what is named lies at most one before.
            assert at < 2 or samples[at - 2][0][:3] in str(caught.value) or samples[at - 1][0] in str(caught.value)


def test_headers_that_lead_backwards_end(tmp_path: Path, write_tar: WriteTar) -> None:
    path = write_tar(tmp_path / "a.tar", [("a.txt", b"x"), ("b.txt", b"x")])
    raw = bytearray(path.read_bytes())
    raw[1024 + 124 : 1024 + 136] = (2**96 - 1024).to_bytes(12, "big")
    raw[1024 + 156] = ord("Z")
    raw[1024 + 148 : 1024 + 156] = b" " * 8
    raw[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(raw[1024 : 1024 + 512])
    path.write_bytes(raw)
    with pytest.raises(FileInvalid, match="impossible size"):
        tars.scan(path)


def test_joined_compressed_and_absent_tars_are_refused(
    tmp_path: Path, samples: list[tuple[str, bytes]], write_tar: WriteTar
) -> None:
    path = write_tar(tmp_path / "a.tar", samples)
    raw = path.read_bytes()
    for content, message in (
        (raw + raw, "two tars were joined"),
        (gzip.compress(raw), "cannot be used\n"),
        (b"", "empty"),
    ):
        path.write_bytes(content)
        with pytest.raises(FileInvalid, match=message):
            shards.read([path])
    with pytest.raises(FileInvalid, match=r"none\.tar.*\n.*No such file"):
        shards.read([tmp_path / "none.tar"])


def test_unreadable_images_are_named_or_skipped(
    tmp_path: Path, samples: list[tuple[str, bytes]], write_tar: WriteTar, pictures: Picture, whole: Crops
) -> None:
    members = [(name, b"damaged" if name in ("s03.png", "s06.png") else raw) for name, raw in samples]
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(FileInvalid, match=r"a\.tar:s03\.png' cannot be read"):
        shards.read([path]).load(np.arange(12), side_px=32, crops=whole)
    source = shards.read([path], problems="skip")
    images = source.load(np.arange(12), side_px=32, crops=whole)
    np.testing.assert_array_equal(images, pictures[[0, 1, 2, 9, 4, 5, 9, 7, 8, 9, 10, 11]])
    assert source.skipped == {f"{path}:s03.png": 1, f"{path}:s06.png": 2}


def test_a_shard_that_changed_since_is_noticed(
    tmp_path: Path, samples: list[tuple[str, bytes]], write_tar: WriteTar, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "a.tar", samples)
    source = shards.read([path])
    monkeypatch.setattr(decode, "MOST_BYTES", 100)
    with pytest.raises(FileInvalid, match="at most 100 are read"):
        source.encoded(0)
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FileInvalid, match=r"s11\.png' cannot be read\n.*has changed"):
        source.encoded(11)
    path.unlink()
    with pytest.raises(FileInvalid, match=r"s00\.png' cannot be read\n.*No such file"):
        source.encoded(0)


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Return the list that every tar scanned from now on is added to; the cache is empty."""
    monkeypatch.setenv("OFA_CACHE", str(tmp_path / "cache"))
    seen: list[Path] = []
    scan = tars.scan

    def counting(path: Path) -> tars.Part:
        seen.append(path)
        return scan(path)

    monkeypatch.setattr(tars, "scan", counting)
    return seen


def facts(source: shards.Shards) -> tuple[Any, ...]:
    columns = (source.starts, source.offsets, source.sizes, source.labels, source.names.ends)
    return source.classes, source.fingerprint, source.names.text, *(column.tolist() for column in columns)


def test_an_index_is_made_once_until_a_shard_changes(
    tmp_path: Path, samples: list[tuple[str, bytes]], write_tar: WriteTar, scans: list[Path]
) -> None:
    paths = [write_tar(tmp_path / "1.tar", samples[:12]), write_tar(tmp_path / "2.tar", samples[12:])]
    first = shards.read(paths)
    assert sorted(scans) == paths
    assert facts(shards.read(paths)) == facts(first) and len(scans) == 2
    size = paths[1].stat().st_size
    write_tar(paths[1], [(name, b"0" if len(raw) == 1 else raw) for name, raw in samples[12:]])
    assert paths[1].stat().st_size == size
    os.utime(paths[1], ns=(1, 1))
    again = shards.read(paths)
    assert (
        len(scans) == 4
        and again.labels.tolist() == [0, 1, 2, 0, 1, 2, *[0] * 6]
        and again.fingerprint != first.fingerprint
    )


def test_a_damaged_index_is_made_again(
    tmp_path: Path, samples: list[tuple[str, bytes]], write_tar: WriteTar, scans: list[Path]
) -> None:
    path = write_tar(tmp_path / "1.tar", samples)
    first = facts(shards.read([path]))
    (kept,) = (cache_folder() / "shards").iterdir()
    raw = kept.read_bytes()
    with np.load(io.BytesIO(raw)) as stored:
        columns = dict(stored)
    wrong: list[bytes] = [b"", b"x", raw[: len(raw) // 2], raw[:200] + b"y" + raw[201:]]
    for name, change in (
        ("sizes", columns["sizes"] + 10**9),
        ("sizes", np.full(12, 2**63 - 1)),
        ("offsets", columns["offsets"] - 10**6),
        ("labels", columns["labels"] - 1),
        ("labels", columns["labels"][1:]),
        ("labels", columns["labels"].astype(float)),
        ("counts", columns["counts"] + 1),
        ("counts", np.array([6, 6])),
        ("ends", columns["ends"][::-1].copy()),
        ("ends", columns["ends"] + 1),
        ("text", columns["text"].astype(np.int64)),
    ):
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **(columns | {name: change}))
        wrong.append(buffer.getvalue())
    for count, content in enumerate(wrong, 2):
        kept.write_bytes(content)
        assert facts(shards.read([path])) == first and len(scans) == count
        assert kept.read_bytes() == raw


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, samples: list[tuple[str, bytes]], write_tar: WriteTar, scans: list[Path]
) -> None:
    (tmp_path / "cache").write_bytes(b"a file where a folder should be")
    path = write_tar(tmp_path / "1.tar", samples)
    assert len(shards.read([path])) == len(shards.read([path])) == 12 and len(scans) == 2


def test_an_epoch_reads_all_of_a_few_shards_at_a_time(tmp_path: Path, write_tar: WriteTar) -> None:
    members = [(f"{at}.{kind}", b"0") for at in range(10) for kind in ("cls", "jpg")]
    source = shards.read([write_tar(tmp_path / f"{at:02}.tar", members) for at in range(20)])
    order = source.order((3, 1))
    np.testing.assert_array_equal(np.sort(order), np.arange(200))
    np.testing.assert_array_equal(order, source.order([3, 1]))
    assert not np.array_equal(order, source.order((3, 2)))
    windows = [order[at : at + 10 * shards.WINDOW_SHARDS] // 10 for at in range(0, 200, 10 * shards.WINDOW_SHARDS)]
    assert [len(set(window.tolist())) for window in windows] == [8, 8, 4]
    # Mixed within the window: neighbours are seldom of one shard; and the shards are not in their own order.
    assert all(np.mean(window[1:] == window[:-1]) < 0.35 for window in windows)
    assert sorted(set(windows[0].tolist())) != list(range(8))
