"""Images in files: one that cannot be read ends a training by name, or is replaced and counted wherever it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ofa.train import folder, runs
from ofa.train.ranks import Ranks

from .conftest import Run, everything_in, json_of, training

pytestmark = pytest.mark.slow


def skipped_in(run: Path) -> int:
    """Return how many images the log says were replaced."""
    return sum(json.loads(line).get("skipped", 0) for line in (run / folder.METRICS).read_text().splitlines())


def steps(data: Path, out: Path, *more: str, **changes: Any) -> list[str]:
    """Return the command for two steps of nearly all images that may be trained on, without a part held back."""
    changes = {"batch": 20, "holdout": 0, "calibration": 40, "workers": 0, "mean": "[0.5]", "std": "[0.25]"} | changes
    return training(data, out, *more, **changes)


def test_an_unreadable_image_is_replaced_and_counted(photographs: Path, tmp_path: Path, run: Run) -> None:
    code, out, err = run(*steps(photographs, tmp_path / "run", "--skip-corrupt", "--json"))
    assert code == 0, err
    assert json_of(out)["step"] == 2 and skipped_in(tmp_path / "run") == 1, "an epoch shows it once"
    assert "warning: 1 unreadable image was replaced by another of its class, first '" in err
    assert "class-1/13.png'" in err
    facts = json.loads((tmp_path / "run" / folder.DATA).read_text())
    assert facts["classes"] == [f"class-{number}" for number in range(4)] and facts["channels"] == 3
    assert facts["mean"] == [0.5] * 3


def test_one_that_is_held_back_is_told_of_too(photographs: Path, tmp_path: Path, run: Run) -> None:
    """No step meets it, so the log cannot say it; corners are measured on it."""
    command = steps(photographs, tmp_path / "run", "--skip-corrupt", batch=8, holdout=28, calibration=8)
    code, _, err = run(*command)
    assert code == 0 and "1 unreadable image was replaced" in err and skipped_in(tmp_path / "run") == 0, err


def test_without_leave_to_skip_the_image_is_named(
    photographs: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*steps(photographs, tmp_path / "run"))
    assert (code, out) == (3, "") and "Traceback" not in err
    assert "class-1/13.png' cannot be read" in err and "add --skip-corrupt" in err
    code, _, again = run(*steps(photographs, tmp_path / "run", "--skip-corrupt"))
    assert code == 0, again


def test_a_folder_without_the_broken_image_is_other_data(
    photographs: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a run that was allowed to skip can only be measured with the same leave, or not at all."""
    assert run(*steps(photographs, tmp_path / "run", "--skip-corrupt"))[0] == 0
    broken = photographs / "train" / "class-1" / "13.png"
    before = everything_in(tmp_path / "run")
    measure = ("eval", str(tmp_path / "run"), "--data", str(photographs))
    code, out, err = run(*measure)
    assert (code, out) == (3, "") and "class-1/13.png' cannot be read" in err
    code, out, err = run(*measure, "--skip-corrupt", "--json")
    assert code == 0 and len(json_of(out)) == 5
    assert "warning: 1 unreadable image was replaced" in err and "class-1/13.png" in err
    with monkeypatch.context() as patch:
        patch.setattr(Ranks, "first", False)
        assert run(*measure, "--skip-corrupt") == (0, "", ""), "only the first of many processes talks"
    broken.unlink()
    code, _, err = run(*measure, "--skip-corrupt")
    assert code == 3 and "trained on other images" in err
    assert everything_in(tmp_path / "run") == before


@pytest.mark.slow
@pytest.mark.parametrize("augmentation", ["imagenet", "crop_flip"])
def test_worker_processes_read_the_same_images(augmentation: str, photographs: Path, tmp_path: Path, run: Run) -> None:
    """One error in a worker process must read like one in this process, and counts must come back from there."""
    alone, apart = tmp_path / "alone", tmp_path / "apart"
    for out, workers in ((alone, 0), (apart, 2)):
        command = steps(photographs, out, "--skip-corrupt", workers=workers, augmentation=augmentation)
        code, _, err = run(*command)
        assert code == 0 and skipped_in(out) == 1 and "1 unreadable image was replaced" in err, err
    first, second = ((out / folder.METRICS).read_text() for out in (alone, apart))
    assert first == second
    code, text, err = run(*steps(photographs, tmp_path / "broken", workers=2, augmentation=augmentation))
    assert (code, text) == (3, "") and "Traceback" not in err and "DataLoader" not in err
    assert err.startswith("error: image '") and "class-1/13.png' cannot be read" in err and "  try: " in err


def test_fine_tuning_decodes_with_one_thread_in_each_of_its_processes(
    photographs: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a training does: with all cores in each of them they would only wait for each other."""
    assert run(*steps(photographs, tmp_path / "run", "--skip-corrupt"))[0] == 0
    space = runs.recipe_of(tmp_path / "run").search_space(channels=3, classes=4)
    (tmp_path / "one.json").write_text(json.dumps(space.corner("min", 16).to_json()))
    threads = []
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr("ofa.train.loop.train", lambda recipe, data, *_, **__: threads.append(data.source.threads))
    options = ("--subnet", str(tmp_path / "one.json"), "--out", str(tmp_path / "tuned"), "--skip-corrupt")
    code, _, err = run("finetune", str(tmp_path / "run"), "--data", str(photographs), *options)
    assert (code, threads) == (0, [1]), err
