"""Written tables: they come back as they were, equal tables are equal bytes, and a write is whole or not at all."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ofa.space as spaces
from ofa.errors import FileInvalid, OfaError, UsageInvalid
from ofa.lut import format
from ofa.lut.check import checked
from ofa.lut.format import Lut, Row
from ofa.lut.write import write
from ofa.space.index import ops_in

PARTS = ("lut.json", "ops.csv", "networks.csv", "sessions.jsonl")
KEYS = [op.key for op in ops_in(spaces.load("mobilenet_v3_tiny"))][::7]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder, hidden ones too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def written(table: Lut, tmp_path: Path) -> Path:
    """Return the folder of the table as the writer leaves it."""
    write(table, tmp_path / "table")
    return tmp_path / "table"


def other(table: Lut) -> Lut:
    """Return a table that differs in every file."""
    return dataclasses.replace(
        table,
        header=table.header.model_copy(update={"units": 5}),
        rows=table.rows[1:],
        networks=table.networks[1:],
        sessions=({"id": "s0"}, *table.sessions),
    )


def test_a_table_comes_back_sorted(table: Lut, written: Path) -> None:
    found = format.read(written)
    assert found != table
    assert found == table.sorted()
    assert [row[:2] for row in found.rows] == sorted(row[:2] for row in table.rows)
    assert [row[:2] for row in found.networks] == sorted(row[:2] for row in table.networks)
    assert [session["id"] for session in found.sessions] == ["s1", "s2"]
    assert found.rows[0].key == "@session"
    assert sorted(contents(written)) == sorted(PARTS)


def test_equal_tables_are_equal_bytes_in_whatever_order_they_are_given(
    table: Lut, written: Path, tmp_path: Path
) -> None:
    before = contents(written)
    write(format.read(written), written)
    assert contents(written) == before
    turned = dataclasses.replace(
        table,
        rows=tuple(row._replace(flags=row.flags[::-1] * 2) for row in reversed(table.rows)),
        networks=table.networks[::-1],
        sessions=table.sessions[::-1],
    )
    write(turned, tmp_path / "turned")
    assert contents(tmp_path / "turned") == before


def test_files_are_what_git_compares_well(written: Path) -> None:
    for part in PARTS:
        raw = (written / part).read_bytes()
        assert raw.endswith(b"\n") and not raw.endswith(b"\n\n") and b"\r" not in raw
        assert part == "lut.json" or raw.isascii()
    assert (written / "lut.json").stat().st_mode & 0o777 == 0o644
    assert "шиба 8" in (written / "lut.json").read_text(encoding="utf-8")


def test_an_overhead_and_an_op_stand_as_documented(table: Lut, written: Path) -> None:
    lines = (written / "ops.csv").read_text().split("\n")
    assert lines[1] == "@session,-,ok,52000,50000,55000,,52000,31,,s1"
    row = next(row for row in table.rows if row.flags == ("drift", "wide"))
    assert f"{row.key},{row.state},noisy,1007,1000,1090,900,1100,31,drift;wide,s1" in lines


def test_energies_have_columns_only_where_measured(table: Lut, tmp_path: Path) -> None:
    measured = dataclasses.replace(
        table, rows=(table.rows[8]._replace(energy_uj=50, energy_lo=40, energy_hi=60), *table.rows[9:])
    )
    write(measured, tmp_path / "energy")
    lines = (tmp_path / "energy" / "ops.csv").read_text().split("\n")
    assert lines[0].endswith(",session,energy_uj,energy_lo,energy_hi")
    assert sum(line.endswith(",s1,50,40,60") for line in lines) == 1
    assert lines[1].endswith(",s1,,,")
    assert format.read(tmp_path / "energy") == measured.sorted()
    before = contents(tmp_path / "energy")
    write(format.read(tmp_path / "energy"), tmp_path / "energy")
    assert contents(tmp_path / "energy") == before


def test_a_table_may_be_without_rows(table: Lut, tmp_path: Path) -> None:
    empty = dataclasses.replace(table, rows=(), networks=(), sessions=())
    write(empty, tmp_path / "a" / "b")
    assert format.read(tmp_path / "a" / "b") == empty


times = st.lists(st.integers(0, 10**18 - 1), min_size=3, max_size=3).map(sorted).filter(lambda three: three[1] > 0)
rows_of_any_time = st.builds(
    lambda key, state, three, rounds, flags: Row(
        key, state, "ok", three[1], three[0], three[2], None, three[0], rounds, tuple(flags), "s1"
    ),
    st.sampled_from(KEYS),
    st.sampled_from(["hot", "cold", "-"]),
    times,
    st.integers(1, 999_999_999),
    st.lists(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,5}", fullmatch=True).filter(lambda word: word != "simulated")),
)


@pytest.mark.slow
@given(rows=st.lists(rows_of_any_time, max_size=30, unique_by=lambda row: row[:2]))
@settings(max_examples=60, deadline=None)
def test_any_rows_come_back(table: Lut, rows: list[Row]) -> None:
    given_ = dataclasses.replace(table, rows=tuple(rows), networks=()).sorted()
    raw = format.render(given_)
    found = format.parse(raw, Path("table"))
    assert found == given_ and format.render(found) == raw


@pytest.mark.slow
def test_twenty_thousand_rows_load(table: Lut, tmp_path: Path) -> None:
    ops = [op for name in spaces.names() for op in ops_in(spaces.load(name))]
    ops = [dataclasses.replace(op, batch=batch) for op in dict.fromkeys(ops) for batch in (1, 8)]
    rows = [
        Row(op.key, state, "ok", place + 2, place + 1, place + 3, None, None, 9, (), "s1")
        for place, op in enumerate(ops)
        for state in ("hot", "cold")
    ]
    assert len(rows) >= 20_000
    large = dataclasses.replace(table, rows=tuple(rows[:20_000]))
    write(large, tmp_path / "large")
    assert format.read(tmp_path / "large") == large.sorted()


def test_a_new_table_replaces_the_old_and_leaves_other_files(table: Lut, saved: Path) -> None:
    (saved / "README.md").write_text("ours")
    write(other(table), saved)
    assert format.read(saved) == other(table).sorted()
    assert (saved / "README.md").read_text() == "ours"
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("name", ["kept", "table.kept", ".hidden", "with space", "ops.csv"])
def test_a_folder_may_have_any_name(name: str, table: Lut, tmp_path: Path) -> None:
    for content in (table, other(table)):
        write(content, tmp_path / name)
        assert format.read(tmp_path / name) == content.sorted()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_in_the_place_of_the_folder_is_refused(table: Lut, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(FileInvalid, match="holds no latency table"):
        write(table, tmp_path / "file")
    assert contents(tmp_path) == {"file": b"precious"}


class Halt(Exception):
    """What stops a write in these tests."""


def failing_at(step: int, folder: Path, fault: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the ``step``-th rename into a folder fail, and only that one."""
    replace, count = os.replace, 0

    def replace_or_fail(source: Any, target: Any) -> None:
        nonlocal count
        count += Path(target).parent == folder
        if count == step and Path(target).parent == folder:
            count += 1
            raise fault
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_or_fail)


