"""One table out of a folder of several: what sets those apart that all fit, and what is no table any more."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ofa.errors import FileInvalid, UsageInvalid
from ofa.lut import shelf
from ofa.lut.format import Lut
from ofa.lut.write import write


@pytest.fixture
def two(table: Lut, tmp_path: Path) -> dict[str, Path]:
    """Return the folders of two tables of one environment, of two devices."""
    headers = [table.header.model_copy(update={"device": name}) for name in ("one", "two")]
    for header in headers:
        write(dataclasses.replace(table, header=header), tmp_path / header.place)
    return {header.device: tmp_path / header.place for header in headers}


def test_tables_of_two_devices_are_told_apart_by_their_devices(two: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageInvalid, match="2 tables under") as caught:
        shelf.one(tmp_path)
    assert caught.value.why.endswith("differ in device")
    assert shelf.place(tmp_path, device="two") == two["two"]


def test_a_table_that_lost_its_header_is_named_as_one(two: dict[str, Path], tmp_path: Path) -> None:
    (two["one"] / "lut.json").unlink()
    with pytest.raises(FileInvalid, match=r"lacks 'lut\.json'"):
        shelf.one(tmp_path)
