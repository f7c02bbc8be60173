"""Export: a file computes what torch computes or is not written, and says where it came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the package 'torch' is not installed")

import torch
from torch import nn

import ofa.space as spaces
from ofa.errors import SpaceMismatch, UsageInvalid, VerificationFailed
from ofa.files import sha256_file
from ofa.graphs import run
from ofa.graphs.export import export, folded_weights
from ofa.nn.calibrate import calibrate
from ofa.nn.supernet import PlainNet, Supernet, build, extract
from ofa.space.core import SearchSpace, Subnet

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
RUNTIMES: dict[str, run.Runtime] = {"onnx": "onnxruntime", "tflite": "litert", "pytorch": "torch"}


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    """Return a supernet whose norms are not the identity."""
    net = build(TINY, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "norms" in name:
                value.add_(0.3 * torch.randn(value.shape, generator=generator))
    return net


def plain(supernet: Supernet, subnet: Subnet) -> PlainNet:
    """Extract a subnet with statistics of its own."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(32, 1, subnet.resolution, subnet.resolution, generator=generator)
    return extract(supernet, subnet, calibrate(supernet, subnet, [x]))


@pytest.mark.slow
@pytest.mark.parametrize("form", RUNTIMES)
def test_twenty_random_subnets_compute_what_torch_computes(
    form: Any, supernet: Supernet, working: Callable[[run.Runtime], run.Runtime], tmp_path: Path
) -> None:
    runtime = working(RUNTIMES[form])
    rng = np.random.default_rng(5)
    for number, genome in enumerate(spaces.sample.random(TINY, 20, rng)):
        subnet = TINY.subnet(genome)
        network = plain(supernet, subnet)
        found = export(network, subnet, tmp_path / f"{number}.model", form)
        images = rng.standard_normal((4, 1, subnet.resolution, subnet.resolution), dtype=np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        difference = np.abs(run.load(found.path, runtime)(images) - expected).max() / np.abs(expected).max()
        assert difference <= 1e-4 and found.parity <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3", "proxyless"])
def test_published_spaces_compute_what_torch_computes(name: str, tmp_path: Path) -> None:
    space = spaces.load(name, classes=10)
    net = build(space, seed=1)
    for number, genome in enumerate(spaces.sample.random(space, 3, np.random.default_rng(6))):
        genome[space.at("resolution")] = 1
        subnet = space.subnet(genome)
        x = torch.randn(8, 3, subnet.resolution, subnet.resolution, generator=torch.Generator().manual_seed(3))
        network = extract(net, subnet, calibrate(net, subnet, [x]))
        for form in ("onnx", "tflite"):
            assert export(network, subnet, tmp_path / f"{number}.{form}", form).parity <= 1e-4


def test_the_sidecar_says_where_a_file_is_from(supernet: Supernet, tmp_path: Path) -> None:
    subnet = TINY.corner("min", 16)
    found = export(
        plain(supernet, subnet),
        subnet,
        tmp_path / "model.onnx",
        checkpoint_sha256="c" * 64,
        preprocessing={"mean": 0.25},
        options={"opset": 13, "ir_version": 7},
    )
    facts = json.loads(found.sidecar.read_text())
    assert facts["schema"] == "model/1" and facts["file"]["sha256"] == found.sha256 == sha256_file(found.path)
    assert facts["file"]["bytes"] == found.path.stat().st_size and facts["file"]["format"] == "onnx"
    assert facts["subnet_id"] == subnet.id and facts["subnet"] == subnet.to_json() and facts["space"] == TINY.id
    assert facts["resolution_px"] == 16 and facts["precision"] == "fp32"
    assert facts["checkpoint_sha256"] == "c" * 64 and facts["preprocessing"] == {"mean": 0.25}
    assert facts["writer"] == {"opset": 13, "ir_version": 7}
    assert facts["parity"]["max_difference"] == found.parity and facts["parity"]["runtime"] == "onnxruntime"


def test_a_file_that_computes_something_else_is_not_written(
    supernet: Supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folded weights are moved a little behind the network's back, as a wrong fold would."""
    subnet = TINY.corner("min", 16)

    def moved(*arguments: Any) -> Any:
        weights = folded_weights(*arguments)
        weights[1]["project"] = (weights[1]["project"][0] * 1.01, weights[1]["project"][1])
        return weights

    monkeypatch.setattr("ofa.graphs.export.folded_weights", moved)
    with pytest.raises(VerificationFailed, match="was not written") as caught:
        export(plain(supernet, subnet), subnet, tmp_path / "model.onnx")
    assert caught.value.exit_code == 7 and not list(tmp_path.iterdir())


def test_another_subnet_and_an_unknown_format_are_refused(supernet: Supernet, tmp_path: Path) -> None:
    small, large = TINY.corner("min", 16), TINY.corner("max", 16)
    for other in (large, TINY.corner("min", 32)):
        with pytest.raises(SpaceMismatch):
            export(plain(supernet, small), other, tmp_path / "model.onnx")
    with pytest.raises(UsageInvalid, match="no format 'coreml'"):
        export(plain(supernet, small), small, tmp_path / "model", "coreml")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_folding_a_norm_changes_nothing() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 6, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(6)

    class Ops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            op = nn.Module()
            op.add_module("conv", Layer())
            self.ops = nn.ModuleList([op])

    torch.manual_seed(0)
    network = Ops()
    layer: Any = network.ops[0].conv
    with torch.no_grad():
        for value in (layer.norm.weight, layer.norm.bias, layer.norm.running_mean):
            value.normal_()
        layer.norm.running_var.uniform_(0.1, 2.0)
    weight, bias = folded_weights(network)[0]["conv"]
    assert bias is not None
    x = torch.randn(2, 4, 5, 5)
    expected = layer.norm.eval()(layer.conv(x))
    found = nn.functional.conv2d(x, torch.from_numpy(weight), torch.from_numpy(bias), padding=1)
    assert torch.allclose(found, expected, atol=1e-5)


def exported_parity(space: SearchSpace, subnets: list[Subnet], form: Any, folder: Path) -> float:
    """Return the largest difference that exporting calibrated subnets of a space measured."""
    net = build(space, seed=1)
    worst = 0.0
    for number, subnet in enumerate(subnets):
        shape = (8, space.channels, subnet.resolution, subnet.resolution)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
        network = extract(net, subnet, calibrate(net, subnet, [x]))
        worst = max(worst, export(network, subnet, folder / f"{number}.{form}", form).parity)
    return worst


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "tflite"])
@pytest.mark.parametrize(("name", "width"), [("mobilenet_v3_tiny_lite", 1.0), ("resnet50", 0.2)])
def test_bottlenecks_and_lite_spaces_compute_what_torch_computes(
    name: str, width: float, form: Any, working: Callable[[run.Runtime], run.Runtime], tmp_path: Path
) -> None:
    """At two sizes: maps that are even down to the last stage, and odd ones that a pool reaches past."""
    working(RUNTIMES[form])
    space = spaces.load(name, width=width, classes=10)
    small, odd = space.resolutions[0], space.resolutions[1]
    drawn = [space.subnet(genome) for genome in spaces.sample.random(space, 1, np.random.default_rng(7))]
    subnets = [space.corner("max", odd), space.corner("min", small), space.corner("min", odd), *drawn]
    assert exported_parity(space, subnets, form, tmp_path) <= 1e-4
    assert len(list(tmp_path.iterdir())) == 2 * len(subnets)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "tflite"])
@pytest.mark.parametrize("name", ["mobilenet_v3_lite", "resnet50"])
def test_published_bottlenecks_and_lite_spaces_compute_what_torch_computes(
    name: str, form: Any, working: Callable[[run.Runtime], run.Runtime], tmp_path: Path
) -> None:
    working(RUNTIMES[form])
    space = spaces.load(name)
    genome = spaces.sample.random(space, 1, np.random.default_rng(8))[0]
    genome[space.at("resolution")] = 2
    subnets = [space.corner("max", 128), space.corner("min", 132), space.subnet(genome)]
    assert exported_parity(space, subnets, form, tmp_path) <= 1e-4
