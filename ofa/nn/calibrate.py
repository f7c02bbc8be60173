"""Batch-norm statistics of one subnet, measured over a set of images as if it were one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ofa.nn import errors
from ofa.nn.blocks import EPSILON, ElasticOp, Finish, activate, combine, has_weights
from ofa.nn.elastic import convolve
from ofa.space.core import Subnet
from ofa.space.layers import Layer

if TYPE_CHECKING:
    from ofa.nn.supernet import Supernet

Moments = Mapping[str, tuple[Tensor, Tensor]]

# Images run together up to this many pixels: maps of more leave the processor's cache between two layers. Of large
# images a few run together all the same: a layer's call has its own cost.
PART_PIXELS, PART_IMAGES = 100_000, 12
# Values of one channel that are summed in single precision; more of them lose digits.
PIECE_VALUES = 4096

_ACTIVATE: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hswish": F.hardswish,
    "hsigmoid": F.hardsigmoid,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Mean and biased variance [channels] of each normalised layer of one subnet.

    ``moments`` is parallel to ``ops_of(subnet)``; each entry is by layer name.
    """

    subnet_id: str
    images: int
    moments: tuple[Moments, ...]

    def check(self, subnet: Subnet) -> None:
        """Raise UsageInvalid unless these are the statistics of ``subnet``."""
        if self.subnet_id != subnet.id:
            raise errors.other_statistics(self.subnet_id, subnet.id)

    def of_op(self, at: int) -> Finish:
        """Return what finishes the layers of op number ``at``."""
        moments = self.moments[at]
        return lambda layer, x, scale, shift: activate(normalised(x, moments[layer.name], scale, shift), layer)


def normalised(x: Tensor, moments: tuple[Tensor, Tensor], scale: Tensor, shift: Tensor) -> Tensor:
    """Normalise float[n, c, h, w] with a given mean and variance."""
    return F.batch_norm(x, *moments, scale, shift, training=False, eps=EPSILON)


def in_parts(images: Tensor) -> tuple[Tensor, ...]:
    """Return images [n, c, h, w] in parts that are fastest to run one after another without gradients."""
    parts: tuple[Tensor, ...] = images.split(max(PART_IMAGES, PART_PIXELS // images.shape[2:].numel()))
    return parts


@torch.no_grad()
def calibrate(supernet: Supernet, subnet: Subnet, batches: Iterable[Tensor]) -> Statistics:
    """Measure a subnet's statistics over all images of ``batches`` (float[n, c, r, r]) together.

    Every layer is normalised with its pooled statistics, E[variance] + Var[mean] over the batches, before the next one
    is measured; so the result does not depend on how the images are cut into batches, and the calibrated network run on
    these images shows exactly these statistics. The activations of one op for all images are held at a time.
    Raises UsageInvalid without images or with images of another size, SpaceMismatch for a subnet of another space.
    """
    parts = supernet.parts(subnet)
    # A batch without images has no mean: weighted by nothing, it would still make every statistic not-a-number.
    values = [batch for batch in batches if len(batch)]
    if not values:
        raise errors.no_images()
    images = sum(len(batch) for batch in values)
    for batch in values:
        supernet.check_images(batch, subnet)
    values = [part for batch in values for part in in_parts(batch)]
    moments = []
    for op, layers in parts:
        found: dict[str, tuple[Tensor, Tensor]] = {}
        values = _run(op, layers, values, found)
        moments.append(MappingProxyType(found))
    return Statistics(subnet_id=subnet.id, images=images, moments=tuple(moments))


def _run(
    op: ElasticOp, layers: tuple[Layer, ...], batches: list[Tensor], found: dict[str, tuple[Tensor, Tensor]]
) -> list[Tensor]:
    """Run all batches through an op layer by layer; put the pooled statistics of its norms in ``found``."""
    values = {"x": batches}
    last_use = {name: at for at, layer in enumerate(layers) for name in layer.inputs}
    for at, layer in enumerate(layers):
        inputs = list(zip(*(values[name] for name in layer.inputs), strict=True))
        for name in layer.inputs:
            if last_use[name] == at:
                values.pop(name, None)
        if not has_weights(layer):
            values[layer.name] = [combine(layer, given) for given in inputs]
            continue
        # Sliced, and its kernel transformed, once for all batches.
        weight, bias = op.conv(layer).slices(layer)
        outputs = [convolve(given, layer, weight, bias) for (given,) in inputs]
        if layer.norm:
            found[layer.name] = pooled(outputs)
        for output in outputs:
            if layer.norm:
                _normalise(output, found[layer.name], *op.norm(layer).slices(layer.out_channels))
            _activate(output, layer)
        values[layer.name] = outputs
    return values[layers[-1].name]


def _normalise(x: Tensor, moments: tuple[Tensor, Tensor], scale: Tensor, shift: Tensor) -> None:
    """Do in place what ``normalised`` does: no second copy of all activations."""
    mean, variance = moments
    factor = scale * (variance + EPSILON).rsqrt()
    x.mul_(factor[:, None, None]).add_((shift - mean * factor)[:, None, None])


def _activate(x: Tensor, layer: Layer) -> None:
    """Do in place what ``activate`` does."""
    if layer.act is not None:
        _ACTIVATE[layer.act](x, inplace=True)


def pooled(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance [c] over all values of batches [n, c, h, w] of any sizes.

    The variance is E[variance] + Var[mean], weighted by the number of values; summed in double precision.
    """
    pieces = [piece for batch in batches for piece in batch.split(max(1, PIECE_VALUES // batch.shape[2:].numel()))]
    counts = torch.tensor([piece.numel() // piece.shape[1] for piece in pieces], dtype=torch.float64)
    means, variances = (torch.stack(part).double() for part in zip(*map(_moments, pieces), strict=True))
    weights = (counts / counts.sum()).to(means.device)[:, None]
    mean = (weights * means).sum(0)
    variance = (weights * (variances + (means - mean) ** 2)).sum(0)
    return mean.to(pieces[0].dtype), variance.to(pieces[0].dtype)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance [c] of [n, c, h, w]."""
    if x.device.type == "cpu" and x.dtype == torch.float32:
        # What batch norm itself measures with: forty times as fast there as var_mean.
        mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
    else:
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    return mean, variance
