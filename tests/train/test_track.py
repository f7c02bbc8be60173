"""TensorBoard is an option: without its package that is said, with it every number of the log is an event."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ofa.errors import PackageMissing, install
from ofa.train import track


def test_without_the_package_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(PackageMissing) as caught, track.tensorboard(tmp_path):
        raise AssertionError("there is nothing to log to")
    assert caught.value.exit_code == 8 and "'tensorboard'" in caught.value.what
    assert caught.value.hints == (install("track"),) and "[track]'" in install("track")
    assert not list(tmp_path.iterdir())


class Written:
    """What torch's writer is asked to do."""

    def __init__(self, folder: str) -> None:
        self.folder, self.closed = folder, False
        self.scalars: list[tuple[str, float, int]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def close(self) -> None:
        self.closed = True


def test_numbers_of_the_log_become_scalars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Written] = []

    def writer(folder: str) -> Written:
        made.append(Written(folder))
        return made[-1]

    stand_in: Any = type(sys)("torch.utils.tensorboard")
    stand_in.SummaryWriter = writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    with pytest.raises(KeyboardInterrupt), track.tensorboard(tmp_path) as log:
        log({"step": 3, "phase": "one", "loss": 1.5, "lr": 0.1, "event": "skip", "corners": {"max": 90.0, "min": 80}})
        log({"step": 4, "skipped": 2})
        raise KeyboardInterrupt
    (found,) = made
    assert found.closed and Path(found.folder) == tmp_path / "tensorboard"
    assert found.scalars == [
        ("loss", 1.5, 3),
        ("lr", 0.1, 3),
        ("top1/max", 90.0, 3),
        ("top1/min", 80, 3),
        ("skipped", 2, 4),
    ]


def test_real_events_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the package 'tensorboard' is not installed")
    with track.tensorboard(tmp_path) as log:
        log({"step": 1, "loss": 1.5})
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()
