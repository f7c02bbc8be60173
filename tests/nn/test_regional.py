"""Compiled tails compute what eager ones do, and stay within their budget over many subnets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import ofa.space as spaces
from ofa.nn.blocks import batch_statistics
from ofa.nn.regional import BUDGET, Regional
from ofa.nn.supernet import Supernet
from ofa.space.layers import Layer


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


@pytest.mark.slow
def test_beyond_the_budget_it_is_eager(tiny_net: Supernet, images: Callable[..., torch.Tensor]) -> None:
    torch._dynamo.reset()
    regional = Regional(backend="eager", budget=2)
    subnets = [tiny_net.space.corner("max", 16), tiny_net.space.corner("min", 20)]
    for (a, b), (c, d) in zip(
        outputs(tiny_net, regional, subnets, images), outputs(tiny_net, batch_statistics, subnets, images), strict=True
    ):
        assert torch.allclose(a, c, atol=1e-5) and torch.allclose(b, d, rtol=1e-3, atol=1e-5)
    assert regional.graphs == 2


@pytest.mark.slow
def test_every_activation_is_compiled_with_and_without_gradient() -> None:
    """More graphs than the eight of one code object that torch compiles by itself."""
    torch._dynamo.reset()
    regional = Regional(backend="eager")
    layer = Layer(
        name="conv", kind="conv", inputs=("x",), in_channels=3, out_channels=3, in_size=5, out_size=5, norm=True
    )
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for act in (None, "relu", "relu6", "hswish", "hsigmoid"):
            for needed in (False, True):
                x, scale = torch.randn(2, 3, 5, 7, requires_grad=needed), torch.ones(3, requires_grad=needed)
                regional(dataclasses.replace(layer, act=act), x, scale, torch.zeros(3))
    assert 8 < regional.graphs <= BUDGET
