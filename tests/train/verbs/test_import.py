"""The verb that imports: a published checkpoint becomes a run that the other verbs read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ofa.space as spaces
from ofa.files import sha256_file
from ofa.nn.weights import published_shapes, renamed
from ofa.train import checkpoint, evaluate, folder, runs

from .conftest import Refuse, Run, everything_in, json_of

pytestmark = pytest.mark.slow

# As all that is published: RGB and the classes of ImageNet.
SPACE = spaces.load("mobilenet_v3_tiny")


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Return random tensors under their published names."""
    generator = torch.Generator().manual_seed(3)
    found = {}
    for name, shape in published_shapes(SPACE).items():
        found[name] = torch.randn(shape, generator=generator) * 0.2
        if name.endswith("_matrix"):
            found[name] += torch.eye(shape[0])
        elif name.endswith(".weight") and len(shape) == 1:
            found[name] += 1
    return found


@pytest.fixture(scope="module")
def published(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "net.pth"
    torch.save({"state_dict": tensors}, path)
    return path


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return images of as many classes, three each to train on and one to test with."""
    root = tmp_path_factory.mktemp("thousand")
    rng = np.random.default_rng(0)
    for split, each in (("train", 3), ("test", 1)):
        labels = np.arange(1000 * each) % 1000
        images = rng.integers(0, 256, (len(labels), 4, 4, 3), dtype=np.uint8)
        np.savez(root / f"{split}.npz", images=images, labels=labels)
    return root


def imported(file: Path, out: Path, *more: str) -> list[str]:
    return ["import-checkpoint", str(file), "--space", "mobilenet_v3_tiny", "--out", str(out), "--holdout", "40", *more]


def lightened(run_folder: Path) -> None:
    """Let a run's recipe calibrate on fewer images than ImageNet has."""
    recipe = dataclasses.replace(runs.recipe_of(run_folder), calibration=24)
    (run_folder / folder.RECIPE).write_text(json.dumps(recipe.to_json()))


def test_a_published_checkpoint_becomes_a_run(
    run: Run, published: Path, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code, text, err = run(*imported(published, out, "--json"))
    assert code == 0, err
    facts, kept = json_of(text), checkpoint.load(out / folder.CHECKPOINT)
    expected = renamed(tensors, SPACE, source="made").weights
    assert kept.model.keys() == expected.keys() and kept.space == SPACE.id
    assert all(torch.equal(kept.model[name], value) for name, value in expected.items())
    statistics = sum(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in tensors)
    assert facts == {
        "space": SPACE.id,
        "tensors": len(expected),
        "transforms_at_identity": 0,
        "running_statistics_not_needed": statistics,
        "checkpoint": str(out / folder.CHECKPOINT),
    }
    recipe = runs.recipe_of(out)
    assert (recipe.space, recipe.width, recipe.origin) == (SPACE.name, 1.0, sha256_file(published))
    assert recipe.name == "imported" and kept.recipe == recipe.id


def test_the_run_is_evaluated_and_labelled_on_matching_images(
    run: Run, published: Path, thousand: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert run(*imported(published, out))[0] == 0
    lightened(out)
    subnet = SPACE.corner("min", 16)
    (tmp_path / "one.json").write_text(json.dumps(subnet.to_json()))
    measure = ("--data", str(thousand), "--json")
    code, text, err = run("eval", str(out), *measure, "--subnets", str(tmp_path / "one.json"))
    assert code == 0, err
    (row,) = json_of(text)
    opened = runs.trained(out, str(thousand))
    calibration, test = (opened.images(part, str(thousand)) for part in ("calibration", "test"))
    assert row["top1"] == round(evaluate.top1(opened.supernet, subnet, calibration, test), 3)
    assert (row["images"], row["id"]) == (1000, subnet.id) and len(opened.data.holdout) == 40
    labels = tmp_path / "labels.csv"
    code, text, err = run("label", str(out), *measure, "--out", str(labels), "--subnets", str(tmp_path / "one.json"))
    assert code == 0 and json_of(text)["labels"] == 1, err


@pytest.mark.slow
def test_a_subnet_of_the_run_is_fine_tuned(run: Run, published: Path, thousand: Path, tmp_path: Path) -> None:
    """By the recipe the import wrote, bfloat16 and its augmentation among it."""
    out = tmp_path / "run"
    assert run(*imported(published, out))[0] == 0
    lightened(out)
    (tmp_path / "one.json").write_text(json.dumps(SPACE.corner("min", 16).to_json()))
    options = ("--data", str(thousand), "--subnet", str(tmp_path / "one.json"), "--out", str(tmp_path / "tuned"))
    fewer = ("--set", "batch=64", "--set", "shards=1", "--set", "log_steps=1")
    code, text, err = run("finetune", str(out), *options, *fewer, "--epochs", "0.1", "--json")
    assert code == 0, err
    before, after = (checkpoint.load(one / folder.CHECKPOINT) for one in (out, tmp_path / "tuned"))
    assert json_of(text)["step"] == after.step == 5 and json_of(text)["loss"] > 0
    assert any(not torch.equal(after.model[name], value) for name, value in before.model.items())


def test_other_images_than_the_spaces_are_refused(
    run: Run, published: Path, shown: Path, tmp_path: Path, refuse: Refuse
) -> None:
    assert run(*imported(published, tmp_path / "run", "--holdout", "10000"))[0] == 0
    err = refuse(2, "eval", str(tmp_path / "run"), "--data", str(shown))
    assert "too few" in err and "import-checkpoint --holdout" in err
    recipe = dataclasses.replace(runs.recipe_of(tmp_path / "run"), holdout=0, mean=(0.5,), std=(0.5,))
    (tmp_path / "run" / folder.RECIPE).write_text(json.dumps(recipe.to_json()))
    err = refuse(3, "eval", str(tmp_path / "run"), "--data", str(shown))
    assert "does not hold a supernet of 'mobilenet_v3_tiny-w1.0-c1-n4'" in err


def test_a_folder_that_holds_a_run_is_refused(published: Path, trained: Path, refuse: Refuse) -> None:
    assert "holds a training already" in refuse(2, *imported(published, trained))


def test_files_that_no_training_wrote_are_left(published: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / folder.RECIPE).write_text('{"pancakes": 4}')
    assert "would replace recipe.json" in refuse(2, *imported(published, tmp_path / "recipes"))


def test_what_is_no_checkpoint_of_the_space_is_refused(
    tensors: dict[str, Tensor], published: Path, tmp_path: Path, refuse: Refuse
) -> None:
    out = tmp_path / "run"
    torch.save({name: tensors[name] for name in list(tensors)[1:]}, tmp_path / "less.pth")
    assert next(iter(tensors)) in refuse(3, *imported(tmp_path / "less.pth", out))
    (tmp_path / "torn.pth").write_bytes(published.read_bytes()[:-100])
    for file in (tmp_path / "torn.pth", tmp_path / "absent.pth", tmp_path):
        refuse(3, *imported(file, out))
    refuse(3, *imported(published, out, "--width", "0.5"))
    refuse(2, *imported(published, out, "--width", "-1"))
    command = ["import-checkpoint", str(published), "--out", str(out), "--space"]
    assert "there is no search space 'resnet'" in refuse(2, *command, "resnet")
    refuse(3, *command, "resnet50")
    assert set(everything_in(tmp_path)) == {"less.pth", "torn.pth"}
