"""Images on their way to a network: one batch at a time, on the device that trains, at the resolution of the step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Colour jitter of the reference: brightness 32/255, saturation 0.5.
_BRIGHTNESS, _SATURATION = 32 / 255, 0.5
# A crop of a small image moves by up to an eighth of its side, over a border of its own colour 0.
_SHIFT = 8
_GREY = (0.299, 0.587, 0.114)


def prepared(images: Tensor, resolution: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return uint8[n, h, w, c] as normalised float32[n, c, r, r] in channels_last order, resized with antialiasing.

    Training, evaluation and exported files all see images that went through here.
    """
    return normalised(resized(images.permute(0, 3, 1, 2).float(), resolution), mean, std)


def augmented(
    images: Tensor,
    resolution: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    kind: str,
    generator: torch.Generator,
) -> Tensor:
    """Return training images as ``prepared`` does, after random changes drawn on the device of ``images``.

    ``crop_flip``: shifted by up to an eighth of the side, and mirrored; ``imagenet``: mirrored, brightness and
    saturation changed (the random cut of the image was made where it was loaded); ``none``: neither.
    """
    if kind == "none":
        return prepared(images, resolution, mean, std)
    if kind == "crop_flip":
        images = _shifted(images, generator)
    images = _mirrored(images, generator)
    x = images.permute(0, 3, 1, 2).float()
    if kind == "imagenet":
        x = _jittered(x, generator)
    return normalised(resized(x, resolution), mean, std)


def resized(x: Tensor, resolution: int) -> Tensor:
    """Return float[n, c, h, w] at r x r: the one resize of training and evaluation."""
    if x.shape[2] == resolution and x.shape[3] == resolution:
        return x
    return F.interpolate(x, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=True)


def normalised(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return pixels of 0-255 as (v / 255 - mean) / std by channel, channels_last."""
    shape = (1, -1, 1, 1)
    centre, spread = (torch.tensor(values, device=x.device).view(shape) for values in (mean, std))
    return ((x / 255 - centre) / spread).contiguous(memory_format=torch.channels_last)


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image uint8[n, h, w, c] by its own random number of rows and columns."""
    count, height, width, _ = images.shape
    edge = max(1, min(height, width) // _SHIFT)
    padded = F.pad(images, (0, 0, edge, edge, edge, edge))
    top, left = (
        torch.randint(0, 2 * edge + 1, (count, 1), generator=generator, device=images.device) for _ in range(2)
    )
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    numbers = torch.arange(count, device=images.device)[:, None, None]
    return padded[numbers, rows[:, :, None], columns[:, None, :]]


def _mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images uint8[n, h, w, c] left to right."""
    chosen = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(2), images)


def _jittered(x: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness and saturation of each image float[n, c, h, w] of 0-255."""

    def factors(spread: float) -> Tensor:
        drawn = torch.rand((len(x), 1, 1, 1), generator=generator, device=x.device)
        return 1 + spread * (2 * drawn - 1)

    x = (x * factors(_BRIGHTNESS)).clamp_(0, 255)
    if x.shape[1] != len(_GREY):
        return x
    weights = torch.tensor(_GREY, device=x.device).view(1, 3, 1, 1)
    grey = (x * weights).sum(1, keepdim=True)
    return (grey + (x - grey) * factors(_SATURATION)).clamp_(0, 255)
