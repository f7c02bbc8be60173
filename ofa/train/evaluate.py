"""How often a subnet is right."""

from __future__ import annotations

import torch
from torch import nn

from ofa.nn.calibrate import Statistics, calibrate
from ofa.nn.supernet import Supernet, extract
from ofa.space.core import Subnet
from ofa.train.data import Images


def statistics(supernet: Supernet, subnet: Subnet, calibration: Images) -> Statistics:
    """Measure a subnet's batch-norm statistics on training images at its resolution."""
    return calibrate(supernet, subnet, [calibration.at(subnet.resolution)])


def top1(supernet: Supernet, subnet: Subnet, calibration: Images, images: Images) -> float:
    """Return the top-1 accuracy (percent) on ``images`` of a subnet calibrated on ``calibration``."""
    plain = extract(supernet, subnet, statistics(supernet, subnet, calibration))
    return correct(plain, images, subnet.resolution) * 100 / len(images)


@torch.inference_mode()
def correct(network: nn.Module, images: Images, resolution: int, batch: int = 256) -> int:
    """Return how many images a plain network names rightly."""
    labels = torch.from_numpy(images.labels)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return sum(
        int((network(x).argmax(1) == y).sum())
        for x, y in zip(images.at(resolution).split(batch), labels.split(batch), strict=True)
    )
