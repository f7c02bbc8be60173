"""The verbs for tables, through the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ofa.lut.format import Lut
from ofa.lut.write import write

from .conftest import snapshot

Run = Callable[..., tuple[int, str, str]]


def test_a_table_does_not_differ_from_itself(run: Run, saved: Path) -> None:
    code, out, _ = run("lut", "diff", str(saved), str(saved), "--json")
    assert code == 0 and json.loads(out)["differs"] is False
    code, out, _ = run("lut", "diff", str(saved), str(saved))
    assert code == 0 and 0 < len(out.splitlines()) <= 60


def test_a_table_is_not_merged_with_itself(run: Run, saved: Path, tmp_path: Path) -> None:
    before = snapshot(saved)
    code, out, err = run("lut", "merge", str(saved), str(saved), "--out", str(tmp_path / "both"))
    assert (code, out) == (3, "") and "cannot be merged" in err and not (tmp_path / "both").exists()
    assert snapshot(saved) == before


@pytest.fixture
def others(saved: Path, table: Lut) -> Path:
    """Return the folder of a table that can be merged with the saved one: the same rows, from another session."""
    told = {"reference_ns": {state: 1_000_000 for state in ("cold", "hot")}}
    sessions = ({"id": "s3", **told},)
    rows = tuple(row._replace(session=row.session and "s3") for row in table.rows)
    write(dataclasses.replace(table, rows=rows, networks=(), sessions=sessions), saved.parent / "other")
    return saved.parent / "other"


def test_a_merge_writes_over_nothing_unasked(run: Run, saved: Path, others: Path, tmp_path: Path) -> None:
    merge = ("lut", "merge", str(saved), str(others), "--allow-unknown-reference", "--other-unit", "--out")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    before = snapshot(tmp_path)
    for out, says in ((saved, "--replace"), (others, "--replace"), (tmp_path / "notes", "holds other files")):
        code, shown, err = run(*merge, str(out))
        assert (code, shown) == (2, "") and says in err and "try:" in err
    assert run(*merge, str(tmp_path / "notes"), "--replace")[0] == 2
    assert snapshot(tmp_path) == before
    (tmp_path / "empty").mkdir()
    for arguments in ((str(tmp_path / "empty"),), (str(saved), "--replace")):
        assert run(*merge, *arguments)[0] == 0
    assert len({snapshot(folder)["ops.csv"] for folder in (saved, tmp_path / "empty", others)}) == 2


def test_the_list_of_tables_is_written_and_then_fresh(run: Run, saved: Path) -> None:
    root = saved.parent
    markers = (Path(__file__).parents[2] / "luts" / "README.md").read_text()
    (root / "README.md").write_text(markers)
    code, _, _ = run("lut", "index", str(root))
    written = (root / "README.md").read_text()
    assert code == 0 and written != markers
    assert run("lut", "index", str(root), "--check")[0] == 0
    (root / "README.md").write_text(markers)
    assert run("lut", "index", str(root), "--check")[0] == 3
