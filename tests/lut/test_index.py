"""The list of tables: one line a table, the same whatever the order they come in, and stale as soon as one changes."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from ofa.errors import FileInvalid
from ofa.lut import check, format, index
from ofa.lut.format import Lut

ROOT = Path(__file__).resolve().parents[2]
PAGE = f"# Tables\n\n{index.BEGIN}\n{index.END}\n\nAnd more.\n"


def put(lut: Lut, root: Path, **changes: object) -> Path:
    """Put a table below a root, where its header says."""
    made = dataclasses.replace(lut, header=lut.header.model_copy(update=changes))
    folder = root / str(made.header.place)
    folder.mkdir(parents=True, exist_ok=True)
    for part, raw in format.render(made.sorted()).items():
        (folder / part).write_bytes(raw)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with a page and no tables."""
    folder = tmp_path / "luts"
    folder.mkdir()
    (folder / "README.md").write_text(PAGE)
    return folder


def test_our_own_list_is_what_our_tables_say() -> None:
    found = index.index(ROOT / "luts")
    index.refuse(found)
    assert not found["stale"]


def test_without_tables_the_page_says_so(root: Path) -> None:
    with pytest.raises(FileInvalid, match="not what the tables say") as caught:
        index.refuse(index.index(root))
    assert caught.value.hints == (f"ofa lut index {root}",)
    index.write(root)
    text = (root / "README.md").read_text()
    assert text == PAGE.replace(f"{index.BEGIN}\n", f"{index.BEGIN}\n\n{index.NONE}\n\n")
    assert index.index(root) == {"root": str(root), "stale": False, "tables": []}


def test_a_folder_without_a_page_is_told_what_the_page_needs(root: Path) -> None:
    (root / "README.md").unlink()
    for made in (index.index, index.write):
        with pytest.raises(FileInvalid, match="has no place for the list") as caught:
            made(root)
        assert index.BEGIN in caught.value.hints[0] and index.END in caught.value.hints[0]
    assert not list(root.iterdir())


def test_a_table_is_one_line(table: Lut, root: Path) -> None:
    put(table, root)
    put(table, root, device="pixel-10", precision="int8", units=1)
    (root / ".cache").mkdir()
    put(table, root / ".cache")
    found = index.write(root)
    assert found["stale"] and [entry["device"] for entry in found["tables"]] == ["pixel-10", "pixel-8"]
    ops = len({row.key for row in table.rows}) - 1
    noise = check.show(root / "pixel-8/litert-fp32-xnnpack-1t")["noise"]["half_width_pct"]["median"]
    own = "mobilenet_v3-w1.0<br>mobilenet_v3_tiny-w1.0-c1-n10"
    lines = [
        "| device | runtime | precision | conditions | spaces | ops | noise | held-out error | units | created |",
        "|---|---|---|---|---|---:|---:|---:|---:|---|",
        "| [pixel-10](pixel-10/litert-int8-xnnpack-1t/) | litert | int8 | xnnpack-1t "
        f"| {own} | {ops} (1 modelled) | ± {noise:.1f} % | –<br>– | 1 | 2026-02-28 |",
        "| [pixel-8](pixel-8/litert-fp32-xnnpack-1t/) | litert | fp32 | xnnpack-1t "
        f"| {own} | {ops} (1 modelled) | ± {noise:.1f} % | –<br>– | 2 | 2026-02-28 |",
    ]
    text = (root / "README.md").read_text()
    assert text == "# Tables\n\n{}\n\n{}\n\n{}\n\nAnd more.\n".format(index.BEGIN, "\n".join(lines), index.END)


def test_a_page_that_is_right_is_left_alone(table: Lut, root: Path) -> None:
    folder = put(table, root)
    index.write(root)
    page = root / "README.md"
    os.utime(page, ns=(1, 1))
    assert not index.write(root)["stale"] and page.stat().st_mtime_ns == 1
    before = page.read_bytes()
    put(table, root, units=7)
    found = index.index(root)
    assert found["stale"] and page.read_bytes() == before
    with pytest.raises(FileInvalid) as caught:
        index.refuse(found)
    assert str(page) in caught.value.what and caught.value.exit_code == 3
    index.write(root)
    assert page.read_bytes() != before
    put(table, root)
    index.write(root)
    assert page.read_bytes() == before
    for part in folder.iterdir():
        part.unlink()
    index.write(root)
    assert index.NONE in page.read_text()


def test_the_error_on_held_out_networks_is_listed(table: Lut) -> None:
    held = {"space": "x-w1.0", "fit": 9, "holdout": 12, "mape_pct": 3.25, "bias_pct": 0.1}
    entry = {
        "device": "pixel-8", "path": "a b/c|(d)", "runtime": "litert", "precision": "fp32", "conditions": "cpu-1t",
        "simulated": True, "rechecked": None, "spaces": ["x-w1.0"], "ops": 1234, "modelled": 0, "held_out": [held],
        "units": 1, "created": "2026-01-01",
        "noise": {"measured": 9, "noisy": 4, "half_width_pct": {"median": 2.04}, "flags": {}},
    }  # fmt: skip
    line = index.markdown([entry]).splitlines()[2]
    assert line == (
        "| [pixel-8](a%20b/c%7C%28d%29/) | litert | fp32 | cpu-1t (simulated) | x-w1.0 | 1,234 | ± 2.0 % "
        "| 3.2 % of 12 | 1 | 2026-01-01 |"
    )
    assert "|  |  | 1 | 2026" not in line
    blank = index.markdown([entry | {"spaces": [], "held_out": []}]).splitlines()[2]
    assert "| cpu-1t (simulated) |  | 1,234 | ± 2.0 % |  | 1 |" in blank


@pytest.mark.parametrize(
    "text",
    [
        "no marks",
        index.BEGIN,
        index.END,
        f"{index.END}\n{index.BEGIN}\n",
        PAGE + PAGE,
        PAGE + index.END,
        PAGE + index.BEGIN,
        f"{index.END}\n{PAGE}",
        b"\xff" + PAGE.encode(),
    ],
)
def test_a_page_without_its_marks_is_refused_and_kept(root: Path, text: str | bytes) -> None:
    page = root / "README.md"
    page.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = page.read_bytes()
    for ask in (index.index, index.write):
        with pytest.raises(FileInvalid) as caught:
            ask(root)
        assert "has no place" in caught.value.what and index.BEGIN in caught.value.hints[0]
    assert page.read_bytes() == before


def test_what_cannot_be_listed_is_refused(table: Lut, root: Path, tmp_path: Path) -> None:
    for absent in (tmp_path / "nowhere", root / "README.md"):
        with pytest.raises(FileInvalid, match="holds no latency table"):
            index.index(absent)
    (put(table, root) / "ops.csv").write_text("")
    with pytest.raises(FileInvalid, match=r"ops\.csv"):
        index.write(root)
    assert (root / "README.md").read_text() == PAGE


def test_what_brings_the_page_above_a_table_up_to_date(
    table: Lut, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(table, root)
    assert index.commands(folder) == [f"ofa lut index {root}"]
    monkeypatch.chdir(tmp_path)
    assert index.commands(Path("luts") / folder.relative_to(root)) == ["ofa lut index luts"]
    (root / "README.md").write_text("no list\n")
    assert index.commands(folder) == []
