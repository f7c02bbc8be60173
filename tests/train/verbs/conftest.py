"""A data set that is learnt in seconds, the command that trains on it, and one training made by it."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ofa.files import sha256_file
from ofa.train import runs
from ofa.train.runs import Trained

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]
CLASSES = 4


def pictures(count: int, seed: int, side: int = 16) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images uint8[count, side, side, 1] whose class is the quarter that is bright, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = rng.integers(0, 120, (count, side, side, 1), dtype=np.uint8)
    half = side // 2
    for image, label in zip(images, labels, strict=True):
        top, left = half * (label // 2), half * (label % 2)
        image[top : top + half, left : left + half] += 100
    return images, labels


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with train.npz and test.npz: 60 and 24 grey images of 16 px in 4 classes."""
    folder = tmp_path_factory.mktemp("images")
    for name, count, seed in (("train", 60, 1), ("test", 24, 2)):
        images, labels = pictures(count, seed)
        np.savez(folder / f"{name}.npz", images=images, labels=labels)
    return folder


def settings(**changes: Any) -> list[str]:
    """Return options for three steps of the demo's recipe on images that are given beside."""
    values = {"batch": 16, "holdout": 12, "calibration": 12, "corner_steps": 0, "log_steps": 1} | changes
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def training(data: Path, out: Path, *more: str, **changes: Any) -> list[str]:
    """Return the command that trains three steps on ``data`` into ``out``."""
    return ["train", "--recipe", "demo", "--data", str(data), "--out", str(out), *settings(**changes), *more]


@pytest.fixture(scope="session")
def once(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one training with a moving average; tests only read it."""
    from harness import cli

    out = tmp_path_factory.mktemp("trained") / "run"
    with pytest.raises(SystemExit) as ending:
        cli.main(training(shown, out, ema_decay=0.5))
    assert ending.value.code == 0
    return out


@pytest.fixture
def trained(once: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder."""
    return Path(shutil.copytree(once, tmp_path / "trained"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the library itself opens from a run, for comparison."""

    last: Trained
    best: Trained
    ema: Trained


@pytest.fixture(scope="session")
def library(once: Path, shown: Path) -> Opened:
    return Opened(
        last=runs.trained(once, str(shown)),
        best=runs.trained(once, str(shown), weights="best"),
        ema=runs.trained(once, str(shown), weights="ema"),
    )


def everything_in(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder by name, empty where there is none."""
    return {str(path.relative_to(folder)): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(autouse=True)
def quiet_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else keeps the cores busy: what is said of that is tested where it is said."""
    monkeypatch.setattr("ofa.train.ranks.busy_at_start", lambda: 0.0)


@pytest.fixture
def refuse(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Return a function that runs a command which must be refused with a code, and gives back what it said.

    It must say what to try, have no traceback, and leave every file as it was and none beside.
    """

    def command(code: int, *arguments: str) -> str:
        before = everything_in(tmp_path)
        found, out, err = run(*arguments)
        assert found == code, err
        assert out == "" and "Traceback" not in err and "bug of ours" not in err
        assert err.startswith("error: ") and "  try: " in err, err
        assert everything_in(tmp_path) == before
        return err

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return command


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a grey picture uint8[h, w, 1] as an RGB PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.repeat(picture, 3, axis=2)).save(buffer, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Return a folder train/<class>/<image> and val/... of which one training image cannot be read."""
    root = tmp_path / "photographs"
    for split, count, seed in (("train", 40, 1), ("val", 12, 2)):
        for number, (image, label) in enumerate(zip(*pictures(count, seed), strict=True)):
            write_png(root / split / f"class-{label}" / f"{number:02}.png", image)
    (root / "train" / "class-1" / "13.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    return root


def json_of(text: str) -> Any:
    """Return what a command printed with --json; NaN is no JSON."""

    def refuse_constant(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse_constant)


def one_thread() -> dict[str, str]:
    """Return the environment for a process of our own."""
    return dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
