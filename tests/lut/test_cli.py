"""The verbs for tables, through the command line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import ofa.space as spaces
from ofa.files import readable_json
from ofa.lut.format import Lut
from ofa.lut.write import write
from ofa.space.ops import ops_of

from .conftest import means_of, snapshot, yaml

Run = Callable[..., tuple[int, str, str]]


def test_a_table_does_not_differ_from_itself(run: Run, saved: Path) -> None:
    code, out, _ = run("lut", "diff", str(saved), str(saved), "--json")
    assert code == 0 and json.loads(out)["differs"] is False
    code, out, _ = run("lut", "diff", str(saved), str(saved), "--markdown")
    assert code == 0 and out.startswith("### Latency tables: ") and len(out.splitlines()) <= 60
    code, out, err = run("lut", "diff", str(saved), str(saved))
    assert code == 0 and "error on held-out networks" in out and "nothing differs beyond noise" in err
    assert "###" not in out and "`" not in out


def test_what_changed_is_shown_as_other_verbs_show_it(run: Run, saved: Path, table: Lut) -> None:
    slow = tuple(
        row._replace(ns=2 * row.ns, lo=2 * (row.lo or 0), hi=2 * (row.hi or 0))
        if row.ns and row.state == "hot"
        else row
        for row in table.rows[10:]
    )
    header = table.header.model_copy(update={"environment": {**table.header.environment, "kernel": "6.6"}})
    write(dataclasses.replace(table, header=header, rows=slow), saved.parent / "new")
    code, out, _ = run("lut", "diff", str(saved), str(saved.parent / "new"))
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0 and "environment kernel (absent) 6.6" in lines
    assert "ops networks" in lines and any(line.startswith("all hot together +100.0 %") for line in lines)
    assert any("+100.0 %" in line for line in lines)


def test_a_run_folder_with_one_table_stands_for_it_and_one_with_two_is_ambiguous(
    run: Run, table: Lut, tmp_path: Path
) -> None:
    write(table, tmp_path / "run" / "lut")
    one, whole = str(tmp_path / "run"), str(tmp_path / "run" / "lut")
    assert run("lut", "show", one)[:2] == run("lut", "show", whole)[:2]
    code, out, _ = run("lut", "diff", one, whole, "--json")
    assert code == 0 and json.loads(out)["differs"] is False and json.loads(out)["a"]["name"] == one
    (tmp_path / "empty").mkdir()
    assert "there is no table under" in run("lut", "show", str(tmp_path / "empty"))[2]
    write(table, tmp_path / "run" / "second")
    code, _, err = run("lut", "diff", one, whole)
    assert code == 2 and "2 tables under" in err and f"such as '{whole}'" in err


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


@pytest.mark.slow
def test_a_foreign_table_is_imported_filled_and_asked(run: Run, tmp_path: Path) -> None:
    wide = spaces.load("mobilenet_v3", width=1.2)
    (tmp_path / "foreign").mkdir()
    for size in (192, 224):
        (tmp_path / "foreign" / f"{size}.yaml").write_text(yaml(means_of(wide.corner("max", size))))
    (tmp_path / "subnet.json").write_text(readable_json(wide.corner("max", 200).to_json()))
    ours, full = str(tmp_path / "ours"), str(tmp_path / "full")
    about = ("--device", "note10", "--origin", "somebody, commit 1234", "--json")
    code, out, err = run("lut", "import", str(tmp_path / "foreign"), *about, "--out", ours)
    said = json.loads(out)
    assert (code, err) == (0, "") and (said["runtime"], said["modelled"]) == ("unknown", 0)
    assert said["ops"] == len({op for size in (192, 224) for op in ops_of(wide.corner("max", size))})
    ask = ("estimate", "--subnets", str(tmp_path / "subnet.json"), "--json", "--lut")
    code, _, err = run(*ask, ours)
    assert code == 3 and "has no row for" in " ".join(err.split()) and "ofa lut fill" in err
    fill = ("lut", "fill", ours, "mobilenet_v3", "--width", "1.2", "--resolution", "200", "--out", full)
    code, out, err = run(*fill, "--json")
    said = json.loads(out)
    assert code == 0 and said["modelled"] == said["filled"][0]["filled-choice"] + said["filled"][0]["filled-size"] > 0
    assert f"{said['modelled']:,} rows were missing" in err
    assert said["half_width_pct"] == json.loads(run("lut", "show", ours, "--json")[1])["half_width_pct"]
    code, out, _ = run(*ask, full)
    assert code == 0 and json.loads(out)["subnets"][0]["ms"] > 0
    assert run(*ask, full, "--measured-only")[0] == 3
    code, out, _ = run("lut", "diff", ours, full, "--json")
    assert code == 0 and len(json.loads(out)["ops"]["added"]) == said["modelled"]
    more = ("lut", "fill", full, "mobilenet_v3", "--width", "1.2", "--resolution", "208", "--out", full, "--json")
    assert (
        run(*more)[0] == 2 and "--replace" in run("lut", "import", str(tmp_path / "foreign"), *about, "--out", full)[2]
    )
    code, out, _ = run(*more, "--replace")
    assert code == 0 and len(json.loads(out)["filled"]) == 2 and json.loads(out)["modelled"] > said["modelled"]


def test_what_cannot_be_imported_or_filled_leaves_nothing(run: Run, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "lut.yaml").write_text("Conv: 1\n")
    out = ("--out", str(tmp_path / "out"))
    about = ("--device", "note10", "--origin", "x")
    before = snapshot(saved)
    for code, command in (
        (3, ("lut", "import", str(tmp_path / "lut.yaml"), *about)),
        (3, ("lut", "import", str(tmp_path / "absent"), *about)),
        (2, ("lut", "import", str(tmp_path / "lut.yaml"), "--device", "note10")),
        (2, ("lut", "import", str(tmp_path / "lut.yaml"), *about, "--space", "mobilenet_v9")),
        (3, ("lut", "fill", str(saved), "proxyless")),
        (2, ("lut", "fill", str(saved), "mobilenet_v9")),
        (2, ("lut", "fill", str(saved), "mobilenet_v3", "--resolution", "0")),
        (3, ("lut", "fill", str(tmp_path / "absent"), "mobilenet_v3")),
    ):
        found, printed, err = run(*command, *out)
        assert (found, printed) == (code, "") and "Traceback" not in err and err, command
        assert not (tmp_path / "out").exists()
    assert snapshot(saved) == before
