"""The verbs for tables, through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

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
