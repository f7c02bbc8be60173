"""The supernet: sizes as published, only a subnet's own weights count, nothing is remembered between calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import ofa.space as spaces
from ofa.errors import SpaceMismatch, UsageInvalid
from ofa.nn.calibrate import calibrate
from ofa.nn.elastic import ElasticConv
from ofa.nn.supernet import Supernet, build, extract
from ofa.space.core import SearchSpace, Subnet
from ofa.space.layers import Layer
from ofa.space.ops import ops_of

Shake = Callable[[SearchSpace], Supernet]
Images = Callable[..., Tensor]
Draw = Callable[..., list[Subnet]]


@pytest.mark.parametrize(
    ("name", "width", "count"),
    [
        ("mobilenet_v3", 1.0, 7_678_880),
        ("mobilenet_v3", 1.2, 10_715_752),
        ("proxyless", 1.3, 7_956_882),
        ("resnet50", 1.0, 48_105_992),
    ],
)
def test_parameters_are_those_of_the_published_supernets(name: str, width: float, count: int) -> None:
    supernet = build(spaces.load(name, width=width))
    assert sum(value.numel() for value in supernet.parameters()) == count


def test_the_largest_subnet_is_the_supernet_without_transforms(tiny: SearchSpace) -> None:
    counts = {name: value.numel() for name, value in build(tiny).named_parameters()}
    own = sum(count for name, count in counts.items() if "transform_" not in name)
    assert own == sum(op.params for op in ops_of(tiny.corner("max")))


def test_a_seed_gives_the_same_weights_and_another_seed_others(tiny: SearchSpace) -> None:
    before = torch.get_rng_state()
    first, again, other = (build(tiny, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["stem.convs.conv.weight"], other["stem.convs.conv.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def mark(conv: ElasticConv, layer: Layer, used: dict[int, Tensor]) -> None:
    """Mark what a layer may read of its weights: first channels, centre of the kernel, the transforms down to it."""
    weight = used[id(conv.weight)][: layer.out_channels, : layer.in_channels // layer.groups]
    if layer.kernel < conv.kernels[0]:
        edge = (conv.kernels[0] - conv.kernels[1]) // 2
        weight = weight[..., edge:-edge, edge:-edge]
    weight.fill_(True)
    for kernel in conv.kernels[1:]:
        if kernel >= layer.kernel:
            used[id(conv.get_parameter(f"transform_{kernel}"))].fill_(True)
    if conv.bias is not None:
        used[id(conv.bias)][: layer.out_channels] = True


def in_use(supernet: Supernet, subnet: Subnet) -> dict[int, Tensor]:
    """Return by id of a parameter which of its numbers a subnet may read."""
    used = {id(value): torch.zeros_like(value, dtype=torch.bool) for value in supernet.parameters()}
    for op, layers in supernet.parts(subnet):
        for layer in layers:
            if layer.kind in ("conv", "linear"):
                mark(op.conv(layer), layer, used)
            if layer.norm:
                for value in (op.norm(layer).weight, op.norm(layer).bias):
                    used[id(value)][: layer.out_channels] = True
    return used


def spoil(supernet: Supernet, subnet: Subnet) -> float:
    """Put not-a-number into every weight that a subnet does not use, and return the share of them."""
    used = in_use(supernet, subnet)
    with torch.no_grad():
        for value in supernet.parameters():
            value[~used[id(value)]] = torch.nan
    return 1 - sum(int(mask.sum()) for mask in used.values()) / sum(mask.numel() for mask in used.values())


@pytest.mark.slow
def test_only_the_weights_of_a_subnet_count(
    small_space: SearchSpace, shaken: Shake, drawn: Draw, images: Images
) -> None:
    """Prefixes of channels, the first blocks of a stage, the centre of a kernel: nothing else is read."""
    for subnet in [*map(small_space.corner, small_space.corners()), *drawn(small_space, 8, seed=4)]:
        supernet = shaken(small_space)
        x = images(subnet, 3)
        right = supernet(x, subnet)
        spoiled = spoil(supernet, subnet)
        # The largest ResNet uses everything; the largest of the others leaves the kernel transforms.
        everything = small_space.family == "bottleneck" and subnet.genome == small_space.corner("max").genome
        assert spoiled == 0 if everything else spoiled > 0.005
        assert torch.equal(supernet(x, subnet), right)


@pytest.mark.parametrize("corner", ["max", "min"])
@pytest.mark.slow
def test_one_step_teaches_what_is_in_use_and_nothing_else(
    corner: str, every_space: SearchSpace, shaken: Shake, images: Images
) -> None:
    supernet, subnet = shaken(every_space), every_space.corner(corner, min(every_space.resolutions))
    x, labels = images(subnet, 4), torch.arange(4)
    before = F.cross_entropy(supernet(x, subnet), labels)
    before.backward()
    used = in_use(supernet, subnet)
    for name, value in supernet.named_parameters():
        mask = used[id(value)]
        assert (value.grad is None) == (not mask.any()), name
        if value.grad is not None:
            assert value.grad.isfinite().all() and value.grad.any() and not value.grad[~mask].any(), name
    torch.optim.SGD(supernet.parameters(), lr=1e-4).step()
    with torch.no_grad():
        assert F.cross_entropy(supernet(x, subnet), labels) < before


@pytest.mark.slow
def test_every_block_in_use_counts(tiny: SearchSpace, shaken: Shake, drawn: Draw, images: Images) -> None:
    for subnet in drawn(tiny, 4, seed=5):
        x = images(subnet, 2)
        for stage, depth in enumerate(subnet.depths):
            for block in range(3):
                supernet = shaken(tiny)
                with torch.no_grad():
                    next(supernet.stages[stage][block].parameters()).fill_(torch.nan)  # type: ignore[index]
                assert bool(supernet(x, subnet).isnan().any()) == (block < depth)


def test_nothing_is_remembered(tiny: SearchSpace, tiny_net: Supernet, drawn: Draw, images: Images) -> None:
    before = {name: value.clone() for name, value in tiny_net.state_dict().items()}
    first, second = tiny.corner("max"), drawn(tiny, 1, seed=6)[0]
    x, y = images(first, 4), images(second, 4)
    for training in (True, False):
        tiny_net.train(training)
        right = tiny_net(x, first)
        other = tiny_net(y, second)
        assert torch.equal(tiny_net(x, first), right) and torch.equal(tiny_net(y, second), other)
    assert all(torch.equal(value, before[name]) for name, value in tiny_net.state_dict().items())
    assert before.keys() == dict(tiny_net.named_parameters()).keys(), "running statistics are of no subnet"


def test_two_threads_do_not_meet(tiny: SearchSpace, tiny_net: Supernet, drawn: Draw, images: Images) -> None:
    subnets = drawn(tiny, 2, seed=7)
    x = [images(subnet, 2) for subnet in subnets]
    with torch.no_grad():
        right = [tiny_net(x[at], subnet) for at, subnet in enumerate(subnets)]
    wrong: list[int] = []
    start = threading.Barrier(2)

    def repeat(at: int) -> None:
        start.wait()
        with torch.no_grad():
            wrong.extend(at for _ in range(15) if not torch.equal(tiny_net(x[at], subnets[at]), right[at]))

    threads = [threading.Thread(target=repeat, args=(at,)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_each_image_gets_a_logit_for_each_class(tiny: SearchSpace, tiny_net: Supernet, images: Images) -> None:
    subnet = tiny.corner("min", 16)
    assert tiny_net(images(subnet, 3), subnet).shape == (3, 10)


# Refusals: each says what happened, why, and what to try.


OTHERS = [
    spaces.load("mobilenet_v3_tiny", channels=1, classes=11),
    spaces.load("mobilenet_v3_tiny", channels=3, classes=10),
    spaces.load("mobilenet_v3_tiny", width=1.2, channels=1, classes=10),
    spaces.load("mobilenet_v3"),
]


@pytest.mark.parametrize("space", OTHERS, ids=lambda space: space.id)
def test_a_subnet_of_another_space_is_refused(space: SearchSpace, tiny_net: Supernet, images: Images) -> None:
    subnet = space.corner("min")
    x = images(subnet, 2)
    calls: list[Callable[[], Any]] = [
        lambda: tiny_net(x, subnet),
        lambda: extract(tiny_net, subnet),
        lambda: calibrate(tiny_net, subnet, [x]),
    ]
    for call in calls:
        with pytest.raises(SpaceMismatch) as caught:
            call()
        assert space.id in caught.value.what and tiny_net.space.id in caught.value.what and caught.value.hints


@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (2, 3, 24, 24), (2, 1, 24, 28), (1, 24, 24), (2, 1, 24, 24, 1)])
def test_images_of_another_size_are_refused(shape: tuple[int, ...], tiny: SearchSpace, tiny_net: Supernet) -> None:
    subnet = tiny.corner("max", 24)
    for call in (lambda x: tiny_net(x, subnet), lambda x: calibrate(tiny_net, subnet, [x])):
        with pytest.raises(UsageInvalid) as caught:
            call(torch.zeros(shape))
        assert str(shape) in caught.value.what and "[n, 1, 24, 24]" in caught.value.why and caught.value.hints


def test_statistics_of_another_subnet_are_refused(tiny: SearchSpace, tiny_net: Supernet, images: Images) -> None:
    subnet, other = tiny.corner("max", 24), tiny.corner("min", 24)
    found = calibrate(tiny_net, other, [images(other, 4)])
    for call in (lambda: tiny_net(images(subnet, 2), subnet, found), lambda: extract(tiny_net, subnet, found)):
        with pytest.raises(UsageInvalid) as caught:
            call()
        assert other.id in caught.value.what and subnet.id in caught.value.what and "calibrate" in caught.value.hints[0]
