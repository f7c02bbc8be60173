"""Checked tables: a whole tree at once, what reading alone does not see, and what one table holds."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ofa.errors import FileInvalid
from ofa.lut import check, format, index, monotony, noise
from ofa.lut.format import Lut, Row
from ofa.lut.heldout import of_table
from ofa.lut.write import write

from .test_heldout import additive

Run = Callable[..., tuple[int, str, str]]

PLACE = "pixel-8/litert-fp32-xnnpack-1t"


def put(lut: Lut, folder: Path) -> Path:
    """Put the files of a table into a folder, whatever it is called."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, raw in format.render(lut.sorted()).items():
        (folder / part).write_bytes(raw)
    return folder


def under(lut: Lut, conditions: str) -> Lut:
    """Return the same table, of other conditions."""
    return dataclasses.replace(lut, header=lut.header.model_copy(update={"conditions": conditions}))


def test_a_valid_table_is_summed_up(table: Lut, saved: Path) -> None:
    report = check.check(saved)
    check.refuse(report)
    assert (report["path"], report["valid"], report["invalid"]) == (str(saved), True, [])
    assert report["tables"] == [
        {
            "path": str(saved),
            "device": "pixel-8",
            "runtime": "litert",
            "precision": "fp32",
            "conditions": "xnnpack-1t",
            "environment_id": table.header.environment_id,
            "units": 2,
            "simulated": False,
            "created": "2026-02-28",
            "ops": (len(table.rows) - 1) // 2,
            "modelled": 1,
            "rows": len(table.rows),
            "states": {"-": 1, "cold": (len(table.rows) - 1) // 2, "hot": (len(table.rows) - 1) // 2},
            "statuses": {
                "failed": 1, "modelled": 1, "noisy": 1, "ok": len(table.rows) - 6, "thermal": 2, "unsupported": 1
            },
            "networks": {"fit": 5, "holdout": 1, "verify": 1},
            "spaces": ["mobilenet_v3-w1.0", "mobilenet_v3_tiny-w1.0-c1-n10"],
            "sessions": 2,
            "monotonicity": {"pairs": 0, "unexpected": 0, "kernel": 0, "expand": 0, "map": 0},
            "unexpected": [],
            "noise": noise.facts(table),
            "rechecked": None,
            "held_out": index.entries(saved)[0]["held_out"],
        }
    ]  # fmt: skip
    assert json.loads(json.dumps(report)) == report


def test_a_tree_is_checked_as_a_whole(table: Lut, tmp_path: Path) -> None:
    root = tmp_path / "luts"
    good = put(table, root / PLACE)
    other = put(under(table, "builtin-1t"), root / "pixel-8" / "litert-fp32-builtin-1t")
    broken = put(under(table, "trt"), root / "pixel-8" / "litert-fp32-trt")
    (broken / "ops.csv").write_bytes(b"")
    half = put(under(table, "wet"), root / "pixel-8" / "litert-fp32-wet")
    (half / "lut.json").unlink()
    put(under(table, "hidden"), root / ".cache" / "hidden")
    (root / "README.md").write_text("index")

    report = check.check(root)
    assert [entry["path"] for entry in report["tables"]] == sorted(map(str, (good, other)))
    assert [entry["path"] for entry in report["invalid"]] == sorted(map(str, (broken, half)))
    assert not report["valid"]
    for entry in report["invalid"]:
        assert entry["path"] in entry["what"] and entry["why"] and entry["try"]
    with pytest.raises(FileInvalid) as caught:
        check.refuse(report)
    first = report["invalid"][0]
    assert caught.value.what == f"2 of 4 tables are invalid; the first: {first['what']}"
    assert (caught.value.why, list(caught.value.hints), caught.value.exit_code) == (first["why"], first["try"], 3)


def test_every_invalid_table_is_named_and_no_empty_table_is_printed(run: Run, saved: Path, tmp_path: Path) -> None:
    root = tmp_path / "tables"
    for name in ("one", "two"):
        shutil.copytree(saved, root / name)
    (root / "one" / "ops.csv").unlink()
    code, out, err = run("lut", "check", str(root / "one"))
    assert (code, out) == (3, "") and "lacks 'ops.csv'" in err
    (root / "two" / "networks.csv").write_text("")
    code, out, err = run("lut", "check", str(root))
    assert code == 3 and "2 of 2 tables are invalid" in err
    head, *lines = out.splitlines()
    assert head.split() == ["invalid", "why", "try"] and len(lines) == 2
    assert str(root / "one") in lines[0] and str(root / "two") in lines[1] and "it is empty" in lines[1]
    # What mends one kind of fault does not mend another.
    shutil.copytree(saved, root / "three")
    newer = (root / "three" / "lut.json").read_text().replace("lut/1", "lut/2")
    (root / "three" / "lut.json").write_text(newer)
    code, out, err = run("lut", "check", str(root))
    (line,) = (line for line in out.splitlines() if str(root / "three") in line)
    assert "update ofa-lab" in line and "version control" not in line
    assert "1 of them: update ofa-lab" in err


@pytest.mark.parametrize("words", [("check",), ("index",), ("index", "--check")])
def test_the_folder_is_walked_once(
    run: Run, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    root = tmp_path / "tables"
    shutil.copytree(saved, root / "one")
    (root / "README.md").write_text(f"{index.BEGIN}\n{index.END}\n")
    index.write(root)
    walked: list[Path] = []
    walk = os.walk

    def seen(path: Path) -> Any:
        walked.append(path)
        return walk(path)

    monkeypatch.setattr("os.walk", seen)
    assert run("lut", *words, str(root))[0] == 0
    assert walked == [root]


def test_a_single_invalid_table_is_raised_as_it_is(saved: Path, spoil) -> None:
    spoil("lut.json", lambda text: text.replace("litert", "lite"))
    report = check.check(saved.parent)
    with pytest.raises(FileInvalid) as checked:
        check.refuse(report)
    with pytest.raises(FileInvalid) as read:
        format.read(saved)
    assert "lite" in report["invalid"][0]["why"] and str(checked.value) == str(read.value)


def test_tables_are_found_below_a_folder(table: Lut, tmp_path: Path) -> None:
    folders = [put(table, tmp_path / place) for place in ("b/c", "a", "b")]
    (tmp_path / "empty").mkdir()
    assert check.find(tmp_path) == sorted(folders)
    assert check.find(folders[0]) == check.find(folders[0] / "lut.json") == [folders[0]]


def test_a_path_without_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    for name, says in (("empty", "has a 'lut.json'"), ("file", "is no folder"), ("absent", "no such folder")):
        for search in (check.find, check.check, check.show):
            with pytest.raises(FileInvalid) as caught:
                search(tmp_path / name)
            assert str(tmp_path / name) in caught.value.what and caught.value.hints
        with pytest.raises(FileInvalid) as caught:
            check.find(tmp_path / name)
        assert says in caught.value.why


def test_a_network_that_its_genome_does_not_make_is_named(table: Lut, saved: Path, spoil, refused) -> None:
    row = table.sorted().networks[2]
    spoil("networks.csv", lambda text: text.replace(row.id, row.id[:-1] + ("0" if row.id[-1] != "0" else "1")))
    format.read(saved)
    fault = refused(check.checked, saved, names=saved / "networks.csv")
    assert fault.what.endswith("wrong in line 4")
    assert f"its genome is that of '{row.id}'" in fault.why


@pytest.mark.parametrize(
    ("genome", "says"), [("01", "shape (1, 1)"), ("ff" * 22, "is not a canonical genome"), ("00" * 22, "resolution")]
)
def test_a_genome_of_no_subnet_is_named(genome: str, says: str, table: Lut, saved: Path, spoil, refused) -> None:
    row = table.sorted().networks[-1]
    spoil("networks.csv", lambda text: text.replace(row.genome, genome))
    fault = refused(check.checked, saved, names=saved / "networks.csv")
    assert says in fault.why and fault.what.endswith("wrong in line 8")


def test_networks_of_a_space_unknown_here_are_left_alone(table: Lut, saved: Path, spoil) -> None:
    spoil("networks.csv", lambda text: text.replace("mobilenet_v3_tiny-w1.0-c1-n10", "mobilenet_v9-w1.0"))
    assert check.checked(saved).networks[-1].space == "mobilenet_v9-w1.0"


def test_under_luts_a_table_stands_where_its_header_says(table: Lut, tmp_path: Path, refused) -> None:
    check.checked(put(table, tmp_path / "luts" / PLACE))
    expected = tmp_path / "luts" / PLACE
    for place in ("luts/pixel-9/litert-fp32-xnnpack-1t", "luts/pixel-8/litert-fp32-trt", "luts/" + PLACE + "/more"):
        folder = put(table, tmp_path / place)
        fault = refused(check.checked, folder, names=folder)
        assert "is not where its header says" in fault.what and f"'{expected}'" in fault.why
    check.checked(put(table, tmp_path / "runs" / "anywhere"))


def test_a_table_moved_to_luts_by_link_is_held_to_the_same(table: Lut, tmp_path: Path, refused) -> None:
    (tmp_path / "luts").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "luts")
    put(table, tmp_path / "luts" / "wrong")
    assert "header says" in refused(check.checked, tmp_path / "link" / "wrong", names="wrong").what


def test_simulated_values_under_luts_are_refused_though_they_read(table: Lut, tmp_path: Path, refused) -> None:
    simulated = dataclasses.replace(table, header=table.header.model_copy(update={"simulated": True}))
    write(simulated, tmp_path / "run", allow_simulated=True)
    assert check.check(tmp_path / "run")["tables"][0]["simulated"]
    folder = tmp_path / "luts" / PLACE
    shutil.copytree(tmp_path / "run", folder)
    assert format.read(folder).simulated
    assert "simulated" in refused(check.checked, folder, names=folder).what
    report = check.check(tmp_path / "luts")
    assert not report["valid"] and "simulated" in report["invalid"][0]["what"]


def test_what_one_table_holds(table: Lut, saved: Path) -> None:
    found = check.show(saved)
    summed_up = {name: fact for name, fact in check.check(saved)["tables"][0].items() if name != "held_out"}
    assert summed_up.items() <= found.items()
    assert (found["runtime_version"], found["protocol"]) == ("2.1.0", {"rounds": 31})
    assert found["environment"] == table.header.environment
    assert found["overheads"] == [
        {"key": "@session", "state": "-", "status": "ok", "ms": 0.052, "lo_ms": 0.05, "hi_ms": 0.055, "rounds": 31}
    ]
    times = [entry["ms"] for entry in found["largest"]]
    assert len(times) == check.MOST_SHOWN and times == sorted(times, reverse=True)
    assert times[0] == max(row.ns for row in table.rows if row.ns) / 1e6
    without = {(row.key, row.state, row.status) for row in table.rows if row.ns is None}
    assert {(entry["key"], entry["state"], entry["status"]) for entry in found["without_time"]} == without
    assert len(without) == 3
    assert json.loads(json.dumps(found)) == found


def test_widths_of_intervals_are_half_and_relative(table: Lut, tmp_path: Path) -> None:
    rows = [row for row in table.sorted().rows if row.status == "ok" and row.key[0] != "@"][:21]
    # Half widths of 0, 1, … 20 percent: the median is 10, the 95th percentile 19.
    spread = [row._replace(ns=1000, lo=1000 - 10 * n, hi=1000 + 10 * n) for n, row in enumerate(rows)]
    put(dataclasses.replace(table, rows=tuple(spread)), tmp_path / "spread")
    assert check.show(tmp_path / "spread")["half_width_pct"] == {"median": 10.0, "p95": 19.0}
    put(dataclasses.replace(table, rows=tuple(spread[:1])), tmp_path / "one")
    assert check.show(tmp_path / "one")["half_width_pct"] is None


def timed(key: str, ns: int, **facts: Any) -> Row:
    """Return a row with an interval of 10 ns on each side."""
    return Row(key, "hot", "ok", ns, ns - 10, ns + 10, None, None, 5, (), "s1")._replace(**facts)


BLOCK = "mbconv.k{}.s1.i24x{}.o24x{}.m{}.relu.n1"


def block(kernel: int = 5, size: int = 14, mid: int = 96) -> str:
    """Return the key of a block."""
    return BLOCK.format(kernel, size, size, mid)


def test_more_work_in_less_time_is_a_warning_and_no_error(table: Lut, tmp_path: Path, run: Run) -> None:
    rows = (
        timed(block(kernel=3), 1000), timed(block(), 900), timed(block(kernel=7), 1100), timed(block(mid=72), 950),
        timed(block(size=10), 300), timed(block(size=12), 200), timed("@session", 50),
    )  # fmt: skip
    folder = put(dataclasses.replace(table, rows=rows), tmp_path / "table")
    report = check.check(folder)
    check.refuse(report)
    found = report["tables"][0]
    # Kernels 3 5 7; expand 72 96; maps 10 12 14: a pair is two neighbours that differ in one thing.
    assert found["monotonicity"] == {"pairs": 5, "unexpected": 3, "kernel": 1, "expand": 1, "map": 1}
    worst = found["unexpected"][0]
    assert (worst["grows"], worst["smaller"], worst["larger"]) == ("map", block(size=10), block(size=12))
    assert (worst["state"], worst["smaller_ms"], worst["larger_ms"], worst["over_pct"]) == ("hot", 3e-4, 2e-4, 50.0)
    assert [pair["grows"] for pair in found["unexpected"]] == ["map", "kernel", "expand"]
    assert check.show(folder)["unexpected"] == found["unexpected"]
    code, out, err = run("lut", "check", str(folder))
    first, second = (line.split() for line in out.splitlines())
    assert code == 0 and (first[-1], second[-1]) == ("unexpected", "3")
    assert err.startswith(f"warning: {folder}: in 3 of 5 pairs") and len(err.splitlines()) == 1
    assert f"{block(size=10)} takes 50 % longer than {block(size=12)} (hot)" in err


def test_a_table_without_unexpected_pairs_gives_no_warning(saved: Path, run: Run) -> None:
    code, out, err = run("lut", "check", str(saved))
    assert (code, out.split()[-1], err) == (0, "0", "")


def test_what_intervals_explain_is_not_unexpected(table: Lut, tmp_path: Path) -> None:
    for apart, expected in ((20, 0), (21, 1)):
        rows = (timed(block(kernel=3), 1000 + apart), timed(block(kernel=5), 1000))
        counts, pairs = monotony.unexpected(rows)
        assert (counts["unexpected"], counts["kernel"], len(pairs)) == (expected, expected, expected)


def test_only_ops_that_differ_in_one_thing_and_have_a_time_are_paired() -> None:
    failed = timed(block(kernel=5), 100)._replace(status="failed", ns=None, lo=None, hi=None)
    others = (
        timed(block(kernel=3), 1000), timed(block(kernel=7), 500, state="cold"), timed(block(kernel=7, mid=144), 500),
        timed(block(kernel=7).replace(".relu", ".relu.se"), 500), timed(block(kernel=7, size=16), 500), failed,
        timed(block(kernel=7), 500, status="thermal"), timed(block(kernel=7, size=14), 500, status="modelled"),
    )  # fmt: skip
    assert monotony.unexpected(others)[0]["pairs"] == 0
    # A kernel without a time does not keep its neighbours apart.
    counts, (pair,) = monotony.unexpected((*others[:1], failed, timed(block(kernel=7), 500)))
    assert (counts["pairs"], pair["smaller"], pair["larger"]) == (1, block(kernel=3), block(kernel=7))


def test_the_worst_pairs_are_listed_and_all_are_counted() -> None:
    rows = [timed(block(size=size), 10_000 - 100 * size) for size in range(2, 42, 2)]
    counts, pairs = monotony.unexpected(rows[::-1])
    assert counts["unexpected"] == counts["map"] == 19 and len(pairs) == monotony.MOST_SHOWN
    assert [pair["over_pct"] for pair in pairs] == sorted((pair["over_pct"] for pair in pairs), reverse=True)
    assert pairs[0]["smaller"] == block(size=38)


def test_a_table_is_held_to_the_ways_of_pricing_that_it_names(table: Lut, tmp_path: Path) -> None:
    """One that an earlier version made does not name what a later one added."""
    folder = tmp_path / "table"
    write(additive(table, each_op=300_000), folder, allow_simulated=True)
    content = json.loads((folder / "lut.json").read_text())
    assert content["calibration"]["chosen"] == "cold+hot+ops"
    before = of_table(format.read(folder), among=["cold", "hot", "cold+hot", "flops"])
    assert before["holdout"] != content["holdout"]
    for stated, valid in ((before, True), (before | {"holdout": content["holdout"]}, False)):
        (folder / "lut.json").write_text(json.dumps(content | stated))
        assert check.check(folder)["valid"] == valid


def test_a_table_that_states_another_error_than_its_own_is_invalid(table: Lut, tmp_path: Path) -> None:
    folder = tmp_path / "table"
    write(additive(table), folder, allow_simulated=True)
    assert check.check(folder)["valid"]
    content = json.loads((folder / "lut.json").read_text())
    assert content["holdout"]["mape_pct"] == 0.0
    content["holdout"]["flops_only_mape_pct"] -= 1
    (folder / "lut.json").write_text(json.dumps(content))
    report = check.check(folder)
    (fault,) = report["invalid"]
    assert "states an error that is not the table's" in fault["what"]
    assert fault["why"].startswith("holdout.flops_only_mape_pct is ") and not report["valid"]
    content["holdout"] = None
    (folder / "lut.json").write_text(json.dumps(content))
    assert "holdout is 'None'" in check.check(folder)["invalid"][0]["why"]
