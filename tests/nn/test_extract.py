"""An extracted network is the supernet's subnet: the same output, weights of its own, and nothing elastic left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

import ofa.space as spaces
from ofa.nn.calibrate import calibrate
from ofa.nn.elastic import ElasticConv, ElasticNorm
from ofa.nn.supernet import Supernet, extract
from ofa.space.core import SearchSpace, Subnet
from ofa.space.ops import ops_of

TOLERANCE = 1e-5

Images = Callable[..., Tensor]
Draw = Callable[..., list[Subnet]]


def difference(found: Tensor, right: Tensor) -> float:
    """Return max|difference| / max|logit|."""
    return float((found - right).abs().max() / right.abs().max())


@torch.no_grad()
def compare(supernet: Supernet, subnets: Sequence[Subnet], images: Images, count: int) -> None:
    for subnet in subnets:
        found = calibrate(supernet, subnet, [images(subnet, 2 * count, seed=1)])
        x = images(subnet, count, seed=2)
        right = supernet(x, subnet, found)
        assert right.std() > 0
        assert difference(extract(supernet, subnet, found)(x), right) <= TOLERANCE, subnet.to_json()


@pytest.mark.slow
def test_equal_to_the_supernet_on_the_tiny_space(
    tiny: SearchSpace, tiny_net: Supernet, drawn: Draw, images: Images
) -> None:
    corners = [tiny.corner(name, size) for name in tiny.corners() for size in (16, 32)]
    compare(tiny_net, [*corners, *drawn(tiny, 30, seed=1)], images, 6)


def at_the_smallest_size(subnets: Sequence[Subnet]) -> list[Subnet]:
    """Return the subnets at the smallest resolution of their space."""
    genomes = [subnet.array for subnet in subnets]
    for genome, subnet in zip(genomes, subnets, strict=True):
        genome[subnet.space.at("resolution")] = 1
    return [subnet.space.subnet(genome) for genome, subnet in zip(genomes, subnets, strict=True)]


@pytest.mark.slow
def test_equal_to_the_supernet_on_small_spaces(
    small_space: SearchSpace, shaken: Callable[[SearchSpace], Supernet], drawn: Draw, images: Images
) -> None:
    subnets = [*map(small_space.corner, small_space.corners()), *drawn(small_space, 6, seed=3)]
    compare(shaken(small_space), at_the_smallest_size(subnets), images, 3)


@pytest.mark.slow
def test_equal_to_the_supernet_on_fifty_subnets_of_every_space(
    every_space: SearchSpace, shaken: Callable[[SearchSpace], Supernet], drawn: Draw, images: Images
) -> None:
    compare(shaken(every_space), at_the_smallest_size(drawn(every_space, 50, seed=5)), images, 3)


@pytest.mark.slow
def test_equal_to_the_supernet_on_mobilenet_v3(
    shaken: Callable[[SearchSpace], Supernet], drawn: Draw, images: Images
) -> None:
    space = spaces.load("mobilenet_v3")
    subnets = [*(space.corner(name, 128) for name in space.corners()), *at_the_smallest_size(drawn(space, 2, seed=1))]
    assert {subnet.resolution for subnet in subnets} == {128}
    compare(shaken(space), subnets, images, 2)


def test_equal_to_the_supernet_while_training(
    tiny: SearchSpace, tiny_net: Supernet, drawn: Draw, images: Images
) -> None:
    for subnet in drawn(tiny, 5, seed=2):
        x = images(subnet, 6)
        with torch.no_grad():
            assert difference(extract(tiny_net, subnet).train()(x), tiny_net(x, subnet)) <= TOLERANCE


def test_the_check_can_fail(tiny: SearchSpace, tiny_net: Supernet, images: Images) -> None:
    subnet = tiny.corner("max")
    found = calibrate(tiny_net, subnet, [images(subnet, 8, seed=1)])
    x = images(subnet, 4, seed=2)
    right = tiny_net(x, subnet, found)
    assert difference(extract(tiny_net, subnet)(x), right) > 100 * TOLERANCE
    network = extract(tiny_net, subnet, found)
    with torch.no_grad():
        next(network.ops[1].parameters()).mul_(1.001)
    assert difference(network(x), right) > TOLERANCE


def test_without_statistics_norms_have_seen_no_data(tiny: SearchSpace, tiny_net: Supernet) -> None:
    network = extract(tiny_net, tiny.corner("min"))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not network.training
    for norm in norms:
        assert norm.running_mean is not None and norm.running_var is not None
        assert (norm.running_mean == 0).all() and (norm.running_var == 1).all()


def test_it_has_the_parameters_of_its_ops_and_nothing_elastic(
    tiny: SearchSpace, tiny_net: Supernet, drawn: Draw
) -> None:
    for subnet in drawn(tiny, 5):
        network = extract(tiny_net, subnet)
        assert not [module for module in network.modules() if isinstance(module, ElasticConv | ElasticNorm)]
        assert sum(value.numel() for value in network.parameters()) == sum(op.params for op in ops_of(subnet))


@pytest.mark.parametrize("name", ["max", "min"])
def test_its_weights_are_copies(name: str, tiny: SearchSpace, tiny_net: Supernet, images: Images) -> None:
    subnet = tiny.corner(name)
    found = calibrate(tiny_net, subnet, [images(subnet, 4)])
    before = {key: value.clone() for key, value in tiny_net.state_dict().items()}
    kept = [{key: pair[0].clone() for key, pair in moments.items()} for moments in found.moments]
    network = extract(tiny_net, subnet, found)
    with torch.no_grad():
        for value in [*network.parameters(), *network.buffers()]:
            value.zero_()
    assert all(torch.equal(value, before[key]) for key, value in tiny_net.state_dict().items())
    for moments, own in zip(found.moments, kept, strict=True):
        assert all(torch.equal(moments[key][0], mean) for key, mean in own.items())
