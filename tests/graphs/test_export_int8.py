"""Export in int8: ranges from calibration images, agreement with torch reported, and a file that is far off refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the package 'torch' is not installed")

import torch

import ofa.space as spaces
from ofa.errors import PackageMissing, UsageInvalid, VerificationFailed
from ofa.files import sha256_bytes, sha256_file
from ofa.graphs import run
from ofa.graphs.export import Exported, export, folded_weights
from ofa.nn.calibrate import calibrate
from ofa.nn.supernet import PlainNet, build, extract
from ofa.space.core import Subnet

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
SUBNET = TINY.corner("min", 16)
RUNTIMES: dict[str, run.Runtime] = {"onnx": "onnxruntime", "tflite": "litert"}


def images(subnet: Subnet, count: int = 16) -> Any:
    shape = (count, 1, subnet.resolution, subnet.resolution)
    return np.random.default_rng(3).standard_normal(shape, dtype=np.float32)


def plain(subnet: Subnet) -> PlainNet:
    """Return a subnet with statistics of its own."""
    supernet = build(TINY, seed=1)
    return extract(supernet, subnet, calibrate(supernet, subnet, [torch.from_numpy(images(subnet))]))


@pytest.fixture(scope="module")
def network() -> PlainNet:
    return plain(SUBNET)


def exported(network: PlainNet, path: Path, form: Any, **options: Any) -> Exported:
    given = {"precision": "int8", "calibration": images(SUBNET)} | options
    try:
        return export(network, SUBNET, path, form, **given)
    except PackageMissing as fault:
        pytest.skip(fault.what)


@pytest.mark.parametrize("form", RUNTIMES)
def test_a_file_says_how_it_was_made_and_how_near_it_comes(
    form: Any, network: PlainNet, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    found = exported(network, tmp_path / "model", form, checkpoint_sha256="c" * 64)
    facts = json.loads(found.sidecar.read_text())
    assert facts["precision"] == "int8" and "parity" not in facts
    assert facts["file"]["sha256"] == found.sha256 == sha256_file(found.path) and facts["file"]["format"] == form
    assert facts["calibration"]["images"] == 16
    assert facts["calibration"]["sha256"] == sha256_bytes(images(SUBNET).tobytes())
    assert facts["subnet_id"] == SUBNET.id and facts["checkpoint_sha256"] == "c" * 64 and facts["writer"] == {}
    assert {"torch", "onnxruntime", RUNTIMES[form]} <= set(facts["versions"])

    assert found.agreement is not None and facts["agreement"]["cosine"] == found.agreement.cosine
    with torch.no_grad():
        expected = network(torch.from_numpy(images(SUBNET))).double().numpy()
    logits = run.load(found.path, RUNTIMES[form])(images(SUBNET)).astype(np.float64)
    cosine = (logits * expected).sum() / np.linalg.norm(logits) / np.linalg.norm(expected)
    difference = np.abs(logits - expected).max() / np.abs(expected).max()
    same = (logits.argmax(1) == expected.argmax(1)).sum()
    assert facts["agreement"] == {
        "runtime": RUNTIMES[form],
        "images": 16,
        "cosine": pytest.approx(cosine, abs=1e-12),
        "max_difference": pytest.approx(difference, abs=1e-12),
        "same_top1_percent": 100 * same / 16,
    }
    assert found.parity == found.agreement.max_difference
    if form == "onnx":
        request.getfixturevalue("exact_integers")
    # Rounded, and no more than that.
    assert 0.99 <= cosine < 1 and 1e-4 < difference < 0.2


def test_a_float_file_is_what_it_was_with_or_without_images(network: PlainNet, tmp_path: Path) -> None:
    one = export(network, SUBNET, tmp_path / "one.onnx")
    two = export(network, SUBNET, tmp_path / "two.onnx", precision="fp32", calibration=images(SUBNET))
    facts = json.loads(one.sidecar.read_text())
    assert one.sha256 == two.sha256 and one.agreement is None and not {"agreement", "calibration"} & set(facts)
    assert facts["precision"] == "fp32" and facts["parity"]["max_difference"] == one.parity <= 1e-4


def test_int8_needs_images_of_the_network(network: PlainNet, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    for none in (None, images(SUBNET, 0)):
        with pytest.raises(UsageInvalid, match="without calibration images"):
            export(network, SUBNET, path, "tflite", precision="int8", calibration=none)
    with pytest.raises(UsageInvalid, match="array of shape"):
        export(network, SUBNET, path, "tflite", precision="int8", calibration=images(TINY.corner("min", 32)))
    assert not list(tmp_path.iterdir())


def test_what_there_is_no_writer_for_is_refused(network: PlainNet, tmp_path: Path) -> None:
    for form, precision in (("pytorch", "int8"), ("onnx", "fp16")):
        with pytest.raises(UsageInvalid, match=precision) as caught:
            export(network, SUBNET, tmp_path / "m", form, precision=precision, calibration=images(SUBNET))  # type: ignore[arg-type]
        assert "onnx" in caught.value.hints[0] or "fp32" in caught.value.hints[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", RUNTIMES)
def test_a_file_that_computes_something_else_is_not_written(
    form: Any, network: PlainNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classes of the classifier are swapped behind the network's back."""
    exported(network, tmp_path / "right", form)

    def swapped(*arguments: Any) -> Any:
        weights = folded_weights(*arguments)
        weight, bias = weights[-1]["classifier"]
        assert bias is not None
        weights[-1]["classifier"] = (np.roll(weight, 1, 0), np.roll(bias, 1))
        return weights

    monkeypatch.setattr("ofa.graphs.export.folded_weights", swapped)
    with pytest.raises(VerificationFailed, match="int8 logits are not those") as caught:
        exported(network, tmp_path / "wrong", form)
    assert "16 calibration images" in caught.value.why
    assert sorted(path.name for path in tmp_path.iterdir()) == ["right", "right.json"]


def test_options_reach_the_writer(network: PlainNet, tmp_path: Path) -> None:
    parts = exported(network, tmp_path / "parts.tflite", "tflite")
    whole = exported(network, tmp_path / "whole.tflite", "tflite", options={"hard_swish": True})
    assert parts.sha256 != whole.sha256 and json.loads(whole.sidecar.read_text())["writer"] == {"hard_swish": True}


@pytest.mark.slow
@pytest.mark.parametrize("form", RUNTIMES)
@pytest.mark.parametrize("name", ["mobilenet_v3_tiny", "mobilenet_v3_tiny_lite"])
def test_random_subnets_come_near_torch(form: Any, name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Untrained, on noise: each layer adds its rounding to what little tells one image from another."""
    if form == "onnx":
        request.getfixturevalue("exact_integers")
    space = spaces.load(name, classes=10)
    supernet = build(space, seed=1)
    for number, genome in enumerate(spaces.sample.random(space, 3, np.random.default_rng(6))):
        genome[space.at("resolution")] = 1
        subnet = space.subnet(genome)
        x = np.random.default_rng(3).standard_normal((64, 3, subnet.resolution, subnet.resolution), dtype=np.float32)
        network = extract(supernet, subnet, calibrate(supernet, subnet, [torch.from_numpy(x)]))
        try:
            found = export(network, subnet, tmp_path / f"{number}.{form}", form, precision="int8", calibration=x)
        except PackageMissing as fault:
            pytest.skip(fault.what)
        assert found.agreement is not None and found.agreement.cosine >= 0.96
