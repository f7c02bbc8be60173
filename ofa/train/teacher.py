"""The frozen network that subnets learn from: the largest subnet as its own training left it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ofa.nn.calibrate import Statistics, calibrate
from ofa.nn.supernet import Supernet
from ofa.train.data import Images

# Gives the logits [n, classes] for images float[n, c, r, r] of some resolution.
Teacher = Callable[[Tensor], Tensor]


def frozen(supernet: Supernet, calibration: Images, mode: Literal["eval", "train"]) -> Teacher:
    """Return the largest subnet of a supernet that is trained no more.

    ``eval`` normalises with statistics measured once for each resolution on ``calibration``; ``train`` with the
    batch's own, as the reference code does (progressive_shrinking.py puts its teacher into train mode).
    """
    space = supernet.space
    known: dict[int, Statistics] = {}
    supernet.requires_grad_(False)

    @torch.no_grad()
    def logits(x: Tensor) -> Tensor:
        subnet = space.corner("max", x.shape[-1])
        if mode == "train":
            return supernet(x, subnet)  # type: ignore[no-any-return]  # nn.Module's call is untyped
        if subnet.resolution not in known:
            # Statistics need all their digits, whatever a step runs in.
            with torch.autocast(x.device.type, enabled=False):
                known[subnet.resolution] = calibrate(supernet, subnet, calibration.batches(subnet.resolution))
        return supernet(x, subnet, known[subnet.resolution])  # type: ignore[no-any-return]

    return logits
