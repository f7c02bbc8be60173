"""Recipes that train in seconds, a few scenes, and an untrained supernet."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the package 'torch' is not installed")
pytest.importorskip("sklearn", reason="the package 'scikit-learn' is not installed")

from ofa.nn.supernet import Supernet, build
from ofa.space.core import SearchSpace
from ofa.train import data, digits, recipes, schedule
from ofa.train.data import Data
from ofa.train.recipes import Recipe
from ofa.train.sources.arrays import Arrays


@pytest.fixture(scope="session")
def scenes() -> Arrays:
    return digits.source("train", 128, 0)


@pytest.fixture
def recipe() -> Recipe:
    """Return the sandwich rule for six steps."""
    return dataclasses.replace(
        recipes.demo(),
        phases=schedule.sandwich(epochs=1, learning_rate=1e-2, warmup_epochs=0.3, random=1),
        batch=16,
        holdout=32,
        calibration=32,
        log_steps=1,
        corner_steps=0,
    )


@pytest.fixture
def shrinking(recipe: Recipe) -> Recipe:
    """Return progressive shrinking, two steps for most phases."""
    phases = [
        dataclasses.replace(phase, epochs=2 / 6, warmup_epochs=0, learning_rate=1e-3, random=min(phase.random, 2))
        for phase in schedule.progressive_shrinking()
    ]
    return dataclasses.replace(recipe, phases=tuple(phases), hard_weight=1.0)


@pytest.fixture
def divided(scenes: Arrays, recipe: Recipe) -> Data:
    return data.divided(scenes, recipe)


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return recipes.demo().search_space(channels=1, classes=10)


@pytest.fixture(scope="session")
def supernet(space: SearchSpace) -> Supernet:
    return build(space, seed=3)


BUSY = """
import sys
from pathlib import Path
from ofa.lock import alone
with alone(Path(sys.argv[1]), *sys.argv[2:]):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def busy() -> Callable[..., AbstractContextManager[None]]:
    """Return a context in which another process is at work in a folder, or at a file in it."""

    @contextmanager
    def inside(*place: object) -> Iterator[None]:
        command, root = [sys.executable, "-c", BUSY, *map(str, place)], Path(__file__).parents[2]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "in\n"
            yield
            process.communicate()

    return inside
