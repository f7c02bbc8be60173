"""Archives that are damaged, or made to do harm, are refused before anything outside a new folder is written."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.archive import tarball
from harness.archive.listing import LISTING, LOCK, MOST_BYTES, Listing
from harness.archive.replay import replay
from ofa import files
from ofa.errors import FileInvalid

Run = Callable[..., tuple[int, str, str]]
Entries = list[tuple[tarfile.TarInfo, bytes]]

CONTENTS = {"front.json": b"{}\n", LOCK: b"numpy==2.0\n", "request.json": b'{"schema": "search-request/1"}\n'}


def content(contents: dict[str, bytes] = CONTENTS) -> dict[str, Any]:
    """Return a listing of some files, as JSON."""
    return {
        "schema": "archive/1",
        "made_with": {"ofa_lab": "0.1", "python": "3.11.7", "git": None, "changed": None},
        "parts": [{"kind": "search", "folder": "", "seed": 0, "makes": ["front.json"]}],
        "artefacts_left_out": 0,
        "files": [
            {"path": name, "sha256": files.sha256_bytes(data), "size_bytes": len(data)}
            for name, data in sorted(contents.items())
        ],
    }


def entry(name: str, data: bytes, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return a file of a tape; ``more`` sets what its head says."""
    found = tarfile.TarInfo(name)
    found.size = len(data)
    for key, value in more.items():
        setattr(found, key, value)
    return found, data


def entries(listing: dict[str, Any] | None = None, contents: dict[str, bytes] = CONTENTS) -> Entries:
    """Return the files of a tape as they should be."""
    first = files.readable_json(content(contents) if listing is None else listing).encode()
    return [entry(LISTING, first), *(entry(name, data) for name, data in sorted(contents.items()))]


def tape(parts: Entries, end: bytes = bytes(1024)) -> bytes:
    """Return the bytes of a tape, whatever its heads say."""
    blocks = [head.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512) for head, data in parts]
    return b"".join(blocks) + end


def written(path: Path, data: bytes) -> Path:
    """Write a tape as an archive."""
    path.write_bytes(gzip.compress(data, mtime=0))
    return path


def refused(archive: Path, tmp_path: Path) -> str:
    """Return why an archive is refused, once it is, and see that nothing was written beside its own folder."""
    into = tmp_path / "deep" / "into"
    into.mkdir(parents=True)
    before = {path for path in tmp_path.rglob("*") if into not in path.parents}
    with pytest.raises(FileInvalid) as caught:
        tarball.unpack(archive, into)
    assert {path for path in tmp_path.rglob("*") if into not in path.parents} == before
    assert all(path.relative_to(into).as_posix() in CONTENTS for path in into.rglob("*") if path.is_file())
    assert caught.value.exit_code == 3 and caught.value.hints
    return caught.value.why


def test_what_is_packed_is_unpacked(tmp_path: Path) -> None:
    listing = Listing.model_validate(content())
    (tmp_path / "a").write_bytes(tarball.packed(listing, CONTENTS))
    assert tarball.unpack(tmp_path / "a", tmp_path / "into") == listing
    assert {name: (tmp_path / "into" / name).read_bytes() for name in CONTENTS} == CONTENTS
    with tarfile.open(tmp_path / "a") as known:
        assert known.getnames() == [LISTING, *sorted(CONTENTS)] and {part.mtime for part in known} == {0}
    assert tarball.unpack(written(tmp_path / "b", tape(entries())), tmp_path / "other") == listing


def test_a_tape_of_any_length_is_read(tmp_path: Path) -> None:
    """It is filled up to whole records of twenty blocks."""
    for blocks in range(22):
        contents = CONTENTS | {"request.json": b"x" * (512 * blocks + blocks % 3)}
        path = tmp_path / f"a-{blocks}"
        path.write_bytes(tarball.packed(Listing.model_validate(content(contents)), contents))
        tarball.unpack(path, tmp_path / f"into-{blocks}")
        assert (tmp_path / f"into-{blocks}" / "request.json").read_bytes() == contents["request.json"]


