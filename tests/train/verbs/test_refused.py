"""What the verb that trains refuses: with which code, in which words, and without a trace on the disk."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ofa.train.ranks import Ranks

from .conftest import Refuse, Run, pictures, training


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (("--set", "bach=8"), 2, "did you mean 'batch'?"),
        (("--set", "batch=many"), 2, "setting 'batch' cannot be 'many'"),
        (("--set", "precision=fp64"), 2, "Literal['fp32', 'bf16']"),
        (("--set", "mean=[1,2,3]"), 2, "'mean' has 3 numbers"),
        (("--set", "mean=0.5"), 2, "tuple[float, ...]"),
        (("--set", "holdout=50"), 2, "60 images are too few to train on"),
        (("--set", "shards=17"), 2, "17 shards are more than the 16 images"),
        (("--set", "space=mobilenet"), 2, "there is no search space 'mobilenet'"),
        (("--set", "width=0.01"), 2, "no width multiplier"),
        (("--recipe", "demos"), 2, "there is no recipe 'demos'"),
        (("--recipe", "no_such_module:recipe"), 2, "ModuleNotFoundError"),
        (("--recipe", "json:loads"), 2, "TypeError"),
        (("--recipe", "os:getcwd"), 2, "it returned str, not a Recipe"),
        (("--epochs-scale", "inf"), 2, "'epochs' is inf"),
        (("--on", "gpu"), 2, "nothing is computed on 'gpu'"),
        (("--on", "meta"), 2, "nothing is computed on 'meta'"),
        (("--data", "nowhere"), 3, "there is no such file or folder"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_meant_is_refused(
    more: tuple[str, ...], code: int, told: str, shown: Path, tmp_path: Path, refuse: Refuse
) -> None:
    assert told in refuse(code, *training(shown, tmp_path / "run", *more))
    assert told in refuse(code, *training(shown, tmp_path / "run", *more, "--dry-run"))


@pytest.mark.slow
def test_test_images_of_other_classes_are_known_before_a_training(shown: Path, tmp_path: Path, run: Run) -> None:
    data = Path(shutil.copytree(shown, tmp_path / "images"))
    assert "warning" not in run(*training(data, tmp_path / "run", "--dry-run"))[2]
    for path in data.glob("test*"):
        path.unlink()
    code, _, err = run(*training(data, tmp_path / "run", "--dry-run"))
    assert code == 0 and "there are no test images beside those to train on" in err and "--split holdout" in err
    (data / "val" / "dog").mkdir(parents=True)
    code, _, err = run(*training(data, tmp_path / "run", "--dry-run"))
    assert code == 0 and "warning: the test images there cannot be used: class 'dog' has no image" in err


def test_a_gpu_that_is_not_there_is_refused(
    shown: Path, tmp_path: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "there is no GPU number 0" in refuse(2, *training(shown, tmp_path / "run", "--on", "cuda"))


@pytest.mark.slow
def test_tensorboard_without_its_package_is_refused(
    shown: Path, tmp_path: Path, refuse: Refuse, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    err = refuse(8, *training(shown, tmp_path / "run", "--track", "tensorboard"))
    assert "the package 'tensorboard' is not installed" in err
    monkeypatch.setattr(Ranks, "first", False)
    assert run(*training(shown, tmp_path / "run", "--track", "tensorboard"))[0] == 0, "only the first process writes"


def test_images_that_are_none_are_refused(tmp_path: Path, refuse: Refuse) -> None:
    images, labels = pictures(60, 1)
    spoilt = tmp_path / "spoilt.npz"
    spoilt.write_bytes(b"PK\x03\x04 and no more")
    refuse(3, *training(spoilt, tmp_path / "run"))
    np.savez(spoilt, images=images, labels=labels + 1)
    assert "class '0' has no image" in refuse(3, *training(spoilt, tmp_path / "run"))
    np.savez(spoilt, images=images.astype(np.float32), labels=labels)
    assert "float32" in refuse(3, *training(spoilt, tmp_path / "run"))


def test_a_file_in_place_of_the_folder_is_refused(shown: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "mine").write_text("notes")
    assert "mine" in refuse(3, *training(shown, tmp_path / "mine"))
    assert "mine" in refuse(3, *training(shown, tmp_path / "mine" / "run"))
