"""A small space and supernets in which nothing is at its start, so that no test passes because a matrix is identity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

import ofa.space as spaces
from ofa.nn.supernet import Supernet, build
from ofa.space.core import SearchSpace, Subnet

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
# The published width and sizes are for slow tests.
NARROW = dataclasses.replace(spaces.load("resnet50", width=0.3, classes=10), resolutions=(64, 68))
SMALL = {
    "tiny": TINY,
    "tiny lite": spaces.load("mobilenet_v3_tiny_lite", channels=1, classes=10),
    "narrow resnet50": NARROW,
}


def with_small_images(space: SearchSpace) -> SearchSpace:
    """Return a space whose networks also take images of half its smallest size, in a quarter of the time."""
    return dataclasses.replace(space, resolutions=(space.resolutions[0] // 2, *space.resolutions))


PUBLISHED = ("mobilenet_v3", "mobilenet_v3_lite", "proxyless", "resnet50")
LARGE = {name: with_small_images(spaces.load(name)) for name in PUBLISHED}


@pytest.fixture(scope="session")
def tiny() -> SearchSpace:
    return TINY


@pytest.fixture(scope="session", params=list(SMALL))
def small_space(request: pytest.FixtureRequest) -> SearchSpace:
    """Return each space whose networks run in no time: both families of blocks, with and without squeeze-excite."""
    return SMALL[request.param]


@pytest.fixture(scope="session", params=[*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def every_space(request: pytest.FixtureRequest) -> SearchSpace:
    """Return each space: the small ones, and in slow tests all that are published, to be run on small images."""
    return (SMALL | LARGE)[request.param]


@pytest.fixture(scope="session")
def shaken() -> Callable[[SearchSpace], Supernet]:
    """Return what builds a supernet and moves its transforms, scales, shifts and biases away from their start."""

    def make(space: SearchSpace) -> Supernet:
        supernet = build(space, seed=1)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for name, value in supernet.named_parameters():
                if value.ndim == 1 or "transform_" in name:
                    value.add_(0.2 * torch.randn(value.shape, generator=generator))
        return supernet

    return make


@pytest.fixture(scope="session")
def tiny_net(shaken: Callable[[SearchSpace], Supernet]) -> Supernet:
    """Return one supernet of the tiny space; a test that changes it makes its own."""
    return shaken(TINY)


@pytest.fixture(scope="session")
def drawn() -> Callable[..., list[Subnet]]:
    """Return what draws random subnets: (space, count, seed)."""

    def draw(space: SearchSpace, count: int, seed: int = 0) -> list[Subnet]:
        return [space.subnet(genome) for genome in spaces.sample.random(space, count, np.random.default_rng(seed))]

    return draw


@pytest.fixture(scope="session")
def images() -> Callable[..., Tensor]:
    """Return what makes random images for a subnet: (subnet, count, seed) to float32[count, c, r, r]."""

    def make(subnet: Subnet, count: int, seed: int = 0) -> Tensor:
        shape = (count, subnet.space.channels, subnet.resolution, subnet.resolution)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Run torch on one thread: equal sums, whatever machine this is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
