"""A recipe that trains in seconds, and an untrained supernet."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("torch", reason="the package 'torch' is not installed")
pytest.importorskip("sklearn", reason="the package 'scikit-learn' is not installed")

from ofa.nn.supernet import Supernet, build
from ofa.train import recipes
from ofa.train.recipes import Recipe


@pytest.fixture
def recipe() -> Recipe:
    return dataclasses.replace(
        recipes.demo(), steps=6, batch=16, warmup_steps=2, random_subnets=1, log_steps=1, corner_steps=100
    )


@pytest.fixture(scope="session")
def supernet() -> Supernet:
    return build(recipes.demo().search_space(), seed=3)
