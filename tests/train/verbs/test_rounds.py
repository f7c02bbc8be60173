"""`ofa twins fit --rounds`: labels are made where the twin would look for the best, and the file of labels grows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ofa.train import labelled
from tests.train.verbs.conftest import Opened

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.slow
def test_labels_are_added_along_the_front_of_the_twin(
    run: Run, trained: Path, shown: Path, library: Opened, tmp_path: Path
) -> None:
    labels, out, space = tmp_path / "labels.csv", tmp_path / "twin", library.last.supernet.space
    code, _, err = run("label", str(trained), "--data", str(shown), "--out", str(labels), "--count", "30")
    assert code == 0, err
    before = labels.read_bytes()
    size = ("--channels", "1", "--classes", "4")
    rounds = ("--rounds", "2", "--each", "4", "--run", str(trained), "--data", str(shown))
    named = ("twins", "fit", "mobilenet_v3_tiny", *size, "--labels", str(labels), "--out", str(out))
    code, printed, err = run(*named, *rounds, "--json")
    assert code == 0, err
    found = labelled.rows(labels, space)
    assert labels.read_bytes().startswith(before) and 30 < len(found) <= 38
    assert len({row.subnet.id for row in found}) == len(found) == json.loads(printed)["samples"]
    assert json.loads(printed)["interval"]["foretold"] == len(found) - 34
    # Fitted again, it knows this from beside the labels; a further round counts from its first network on.
    again = json.loads(run(*named, "--json")[1])
    assert again["interval"] == json.loads(printed)["interval"]
    code, printed, err = run(*named, *rounds[2:], "--rounds", "1", "--json")
    assert code == 0, err
    more = labelled.rows(labels, space)
    assert json.loads(printed)["interval"]["foretold"] == len(more) - 34 > len(found) - 34


@pytest.mark.parametrize("missing", [("--run", "RUN"), ("--data", "PATH"), ("--rounds", "1", "--run", "RUN")])
def test_rounds_need_a_training_and_its_images(run: Run, tmp_path: Path, missing: tuple[str, ...]) -> None:
    out = tmp_path / "twin"
    code, _, err = run("twins", "fit", "mobilenet_v3_tiny", "--labels", "labels.csv", "--out", str(out), *missing)
    assert code == 2 and "a training and its images" in err and not out.exists()


@pytest.mark.slow
def test_labels_that_cannot_be_made_are_said(run: Run, trained: Path, shown: Path, tmp_path: Path) -> None:
    labels, out = tmp_path / "labels.csv", tmp_path / "twin"
    assert run("label", str(trained), "--data", str(shown), "--out", str(labels), "--count", "30")[0] == 0
    before = labels.read_bytes()
    size = ("--channels", "1", "--classes", "4")
    rounds = ("--rounds", "1", "--run", str(tmp_path / "none"), "--data", str(shown))
    code, _, err = run("twins", "fit", "mobilenet_v3_tiny", *size, "--labels", str(labels), "--out", str(out), *rounds)
    assert code == 2 and "could not be labelled" in err and labels.read_bytes() == before and not out.exists()
