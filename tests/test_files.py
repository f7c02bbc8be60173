"""Files are read whole or refused, never more than allowed, never what waits for ever; folders come whole or not."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ofa.errors import FileInvalid
from ofa.files import npz_arrays, read_capped, read_json, whole_folder


def test_a_file_is_read_up_to_its_cap(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(b"x" * 100)
    assert read_capped(tmp_path / "plan", max_bytes=100, what="plan") == b"x" * 100
    with pytest.raises(FileInvalid, match="too large") as caught:
        read_capped(tmp_path / "plan", max_bytes=99, what="plan")
    assert "it has 100 bytes; at most 99 are read" in caught.value.why


def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path(os.devnull), tmp_path, tmp_path / "pipe"):
        with pytest.raises(FileInvalid, match="cannot be read") as caught:
            read_capped(path, max_bytes=1, what="plan")
        assert "not a plain file" in caught.value.why


@pytest.mark.parametrize("asked", ["stat", "fstat"])
def test_a_file_that_grows_after_it_was_asked_for_its_size_stays_within_its_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    path, ask = tmp_path / "log", getattr(os, asked)
    path.write_bytes(b"x" * 10)

    def grow_after(*place: object, **how: object) -> os.stat_result:
        found: os.stat_result = ask(*place, **how)
        with path.open("ab") as stream:
            stream.write(b"x" * 1000)
        return found

    monkeypatch.setattr(os, asked, grow_after)
    with contextlib.suppress(FileInvalid):
        assert read_capped(path, max_bytes=10, what="log") == b"x" * 10


@pytest.mark.parametrize(
    "text", ["NaN", "[-Infinity]", "1e999", "[-1e999]", "1" + 400 * "0", '"\\ud800"', '{"\\udfff": 1}', "[" * 9999, "{"]
)
def test_json_that_could_not_be_written_again_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FileInvalid, match="not valid JSON") as caught:
        read_json(tmp_path / "a.json", max_bytes=10_000, what="file")
    assert caught.value.why.isprintable()


def test_json_comes_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "µ": "\U0001f600"}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json", max_bytes=1000, what="file") == value


def test_a_folder_comes_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "made" / "folder"
    with whole_folder(place) as fresh:
        (fresh / "a").write_text("1")
        assert not place.exists()
    assert (place / "a").read_text() == "1"
    with pytest.raises(RuntimeError), whole_folder(place, replace=True) as fresh:
        (fresh / "a").write_text("2")
        raise RuntimeError
    with pytest.raises(OSError), whole_folder(place) as fresh:
        (fresh / "b").write_text("2")
    assert [path.name for path in place.iterdir()] == ["a"] and (place / "a").read_text() == "1"
    with whole_folder(place, replace=True) as fresh:
        (fresh / "b").write_text("2")
    assert [path.name for path in place.iterdir()] == ["b"]
    assert [path.name for path in place.parent.iterdir()] == ["folder"], "nothing is left beside"


def test_arrays_that_unpack_to_too_much_are_refused_and_objects_never_unpickled(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", values=np.zeros(1000))
    data = (tmp_path / "zeros.npz").read_bytes()
    assert len(data) < 1000 and npz_arrays(data, max_bytes=9000)["values"].shape == (1000,)
    with pytest.raises(ValueError, match="unpacks to more than 8,000 bytes"):
        npz_arrays(data, max_bytes=8000)
    np.savez(tmp_path / "object.npz", values=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        npz_arrays((tmp_path / "object.npz").read_bytes(), max_bytes=9000)
