"""Labels: what evaluation gives, one durable row at a time, and a file of anything else is left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from ofa.errors import FileInvalid, UsageInvalid
from ofa.nn.supernet import Supernet
from ofa.space import load, sample
from ofa.space.core import Genomes, Subnet
from ofa.train import data, digits, label, labelled
from ofa.train.evaluate import many_right, right, top1


@pytest.fixture(scope="module")
def images() -> tuple[data.Images, data.Images]:
    """Return images for batch norm, and images to be right about."""
    sources = digits.source("train", 32, 1), digits.source("twin", 48, 2)
    calibration, shown = (data.Images.all_of(source, (0.25,), (0.25,)) for source in sources)
    return calibration, shown


@pytest.fixture
def genomes(supernet: Supernet) -> Genomes:
    return sample.unique(sample.random(supernet.space, 5, np.random.default_rng(0)))


class Always(nn.Module):
    """A network that names one class whatever it is shown."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.label = label

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(torch.full((len(x),), self.label), 10).float()


def test_right_answers_are_counted(images: tuple[data.Images, data.Images]) -> None:
    _, shown = images
    counts = [int(right(Always(value), shown, 16).sum()) for value in range(10)]
    assert counts == np.bincount(shown.labels, minlength=10).tolist()


def test_a_gpu_measures_in_the_precision_that_labels_say(
    supernet: Supernet, images: tuple[data.Images, data.Images], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TF32 is torch's default for convolutions there, and comes back for the training that goes on."""
    allowed: list[bool] = []
    convolve = nn.functional.conv2d

    def watched(*given: Any, **named: Any) -> torch.Tensor:
        allowed.append(torch.backends.cudnn.allow_tf32)
        return convolve(*given, **named)

    monkeypatch.setattr(nn.functional, "conv2d", watched)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    top1(supernet, supernet.space.corner("min", 16), *images)
    many_right(supernet, [supernet.space.corner("min", 16)], *images)
    assert allowed and not any(allowed) and torch.backends.cudnn.allow_tf32


@pytest.mark.slow
def test_a_label_is_the_top1_of_its_subnet(
    supernet: Supernet, genomes: Genomes, images: tuple[data.Images, data.Images], tmp_path: Path
) -> None:
    told: list[tuple[Subnet, float]] = []
    path = tmp_path / "labels.csv"
    calibration, shown = images
    found = label.label(
        supernet, genomes, path, calibration=calibration, images=shown, on_label=lambda *one: told.append(one)
    )
    subnets = [supernet.space.subnet(genome) for genome in genomes]
    assert {subnet for subnet, _ in told} == set(subnets) and len(told) == len(subnets)
    assert dict(told) == dict(zip(subnets, found, strict=True))
    for subnet, value in zip(subnets, found, strict=True):
        assert value == pytest.approx(top1(supernet, subnet, calibration, shown), abs=1e-4)
    known: list[int] = []
    again = {"on_label": lambda *one: told.append(one), "on_known": known.append}
    label.label(supernet, genomes, path, calibration=calibration, images=shown, **again)  # type: ignore[arg-type]
    assert known == [len(subnets)] == [len(told)]
    stored, accuracies = labelled.read(path, supernet.space)
    assert {bytes(genome): value for genome, value in zip(stored, accuracies, strict=True)} == {
        bytes(genome): value for genome, value in zip(genomes, found, strict=True)
    }
    per_image = label.read_right(path, supernet.space)
    np.testing.assert_allclose(per_image.mean(1) * 100, accuracies, atol=1e-4)
    first = supernet.space.subnet(stored[0])
    np.testing.assert_array_equal(per_image[0], many_right(supernet, [first], calibration, shown)[0])


@pytest.mark.slow
def test_a_torn_file_goes_on_and_nothing_is_measured_twice(
    supernet: Supernet,
    genomes: Genomes,
    images: tuple[data.Images, data.Images],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "labels.csv"
    calibration, shown = images
    label.label(supernet, genomes, path, calibration=calibration, images=shown)
    whole = path.read_bytes()
    bits = label.bits_path(path).read_bytes()
    measured: list[Subnet] = []

    def counted(net: Supernet, subnets: Sequence[Subnet], *others: data.Images) -> list[NDArray[np.bool_]]:
        measured.extend(subnets)
        return many_right(net, subnets, *others)

    monkeypatch.setattr(label, "many_right", counted)
    for kept in (len(whole), len(whole) - 5, len(whole) // 2, 3, 0):
        measured.clear()
        path.write_bytes(whole[:kept])
        label.label(supernet, genomes, path, calibration=calibration, images=shown)
        assert path.read_bytes() == whole and label.bits_path(path).read_bytes() == bits, kept
        missing = len(genomes) - max(0, whole[:kept].count(b"\n") - 1)
        assert len(measured) == missing


def test_a_file_of_something_else_is_refused_and_left(
    supernet: Supernet, genomes: Genomes, images: tuple[data.Images, data.Images], tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    calibration, shown = images
    header = ",".join(labelled.COLUMNS)
    wide = load("mobilenet_v3_tiny", channels=3, classes=10).corner("max")
    foreign = f"{wide.id},{bytes(wide.genome).hex()},32,50.0,7.2,48,fp32"
    own = supernet.space.corner("max")
    hex_genome = bytes(own.genome).hex()
    cases = (
        "my notes",
        "a,b\n1,2\n",
        f"{header}\n{foreign}\n",
        f"{header}\n{own.id},{hex_genome},32,150.0,1.0,48,fp32\n",
        f"{header}\n{own.id},{hex_genome},32,nan,1.0,48,fp32\n",
        f"{header}\n{own.id},{hex_genome},32,50.0,7.2,47,fp32\n",  # measured on other images
        f"{header}\n{own.id},{hex_genome},32,50.0,7.2,48,fp32\n",  # a row without its bits
        f"{header}\n{own.id},zz,32,50.0,7.2,48,fp32\n",
    )
    for content in cases:
        path.write_text(content)
        with pytest.raises(FileInvalid) as caught:
            label.label(supernet, genomes, path, calibration=calibration, images=shown)
        assert caught.value.exit_code == 3 and caught.value.why and caught.value.hints
        assert path.read_text() == content


def test_a_line_taken_out_by_hand_is_noticed(
    supernet: Supernet, genomes: Genomes, images: tuple[data.Images, data.Images], tmp_path: Path
) -> None:
    """Else the rows behind it would have the images of the subnets before them, and the last bits would be cut off."""
    path, width = tmp_path / "labels.csv", 6
    shares = zip(genomes[:3], (9, 20, 31), strict=True)
    rows = [(supernet.space.subnet(genome), np.arange(48) < right) for genome, right in shares]
    path.write_text("\n".join([",".join(labelled.COLUMNS), *(label._row(*row) for row in rows), ""]))
    label.bits_path(path).write_bytes(b"".join(np.packbits(right).tobytes() for _, right in rows))
    assert label.read_right(path, supernet.space).sum(1).tolist() == [9, 20, 31]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], *lines[3:]]))
    kept = label.bits_path(path).read_bytes()
    assert len(kept) == 3 * width
    with pytest.raises(FileInvalid, match="bits") as caught:
        label.read_right(path, supernet.space)
    assert "line 3 of" in caught.value.why and "64.5833 %, and its images one of 41.6667 %" in caught.value.why
    with pytest.raises(FileInvalid, match="bits"):
        label.label(supernet, genomes, path, calibration=images[0], images=images[1])
    assert label.bits_path(path).read_bytes() == kept


def test_two_processes_do_not_label_into_one_file(
    supernet: Supernet,
    genomes: Genomes,
    images: tuple[data.Images, data.Images],
    tmp_path: Path,
    busy: Callable[..., AbstractContextManager[None]],
) -> None:
    calibration, shown = images
    with busy(tmp_path, "a.csv"):
        with pytest.raises(UsageInvalid, match="another process"):
            label.label(supernet, genomes[:1], tmp_path / "a.csv", calibration=calibration, images=shown)
        label.label(supernet, genomes[:1], tmp_path / "a.tsv", calibration=calibration, images=shown)
    label.label(supernet, genomes[1:2], tmp_path / "a.csv", calibration=calibration, images=shown)
    # Files of like names have bits of their own.
    for name, genome in (("a.tsv", genomes[0]), ("a.csv", genomes[1])):
        subnet = supernet.space.subnet(genome)
        np.testing.assert_array_equal(
            label.read_right(tmp_path / name, supernet.space), many_right(supernet, [subnet], calibration, shown)
        )
