"""The report of a damaged run: what cannot be trusted is left out and said, and there is a page all the same."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="the package 'jinja2' is not installed")
pytest.importorskip("plotly", reason="the package 'plotly' is not installed")

from report_fixtures import run_folder

from harness.cli import main
from harness.report import read, write
from ofa import files

pytestmark = pytest.mark.slow  # most draw pages


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder.write(tmp_path_factory.mktemp("runs") / "demo")


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "cut": ("ops.csv", lambda raw: b"\n".join(raw.split(b"\n")[:-100]) + b"\n"),
    "no time": ("ops.csv", lambda raw: re.sub(rb",ok,[0-9]+,", b",ok,0,", raw, count=1)),
    "no text": ("ops.csv", lambda raw: raw + b"\xff"),
    "edited": ("ops.csv", lambda raw: re.sub(rb",ok,([0-9]+),[0-9]+,", rb",ok,\1,1,", raw, count=1)),
    "another header": ("lut.json", lambda _: b'{"schema": "lut/9"}'),
    "another network": ("networks.csv", lambda raw: raw + b"a,b\n"),
}


@pytest.mark.parametrize(("part", "change"), DAMAGE.values(), ids=DAMAGE)
def test_a_table_that_is_not_as_it_was_written_is_said_and_left_out(
    folder: Path, tmp_path: Path, part: str, change: Callable[[bytes], bytes]
) -> None:
    shutil.copytree(folder / "litert", tmp_path / "litert")
    path = tmp_path / "litert/lut" / part
    assert read.gather(tmp_path).benches[0].table
    path.write_bytes(change(path.read_bytes()))
    found = read.gather(tmp_path)
    assert found.benches[0].table is None and any(line.startswith("litert/lut: ") for line in found.broken)


def test_a_comparison_says_what_could_not_be_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("whole", "cut"):
        shutil.copytree(folder / "litert" / "lut", tmp_path / name)
    path = tmp_path / "cut" / "ops.csv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))
    words = ["report", "compare", str(tmp_path / "whole"), str(tmp_path / "cut"), "--out", str(tmp_path / "c.html")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().err
    assert ended.value.code == 3 and "cut short or changed" in said and "ofa lut check" in said
    # Where something else can be compared, there is a page, and what it lacks is said.
    for name in ("first", "second"):
        shutil.copytree(folder, tmp_path / name)
    shutil.copy(path, tmp_path / "second" / "litert" / "lut" / "ops.csv")
    with pytest.raises(SystemExit) as ended:
        main([*words[:2], str(tmp_path / "first"), str(tmp_path / "second"), *words[4:]])
    said = capsys.readouterr().err
    assert ended.value.code == 0 and "warning: left out of the page: second, litert/lut" in said


def test_where_nothing_could_be_read_page_and_terminal_say_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "litert" / "lut", tmp_path / "lut")
    path = tmp_path / "lut" / "ops.csv"
    path.write_bytes(path.read_bytes() + b"\xff")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "lut")])
    said = capsys.readouterr().err
    assert ended.value.code == 0 and "warning: left out of the page: " in said and "ops.csv" in said
    text = (tmp_path / "lut" / "report.html").read_text(encoding="utf-8")
    assert "could not be read: there is nothing to show" in text and "has only begun" not in text


SPOILT = {
    "a number without end": ("run.json", b'{"a": 1e999}'),
    "a number of many digits": ("twins/accuracy/card.json", b'{"models": {"base": {"rmse": 1' + b"0" * 400 + b"}}}"),
    "half a character": ("run.json", b'{"name": "\\ud800"}'),
    "half a character in a log": ("supernet/metrics.jsonl", b'{"step": 1, "corners": {"\\ud800": 5}}\n'),
    "a huge field": ("labels.csv", b"id,resolution,top1\na,16,88\n" + b"x" * 200_000 + b",16,88\nb,16,90\n"),
    "bytes that are no text": ("labels.csv", b"id,resolution,top1\n\xff,16,88\n"),
}


@pytest.mark.parametrize(("name", "content"), SPOILT.values(), ids=SPOILT)
def test_whatever_an_input_holds_there_is_a_page_that_says_it(
    folder: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)
    text = write(tmp_path / "run").read_text(encoding="utf-8")
    assert f"<li>{name}: " in text.partition("Could not be read")[2]
    if name == "labels.csv" and b"xxx" in content:
        assert len(read.gather(tmp_path / "run").labels) == 2


@pytest.mark.parametrize("name", ["run.json", "summary.json", "verify.json", "front.json", "lut/lut.json"])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_file_may_be_nested_deeper_than_python_calls_itself(tmp_path: Path, name: str, opening: str) -> None:
    files.write_atomic(tmp_path / "labels.csv", "id,resolution,top1\na,16,88\n")
    for depth in (900, 100_000):
        closing = ("]" if opening == "[" else "}") * depth
        files.write_atomic(tmp_path / name, '{"x":' + opening * depth + "1" + closing + "}")
        assert "1 subnet is labelled" in write(tmp_path).read_text(encoding="utf-8")


def test_a_twin_that_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    run_folder.table(tmp_path / "litert/lut", "litert", 1.0, np.random.default_rng(0), (run_folder.network(),))
    assert not read.gather(tmp_path).broken
    run_folder.twin(tmp_path / "litert/twin")
    (line,) = read.gather(tmp_path).broken
    assert line.startswith("litert/twin: ")


def test_a_file_whose_name_is_no_text_is_listed(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "run.json", "{}")
    (tmp_path / os.fsdecode(b"a\xffb")).write_bytes(b"1")
    assert "a\\udcffb" in write(tmp_path).read_text(encoding="utf-8")
