"""Calibration: the statistics of all images as if they were one batch, however they are cut, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import ofa.space as spaces
from ofa.errors import UsageInvalid
from ofa.nn import calibrate as calibrating
from ofa.nn.blocks import activate
from ofa.nn.calibrate import Statistics, calibrate, pooled
from ofa.nn.elastic import convolve
from ofa.nn.supernet import Supernet, extract
from ofa.space.core import SearchSpace, Subnet
from ofa.space.layers import Layer, layers_of
from ofa.space.ops import ops_of

TOLERANCE = 1e-5

Images = Callable[..., Tensor]
Draw = Callable[..., list[Subnet]]
Moments = dict[tuple[int, str], tuple[Tensor, Tensor]]


def direct(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and biased variance of each channel of [n, c, h, w] in double precision, by their definitions."""
    values = batch.double().transpose(0, 1).flatten(1)
    mean = values.sum(1) / values.shape[1]
    return mean, ((values - mean[:, None]) ** 2).sum(1) / values.shape[1]


@torch.no_grad()
def reached(network: nn.Module, x: Tensor) -> Moments:
    """Return the statistics of what reaches each batch norm of a plain network, by place and layer."""
    found: Moments = {}

    def note(key: tuple[int, str]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            found[key] = direct(given[0])

        return hook

    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            _, place, layer, _ = name.split(".")
            module.register_forward_pre_hook(note((int(place), layer)))
    network(x)
    return found


def apart(found: Statistics, right: Moments) -> float:
    """Return the largest error of a mean (in standard deviations) or of a variance (relative)."""
    own = {(place, layer): pair for place, moments in enumerate(found.moments) for layer, pair in moments.items()}
    assert own.keys() == right.keys() and right
    worst = 0.0
    for key, (mean, variance) in right.items():
        noise = variance + 1e-5
        worst = max(worst, float(((own[key][0] - mean).abs() / noise.sqrt()).max()))
        worst = max(worst, float(((own[key][1] - variance).abs() / noise).max()))
    return worst


def cut(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    return list(x.split(list(sizes)))


@pytest.mark.slow
def test_statistics_are_those_of_the_pooled_images(
    tiny: SearchSpace, tiny_net: Supernet, drawn: Draw, images: Images
) -> None:
    """What a network in training mode would normalise with, were all images one batch."""
    for subnet in [*map(tiny.corner, tiny.corners()), *drawn(tiny, 10, seed=3)]:
        x = images(subnet, 24)
        found = calibrate(tiny_net, subnet, cut(x, [7, 1, 12, 4]))
        assert (found.subnet_id, found.images) == (subnet.id, 24)
        assert apart(found, reached(extract(tiny_net, subnet).train(), x)) <= TOLERANCE


def test_the_calibrated_network_shows_these_statistics(
    tiny: SearchSpace, tiny_net: Supernet, drawn: Draw, images: Images
) -> None:
    for subnet in drawn(tiny, 5, seed=4):
        x = images(subnet, 16)
        found = calibrate(tiny_net, subnet, cut(x, [5, 11]))
        assert apart(found, reached(extract(tiny_net, subnet, found), x)) <= TOLERANCE


def test_the_check_can_fail(tiny: SearchSpace, tiny_net: Supernet, images: Images) -> None:
    """The mean of batches' variances, which is what running averages hold, is far from the pooled one."""
    subnet = tiny.corner("max")
    x = torch.cat([images(subnet, 8, seed=1), images(subnet, 8, seed=2) * 2 + 1])
    right = reached(extract(tiny_net, subnet).train(), x)
    assert apart(calibrate(tiny_net, subnet, [x[:15]]), right) > 100 * TOLERANCE
    halves = [calibrate(tiny_net, subnet, [half]) for half in x.split(8)]
    averaged = Statistics(
        subnet_id=subnet.id,
        images=16,
        moments=tuple(
            {layer: ((a[layer][0] + b[layer][0]) / 2, (a[layer][1] + b[layer][1]) / 2) for layer in a}
            for a, b in zip(*(half.moments for half in halves), strict=True)
        ),
    )
    assert apart(averaged, right) > 100 * TOLERANCE


@pytest.mark.parametrize("sizes", [[24], [12, 12], [1] * 24, [23, 1], [1, 5, 18], [0, 24, 0], [8, 0, 16]], ids=str)
def test_how_images_are_cut_does_not_matter(
    sizes: list[int], tiny: SearchSpace, tiny_net: Supernet, images: Images
) -> None:
    subnet = tiny.corner("max", 16)
    x = images(subnet, 24, seed=5) * 3 + 1
    right = calibrate(tiny_net, subnet, [x])
    found = calibrate(tiny_net, subnet, iter(cut(x, sizes)))
    assert found.images == 24
    assert apart(found, {(at, name): pair for at, part in enumerate(right.moments) for name, pair in part.items()}) <= (
        TOLERANCE
    )


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=6),
    offset=st.sampled_from([0.0, 3.0, -40.0]),
    seed=st.integers(0, 2**16),
)
def test_pooled_is_mean_and_variance_of_all_values(sizes: list[tuple[int, int, int]], offset: float, seed: int) -> None:
    """Also of batches whose maps differ in size: each value weighs the same."""
    rng = np.random.default_rng(seed)
    batches = [
        torch.from_numpy(rng.normal(offset + at, 1 + at, (n, 3, h, w)).astype(np.float32))
        for at, (n, h, w) in enumerate(sizes)
    ]
    mean, variance = pooled(iter(batches))
    assert mean.dtype == variance.dtype == torch.float32
    everything = np.concatenate([batch.double().numpy().transpose(1, 0, 2, 3).reshape(3, -1) for batch in batches], 1)
    spread = everything.std(1) + 1e-2 * (1 + abs(offset))
    assert (np.abs(mean.numpy() - everything.mean(1)) / spread).max() <= TOLERANCE * 10
    assert (np.abs(variance.numpy() - everything.var(1)) / spread**2).max() <= TOLERANCE * 10


