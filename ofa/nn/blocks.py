"""An op as a torch module, elastic or plain: both run the layers that `ofa.space.ops` says are inside it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ofa.nn.elastic import ElasticConv, ElasticNorm
from ofa.space.layers import Layer

# Added to every variance before its root is taken.
EPSILON = 1e-5

Run = Callable[[Layer, Tensor], Tensor]
# Normalises what a layer computed with scale and shift, and applies the layer's activation.
Finish = Callable[[Layer, Tensor, Tensor, Tensor], Tensor]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
    "hsigmoid": nn.Hardsigmoid,
}
_ACTIVATE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hswish": F.hardswish,
    "hsigmoid": F.hardsigmoid,
}


def activate(x: Tensor, layer: Layer) -> Tensor:
    """Apply the activation of a layer, if it has one."""
    return x if layer.act is None else _ACTIVATE[layer.act](x)


def has_weights(layer: Layer) -> bool:
    """Say whether a layer multiplies by weights."""
    return layer.kind in ("conv", "linear")


def combine(layer: Layer, inputs: Sequence[Tensor]) -> Tensor:
    """Run a layer without weights: a pool, the product of squeeze-excite, or a sum."""
    if layer.kind == "gap":
        return inputs[0].mean((2, 3), keepdim=True)
    if layer.kind == "mul":
        return inputs[0] * inputs[1]
    if layer.kind == "add":
        return activate(inputs[0] + inputs[1], layer)
    if layer.kind == "maxpool":
        return F.max_pool2d(inputs[0], layer.kernel, layer.stride, layer.kernel // 2)
    return F.avg_pool2d(inputs[0], layer.kernel, layer.stride, ceil_mode=True, count_include_pad=False)


def run(layers: Sequence[Layer], x: Tensor, weighted: Run) -> Tensor:
    """Run the layers of an op in order on ``x``; ``weighted`` runs those that have weights, with norm and activation.

    A value is dropped after its last use, so that large batches fit where no gradient keeps them.
    """
    values = {"x": x}
    last_use = {name: at for at, layer in enumerate(layers) for name in layer.inputs}
    for at, layer in enumerate(layers):
        inputs = [values[name] for name in layer.inputs]
        values[layer.name] = weighted(layer, inputs[0]) if has_weights(layer) else combine(layer, inputs)
        for name in layer.inputs:
            if last_use[name] == at:
                values.pop(name, None)
    return values[layers[-1].name]


def batch_statistics(layer: Layer, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Finish a layer's output float[n, c, h, w] with the batch's own mean and variance, as training does."""
    return activate(F.batch_norm(x, None, None, scale, shift, training=True, eps=EPSILON), layer)


def dropped(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Set a random share of values to 0 and raise the others, so that their expected sum stays."""
    kept = torch.rand(x.shape, generator=generator, device=x.device) >= share
    return x * kept / (1 - share)


class ElasticOp(nn.Module):
    """The weights of one place in the network, for every op that can stand there."""

    def __init__(self, largest: Sequence[Layer], kernels: Collection[int], generator: torch.Generator) -> None:
        """Store the layers of the largest op; its depthwise convolution is elastic over ``kernels``."""
        super().__init__()
        widest = max((layer.kernel for layer in largest if layer.kind == "conv"), default=1)
        self.convs = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        for layer in largest:
            if has_weights(layer):
                elastic = kernels if layer.kernel == widest and layer.groups > 1 else ()
                self.convs[layer.name] = ElasticConv(layer, elastic, generator)
            if layer.norm:
                self.norms[layer.name] = ElasticNorm(layer.out_channels)

    def conv(self, layer: Layer) -> ElasticConv:
        """Return the weights a layer is sliced from."""
        module = self.convs[layer.name]
        assert isinstance(module, ElasticConv)
        return module

    def norm(self, layer: Layer) -> ElasticNorm:
        """Return the scale and shift a layer is sliced from."""
        module = self.norms[layer.name]
        assert isinstance(module, ElasticNorm)
        return module

    def forward(
        self,
        x: Tensor,
        layers: Sequence[Layer],
        finish: Finish,
        dropout: tuple[float, torch.Generator] | None = None,
    ) -> Tensor:
        """Run as the op made of ``layers``; ``dropout`` is for what its linear layer is given."""

        def weighted(layer: Layer, value: Tensor) -> Tensor:
            if dropout is not None and layer.kind == "linear":
                value = dropped(value, *dropout)
            out = self.conv(layer)(value, layer)
            if layer.norm:
                return finish(layer, out, *self.norm(layer).slices(layer.out_channels))
            return activate(out, layer)

        return run(layers, x, weighted)


class ConvNormAct(nn.Module):
    """A plain convolution with the normalisation and activation that follow it, either of which may be absent."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel,
            layer.stride,
            layer.kernel // 2,
            groups=layer.groups,
            bias=layer.bias,
        )
        self.norm = nn.BatchNorm2d(layer.out_channels, eps=EPSILON) if layer.norm else None
        self.act = _ACTIVATIONS[layer.act]() if layer.act else None

    def forward(self, x: Tensor) -> Tensor:
        """Run convolution, normalisation, activation."""
        x = self.conv(x)
        x = x if self.norm is None else self.norm(x)
        return x if self.act is None else self.act(x)

    def fold(self) -> None:
        """Let the convolution do the normalisation's work, in eval mode: one pass over its maps less."""
        if self.norm is not None:
            self.conv, self.norm = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval()), None


def folded(network: nn.Module) -> nn.Module:
    """Return a copy of a plain network in eval mode that computes the same, to rounding, in less time."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, ConvNormAct):
            module.fold()
    return network


class PlainOp(nn.Module):
    """One op with weights of its own; submodules bear the names of its layers."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        for layer in self.layers:
            if layer.kind == "conv":
                self.add_module(layer.name, ConvNormAct(layer))
            elif layer.kind == "linear":
                self.add_module(layer.name, nn.Linear(layer.in_channels, layer.out_channels, bias=layer.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Run the op on float[n, c, h, w]."""

        def weighted(layer: Layer, value: Tensor) -> Tensor:
            if layer.kind == "conv":
                out: Tensor = self.get_submodule(layer.name)(value)
                return out
            return activate(self.get_submodule(layer.name)(value.flatten(1)), layer)

        return run(self.layers, x, weighted)
