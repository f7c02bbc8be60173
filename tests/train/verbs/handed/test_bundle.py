"""A bundle's check needs nothing of ours, and notices what was changed: channels, classes, weights, rules, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa.files import sha256_file
from ofa.space.core import SearchSpace

from .conftest import COLOURS, CORNER, Bundle, Check, change_golden, copied, fails, said_in, say, sum_again

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_a_bundle_passes_where_nothing_of_ours_is_and_fails_once_channels_are_swapped(
    form: str, precision: str, bundle: Bundle, check: Check, tmp_path: Path
) -> None:
    made = bundle(form, precision)
    code, out, err = check(made, form)
    assert (code, err) == (0, ""), err
    assert out.endswith("all is as it was handed over\n") and "4 answers agree" in out
    assert said_in(made)["golden"]["swapped_channels"]["told"] is True
    # What the model takes is said to be BGR; or the images were read as BGR; or both, on either side of the model.
    wrong = copied(made, tmp_path / "order")
    say(wrong, input={"channel_order": "BGR"})
    fails(check(wrong, form), 7, "is not prepared as it was", "the order of the channels was swapped")
    wrong = copied(made, tmp_path / "raw")
    change_golden(wrong, raw=lambda image: image[:, :, ::-1])
    fails(check(wrong, form), 7, "the order of the channels was swapped")
    axis = 1 if form == "onnx" else 3
    change_golden(wrong, prepared=lambda images: np.flip(images, axis))
    fails(check(wrong, form), 7, "answers golden image", "of the largest output")


@pytest.mark.parametrize(("form", "precision"), [("onnx", "fp32"), ("tflite", "int8")])
def test_a_changed_byte_and_changed_classes_are_noticed(
    form: str, precision: str, bundle: Bundle, check: Check, tmp_path: Path
) -> None:
    made = bundle(form, precision)
    wrong = copied(made, tmp_path / "byte")
    model = wrong / f"model.{form}"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(bytes(data))
    fails(check(wrong, form), 3, f"'model.{form}' was changed", "SHA-256")
    swapped = ["green", "red", "blue", "none"]
    wrong = copied(made, tmp_path / "classes")
    say(wrong, classes=swapped)
    fails(check(wrong, form), 7, "class 0 is 'green', and was 'red'")
    change_golden(wrong, classes=lambda names: np.array(swapped))
    fails(check(wrong, form), 7, "calls an image something else", "was called '")
    wrong = copied(made, tmp_path / "fewer")
    say(wrong, classes=swapped[:2])
    fails(check(wrong, form), 7)


def test_weights_that_compute_something_else_are_noticed_though_the_sums_were_adjusted(
    bundle: Bundle, check: Check, tmp_path: Path
) -> None:
    import onnx

    wrong = copied(bundle("onnx", "fp32"), tmp_path / "weights")
    model = onnx.load(wrong / "model.onnx")
    bias = next(value for value in model.graph.initializer if value.dims == [4])
    moved = onnx.numpy_helper.to_array(bias) + np.array([0.5, 0, 0, 0], np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(moved, bias.name))
    onnx.save(model, wrong / "model.onnx")
    sum_again(wrong)
    fails(check(wrong, "onnx"), 7, "answers golden image", "use the runtime it was made with")


@pytest.mark.parametrize(
    "part",
    [{"mean": [0.5, 0.25, 0.25]}, {"std": [0.25, 0.25, 0.3]}, {"divide_by": 256}, {"cut": "middle"}],
    ids=lambda part: next(iter(part)),
)
def test_every_rule_of_preparation_is_checked(
    part: dict[str, Any], bundle: Bundle, check: Check, tmp_path: Path
) -> None:
    wrong = copied(bundle("onnx", "fp32"), tmp_path / "rules")
    say(wrong, preprocessing=part)
    fails(check(wrong, "onnx"), 7, "is not prepared as it was", "is off by")


def test_damaged_bundles_are_refused_with_a_reason(bundle: Bundle, check: Check, tmp_path: Path) -> None:
    made = bundle("onnx", "fp32")
    for number, name in enumerate(("bundle.json", "golden.npz", "model.onnx", "SHA256SUMS")):
        wrong = copied(made, tmp_path / f"absent-{number}")
        (wrong / name).unlink()
        fails(check(wrong, "onnx"), 3, f"'{name}' cannot be read")
    wrong = copied(made, tmp_path / "broken")
    for content in ("{", "[]", "{}", '{"schema": "bundle/1"}'):
        (wrong / "bundle.json").write_text(content)
        sum_again(wrong)
        fails(check(wrong, "onnx"), 3, "'bundle.json'")
    (wrong / "bundle.json").write_bytes((made / "bundle.json").read_bytes())
    for part in ({"layout": "NCWH"}, {"channel_order": "grey"}, {"shape": [1, 3, 33, 33]}):
        say(wrong, input=part)
        fails(check(wrong, "onnx"), 3, "'bundle.json' cannot be used")
        (wrong / "bundle.json").write_bytes((made / "bundle.json").read_bytes())
    say(wrong, preprocessing={"std": [0.25, 0, 0.25]})
    fails(check(wrong, "onnx"), 3, "numbers to divide by")
    wrong = copied(made, tmp_path / "unlisted")
    sums = (wrong / "SHA256SUMS").read_text().splitlines(keepends=True)
    (wrong / "SHA256SUMS").write_text("".join(line for line in sums if "golden" not in line))
    fails(check(wrong, "onnx"), 3, "does not list 'golden.npz'")
    wrong = copied(made, tmp_path / "torn")
    (wrong / "golden.npz").write_bytes(b"PK torn")
    sum_again(wrong)
    fails(check(wrong, "onnx"), 3, "'golden.npz' cannot be used")
    wrong = copied(made, tmp_path / "no-model")
    (wrong / "model.onnx").write_bytes(b"torn")
    sum_again(wrong)
    fails(check(wrong, "onnx"), 3, "cannot be loaded by onnxruntime")


def test_without_its_runtime_a_bundle_says_what_to_install(bundle: Bundle, check: Check) -> None:
    fails(check(bundle("tflite", "fp32"), "onnx"), 8, "nothing here runs 'model.tflite'", "install ai-edge-litert")


def test_a_bundle_says_where_it_is_from(bundle: Bundle, painted: Path, colour_space: SearchSpace) -> None:
    made = bundle("tflite", "int8")
    names = {"SHA256SUMS", "bundle.json", "check.py", "golden.npz", "model.tflite", "model.tflite.json"}
    assert {path.name for path in made.iterdir()} == names
    facts, subnet = said_in(made), colour_space.corner(CORNER)
    assert facts["schema"] == "bundle/1" and facts["classes"] == list(COLOURS)
    assert facts["origin"]["subnet"] == subnet.to_json() and facts["origin"]["subnet_id"] == subnet.id
    assert facts["origin"]["checkpoint_sha256"] == sha256_file(painted / "checkpoint.pt")
    assert len(facts["origin"]["genes_sha256"]) == len(facts["origin"]["data"]) == 64
    assert facts["input"]["shape"] == [1, 32, 32, 3] and facts["input"]["value_range"] == [-1.0, 3.0]
    assert facts["preprocessing"]["mean"] == facts["preprocessing"]["std"] == [0.25] * 3
    assert facts["model"]["sha256"] == sha256_file(made / "model.tflite")
    integers = facts["quantisation"]
    # The input reaches from -1 (black) to about 2.8 (a bright pixel): 255 steps of that, and where its 0 is.
    assert 3.5 < 255 * integers["input"]["scale"] < 4 and -70 < integers["input"]["zero_point"] < -50
    assert integers["output"]["scale"] > 0 and integers["calibration"]["images"] == 40
    assert facts["expected"]["latency"] is None
    top1 = facts["expected"]["top1"]
    assert (top1["images"], top1["split"], top1["precision"]) == (40, "test", "int8") and top1["top1"] > 60
    assert facts["golden"]["from"] == "images held back from training"
    assert len(set(facts["golden"]["predicted"])) > 1, "of several classes"
    assert said_in(bundle("onnx", "fp32"))["quantisation"] is None


def test_the_integers_of_both_forms_are_those_of_their_files(bundle: Bundle) -> None:
    onnx, tflite = (said_in(bundle(form, "int8"))["quantisation"] for form in ("onnx", "tflite"))
    for end in ("input", "output"):
        assert onnx[end]["scale"] == pytest.approx(tflite[end]["scale"], rel=0.05)
        assert abs(onnx[end]["zero_point"] - tflite[end]["zero_point"]) <= 3
