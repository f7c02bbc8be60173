"""One weight for every layer: prefixes of channels, crops of kernels through learned matrices, gradients for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ofa.nn import elastic
from ofa.nn.elastic import ElasticConv, ElasticNorm
from ofa.space.layers import Layer

KERNELS = (3, 5, 7)


def depthwise(kernel: int = 7, channels: int = 6, stride: int = 1) -> Layer:
    return Layer(
        name="depthwise",
        kind="conv",
        inputs=("x",),
        in_channels=channels,
        out_channels=channels,
        in_size=9,
        out_size=-(-9 // stride),
        kernel=kernel,
        stride=stride,
        groups=channels,
        norm=True,
    )


def pointwise(inputs: int, outputs: int, *, bias: bool = False) -> Layer:
    wide = dataclasses.replace(depthwise(1), name="expand", in_channels=inputs, out_channels=outputs, groups=1)
    return dataclasses.replace(wide, norm=not bias, bias=bias)


def made(layer: Layer, kernels: tuple[int, ...] = (), *, trained: bool) -> ElasticConv:
    """Build weights of a layer; ``trained`` moves every transform away from identity."""
    generator = torch.Generator().manual_seed(3)
    conv = ElasticConv(layer, kernels, generator)
    with torch.no_grad():
        for name, value in conv.named_parameters():
            if trained and (name.startswith("transform_") or name == "bias"):
                value.add_(0.3 * torch.randn(value.shape, generator=generator))
    return conv


def crop(weight: Tensor, kernel: int) -> Tensor:
    edge = (weight.shape[-1] - kernel) // 2
    return weight[..., edge : edge + kernel, edge : edge + kernel]


def test_kernels_are_cropped_and_multiplied_one_after_the_other() -> None:
    conv = made(depthwise(), KERNELS, trained=True)
    numbers = {name: value.detach().double().numpy() for name, value in conv.named_parameters()}
    assert numbers["transform_5"].shape == (25, 25) and numbers["transform_3"].shape == (9, 9)
    for channel in range(6):
        seven = numbers["weight"][channel, 0]
        five = (numbers["transform_5"] @ seven[1:6, 1:6].ravel()).reshape(5, 5)
        three = (numbers["transform_3"] @ five[1:4, 1:4].ravel()).reshape(3, 3)
        for kernel, right in ((7, seven), (5, five), (3, three)):
            found = conv.slices(depthwise(kernel))[0][channel, 0].detach().numpy()
            np.testing.assert_allclose(found, right, atol=1e-5)


@pytest.mark.slow
def test_fewer_channels_are_transformed_alike() -> None:
    conv = made(depthwise(), KERNELS, trained=True)
    for kernel in KERNELS:
        torch.testing.assert_close(
            conv.slices(depthwise(kernel, 4))[0], conv.slices(depthwise(kernel))[0][:4], atol=1e-6, rtol=0
        )


def test_transforms_start_as_identity() -> None:
    conv = made(depthwise(), KERNELS, trained=False)
    for kernel in KERNELS:
        assert torch.equal(conv.slices(depthwise(kernel))[0], crop(conv.weight, kernel))


def test_the_largest_kernel_is_used_as_stored() -> None:
    conv = made(depthwise(), KERNELS, trained=True)
    assert conv.slices(depthwise(7))[0].data_ptr() == conv.weight.data_ptr()
    assert torch.equal(conv.slices(depthwise(7))[0], conv.weight)
    assert {name for name, _ in conv.named_parameters()} == {"weight", "transform_5", "transform_3"}


def test_a_convolution_of_one_kernel_has_no_transform() -> None:
    assert [name for name, _ in made(pointwise(4, 6), trained=False).named_parameters()] == ["weight"]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", KERNELS)
def test_output_is_that_of_a_plain_convolution(kernel: int, stride: int) -> None:
    conv = made(depthwise(), KERNELS, trained=True)
    layer = depthwise(kernel, 4, stride)
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    found = conv(x, layer)
    assert found.shape[2] == layer.out_size
    assert torch.equal(found, F.conv2d(x, conv.slices(layer)[0], None, stride, kernel // 2, groups=4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "stride", "height", "width"),
    [(3, 1, 5, 5), (5, 1, 5, 5), (7, 1, 5, 5), (5, 2, 4, 5), (7, 2, 5, 4), (7, 1, 3, 2), (7, 2, 2, 3)],
)
def test_gradients_are_right(kernel: int, stride: int, height: int, width: int) -> None:
    conv = made(depthwise(channels=2), KERNELS, trained=True).double()
    names = [name for name, _ in conv.named_parameters()]
    layer = depthwise(kernel, 2, stride)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 2, height, width, dtype=torch.float64, generator=generator, requires_grad=True)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        out: Tensor = functional_call(conv, dict(zip(names, values, strict=True)), (x, layer))
        return out

    values = [value.detach().clone().requires_grad_() for value in conv.parameters()]
    assert torch.autograd.gradcheck(run, (x, *values))


def gradients(conv: ElasticConv, x: Tensor, layer: Layer, run: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return the gradients of input and parameters for an output weighted at random."""
    conv.zero_grad()
    x = x.detach().requires_grad_()
    out = run(x)
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(5)))
    found = [x.grad, *(value.grad for value in conv.parameters())]
    return [value for value in found if value is not None]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("part_bytes", [1, 3_000, 1 << 20], ids=str)
