"""Labels: what evaluation gives, one durable row at a time, and a file of anything else is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ofa.errors import FileInvalid
from ofa.nn.supernet import Supernet
from ofa.space import load, sample
from ofa.space.core import Genomes, Subnet
from ofa.train import data, label
from ofa.train.evaluate import correct, top1


@pytest.fixture(scope="module")
def images() -> tuple[data.Images, data.Images]:
    """Return images for batch norm, and images to be right about."""
    return data.scenes("train", 32, 1), data.scenes("twin", 48, 2)


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
    counts = [correct(Always(value), shown, 16, batch=7) for value in range(10)]
    assert counts == np.bincount(shown.labels, minlength=10).tolist()


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
    assert [subnet for subnet, _ in told] == subnets
    for subnet, value in zip(subnets, found, strict=True):
        assert value == pytest.approx(top1(supernet, subnet, calibration, shown), abs=1e-4)
    stored, accuracies = label.read(path, supernet.space)
    np.testing.assert_array_equal(stored, genomes)
    np.testing.assert_array_equal(accuracies, found)


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
    measured: list[Subnet] = []

    def counted(net: Supernet, subnet: Subnet, *others: data.Images) -> float:
        measured.append(subnet)
        return top1(net, subnet, *others)

    monkeypatch.setattr(label, "top1", counted)
    for kept in (len(whole), len(whole) - 5, len(whole) // 2, 3, 0):
        measured.clear()
        path.write_bytes(whole[:kept])
        label.label(supernet, genomes, path, calibration=calibration, images=shown)
        assert path.read_bytes() == whole, kept
        missing = len(genomes) - max(0, whole[:kept].count(b"\n") - 1)
        assert len(measured) == missing


def test_a_file_of_something_else_is_refused_and_left(
    supernet: Supernet, genomes: Genomes, images: tuple[data.Images, data.Images], tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    calibration, shown = images
    header = ",".join(label.COLUMNS)
    wide = load("mobilenet_v3_tiny", channels=3, classes=10).corner("max")
    foreign = f"{wide.id},{bytes(wide.genome).hex()},32,50.0,48,fp32"
    own = supernet.space.corner("max")
    hex_genome = bytes(own.genome).hex()
    cases = (
        "my notes",
        "a,b\n1,2\n",
        f"{header}\n{foreign}\n",
        f"{header}\n{own.id},{hex_genome},32,150.0,48,fp32\n",
        f"{header}\n{own.id},{hex_genome},32,nan,48,fp32\n",
        f"{header}\n{own.id},zz,32,50.0,48,fp32\n",
    )
    for content in cases:
        path.write_text(content)
        with pytest.raises(FileInvalid) as caught:
            label.label(supernet, genomes, path, calibration=calibration, images=shown)
        assert caught.value.exit_code == 3 and caught.value.why and caught.value.hints
        assert path.read_text() == content
