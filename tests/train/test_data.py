"""A training set divided and read by number: equal shares, every image once, any step at any time."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray

from ofa.errors import UsageInvalid
from ofa.space.core import SearchSpace
from ofa.train import data, recipes
from ofa.train.data import Data, Feed, Images
from ofa.train.recipes import Recipe
from ofa.train.sources import arrays
from ofa.train.sources.arrays import Arrays

SIZES = (50, 31, 12, 7)


def numbered(sizes: tuple[int, ...] = SIZES) -> Arrays:
    """Return images of which each bears its own number, classes of these sizes mixed."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = np.zeros((len(labels), 16, 16, 1), dtype=np.uint8)
    images[:] = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return arrays.of(images, labels)


@pytest.fixture
def plain() -> Recipe:
    return dataclasses.replace(recipes.demo(), batch=8, holdout=20, calibration=16)


def numbers(batches: list[data.Batch]) -> list[int]:
    return [number for batch in batches for number in batch.images[:, 0, 0, 0].tolist()]


@pytest.mark.parametrize("holdout", [0, 1, 3, 20, 60])
def test_every_class_is_held_back_in_its_share(plain: Recipe, holdout: int) -> None:
    source = numbered()
    found = data.divided(source, dataclasses.replace(plain, holdout=holdout))
    counts = np.bincount(source.labels[found.holdout], minlength=len(SIZES))
    exact = np.array(SIZES) * holdout / sum(SIZES)
    assert counts.sum() == holdout and np.all(np.abs(counts - exact) < 1)
    # Largest remainders: nobody who was rounded up had a smaller remainder than one who was rounded down.
    remainders = exact - np.floor(exact)
    up, down = remainders[counts > exact], remainders[counts < exact]
    assert not len(up) or not len(down) or up.min() >= down.max() - 1e-9


def test_parts_are_disjoint_and_whole(plain: Recipe) -> None:
    source = numbered()
    found = data.divided(source, plain)
    assert np.array_equal(np.sort(np.concatenate([found.train, found.holdout])), np.arange(100))
    assert len(np.unique(found.calibration)) == 16 and set(found.calibration) <= set(found.train)
    assert len(data.divided(source, dataclasses.replace(plain, calibration=1000)).calibration) == 80


def test_a_division_depends_on_the_seed_alone(plain: Recipe) -> None:
    first, again, other = (
        data.divided(numbered(), dataclasses.replace(plain, seed=seed, batch=batch))
        for seed, batch in ((1, 8), (1, 4), (2, 8))
    )
    for part in ("train", "holdout", "calibration"):
        assert np.array_equal(getattr(first, part), getattr(again, part))
        assert not np.array_equal(getattr(first, part), getattr(other, part))


@pytest.mark.parametrize("holdout", [93, 100, 5000])
def test_too_few_images_to_train_on_are_refused(holdout: int, plain: Recipe, space: SearchSpace) -> None:
    recipe = dataclasses.replace(plain, holdout=holdout)
    with pytest.raises(UsageInvalid, match="too few to train on") as caught:
        Feed(data.divided(numbered(), recipe), recipe, space, (0,))
    assert caught.value.exit_code == 2 and caught.value.why
    told = re.search(r"--set holdout=(\d+) --set batch=(\d+)", " ".join(caught.value.hints))
    assert told is not None
    mended = dataclasses.replace(recipe, holdout=int(told[1]), batch=int(told[2]))
    assert Feed(data.divided(numbered(), mended), mended, space, (0,)).steps_per_epoch > 1


def test_what_only_measures_does_with_less_than_a_batch(plain: Recipe) -> None:
    assert len(data.divided(numbered(), dataclasses.replace(plain, holdout=93)).train) == 7


def test_moments_are_measured_on_the_training_images_by_channel(plain: Recipe) -> None:
    rng = np.random.default_rng(1)
    pictures = (rng.random((600, 8, 8, 3)) * (60, 120, 255)).astype(np.uint8)
    source = arrays.of(pictures, np.arange(600) % 4)
    found = data.divided(source, dataclasses.replace(plain, mean=None, std=None, holdout=100))
    seen = pictures[found.train].reshape(-1, 3) / 255
    np.testing.assert_allclose(found.mean, seen.mean(0), atol=1e-5)
    np.testing.assert_allclose(found.std, seen.std(0), atol=1e-5)
    given = data.divided(source, dataclasses.replace(plain, mean=(0.1,) * 3, std=(0.2,) * 3))
    assert given.mean == (0.1,) * 3 and given.std == (0.2,) * 3


