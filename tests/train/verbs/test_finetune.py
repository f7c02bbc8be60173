"""The verb that fine-tunes: one subnet gets better by itself, from the weights it had, on the images it had."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ofa.space.core import Subnet
from ofa.train import checkpoint, folder, loop, runs

from .conftest import Opened, Refuse, Run, everything_in, json_of

pytestmark = pytest.mark.slow


@pytest.fixture
def chosen(library: Opened, tmp_path: Path) -> Path:
    """Return a file with one subnet, whose accuracy after three steps leaves much to learn."""
    path = tmp_path / "subnet.json"
    path.write_text(json.dumps(subnet_of(library).to_json()))
    return path


def subnet_of(library: Opened) -> Subnet:
    return library.last.supernet.space.corner("k7e6d1", 20)


def tuned(once: Path, subnet: Path, data: Path, out: Path, *more: str) -> list[str]:
    options = ["--subnet", str(subnet), "--data", str(data), "--out", str(out)]
    return ["finetune", str(once), *options, "--epochs", "4", "--lr", "0.01", *more]


def test_a_fine_tuned_subnet_is_better_than_it_was(
    run: Run, once: Path, chosen: Path, shown: Path, tmp_path: Path, library: Opened, refuse: Refuse
) -> None:
    before = everything_in(once)
    out = tmp_path / "tuned"
    code, text, err = run(*tuned(once, chosen, shown, out, "--json"))
    assert code == 0, err
    facts, log = json_of(text), (out / folder.METRICS).read_text().splitlines()
    assert facts["step"] == 12 == len(log) and facts["phase"] == "finetune"
    assert facts["checkpoint"] == str(out / folder.CHECKPOINT)
    assert json.loads(log[-1])["loss"] < json.loads(log[0])["loss"] - 0.2
    watched = {line["step"]: line["corners"] for line in map(json.loads, log) if "corners" in line}
    assert watched.keys() == {12} and set(watched[12]) == {"subnet"} and (out / folder.BEST).exists()
    (start,) = json_of(run("eval", str(once), "--data", str(shown), "--subnets", str(chosen), "--json")[1])
    (end,) = json_of(run("eval", str(out), "--data", str(shown), "--json")[1])
    assert end["subnet"] == "the fine-tuned subnet" and end["id"] == start["id"] == subnet_of(library).id
    assert end["resolution"] == 20 and end["top1"] > start["top1"] + 20
    recipe = runs.recipe_of(out)
    assert recipe.subnet == subnet_of(library).genome and recipe.origin == library.last.sha256
    assert (recipe.phases[0].epochs, recipe.phases[0].learning_rate) == (4, 0.01) and recipe.ema_decay == 0.5
    assert everything_in(once) == before
    err = refuse(2, "label", str(out), "--data", str(shown), "--out", str(tmp_path / "labels.csv"))
    assert "is of one subnet" in err


@pytest.mark.parametrize(("optimiser", "rate"), [("adamw", 5e-4), ("sgd", 0.08 * 8 / 2048)])
def test_each_optimiser_has_a_rate_of_its_own(
    optimiser: str, rate: float, run: Run, once: Path, chosen: Path, shown: Path, tmp_path: Path
) -> None:
    changes = ("--set", f"optimiser={optimiser}", "--set", "batch=8", "--epochs", "0.1")
    options = ("--subnet", str(chosen), "--data", str(shown), "--out", str(tmp_path / "tuned"))
    code, _, err = run("finetune", str(once), *options, *changes)
    assert code == 0, err
    assert runs.recipe_of(tmp_path / "tuned").phases[0].learning_rate == pytest.approx(rate)
    (line,) = (tmp_path / "tuned" / folder.METRICS).read_text().splitlines()[-1:]
    assert json.loads(line)["lr"] >= 0, "the last step has a line, however few there are"


def test_it_begins_with_the_weights_asked_for(
    run: Run, once: Path, chosen: Path, shown: Path, tmp_path: Path, library: Opened
) -> None:
    out = tmp_path / "tuned"
    # One step, so that an average that began elsewhere would still be half of that.
    more = ("--lr", "0", "--weights", "ema", "--epochs", "0.3")
    code, _, err = run(*tuned(once, chosen, shown, out, *more))
    assert code == 0, err
    expected, found = library.ema.supernet.state_dict(), checkpoint.load(out / folder.CHECKPOINT)
    assert all(torch.equal(found.model[name], value) for name, value in expected.items())
    for name, value in expected.items():
        torch.testing.assert_close(found.ema[name], value)
    # Both weights stand in one file, and a run of the other ones is another run.
    code, _, err = run(*tuned(once, chosen, shown, out, "--lr", "0", "--epochs", "0.3", "--resume"))
    assert code == 3 and "origin" in err, (code, err)


def test_images_are_divided_as_the_supernets_were(
    run: Run, once: Path, chosen: Path, shown: Path, tmp_path: Path, library: Opened
) -> None:
    assert run(*tuned(once, chosen, shown, tmp_path / "tuned", "--epochs", "0.1"))[0] == 0
    found = runs.trained(tmp_path / "tuned", str(shown)).data
    for part in ("train", "holdout", "calibration", "mean", "std"):
        assert list(getattr(found, part)) == list(getattr(library.last.data, part))


def test_ctrl_c_and_the_line_it_prints_end_as_one_training(
    run: Run, once: Path, chosen: Path, shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken off"
    assert run(*tuned(once, chosen, shown, whole, "--epochs", "1"))[0] == 0
    command = tuned(once, chosen, shown, broken, "--epochs", "1")
    advance = loop.Training.advance

    def interrupted(self: loop.Training, batches: Any) -> dict[str, Any]:
        if self.state.step == 1:
            raise KeyboardInterrupt
        return advance(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "advance", interrupted)
        patch.setattr(sys, "argv", ["ofa", *command])
        code, out, err = run(*command)
    assert (code, out) == (130, "") and "Traceback" not in err
    (line,) = re.findall(r"try: (.*)\n", err)
    assert shlex.split(line) == ["ofa", *command, "--resume"]
    assert run(*command)[0] == 2, "not without --resume"
    assert run(*shlex.split(line)[1:])[0] == 0
    mine, theirs = (checkpoint.load(one / folder.CHECKPOINT) for one in (whole, broken))
    assert mine.step == theirs.step == 3
    assert all(torch.equal(mine.model[name], theirs.model[name]) for name in mine.model)


@pytest.mark.parametrize("setting", ["seed=1", "holdout=0", "calibration=4", "space=proxyless", "mean=[0.1]"])
def test_what_the_supernet_decided_cannot_be_changed(
    setting: str, once: Path, chosen: Path, shown: Path, tmp_path: Path, refuse: Refuse
) -> None:
    """Another seed would hold other images back than those the supernet never saw."""
    err = refuse(2, *tuned(once, chosen, shown, tmp_path / "tuned", "--set", setting))
    assert f"fine-tuning cannot change '{setting.partition('=')[0]}'" in err


def test_what_cannot_be_meant_is_refused(
    once: Path, chosen: Path, shown: Path, tmp_path: Path, refuse: Refuse, library: Opened
) -> None:
    out = tmp_path / "tuned"
    assert "'batch' cannot be 'x'" in refuse(2, *tuned(once, chosen, shown, out, "--set", "batch=x"))
    assert "no setting 'subnet'" in refuse(2, *tuned(once, chosen, shown, out, "--set", "subnet=[1]"))
    assert "'learning_rate' is inf" in refuse(2, *tuned(once, chosen, shown, out, "--lr", "inf"))
    assert "holds no training" in refuse(3, *tuned(tmp_path, chosen, shown, out))
    two = tmp_path / "two.json"
    two.write_text(json.dumps([subnet_of(library).to_json()] * 2))
    assert "holds 2 subnets" in refuse(2, *tuned(once, two, shown, out))
    two.write_text(json.dumps(subnet_of(library).to_json() | {"space": "proxyless-w1.3"}))
    refuse(3, *tuned(once, two, shown, out))
    refuse(3, *tuned(once, tmp_path / "absent.json", shown, out))


def test_a_supernets_own_folder_is_refused(trained: Path, chosen: Path, shown: Path, refuse: Refuse) -> None:
    assert "holds a training already" in refuse(2, *tuned(trained, chosen, shown, trained))
    assert "of another recipe" in refuse(3, *tuned(trained, chosen, shown, trained, "--resume"))


def test_a_dry_run_of_a_fine_tuning_says_what_would_be_and_writes_nothing(
    run: Run, once: Path, chosen: Path, shown: Path, tmp_path: Path
) -> None:
    code, text, err = run(*tuned(once, chosen, shown, tmp_path / "tuned", "--dry-run", "--json"))
    assert code == 0 and err.startswith("trying steps: ") and not (tmp_path / "tuned").exists()
    facts = json_of(text)
    (phase,) = facts["phases"]
    assert facts["steps"] == 12 and (phase["phase"], phase["subnets_a_step"]) == ("finetune", 1)


def test_a_fine_tuning_can_log_to_tensorboard_too(
    run: Run, once: Path, chosen: Path, shown: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard", reason="the package 'tensorboard' is not installed")
    code, _, err = run(*tuned(once, chosen, shown, tmp_path / "tuned", "--track", "tensorboard"))
    assert code == 0, err
    assert list((tmp_path / "tuned" / "tensorboard").iterdir())
