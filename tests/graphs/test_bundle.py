"""The check of a bundle: old enough for any device's Python, and its preparation is that of Pillow and torch."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from ofa.graphs.bundle import checker, contents, golden
from ofa.graphs.bundle.contents import Preparation
from ofa.graphs.bundle.golden import Picture
from ofa.graphs.ir import Array

SOURCE = Path(checker.__file__)


def test_the_check_needs_an_old_python_and_numpy_alone() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)
    modules = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module" and node.args
        if isinstance(node.args[0], ast.Constant)
    }
    assert modules == {"numpy"}


@pytest.mark.parametrize(("width", "height", "side"), [(20, 20, 32), (97, 40, 24), (40, 97, 24), (300, 200, 64)])
def test_images_are_cut_and_resized_as_pillow_does(width: int, height: int, side: int) -> None:
    decode = pytest.importorskip("ofa.train.sources.decode", exc_type=ImportError)
    pytest.importorskip("PIL")
    image = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    rules = contents.rules(Preparation(cut="middle", mean=(0.0,) * 3, std=(1.0,) * 3), "tflite", side)
    found = 255 * checker.prepared(image, rules)[0]
    # Pillow rounds after the columns and after the rows.
    assert np.abs(found - decode.cut_middle(image, side)).max() <= 1.01


@pytest.mark.parametrize(("width", "height", "side"), [(32, 32, 32), (20, 20, 32), (90, 31, 24)])
def test_arrays_are_resized_as_torch_does(width: int, height: int, side: int) -> None:
    torch = pytest.importorskip("torch")
    augment = pytest.importorskip("ofa.train.augment")
    image = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.2, 0.3, 0.4)
    rules = contents.rules(Preparation(cut="none", mean=mean, std=std), "onnx", side)
    expected = augment.prepared(torch.from_numpy(image[None]), side, mean, std).numpy()
    assert np.abs(checker.prepared(image, rules) - expected).max() <= contents.PREPARED_WITHIN / 2


def test_golden_images_are_of_many_classes_and_tell_exchanged_channels() -> None:
    """The model here answers how red and how blue an image is: of each answer the image that is most so is kept."""
    rules = contents.rules(Preparation(cut="none", mean=(0.0,) * 3, std=(1.0,) * 3), "tflite", 2)
    colours = [(10, 0, 5), (200, 0, 0), (0, 0, 90), (0, 200, 0), (0, 0, 40), (30, 10, 20)]
    pictures = [Picture(pixels=np.full((4, 4, 3), colour, np.uint8), label="?") for colour in colours]

    def run(images: Array) -> Array:
        assert images.shape[1:] == (3, 2, 2), "as the runtimes of this package take it, whatever the file's layout"
        return images.mean((2, 3))[:, [0, 2]] + np.float32(0.01)

    found = golden.chosen(pictures, rules, run, ("red", "blue"))
    assert [picture.pixels[0, 0].tolist() for picture in found.pictures][:2] == [[200, 0, 0], [0, 0, 90]]
    assert found.predicted[:2] == ["red", "blue"] and len(found.pictures) == golden.COUNT
    assert found.swapped is not None and found.told(0.1) and not found.told(1.0)
    grey = [Picture(pixels=np.full((4, 4, 1), 9, np.uint8), label="?")]
    alone = contents.rules(Preparation(cut="none", mean=(0.0,), std=(1.0,)), "onnx", 2)
    told = golden.chosen(grey, alone, lambda images: images.mean((2, 3)), ("only",))
    assert told.swapped is None and told.told(0.1) is None and len(told.pictures) == 1


@pytest.mark.parametrize(("lo_ms", "hi_ms", "way"), [(1e3, 1e4, "below"), (1e-9, 1e-8, "above"), (1e-9, 1e4, "")])
def test_a_time_beside_the_stated_interval_is_said(
    lo_ms: float, hi_ms: float, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    latency = {"ms": lo_ms, "lo_ms": lo_ms, "hi_ms": hi_ms, "device": "this-computer", "runtime": "onnxruntime 1"}
    told = checker.tell_time({"expected": {"latency": latency}}, lambda image: None, None, "onnxruntime 1")
    assert (way in told) if way else told == ""
    said = capsys.readouterr().out
    assert "on this computer" in said and "on the computer it was measured on" in said and "this-computer" not in said
