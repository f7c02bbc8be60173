"""Records of rechecks: beside the table and never in it, of this very table only, checked, and told by every verb."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ofa.errors import FileInvalid
from ofa.files import readable_json
from ofa.lut import check, index, shelf, validity
from ofa.lut.diff import diff
from ofa.lut.format import Lut, read
from ofa.lut.validity import VALIDITY, Record
from ofa.lut.write import certify, write

from .conftest import Refused, snapshot

Run = Callable[..., tuple[int, str, str]]


def record(lut: Lut, **facts: Any) -> Record:
    content: dict[str, Any] = {
        "id": "r1", "table": validity.identity(lut), "verdict": "still true", "date": "2026-03-01",
        "environment_id": "0123456789ab", "environment": ({"path": "kernel", "a": "6.1", "b": "6.6"},),
        "simulated": False, "seed": 0, "rounds": 3, "ops": 30, "networks": 8, "tolerance_pct": 5.0,
        "level_pct": {"hot": 0.3}, "networks_pct": 0.1, "error_pct": 2.0, "held_out_pct": 1.9,
    }  # fmt: skip
    return Record(**(content | facts))


STALE: dict[str, Any] = {"id": "r2", "verdict": "stale", "date": "2026-04-01", "found": ("head: +9.0 % hot",)}


def test_a_record_stands_beside_the_table_and_changes_none_of_it(saved: Path, table: Lut) -> None:
    before = snapshot(saved)
    for number in range(2):
        certify(saved, record(table))
        assert len(validity.records(saved)) == 1, f"once, however often it is written ({number})"
    certify(saved, record(table, **STALE))
    assert [one.id for one in validity.records(saved)] == ["r1", "r2"]
    after = snapshot(saved)
    assert {name: after[name] for name in before} == before and set(after) - set(before) == {VALIDITY}
    assert read(saved) == table.sorted() and not diff(read(saved), table.sorted())["differs"]
    assert check.check(saved)["valid"]


def test_the_last_record_of_this_very_table_counts(saved: Path, table: Lut) -> None:
    certify(saved, record(table, **STALE))
    said = validity.warning(table, saved)
    assert said is not None and "stale since the recheck of 2026-04-01" in said and "head: +9.0 % hot" in said
    certify(saved, record(table, id="r3", date="2026-05-01"))
    assert validity.warning(table, saved) is None
    certify(saved, record(table, **STALE | {"id": "r4"}))
    slower = [row._replace(hi=row.hi + 1) if row.hi and row.status == "ok" else row for row in table.rows]
    write(dataclasses.replace(table, rows=tuple(slower)), saved)
    assert len(validity.records(saved)) == 3 and validity.warning(read(saved), saved) is None
    assert check.check(saved)["tables"][0]["rechecked"] is None


def test_a_recheck_that_lets_more_pass_makes_no_stale_table_true(saved: Path, table: Lut) -> None:
    certify(saved, record(table, **STALE))
    certify(saved, record(table, id="r3", date="2026-05-01", tolerance_pct=50.0))
    assert validity.warning(table, saved) is not None
    rechecked = check.check(saved)["tables"][0]["rechecked"]
    assert (rechecked["verdict"], rechecked["date"], rechecked["tolerance_pct"]) == ("stale", "2026-04-01", 5.0)
    certify(saved, record(table, id="r4", date="2026-06-01"))
    certify(saved, record(table, id="r5", date="2026-07-01", tolerance_pct=50.0))
    counts = validity.standing(validity.records(saved))
    assert counts is not None and (counts.id, counts.said) == ("r5", "still true within 50 %")
    assert validity.warning(table, saved) is None


def test_what_is_filled_or_verified_later_leaves_it_the_same_table(table: Lut) -> None:
    more = table.rows[1]._replace(state="cold" if table.rows[1].state == "hot" else "hot", status="modelled")
    verified = table.networks[0]._replace(id="0" * 12, split="verify")
    later = dataclasses.replace(table, rows=(*table.rows, more), networks=(*table.networks, verified))
    assert validity.identity(later) == validity.identity(table) == validity.identity(table.sorted())
    fewer = dataclasses.replace(table, networks=table.networks[1:])
    assert validity.identity(fewer) != validity.identity(table)


def test_records_of_others_are_refused(saved: Path, table: Lut, tmp_path: Path) -> None:
    before = snapshot(saved)
    simulated = dataclasses.replace(table, header=table.header.model_copy(update={"simulated": True}))
    write(simulated, tmp_path / "pretended", allow_simulated=True)
    for folder, facts in ((saved, {"simulated": True}), (tmp_path / "pretended", {}), (saved, {"table": "0" * 64})):
        with pytest.raises(FileInvalid, match="nothing was written"):
            certify(folder, record(table, **facts))
    assert snapshot(saved) == before
    certify(tmp_path / "pretended", record(table, simulated=True))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text[:-1], "cut short"),
        (lambda text: text + text, "twice"),
        (lambda text: text.replace('"still true"', '"fine"'), "verdict"),
        (lambda text: text.replace('"seed":0', '"seed":0,"more":1'), "more"),
        (lambda text: text.replace('"rounds":3', '"rounds": 3'), "canonical"),
        (lambda text: text.replace('"rounds":3', '"rounds":NaN'), "rounds"),
        (lambda text: "[]\n", "record"),
        (lambda text: "\x00\n", "JSON"),
        (lambda text: text.replace('"simulated":false', '"simulated":true'), "simulated device"),
    ],
    ids=["short", "twice", "verdict", "key", "form", "nan", "list", "bytes", "simulated"],
)
def test_a_damaged_record_is_named_by_its_line(
    saved: Path, table: Lut, refused: Refused, change: Callable[[str], str], says: str
) -> None:
    certify(saved, record(table))
    path = saved / VALIDITY
    path.write_text(change(path.read_text()))
    fault = refused(check.checked, saved, names=path)
    assert says in fault.why and "line" in fault.what
    assert not check.check(saved)["valid"]


def test_verbs_say_that_a_table_is_stale(run: Run, saved: Path, table: Lut, tmp_path: Path) -> None:
    tiny = [row for row in table.networks if row.space.startswith("mobilenet_v3_tiny")]
    subnets = tmp_path / "subnets.json"
    subnets.write_text(readable_json([{"space": tiny[0].space, "genome": list(bytes.fromhex(tiny[0].genome))}]))
    verbs: list[tuple[str, ...]] = [("lut", "show", str(saved)), ("lut", "check", str(saved))]
    verbs += [("estimate", "--lut", str(saved), "--subnets", str(subnets))]
    assert all("stale" not in run(*verb)[2] for verb in verbs)
    certify(saved, record(table))
    assert all("stale" not in run(*verb)[2] for verb in verbs)
    certify(saved, record(table, **STALE))
    for verb in verbs:
        assert "is stale since the recheck of 2026-04-01 (head: +9.0 % hot)" in " ".join(run(*verb)[2].split()), verb
    shown = json.loads(run("lut", "show", str(saved), "--json")[1])
    assert [one["id"] for one in shown["rechecks"]] == ["r1", "r2"] and shown["rechecked"]["verdict"] == "stale"


def test_a_search_and_a_twin_are_warned(saved: Path, table: Lut) -> None:
    assert shelf.warnings(saved) == [] == shelf.warnings(saved / "absent.yaml")
    certify(saved, record(table, **STALE))
    for path in (saved, saved / "lut.json", saved.parent):
        assert len(shelf.warnings(path)) == 1


def test_a_folder_without_a_table_is_told_so_and_how_it_may_get_one(tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    with pytest.raises(FileInvalid, match=r"there is no table under .*begun'\n.*not finished.*\n.*--resume"):
        shelf.place(tmp_path / "begun")


def test_the_list_of_tables_marks_what_was_rechecked(table: Lut, tmp_path: Path) -> None:
    folder = tmp_path / "luts" / str(table.header.place)
    write(table, folder)
    (tmp_path / "luts" / "README.md").write_text(f"{index.BEGIN}\n{index.END}\n")
    for facts, mark in (
        ({}, "2026-02-28<br>still true within 5 % 2026-03-01 |"),
        (STALE, "2026-02-28<br>**stale** 2026-04-01 |"),
    ):
        certify(folder, record(table, **facts))
        assert index.write(tmp_path / "luts")["stale"]
        assert mark in (tmp_path / "luts" / "README.md").read_text()
