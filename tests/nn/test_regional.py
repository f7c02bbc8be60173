"""Compiled tails compute what eager ones do, and stay within their budget over many subnets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import ofa.space as spaces
from ofa.nn.blocks import batch_statistics
from ofa.nn.regional import BUDGET, Regional
from ofa.nn.supernet import Supernet


def outputs(supernet: Supernet, finish: Any, subnets: list[Any], images: Callable[..., torch.Tensor]) -> list[Any]:
    """Return logits and one gradient for each subnet."""
    found = []
    for subnet in subnets:
        supernet.zero_grad()
        logits = supernet(images(subnet, 4), subnet, finish=finish)
        logits.square().mean().backward()
        gradient = dict(supernet.named_parameters())["stem.convs.conv.weight"].grad
        assert gradient is not None
        found.append((logits.detach(), gradient.clone()))
    supernet.zero_grad()
    return found


@pytest.mark.slow
def test_two_hundred_subnets_stay_within_the_budget(tiny_net: Supernet, images: Callable[..., torch.Tensor]) -> None:
    genomes = spaces.sample.random(tiny_net.space, 200, np.random.default_rng(0))
    subnets = [tiny_net.space.subnet(genome) for genome in genomes]
    torch._dynamo.reset()
    regional = Regional(backend="aot_eager")
    for (a, b), (c, d) in zip(
        outputs(tiny_net, regional, subnets, images), outputs(tiny_net, batch_statistics, subnets, images), strict=True
    ):
        assert torch.allclose(a, c, atol=1e-5) and torch.allclose(b, d, rtol=1e-3, atol=1e-5)
    assert 0 < regional.graphs <= BUDGET


def test_beyond_the_budget_it_is_eager(tiny_net: Supernet, images: Callable[..., torch.Tensor]) -> None:
    torch._dynamo.reset()
    regional = Regional(backend="eager", budget=1)
    subnet = tiny_net.space.corner("max", 16)
    with pytest.warns(UserWarning, match="without compilation"):
        tiny_net(images(subnet, 2), subnet, finish=regional)
    compiled = regional.graphs
    tiny_net(images(tiny_net.space.corner("min", 20), 2), tiny_net.space.corner("min", 20), finish=regional)
    assert regional.graphs == compiled > 1