def test_one_number_stands_for_all_channels_and_only_what_is_missing_is_measured(plain: Recipe) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    source = arrays.of(pictures, np.arange(40) % 4)
    found = data.divided(source, dataclasses.replace(plain, mean=(0.1,), std=None, holdout=0))
    assert found.mean == (0.1,) * 3
    np.testing.assert_allclose(found.std, (pictures.reshape(-1, 3) / 255).std(0), atol=1e-5)
    wrong = {"mean": dataclasses.replace(plain, mean=(0.1, 0.2)), "std": dataclasses.replace(plain, std=(0.1, 0.2))}
    for name, recipe in wrong.items():
        with pytest.raises(UsageInvalid, match=f"'{name}' has 2 numbers") as caught:
            data.divided(source, recipe)
        assert "3 channels" in caught.value.why and caught.value.hints


def test_a_single_colour_has_a_spread_to_divide_by(plain: Recipe) -> None:
    source = arrays.of(np.full((40, 8, 8, 1), 7, dtype=np.uint8), np.arange(40) % 2)
    (std,) = data.divided(source, dataclasses.replace(plain, mean=None, std=None)).std
    assert std > 0


@pytest.fixture
def divided(plain: Recipe) -> Data:
    return data.divided(numbered(), plain)


@pytest.fixture
def three(plain: Recipe) -> Recipe:
    return dataclasses.replace(plain, shards=3)


def test_an_epoch_shows_each_image_once_across_shards_and_steps(
    divided: Data, three: Recipe, space: SearchSpace
) -> None:
    feed = Feed(divided, three, space, (0, 1, 2))
    assert feed.steps_per_epoch == 10
    epochs = [[numbers(feed[step]) for step in range(start, start + 10)] for start in (0, 10)]
    for epoch in epochs:
        assert sorted(number for step in epoch for number in step) == divided.train.tolist()
        assert all(len(step) == 8 for step in epoch)
    assert epochs[0] != epochs[1], "another epoch has another order"


def test_labels_come_with_their_images(divided: Data, plain: Recipe, space: SearchSpace) -> None:
    feed = Feed(divided, plain, space, (0,))
    for step in (0, 7, 13):
        (batch,) = feed[step]
        assert batch.labels.tolist() == divided.source.labels[numbers([batch])].tolist() and not batch.skipped


def test_shards_partition_a_batch_whoever_reads_them(divided: Data, three: Recipe, space: SearchSpace) -> None:
    together = Feed(divided, three, space, (0, 1, 2))
    alone = [Feed(divided, three, space, (shard,)) for shard in range(3)]
    whole = Feed(divided, dataclasses.replace(three, shards=1), space, (0,))
    for step in (0, 4, 25):
        parts = [numbers(own[step]) for own in alone]
        assert [numbers([batch]) for batch in together[step]] == parts and [len(part) for part in parts] == [3, 3, 2]
        assert [number for part in parts for number in part] == numbers(whole[step])


def test_any_step_can_be_read_at_any_time(divided: Data, plain: Recipe, space: SearchSpace) -> None:
    forwards, anew = Feed(divided, plain, space, (0,)), Feed(divided, plain, space, (0,))
    sequential = [numbers(forwards[step]) for step in range(35)]
    for step in (34, 3, 12, 3, 29):
        assert numbers(anew[step]) == sequential[step]
    other = Feed(divided, dataclasses.replace(plain, seed=1), space, (0,))
    assert numbers(other[0]) != sequential[0]


class Watched:
    """A source that remembers the cuts it was asked for."""

    def __init__(self, inner: Arrays) -> None:
        self.inner, self.classes, self.channels, self.labels = inner, inner.classes, inner.channels, inner.labels
        self.fingerprint, self.order, self.whole, self.cut = inner.fingerprint, inner.order, inner.whole, inner.cut
        self.skipped: dict[str, int] = {}
        self.cuts: list[NDArray[np.float32] | None] = []
        self.sides: list[int | None] = []
        self.stand_ins: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.inner)

    def load(
        self,
        indices: ArrayLike,
        *,
        side_px: int | None,
        crops: NDArray[np.float32] | None,
        among: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.uint8]:
        self.cuts.append(crops)
        self.stand_ins = among
        self.sides.append(side_px)
        self.skipped["dir/broken.png"] = self.skipped.get("dir/broken.png", 0) + 2
        return self.inner.load(indices)