@pytest.mark.parametrize(
    "fault", [OSError("disk full"), KeyboardInterrupt(), Halt()], ids=lambda fault: str(type(fault))
)
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_write_that_fails_midway_leaves_the_old_table(
    step: int, fault: BaseException, table: Lut, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(saved.parent)
    failing_at(step, saved, fault, monkeypatch)
    with pytest.raises(type(fault)):
        write(other(table), saved)
    assert contents(saved.parent) == before
    assert format.read(saved) == table.sorted()
    write(other(table), saved)
    assert format.read(saved) == other(table).sorted()


def test_the_header_goes_last(table: Lut, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the others by hash: until it is there, a reader sees that the files do not belong together."""
    replace, moved = os.replace, []

    def record(source: Any, target: Any) -> None:
        if Path(target).parent == saved:
            moved.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", record)
    write(other(table), saved)
    assert sorted(moved) == sorted(PARTS) and moved[-1] == "lut.json"


@pytest.mark.parametrize("missing", PARTS)
def test_a_failed_write_leaves_an_incomplete_table_as_it_was(
    missing: str, table: Lut, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (saved / missing).unlink()
    before = contents(saved.parent)
    failing_at(4, saved, Halt(), monkeypatch)
    with pytest.raises(Halt):
        write(other(table), saved)
    assert contents(saved.parent) == before


def test_a_first_write_that_fails_leaves_nothing(table: Lut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise Halt

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(Halt):
        write(table, tmp_path / "table")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("moved", [1, 2, 3])
def test_a_process_killed_between_renames_leaves_what_readers_refuse(
    moved: int, table: Lut, saved: Path, tmp_path: Path
) -> None:
    write(other(table), tmp_path / "next")
    for part in ("ops.csv", "networks.csv", "sessions.jsonl")[:moved]:
        shutil.copyfile(tmp_path / "next" / part, saved / part)
    with pytest.raises(FileInvalid):
        format.read(saved)


WRONG: dict[str, tuple[Callable[[Row], Row], str]] = {
    "float": (lambda row: row._replace(ns=5.5), "ns is '5.5'"),  # type: ignore[arg-type]
    "negative": (lambda row: row._replace(lo=-1), "lo is '-1'"),
    "interval": (lambda row: row._replace(lo=10**9), "ns must lie between lo and hi"),
    "key": (lambda row: row._replace(key="mbconv"), "'mbconv' is no op"),
    "key of two lines": (lambda row: row._replace(key="a\nb"), "fields"),
    "session": (lambda row: row._replace(session="s3"), "session 's3' is not in"),
    "status": (lambda row: row._replace(status="fine"), "status is 'fine'"),
    "flag": (lambda row: row._replace(flags=("a b",)), "flags is 'a b'"),
    "half an energy": (lambda row: row._replace(energy_lo=4), "they are '', '4', ''"),
}


@pytest.mark.parametrize(("change", "says"), WRONG.values(), ids=WRONG)
def test_what_readers_would_refuse_is_not_written(
    change: Callable[[Row], Row], says: str, table: Lut, saved: Path, tmp_path: Path
) -> None:
    before = contents(saved.parent)
    wrong = dataclasses.replace(table, rows=(change(table.rows[-2]), *table.rows[:-2]))
    for folder in (saved, tmp_path / "new"):
        with pytest.raises(FileInvalid) as caught:
            write(wrong, folder)
        assert says in caught.value.why and str(folder / "ops.csv") in caught.value.what
    assert contents(tmp_path) == before and not (tmp_path / "new").exists()


def test_a_row_given_twice_is_not_written(table: Lut, tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match=r"wrong in line"):
        write(dataclasses.replace(table, rows=(*table.rows, table.rows[0])), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), Path("a"), (1, 2), {1: 2}], ids=str)
def test_a_session_that_no_file_keeps_is_not_written(value: Any, table: Lut, tmp_path: Path) -> None:
    with pytest.raises(OfaError, match="was not written") as caught:
        write(dataclasses.replace(table, sessions=(*table.sessions, {"id": "s3", "value": value})), tmp_path / "new")
    assert caught.value.why and caught.value.hints
    assert list(tmp_path.iterdir()) == []


def flagged(table: Lut) -> Lut:
    return dataclasses.replace(table, rows=(table.rows[8]._replace(flags=("simulated",)), *table.rows[9:]))


SIMULATED: dict[str, Callable[[Lut], Lut]] = {
    "header": lambda table: table,
    "row": flagged,
    "session": lambda table: dataclasses.replace(
        table, sessions=({"id": "s3", "about": {"transport": "simulated"}}, *table.sessions)
    ),
    "network": lambda table: dataclasses.replace(
        table, networks=(table.networks[0]._replace(flags=("simulated",)), *table.networks[1:])
    ),
    "environment": lambda table: dataclasses.replace(
        table, header=table.header.model_copy(update={"environment": {"simulated": True}})
    ),
}  # fmt: skip


@pytest.fixture(params=SIMULATED)
def simulated(request: pytest.FixtureRequest, table: Lut) -> Lut:
    """Return a table that admits to being simulated in one place, and says so in its header."""
    made = SIMULATED[request.param](table)
    return dataclasses.replace(made, header=made.header.model_copy(update={"simulated": True}))


def test_simulated_values_are_written_only_where_asked_for(simulated: Lut, tmp_path: Path) -> None:
    with pytest.raises(UsageInvalid, match="no simulated table is written") as caught:
        write(simulated, tmp_path / "run")
    assert caught.value.exit_code == 2 and caught.value.why and "--allow-simulated" in caught.value.hints[0]
    assert list(tmp_path.iterdir()) == []
    write(simulated, tmp_path / "run", allow_simulated=True)
    assert format.read(tmp_path / "run") == simulated.sorted() and format.read(tmp_path / "run").simulated


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("place", ["luts", "luts/pixel/x", "LUTS/pixel", "a/Luts/b/c", "luts/a/../b"])
def test_simulated_values_never_enter_luts(place: str, allowed: bool, simulated: Lut, tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match="under 'luts'"):
        write(simulated, tmp_path / place, allow_simulated=allowed)
    assert list(tmp_path.iterdir()) == []


def test_simulated_values_do_not_enter_luts_by_another_way(
    simulated: Lut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "luts").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "luts")
    for way in (tmp_path / "link" / "pixel", tmp_path / "other" / ".." / "luts" / "pixel"):
        with pytest.raises(FileInvalid, match="under 'luts'"):
            write(simulated, way, allow_simulated=True)
    monkeypatch.chdir(tmp_path / "luts")
    with pytest.raises(FileInvalid, match="under 'luts'"):
        write(simulated, Path("pixel"), allow_simulated=True)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("place", ["luts", "luts/foo/bar", "LUTS/pixel-8/litert-fp32-xnnpack-1t/lut"])
def test_under_luts_a_table_is_written_where_its_header_says_and_nowhere_else(
    place: str, table: Lut, tmp_path: Path
) -> None:
    with pytest.raises(FileInvalid, match="not where its header says") as caught:
        write(table, tmp_path / place)
    right = tmp_path / place.split("/")[0] / "pixel-8" / "litert-fp32-xnnpack-1t"
    assert f"'{right}'" in caught.value.why and list(tmp_path.iterdir()) == []
    write(table, right)
    assert checked(right) == table.sorted()


def test_a_table_that_hides_a_simulated_row_is_not_written(table: Lut, tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match=r"lut\.json"):
        write(flagged(table), tmp_path / "run", allow_simulated=True)
    assert list(tmp_path.iterdir()) == []
