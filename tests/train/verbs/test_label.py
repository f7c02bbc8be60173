"""The verb that labels: rows that are kept, an interruption that costs none, and no mixing of checkpoints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa.space.core import Genomes
from ofa.train import checkpoint, evaluate, folder, label, runs
from ofa.train.labelled import read as read_labels

from .conftest import Opened, Refuse, Run, everything_in, json_of

pytestmark = pytest.mark.slow


def labelled(run_folder: Path, data: Path, out: Path, *more: str) -> list[str]:
    return ["label", str(run_folder), "--data", str(data), "--out", str(out), "--count", "5", *more]


def test_labels_are_what_the_library_measures(
    run: Run, once: Path, shown: Path, tmp_path: Path, library: Opened
) -> None:
    out = tmp_path / "new" / "labels.csv"
    code, text, err = run(*labelled(once, shown, out, "--json"))
    assert code == 0, err
    facts, trained = json_of(text), library.last
    space = trained.supernet.space
    genomes, top1 = read_labels(out, space)
    assert set(facts) == {"labels", "min", "median", "mean", "max"} and facts["labels"] == len(genomes) == 5
    assert facts["min"] == pytest.approx(top1.min(), abs=1e-3) and facts["max"] == pytest.approx(top1.max(), abs=1e-3)
    assert facts["mean"] == pytest.approx(top1.mean(), abs=1e-3)
    calibration, held_back = (trained.images(part, str(shown)) for part in ("calibration", "holdout"))
    for genome, value in zip(genomes[:2], top1, strict=False):
        found = evaluate.top1(trained.supernet, space.subnet(genome), calibration, held_back)
        assert value == pytest.approx(found, abs=1e-3)
    origin = json.loads((tmp_path / "new" / "labels.csv.json").read_text())
    assert origin == {
        "checkpoint_sha256": trained.sha256,
        "weights": "last",
        "data": trained.data.source.fingerprint,
        "calibration_images": 12,
        "label_images": 12,
    }
    code, text, _ = run(*labelled(once, shown, out))
    assert code == 0 and "median" in text


def test_an_interrupted_labelling_goes_on_by_the_same_command(
    run: Run, once: Path, shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole.csv", tmp_path / "broken.csv"
    assert run(*labelled(once, shown, whole))[0] == 0
    measured: list[int] = []
    many_right = evaluate.many_right

    def counted(supernet: Any, subnets: Any, *others: Any) -> Any:
        measured.append(len(subnets))
        if len(measured) == 2:
            raise KeyboardInterrupt
        return many_right(supernet, subnets, *others)

    monkeypatch.setattr(label, "many_right", counted)
    # One at a time, so that there is a second one to be interrupted in.
    monkeypatch.setattr(label, "TOGETHER", 1)
    code, out, err = run(*labelled(once, shown, broken))
    assert (code, out) == (130, "") and "run the same command again" in err and "Traceback" not in err
    assert len(broken.read_text().splitlines()) == 2
    measured += [0]
    code, _, err = run(*labelled(once, shown, broken))
    assert code == 0 and measured[3:] == [1] * 4, err
    assert broken.read_bytes() == whole.read_bytes()
    assert label.bits_path(broken).read_bytes() == label.bits_path(whole).read_bytes()


def test_more_labels_are_added_to_those_there_are(run: Run, once: Path, shown: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    assert run(*labelled(once, shown, out))[0] == 0
    first = out.read_text()
    assert run(*labelled(once, shown, out, "--seed", "7"))[0] == 0
    assert out.read_text().startswith(first) and len(out.read_text().splitlines()) == 11


def test_given_subnets_are_labelled_instead(run: Run, once: Path, shown: Path, tmp_path: Path, library: Opened) -> None:
    space = library.last.supernet.space
    wanted = [space.corner("min", 16), space.corner("max", 16)]
    (tmp_path / "two.json").write_text(json.dumps([subnet.to_json() for subnet in wanted]))
    assert run(*labelled(once, shown, tmp_path / "l.csv", "--subnets", str(tmp_path / "two.json")))[0] == 0
    genomes: Genomes = read_labels(tmp_path / "l.csv", space)[0]
    np.testing.assert_array_equal(genomes, np.stack([subnet.array for subnet in wanted]))


def test_labels_of_another_checkpoint_or_other_weights_are_refused(
    run: Run, trained: Path, shown: Path, tmp_path: Path, refuse: Refuse
) -> None:
    out = tmp_path / "labels.csv"
    assert run(*labelled(trained, shown, out))[0] == 0
    err = refuse(3, *labelled(trained, shown, out, "--weights", "ema"))
    assert "cannot be continued" in err and "another weights" in err
    path = trained / folder.CHECKPOINT
    found = checkpoint.load(path)
    checkpoint.save(path, dataclasses.replace(found, step=found.step - 1))
    assert "another checkpoint_sha256" in refuse(3, *labelled(trained, shown, out))
    (tmp_path / "labels.csv.json").write_text("[]")
    refuse(3, *labelled(trained, shown, out))
    (tmp_path / "labels.csv.json").unlink()
    refuse(3, *labelled(trained, shown, out))


def test_a_file_of_something_else_is_left_alone(once: Path, shown: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "notes.csv").write_text("mine\n")
    refuse(3, *labelled(once, shown, tmp_path / "notes.csv"))
    (tmp_path / "folder").mkdir()
    refuse(3, *labelled(once, shown, tmp_path / "folder"))


def test_labels_need_images_held_back(run: Run, shown: Path, trained: Path, tmp_path: Path, refuse: Refuse) -> None:
    recipe = dataclasses.replace(runs.recipe_of(trained), holdout=0)
    (trained / folder.RECIPE).write_text(json.dumps(recipe.to_json()))
    err = refuse(2, *labelled(trained, shown, tmp_path / "labels.csv"))
    assert "held no images back" in err and "holdout" in err
    assert "held no images back" in refuse(2, "eval", str(trained), "--data", str(shown), "--split", "holdout")


def test_labelling_touches_nothing_of_the_run(run: Run, trained: Path, shown: Path, tmp_path: Path) -> None:
    before = everything_in(trained)
    assert run(*labelled(trained, shown, tmp_path / "labels.csv"))[0] == 0
    assert everything_in(trained) == before
