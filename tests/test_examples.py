"""The example at the end of each verb's help runs as it stands, in a folder where the things it names are."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import inputs
from tests.command_tree import MARK, verbs

Run = Callable[..., tuple[int, str, str]]

# What one example writes another reads.
FIRST = ("space sample", "lut build", "label", "twins fit", "archive")
EXAMPLES = {verb.name: verb.examples() for verb in verbs()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


def typed(run: Run, line: str) -> tuple[int, str, str]:
    """Run one line as a shell would, with its output into a file where it says so."""
    program, *words = shlex.split(line, comments=True)
    assert program == "ofa"
    file = None
    if ">" in words:
        words, file = words[: words.index(">")], words[words.index(">") + 1]
    code, out, err = run(*words)
    if file is not None:
        Path(file).write_text(out)
    return code, out, err


def prepare(run: Run, place: Path) -> None:
    """Put what no example makes where they look for it."""

    def command(*words: str) -> None:
        code, _, err = run(*words)
        assert code == 0, err

    inputs.images(place / "images")
    inputs.training(command, place / "images", place / "runs" / "mine")
    inputs.subnets(place)
    inputs.run_folder(command, place)
    inputs.table(place / "runs" / "table" / "lut")
    inputs.table(place / "runs" / "later" / "lut", session="second")
    inputs.model(place / "mine.onnx")
    inputs.published_table(place / "lookup_tables")
    luts = place / "luts"
    origin = ("--device", "note10", "--origin", "nobody", "--out", str(luts / "note10" / "unknown-unknown-imported"))
    command("lut", "import", str(place / "lookup_tables"), *origin)
    (luts / "README.md").write_text((Path(__file__).parents[1] / "luts" / "README.md").read_text())
    inputs.published_checkpoint(place / "ofa_mbv3_d234_e346_k357_w1.0")


@pytest.mark.slow
def test_every_example_runs(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test: what one example writes another reads."""
    monkeypatch.setenv("OFA_LAB", str(place / "lab"))
    monkeypatch.chdir(place)
    prepare(run, place)
    failed: dict[str, Any] = {}
    for name in (*FIRST, *(name for name in EXAMPLES if name not in FIRST)):
        for line in EXAMPLES[name]:
            if MARK in line:
                continue
            code, _, err = typed(run, line)
            if code != 0:
                failed[line] = err
    assert not failed


def test_few_examples_are_not_run() -> None:
    marked = {name: line.partition(MARK)[2] for name, lines in EXAMPLES.items() for line in lines if MARK in line}
    assert marked == {
        "demo": "minutes",
        "devices trust": "a board",
        "devices release": "a board",
        "choose": "the table's device",
        "lut recheck": "the table's device",
    }
