"""Elastic bottlenecks against ResNet-D written down once more: the first channels, the first blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import ofa.space as spaces
from ofa.nn.elastic import ElasticConv
from ofa.nn.supernet import Supernet, build
from ofa.space.core import SearchSpace, Subnet, make_divisible

NARROW = dataclasses.replace(spaces.load("resnet50", width=0.2, classes=10), resolutions=(64, 68, 72, 76))
TOLERANCE = 1e-9


def written_down(weights: Mapping[str, Tensor], subnet: Subnet, x: Tensor) -> Tensor:
    """Compute the logits of a subnet from a supernet's parameters, normalising with the batch's own statistics."""

    def conv(x: Tensor, place: str, name: str, outputs: int, stride: int = 1) -> Tensor:
        weight = weights[f"{place}.convs.{name}.weight"][:outputs, : x.shape[1]]
        scale, shift = (weights[f"{place}.norms.{name}.{part}"][:outputs, None, None] for part in ("weight", "bias"))
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    mid, out = subnet.stem_widths
    x = conv(x, "stem", "conv0", mid, 2).relu()
    if subnet.stem_residual:
        x = x + conv(x, "stem", "conv1", mid).relu()
    x = F.max_pool2d(conv(x, "stem", "conv2", out).relu(), 3, 2, 1)
    for stage, (width, expands) in enumerate(zip(subnet.widths, subnet.expands, strict=True)):
        for block, expand in enumerate(expands):
            place, stride = f"stages.{stage}.{block}", 2 if stage and not block else 1
            shortcut = F.avg_pool2d(x, 2, 2, ceil_mode=True) if stride == 2 else x
            shortcut = shortcut if block else conv(shortcut, place, "shortcut", width)
            inner = make_divisible(round(width * expand))
            x = conv(x, place, "reduce", inner).relu()
            x = conv(x, place, "conv", inner, stride).relu()
            x = (conv(x, place, "expand", width) + shortcut).relu()
    x = x.mean((2, 3))
    return F.linear(x, weights["head.convs.classifier.weight"][:, : x.shape[1]], weights["head.convs.classifier.bias"])


@torch.no_grad()
def difference(supernet: Supernet, subnet: Subnet, x: Tensor, weights: Mapping[str, Tensor]) -> float:
    """Return max|difference| / max|logit| between the supernet and what is written down here."""
    right = written_down(weights, subnet, x)
    return float((supernet(x, subnet) - right).abs().max() / right.abs().max())


def test_subnets_compute_what_is_written_down(
    shaken: Callable[[SearchSpace], Supernet], drawn: Callable[..., list[Subnet]], images: Callable[..., Tensor]
) -> None:
    supernet = shaken(NARROW).double()
    weights = dict(supernet.named_parameters())
    subnets = [
        *(NARROW.corner(name, size) for name in ("max", "min") for size in (64, 68)),
        *drawn(NARROW, 8, seed=2),
    ]
    assert {subnet.stem_residual for subnet in subnets} == {False, True}
    for subnet in subnets:
        assert difference(supernet, subnet, images(subnet, 2).double(), weights) <= TOLERANCE, subnet.to_json()
    ones = torch.ones_like(weights["stages.1.0.convs.shortcut.weight"])
    swapped = weights | {"stages.1.0.convs.shortcut.weight": ones}
    assert difference(supernet, subnet, images(subnet, 2).double(), swapped) > 1e-3


@pytest.mark.slow
def test_the_published_width_too(shaken: Callable[[SearchSpace], Supernet], images: Callable[..., Tensor]) -> None:
    space = spaces.load("resnet50")
    supernet = shaken(space).double()
    for name in ("max", "min"):
        subnet = space.corner(name, 132)
        x = images(subnet, 2).double()
        assert difference(supernet, subnet, x, dict(supernet.named_parameters())) <= TOLERANCE


def test_nothing_in_it_is_elastic_in_kernel() -> None:
    supernet = build(NARROW)
    assert not [name for name, _ in supernet.named_parameters() if "transform_" in name]
    convs = [module for module in supernet.modules() if isinstance(module, ElasticConv)]
    assert convs and all(len(conv.kernels) == 1 for conv in convs)


def test_its_blocks_stand_in_stages() -> None:
    supernet = build(NARROW)
    assert [len(stage) for stage in supernet.stages] == [4, 4, 6, 4]  # type: ignore[arg-type]
    names = {name for name, _ in supernet.stages[1][0].named_parameters()}  # type: ignore[index]
    layers = ("reduce", "conv", "expand", "shortcut")
    assert names == {f"convs.{layer}.weight" for layer in layers} | {
        f"norms.{layer}.{part}" for layer in layers for part in ("weight", "bias")
    }