def test_cuts_depend_on_step_and_shard_alone_and_are_for_training(three: Recipe, space: SearchSpace) -> None:
    source = Watched(numbered())
    recipe = dataclasses.replace(three, augmentation="imagenet")
    divided = data.divided(source, recipe)
    feed = Feed(divided, recipe, space, (0, 1))
    for step in (5, 6, 5):
        feed[step]
    first, second, other, _, again, last = source.cuts
    assert first is not None and second is not None and other is not None and again is not None and last is not None
    assert np.array_equal(first, again) and np.array_equal(second, last)
    assert (
        first.shape == second.shape == (3, 4) and not np.array_equal(first, second) and not np.array_equal(first, other)
    )
    assert set(source.sides) <= set(space.resolutions) and source.sides[0] == source.sides[1]
    source.cuts.clear()
    list(divided.images("calibration").batches(16))
    Feed(divided, dataclasses.replace(recipe, augmentation="crop_flip"), space, (0,))[0]
    assert source.cuts == [None, None]


def test_unreadable_images_are_told_with_their_batch(three: Recipe, space: SearchSpace) -> None:
    source = Watched(numbered())
    feed = Feed(data.divided(source, three), three, space, (0, 1))
    assert [batch.skipped for step in (0, 1) for batch in feed[step]] == [{"dir/broken.png": 2}] * 4
    assert source.stand_ins is not None and np.array_equal(np.flatnonzero(source.stand_ins), feed.data.train)


def test_random_cuts_lie_inside_the_image_and_within_their_bounds() -> None:
    cuts = data.random_cuts(20_000, np.random.default_rng(0))
    top, left, height, width = cuts.astype(np.float64).T
    assert cuts.dtype == np.float32 and cuts.min() >= 0
    assert (top + height).max() <= 1 + 1e-6 and (left + width).max() <= 1 + 1e-6
    area, proportion = height * width, width / height
    assert 0.08 - 1e-6 <= area.min() < 0.09 and 0.95 < area.max() <= 1 + 1e-6
    assert 0.75 - 1e-6 <= proportion.min() < 0.76 and 1.32 < proportion.max() <= 4 / 3 + 1e-6
    # Uniform where no edge cuts it short, and turned as often as not; the place is anywhere that is left.
    small = area < 0.7
    assert abs(np.mean(area[small]) - 0.39) < 0.01 and abs(np.log(proportion).mean()) < 0.01
    for start, extent in ((top, height), (left, width)):
        inside = extent < 0.9
        assert abs(np.mean(start[inside] / (1 - extent[inside])) - 0.5) < 0.02


def test_images_are_in_order_and_kept_by_resolution(divided: Data) -> None:
    images = divided.images("holdout")
    assert len(images) == 20 and np.array_equal(images.labels, divided.source.labels[divided.holdout])
    batches = images.batches(16, 8)
    assert [len(batch) for batch in batches] == [8, 8, 4] and images.batches(16, 8) is batches
    shown = torch.cat(list(batches))[:, 0, 0, 0] * divided.std[0] + divided.mean[0]
    np.testing.assert_allclose(shown.numpy() * 255, divided.holdout, atol=1e-3)


def test_what_does_not_fit_in_memory_is_prepared_anew(divided: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 images of 16 px are 20,480 bytes: two sizes fit into 50,000, a third one takes their place."""
    monkeypatch.setattr(data, "_READY_BYTES", 50_000)
    images: Images = divided.images("holdout")
    first = images.batches(16, 8)
    assert images.batches(16, 4) is not first and images.batches(16, 8) is first
    images.batches(20, 8)
    assert images.batches(16, 8) is not first, "it was let go for the third"
    monkeypatch.setattr(data, "_READY_BYTES", 20_479)
    large: Images = divided.images("holdout")
    assert not isinstance(large.batches(16, 8), list)
    for _ in range(2):
        made = torch.cat(list(large.batches(16, 8)))
        torch.testing.assert_close(made, torch.cat(list(first)), rtol=0, atol=0)


@pytest.mark.parametrize("recipe", [make() for make in recipes.RECIPES.values()], ids=list(recipes.RECIPES))
def test_what_every_subnet_is_calibrated_on_is_prepared_once(recipe: Recipe) -> None:
    largest = max(recipe.search_space(channels=3, classes=1000).resolutions)
    assert recipe.calibration * 3 * largest**2 * 4 <= data._READY_BYTES
