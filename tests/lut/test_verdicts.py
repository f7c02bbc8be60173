"""What tables were found to be is remembered by content: never of other bytes, elsewhere, or under other rules."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from ofa.errors import FileInvalid
from ofa.folders import cache_folder
from ofa.lut import check, verdicts
from ofa.lut.format import Lut
from ofa.lut.write import write

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / "luts" / "x86-xeon-amx-2core-vm" / "onnxruntime-fp32-cpu-1t"


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Begin with nothing remembered."""
    monkeypatch.setenv("OFA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def saved(table: Lut, tmp_path: Path) -> Path:
    """Return the folder of a table."""
    write(table, tmp_path / "one")
    return tmp_path / "one"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the list of folders whose tables were read, which grows."""
    seen: list[Path] = []
    judged = check.judged

    def look(folder: Path) -> dict[str, Any]:
        seen.append(folder)
        return judged(folder)

    monkeypatch.setattr(check, "judged", look)
    return seen


def test_a_table_that_did_not_change_is_read_once(saved: Path, reads: list[Path]) -> None:
    first = check.check(saved)
    assert first["valid"] and first == check.check(saved) == check.check(saved)
    assert reads == [saved]


def test_what_is_remembered_is_what_is_found() -> None:
    """Of a table of ours, whose facts hold numbers, lists and words."""
    found = check.check(OURS)
    assert found == check.check(OURS)
    facts = check.judged(OURS)
    [(_, again)] = verdicts.each([OURS], lambda _: pytest.fail("it was read again"))
    assert again == facts


def spoil_header(folder: Path) -> None:
    """Name another number of units."""
    path = folder / "lut.json"
    path.write_text(path.read_text().replace('"units": 2', '"units": 3'))


def spoil_rows(folder: Path) -> None:
    """Change one digit of a row, and neither size nor time of the file."""
    path = folder / "ops.csv"
    before = path.stat()
    raw = path.read_bytes()
    path.write_bytes(raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def lose_networks(folder: Path) -> None:
    """Delete a file."""
    (folder / "networks.csv").unlink()


def add_record(folder: Path) -> None:
    """Lay records of rechecks beside the table that are none."""
    (folder / "validity.jsonl").write_text("{}\n")


@pytest.mark.parametrize("change", [spoil_header, spoil_rows, lose_networks, add_record])
def test_a_change_is_seen(change: Callable[[Path], None], saved: Path, reads: list[Path]) -> None:
    check.check(saved)
    change(saved)
    found = check.check(saved)
    assert reads == [saved, saved]
    assert found["valid"] == (change is spoil_header)
    check.check(saved)
    assert len(reads) == (2 if found["valid"] else 3)


def test_another_place_is_another_verdict(table: Lut, saved: Path, tmp_path: Path) -> None:
    """Under `luts` a table stands where its header says; the same bytes elsewhere do not vouch for it."""
    assert check.check(saved)["valid"]
    shutil.copytree(saved, tmp_path / "luts" / "other-device" / "other-way")
    assert not check.check(tmp_path / "luts")["valid"]


def test_other_rules_judge_anew(saved: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    check.check(saved)
    monkeypatch.setattr(verdicts, "_rules", lambda: "other rules")
    check.check(saved)
    assert reads == [saved, saved]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\x00" * 100, b'{"a": NaN}'])
def test_a_damaged_cache_costs_time_alone(content: bytes, saved: Path, reads: list[Path]) -> None:
    found = check.check(saved)
    [path] = cache_folder().iterdir()
    path.write_bytes(content)
    assert check.check(saved) == found and len(reads) == 2
    assert check.check(saved) == found and len(reads) == 2


def test_a_cache_that_cannot_be_written_is_no_fault(
    saved: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("OFA_CACHE", str(tmp_path / "a-file"))
    assert check.check(saved)["valid"] and check.check(saved)["valid"] and len(reads) == 2


def test_what_was_read_before_an_interrupt_is_kept(table: Lut, saved: Path, tmp_path: Path, reads: list[Path]) -> None:
    write(table, tmp_path / "two")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check.check(tmp_path, lambda tables: nullcontext(interrupt))
    assert reads == [saved]
    check.check(tmp_path)
    assert reads == [saved, tmp_path / "two"]


def test_no_more_are_kept_than_so_many(
    table: Lut, saved: Path, tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(table, tmp_path / "two")
    monkeypatch.setattr(verdicts, "MOST_KEPT", 1)
    check.check(tmp_path)
    check.check(tmp_path / "two")
    assert len(reads) == 2
    check.check(saved)
    assert len(reads) == 3


def test_an_invalid_table_is_told_each_time(saved: Path) -> None:
    lose_networks(saved)
    for _ in range(2):
        [(folder, fault)] = verdicts.each([saved], check.judged)
        assert folder == saved and isinstance(fault, FileInvalid)