def test_many_values_lose_no_digits() -> None:
    """Far from zero a sum in single precision drifts; pieces of it, added in double, do not."""
    x = torch.randn(40, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 10
    mean, variance = pooled([x.contiguous(memory_format=torch.channels_last)])
    right = direct(x)
    assert float((mean - right[0]).abs().max()) <= 1e-5
    assert float((variance / right[1] - 1).abs().max()) <= 1e-6


def test_one_value_has_no_variance() -> None:
    mean, variance = pooled([torch.full((1, 3, 1, 1), 2.5)])
    assert mean.tolist() == [2.5] * 3 and variance.tolist() == [0] * 3


@pytest.mark.slow
def test_double_precision_is_kept() -> None:
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1e3
    for found, right in zip(pooled([x]), direct(x), strict=True):
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, right, atol=0, rtol=1e-12)


@pytest.mark.parametrize("pixels", [1, 3 * 16**2, 1 << 30], ids=str)
def test_how_many_images_run_together_does_not_matter(
    pixels: int, tiny: SearchSpace, tiny_net: Supernet, images: Images, monkeypatch
) -> None:
    subnet = tiny.corner("max", 16)
    x = images(subnet, 10, seed=5)
    monkeypatch.setattr(calibrating, "PART_PIXELS", pixels)
    monkeypatch.setattr(calibrating, "PART_IMAGES", 1)
    seen = spied(monkeypatch)
    found = calibrate(tiny_net, subnet, [x[:6], x[6:]])
    assert {len(given) for given in seen} == {1: {1}, 3 * 16**2: {3, 1}, 1 << 30: {6, 4}}[pixels]
    assert found.images == 10
    assert apart(found, reached(extract(tiny_net, subnet).train(), x)) <= TOLERANCE


def test_channels_last_is_kept_through_all_layers(
    tiny: SearchSpace, tiny_net: Supernet, images: Images, monkeypatch
) -> None:
    subnet = tiny.corner("max", 32)
    seen = spied(monkeypatch)
    calibrate(tiny_net, subnet, [images(subnet, 3).to(memory_format=torch.channels_last)])
    maps = [given for given in seen if given.shape[2:].numel() > 1]
    assert len(maps) > 20
    assert all(given.is_contiguous(memory_format=torch.channels_last) for given in maps)


def test_activations_in_place_are_those_out_of_place() -> None:
    x = torch.linspace(-8, 8, 100)
    layer = layers_of(ops_of(spaces.load("mobilenet_v3").corner("min"))[0])[0]
    for act in (None, "relu", "relu6", "hswish", "hsigmoid"):
        found = x.clone()
        calibrating._activate(found, dataclasses.replace(layer, act=act))
        assert torch.equal(found, activate(x, dataclasses.replace(layer, act=act)))


def spied(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return a list that fills with what the layers of a calibration are given."""
    seen: list[Tensor] = []

    def noting(x: Tensor, layer: Layer, weight: Tensor, bias: Tensor | None) -> Tensor:
        seen.append(x)
        return convolve(x, layer, weight, bias)

    monkeypatch.setattr(calibrating, "convolve", noting)
    return seen


def test_calibration_leaves_the_supernet_alone(
    tiny: SearchSpace, tiny_net: Supernet, drawn: Draw, images: Images
) -> None:
    subnet, other = drawn(tiny, 2, seed=8)
    before = {name: value.clone() for name, value in tiny_net.state_dict().items()}
    found = calibrate(tiny_net, subnet, [images(subnet, 8)])
    calibrate(tiny_net, other, [images(other, 8)])
    again = calibrate(tiny_net, subnet, [images(subnet, 8)])
    after = tiny_net.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(value, before[name]) for name, value in after.items())
    assert all(value.grad is None and value.requires_grad for value in tiny_net.parameters())
    for first, second in zip(found.moments, again.moments, strict=True):
        assert all(torch.equal(first[name][0], second[name][0]) for name in first)
        assert not any(pair[0].requires_grad for pair in first.values())


def test_images_are_not_changed(tiny: SearchSpace, tiny_net: Supernet, images: Images) -> None:
    subnet = tiny.corner("min")
    x = images(subnet, 6)
    kept = x.clone()
    calibrate(tiny_net, subnet, [x])
    assert torch.equal(x, kept)


def test_calibration_without_images_is_refused(tiny: SearchSpace, tiny_net: Supernet, images: Images) -> None:
    subnet = tiny.corner("min")
    for batches in ([], [images(subnet, 0)], [images(subnet, 0)] * 2):
        with pytest.raises(UsageInvalid) as caught:
            calibrate(tiny_net, subnet, batches)
        assert "at least one image" in caught.value.what and caught.value.hints
