"""What training does to images before a network sees them, and that evaluation does the same but for chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ofa.train import augment, data
from ofa.train.sources import arrays

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SIDE = 16


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Return 40 RGB images without a black pixel, uint8[40, 16, 16, 3]: black is what a shift lets in."""
    return torch.randint(1, 256, (40, SIDE, SIDE, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def drawn(images: Tensor, kind: str, seed: int, resolution: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment.augmented(images, resolution, MEAN, STD, kind=kind, generator=generator)


def pixels(x: Tensor) -> Tensor:
    """Undo normalisation: float[n, c, r, r] as values of 0-255, [n, r, r, c]."""
    shape = (1, 3, 1, 1)
    return ((x * torch.tensor(STD).view(shape) + torch.tensor(MEAN).view(shape)) * 255).permute(0, 2, 3, 1)


def test_prepared_images_are_normalised_by_channel(images: Tensor) -> None:
    found = augment.prepared(images, SIDE, MEAN, STD)
    expected = (images.numpy() / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(found.permute(0, 2, 3, 1).numpy(), expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == torch.float32 and found.is_contiguous(memory_format=torch.channels_last)


def test_a_smaller_image_has_no_moire() -> None:
    """One bright column in four must become an even grey; without antialiasing all of them would fall between."""
    stripes = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    stripes[:, :, ::4] = 200
    found = pixels(augment.prepared(stripes, SIDE // 4, MEAN, STD))[:, :, 1:-1]
    assert (found - 50).abs().max() < 0.01


@pytest.mark.parametrize("resolution", [8, 12, SIDE])
def test_training_without_augmentation_sees_what_evaluation_sees(images: Tensor, resolution: int) -> None:
    source = arrays.of(images.numpy(), np.arange(40) % 2)
    evaluated = torch.cat(list(data.Images.all_of(source, MEAN, STD).batches(resolution, 7)))
    trained = drawn(images, "none", 0, resolution)
    torch.testing.assert_close(trained, evaluated, rtol=0, atol=0)
    torch.testing.assert_close(trained, augment.prepared(images, resolution, MEAN, STD), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["crop_flip", "imagenet"])
def test_chance_comes_from_the_generator_alone(images: Tensor, kind: str) -> None:
    torch.manual_seed(0)
    first = drawn(images, kind, 5)
    torch.manual_seed(1)
    torch.testing.assert_close(drawn(images, kind, 5), first, rtol=0, atol=0)
    assert not torch.equal(drawn(images, kind, 6), first)
    assert not torch.equal(first, augment.prepared(images, SIDE, MEAN, STD))


def test_crop_flip_shifts_by_an_eighth_at_most_and_mirrors(images: Tensor) -> None:
    """Every changed image is found among all shifts of the original and of its mirror image, and nowhere else."""
    edge = SIDE // 8
    found = pixels(drawn(images, "crop_flip", 3)).round().to(torch.uint8)
    seen = []
    for before, after in zip(images, found, strict=True):
        bordered = F.pad(before, (0, 0, edge, edge, edge, edge))
        windows = bordered.unfold(0, SIDE, 1).unfold(1, SIDE, 1).permute(0, 1, 3, 4, 2)
        mirrored = windows.flip(3)
        places = [
            (mirror, top - edge, left - edge)
            for mirror, candidates in enumerate((windows, mirrored))
            for top, left in (candidates == after).all(-1).all(-1).all(-1).nonzero().tolist()
        ]
        assert len(places) == 1
        seen += places
    mirrors, tops, lefts = (np.array(column) for column in zip(*seen, strict=True))
    assert 8 < mirrors.sum() < 32, "about half of 40"
    assert set(tops.tolist()) | set(lefts.tolist()) == set(range(-edge, edge + 1))
    assert len(set(zip(tops.tolist(), lefts.tolist(), strict=True))) > 15, "each image moves by itself"


def test_imagenet_changes_brightness_and_saturation_within_their_bounds(images: Tensor) -> None:
    """Grey images have no saturation to change: what is left is one factor of brightness for each image."""
    flat = torch.full((400, 4, 4, 3), 100, dtype=torch.uint8)
    factors = (pixels(drawn(flat, "imagenet", 2, 4)) / 100).flatten(1)
    assert (factors.amax(1) - factors.amin(1)).max() < 1e-4
    least, most = 1 - 32 / 255, 1 + 32 / 255
    assert least - 1e-4 <= factors.min() < least + 0.01 and most - 0.01 < factors.max() <= most + 1e-4
    assert abs(float(factors.mean()) - 1) < 0.02
    coloured = flat.clone()
    coloured[..., 0] = 150
    x = pixels(drawn(coloured, "imagenet", 2, 4))[:, 0, 0]
    # A factor of brightness scales all differences, too, so it is taken out by the grey value.
    grey = (x * torch.tensor([0.299, 0.587, 0.114])).sum(1)
    saturation = (x[:, 0] - x[:, 1]) / grey / (50 / (100 + 0.299 * 50))
    assert 0.5 - 1e-3 <= saturation.min() < 0.52 and 1.48 < saturation.max() <= 1.5 + 1e-3


def test_imagenet_mirrors_and_never_shifts(images: Tensor) -> None:
    """Brightness order of pixels within a channel survives jitter of grey images."""
    grey = images[..., :1].expand(-1, -1, -1, 3).clamp(1, 200)
    found = pixels(drawn(grey, "imagenet", 4))[..., 0]
    kept = [_same_up_to_a_factor(a, b) for a, b in zip(grey[..., 0], found, strict=True)]
    turned = [_same_up_to_a_factor(a.flip(1), b) for a, b in zip(grey[..., 0], found, strict=True)]
    assert all(a != b for a, b in zip(kept, turned, strict=True)) and 8 < sum(turned) < 32


def _same_up_to_a_factor(before: Tensor, after: Tensor) -> bool:
    factors = after / before.float()
    return bool(factors.max() - factors.min() < 1e-3)


def test_jitter_stays_within_what_a_pixel_can_be() -> None:
    extremes = torch.zeros(50, 4, 4, 3, dtype=torch.uint8)
    extremes[..., 0] = 255
    found = pixels(drawn(extremes, "imagenet", 0, 4))
    assert found.min() >= -1e-3 and found.max() <= 255 + 1e-3


def test_images_of_one_channel_are_jittered_in_brightness_alone() -> None:
    flat = torch.full((50, 4, 4, 1), 100, dtype=torch.uint8)
    found = augment.augmented(flat, 4, (0.0,), (1.0,), kind="imagenet", generator=torch.Generator().manual_seed(0))
    assert found.shape == (50, 1, 4, 4) and 0.01 < float(found[:, 0, 0, 0].std()) < 0.1