@pytest.mark.parametrize(("kernel", "stride"), [(7, 1), (7, 2), (5, 1), (5, 2), (3, 1), (3, 2)])
def test_gradients_are_those_of_torch(
    kernel: int, stride: int, part_bytes: int, memory_format: torch.memory_format, monkeypatch
) -> None:
    """However many images are taken together, in either memory order."""
    monkeypatch.setattr(elastic, "PART_BYTES", part_bytes)
    conv = made(depthwise(), KERNELS, trained=True)
    layer = depthwise(kernel, 4, stride)
    x = torch.randn(5, 4, 9, 8, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=memory_format)
    found = gradients(conv, x, layer, lambda x: conv(x, layer))
    right = gradients(conv, x, layer, lambda x: F.conv2d(x, conv.slices(layer)[0], None, stride, kernel // 2, groups=4))
    assert len(found) == len(right) == 2 + KERNELS[::-1].index(kernel)
    for own, other in zip(found, right, strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-5)


def test_gradients_of_a_step_add_up() -> None:
    """Each subnet of a step adds its own; what none uses keeps none."""
    conv = made(depthwise(), KERNELS, trained=True)
    x = torch.randn(2, 6, 9, 9, generator=torch.Generator().manual_seed(1))
    layers = [depthwise(7), depthwise(5, 4), depthwise(7, 3)]
    alone = []
    for layer in layers:
        conv.zero_grad()
        conv(x[:, : layer.in_channels], layer).square().sum().backward()
        alone.append({name: value.grad for name, value in conv.named_parameters() if value.grad is not None})
    conv.zero_grad()
    for layer in layers:
        conv(x[:, : layer.in_channels], layer).square().sum().backward()
    found = {name: value.grad for name, value in conv.named_parameters() if value.grad is not None}
    assert found.keys() == {"weight", "transform_5"}
    for name, value in found.items():
        torch.testing.assert_close(value, sum(own[name] for own in alone if name in own), atol=1e-4, rtol=1e-5)
    assert conv.get_parameter("transform_3").grad is None


@pytest.mark.parametrize("bias", [False, True])
def test_maps_of_one_pixel_are_convolved_alike(bias: bool) -> None:
    """Squeeze-excite and the mix layer run as products of matrices."""
    conv = made(pointwise(8, 6, bias=bias), trained=True)
    layer = pointwise(5, 4, bias=bias)
    x = torch.randn(3, 5, 1, 1, generator=torch.Generator().manual_seed(0))
    weight, shift = conv.slices(layer)
    assert conv(x, layer).shape == (3, 4, 1, 1)
    torch.testing.assert_close(conv(x, layer), F.conv2d(x, weight, shift), atol=1e-6, rtol=1e-5)
    found = gradients(conv, x, layer, lambda x: conv(x, layer))
    right = gradients(conv, x, layer, lambda x: F.conv2d(x, *conv.slices(layer)))
    assert len(found) == len(right) == 2 + bias
    for own, other in zip(found, right, strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layer", [depthwise(7, 4), depthwise(3, 4, 2), pointwise(4, 6)], ids=["k7", "k3s2", "1x1"])
def test_channels_last_is_kept_both_ways(layer: Layer) -> None:
    conv = made(depthwise() if layer.groups > 1 else pointwise(8, 6), KERNELS if layer.groups > 1 else (), trained=True)
    x = torch.randn(2, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    out = conv(x, layer)
    assert out.is_contiguous(memory_format=torch.channels_last) and not out.is_contiguous()
    (found,) = torch.autograd.grad(out, x, torch.ones_like(out))
    assert found.is_contiguous(memory_format=torch.channels_last) and not found.is_contiguous()


def test_depthwise_runs_in_reduced_precision_where_asked() -> None:
    conv = made(depthwise(), KERNELS, trained=True)
    x = torch.randn(2, 6, 9, 9, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(x, depthwise(5))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert conv.weight.grad is not None and conv.weight.grad.dtype == torch.float32


@pytest.mark.parametrize(("trained", "reach"), [(False, 3), (True, 5)], ids=["at the start", "trained"])
def test_the_smallest_kernel_teaches_both_transforms_and_the_centre(trained: bool, reach: int) -> None:
    """While transforms are identity only the centre 3x3 matters; once they mix, the centre 5x5 does."""
    conv = made(depthwise(), KERNELS, trained=trained)
    x = torch.randn(2, 6, 9, 9, generator=torch.Generator().manual_seed(1))
    conv(x, depthwise(3)).square().sum().backward()
    for kernel in (5, 3):
        gradient = getattr(conv, f"transform_{kernel}").grad
        assert gradient is not None and gradient.abs().max() > 0
    assert conv.weight.grad is not None
    touched = (conv.weight.grad != 0).any(0)[0]
    right = torch.zeros(7, 7, dtype=torch.bool)
    crop(right, reach)[:] = True
    assert torch.equal(touched, right)


def test_a_larger_kernel_does_not_teach_a_smaller_ones_transform() -> None:
    x = torch.randn(2, 6, 9, 9, generator=torch.Generator().manual_seed(1))
    for kernel, taught in ((7, set()), (5, {"transform_5"}), (3, {"transform_5", "transform_3"})):
        conv = made(depthwise(), KERNELS, trained=True)
        conv(x, depthwise(kernel)).sum().backward()
        found = {name for name, value in conv.named_parameters() if value.grad is not None}
        assert found == {"weight"} | taught


def test_fewer_channels_are_the_first_ones() -> None:
    conv = made(pointwise(8, 6, bias=True), trained=True)
    weight, bias = conv.slices(pointwise(5, 4, bias=True))
    assert torch.equal(weight, conv.weight[:4, :5]) and bias is not None and conv.bias is not None
    assert torch.equal(bias, conv.bias[:4])
    x = torch.randn(2, 5, 9, 9, generator=torch.Generator().manual_seed(0))
    right = torch.einsum("oi,nihw->nohw", conv.weight[:4, :5, 0, 0], x) + conv.bias[:4, None, None]
    torch.testing.assert_close(conv(x, pointwise(5, 4, bias=True)), right, atol=1e-5, rtol=1e-5)


def test_a_norm_uses_its_first_channels() -> None:
    norm = ElasticNorm(6)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(6.0))
        norm.bias.copy_(torch.arange(6.0) + 10)
    scale, shift = norm.slices(4)
    assert scale.tolist() == [0, 1, 2, 3] and shift.tolist() == [10, 11, 12, 13]
    assert not list(norm.buffers())


def test_weights_start_as_he_says() -> None:
    """Fan-out, as the reference starts them: variance 2 / (k * k * outputs / groups)."""
    generator = torch.Generator().manual_seed(0)
    wide = ElasticConv(pointwise(64, 512), (), generator).weight
    deep = ElasticConv(depthwise(7, 512), KERNELS, generator).weight
    assert wide.var().item() == pytest.approx(2 / 512, rel=0.05)
    assert deep.var().item() == pytest.approx(2 / 49, rel=0.05)
