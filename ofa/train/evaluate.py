"""How often a subnet is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ofa.nn.blocks import folded
from ofa.nn.calibrate import Statistics, calibrate, in_parts
from ofa.nn.supernet import Supernet, extract
from ofa.space.core import Subnet
from ofa.train.data import Images
from ofa.train.ranks import Ranks


@contextmanager
def full_precision() -> Iterator[None]:
    """Let a GPU compute convolutions in float32 as a CPU does, not in TF32: 10 bits of a number where labels say fp32.

    What a training does with convolutions is its own affair, and is put back.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@full_precision()
def statistics(supernet: Supernet, subnet: Subnet, calibration: Images) -> Statistics:
    """Measure a subnet's batch-norm statistics on training images at its resolution."""
    return calibrate(supernet, subnet, calibration.batches(subnet.resolution))


def top1(supernet: Supernet, subnet: Subnet, calibration: Images, images: Images) -> float:
    """Return the top-1 accuracy (percent) on ``images`` of a subnet calibrated on ``calibration``."""
    plain = extract(supernet, subnet, statistics(supernet, subnet, calibration))
    return percent(right(plain, images, subnet.resolution))


def percent(correct: NDArray[np.bool_]) -> float:
    """Return the share of True, percent."""
    return float(correct.mean() * 100)


@full_precision()
@torch.inference_mode()
def right(network: nn.Module, images: Images, resolution: int) -> NDArray[np.bool_]:
    """Return which images a plain network in eval mode names rightly, bool[n]."""
    network = _quick(network)
    named = [_named(network, batch) for batch in images.batches(resolution)]
    found: NDArray[np.bool_] = torch.cat(named).numpy() == images.labels
    return found


@full_precision()
@torch.inference_mode()
def many_right(
    supernet: Supernet, subnets: Sequence[Subnet], calibration: Images, images: Images
) -> list[NDArray[np.bool_]]:
    """Return what ``right`` says of several subnets of one resolution; a batch of images is prepared once."""
    networks = [_quick(extract(supernet, subnet, statistics(supernet, subnet, calibration))) for subnet in subnets]
    named: list[list[Tensor]] = [[] for _ in networks]
    for batch in images.batches(subnets[0].resolution) if networks else ():
        for network, found in zip(networks, named, strict=True):
            found.append(_named(network, batch))
    return [torch.cat(found).numpy() == images.labels for found in named]


def _quick(network: nn.Module) -> nn.Module:
    """Return a plain network in eval mode in the form that runs fastest."""
    quick: nn.Module = folded(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return quick


def _named(network: nn.Module, images: Tensor) -> Tensor:
    """Return the class that a network gives each image, int64[n] on the host."""
    return torch.cat([network(part).argmax(1) for part in in_parts(images)]).cpu()


def corner_accuracies(
    supernet: Supernet, calibration: Images, images: Images, ranks: Ranks | None = None, only: Subnet | None = None
) -> dict[str, float]:
    """Return the top-1 (percent) of the corner subnets at the largest resolution, and of min at the smallest.

    Where a training is of ``only`` one subnet, it is that one's. Processes share the work; all get all of it.
    """
    space, ranks = supernet.space, ranks or Ranks()
    subnets = {name: space.corner(name) for name in space.corners()}
    subnets[f"min@{min(space.resolutions)}"] = space.corner("min", min(space.resolutions))
    subnets = {"subnet": only} if only is not None else subnets
    mine = {
        name: round(top1(supernet, subnets[name], calibration, images), 4)
        for name in list(subnets)[ranks.rank :: ranks.size]
    }
    found = {name: top1 for part in ranks.gathered(mine) for name, top1 in part.items()}
    return {name: found[name] for name in subnets}