@pytest.mark.parametrize(
    "name", ["../out.json", "/tmp/out.json", "a/../../out.json", "./front.json", ".hidden", "a//b", "a\\b", "a" * 120]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    contents = CONTENTS | {name: b"{}"}
    assert "path: string should match" in refused(written(tmp_path / "a", _named(contents)), tmp_path).lower()
    # Also where the listing does not tell of it.
    listed = entries()
    listed.insert(1, entry(name[:99], b"{}"))
    (tmp_path / "more").mkdir()
    assert "stands where" in refused(written(tmp_path / "more" / "a", tape(listed)), tmp_path / "more")


def _named(contents: dict[str, bytes]) -> bytes:
    """Return a tape of files whose names no tape of ours would have."""
    first = files.readable_json(content(contents)).encode()
    parts = [entry(LISTING, first), *(entry(name[:99], data) for name, data in sorted(contents.items()))]
    return tape(parts)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_folders_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    parts = entries()
    parts[1] = entry("front.json", b"", type=kind, linkname="/etc/hostname")
    assert "no plain file" in refused(written(tmp_path / "a", tape(parts)), tmp_path)


def test_heads_for_other_libraries_are_refused(tmp_path: Path) -> None:
    """A pax head could name another file than the one that follows."""
    pax = tarfile.TarInfo.create_pax_global_header({"path": "../out.json"})
    data = tape(entries()[:1], b"") + pax + tape(entries()[1:])
    assert "no plain file" in refused(written(tmp_path / "a", data), tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda parts: parts[:2] + parts[3:], f"where '{LOCK}' should"),
        (lambda parts: parts[:-1], "where 'request.json' should begin stands no file"),
        (lambda parts: [*parts, entry("more.json", b"{}")], "more follows"),
        (lambda parts: parts[1:], f"where '{LISTING}' should"),
        (lambda parts: [parts[0], parts[2], parts[1], parts[3]], "where 'front.json' should"),
        (lambda parts: [parts[0], entry("front.json", b"[]\n"), *parts[2:]], "its SHA-256 differs"),
        (lambda parts: [parts[0], entry("front.json", b"{ }\n"), *parts[2:]], "has 4 bytes"),
        (lambda parts: [parts[0], entry("front.json", b"{}\n", size=9 << 20), *parts[2:]], "has 9,437,184 bytes"),
        (lambda parts: [entry(LISTING, b"{}", size=1 << 30)], "claims 1,073,741,824 bytes"),
        (lambda parts: [entry(LISTING, b"{}", size=17 << 20)], "has 17,825,792 bytes"),
        (lambda parts: [entry(LISTING, b"{nonsense"), *parts[1:]], "not valid JSON"),
        (lambda parts: [entry(LISTING, b"[" * 100_000), *parts[1:]], "not valid JSON"),
    ],
)
def test_what_is_not_as_listed_is_refused(tmp_path: Path, change: Callable[[Entries], Entries], said: str) -> None:
    assert said in refused(written(tmp_path / "a", tape(change(entries()))), tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "archive/2"}, "schema"),
        ({"files": []}, "files"),
        ({"parts": []}, "parts"),
        ({"more": 1}, "more"),
        ({"parts": [{"kind": "search", "folder": "", "seed": 0, "makes": ["absent.json"]}]}, "makes front.json"),
        ({"parts": [{"kind": "search", "folder": "found", "seed": 0, "makes": ["found/front.json"]}]}, "does not hold"),
        ({"parts": [{"kind": "search", "folder": "../..", "seed": 0, "makes": ["front.json"]}]}, "folder"),
        ({"parts": [{"kind": "choice", "folder": "", "seed": 0, "makes": ["front.json"]}]}, "names no folder"),
        ({"parts": [{"kind": "table", "folder": "", "seed": 0, "makes": ["front.json"]}]}, "max_foreign_cores"),
        ({"files": content()["files"][::-1]}, "in order"),
        ({"files": [content()["files"][0]] * 2}, "in order"),
        ({"files": [one | {"size_bytes": MOST_BYTES} for one in content()["files"]]}, "more than"),
        ({"files": [one | {"path": "../" + one["path"]} for one in content()["files"]]}, "path"),
    ],
)
def test_a_listing_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    assert said in refused(written(tmp_path / "a", tape(entries(content() | change))), tmp_path)


@pytest.mark.slow
def test_a_bomb_is_refused_without_being_unpacked(tmp_path: Path) -> None:
    """A quarter of a gigabyte of nothing stands behind what is listed: no more of it is unpacked than shows that."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as stream:
        stream.write(tape(entries(), b""))
        for _ in range(64):
            stream.write(bytes(4 << 20))
    (tmp_path / "a").write_bytes(buffer.getvalue())
    assert (tmp_path / "a").stat().st_size < 2 << 20
    tracemalloc.start()
    assert "more follows" in refused(tmp_path / "a", tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.slow
def test_a_cut_or_changed_archive_is_refused_everywhere(tmp_path: Path) -> None:
    whole = gzip.compress(tape(entries()), mtime=0)
    for at in range(0, len(whole), 7):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            if 4 <= at < 10 and len(data) == len(whole):
                continue  # the time, the level and the system of a gzip head say nothing
            (tmp_path / "a").write_bytes(data)
            with pytest.raises(FileInvalid):
                tarball.unpack(tmp_path / "a", tmp_path / f"into-{at}")


@pytest.mark.slow
def test_the_verb_says_what_why_and_what_to_try(run: Run, tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        code, out, err = run("replay", str(path), "--json")
        assert (code, out) == (3, "") and "archive" in err and "try:" in err
    (tmp_path / "a").write_bytes(b"PK\x03\x04 another format")
    code, out, err = run("replay", str(tmp_path / "a"), "--out", str(tmp_path / "made"))
    assert (code, out) == (3, "") and "no gzip file" in err and "try:" in err and "Traceback" not in err
    # What is listed is there, and is no search: the archive is whole, its content is not.
    path = written(tmp_path / "b", tape(entries()))
    with pytest.raises(FileInvalid, match="request"):
        replay(path)
    assert json.loads(CONTENTS["request.json"]) and not (tmp_path / "made").exists()
