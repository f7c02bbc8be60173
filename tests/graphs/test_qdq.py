"""ONNX files in int8: near the numpy reference in onnxruntime, in the opset asked for, and nothing left behind."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.errors import MeasurementRefused, PackageMissing, UsageInvalid
from ofa.graphs import onnx as fp32
from ofa.graphs import qdq, run
from ofa.graphs.ir import graph_of, random_weights
from ofa.graphs.qdq import write
from ofa.space.ops import Op, ops_of

onnx = pytest.importorskip("onnx", reason="the package 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the package 'onnxruntime' is not installed")

# Random weights and the calibration images themselves; every form reached 0.9995 when this was written.
LEAST_COSINE = 0.99
TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
LITE = spaces.load("mobilenet_v3_tiny_lite", channels=1, classes=10)


def images(op: Op, count: int = 4) -> Any:
    rng = np.random.default_rng(5)
    return rng.standard_normal((count, op.in_channels, op.in_size, op.in_size), dtype=np.float32)


@pytest.fixture
def quantizer() -> None:
    """Skip where onnxruntime is too old for the onnx beside it to write int8 files; such a one still runs them."""
    op = ops_of(TINY.corner("min"))[-1]
    try:
        write(graph_of([op]), images(op, 1))
    except PackageMissing as fault:
        pytest.skip(f"{fault.what}: {fault.why}")


def close(ops: tuple[Op, ...], data: bytes, reference: Any, cosine: Any) -> bool:
    found = run.load(data, "onnxruntime")(images(ops[0]))
    expected = reference(ops, [random_weights(op) for op in ops], images(ops[0]))
    return found.dtype == np.float32 and cosine(found, expected) >= LEAST_COSINE


@pytest.mark.usefixtures("quantizer")
@pytest.mark.slow
def test_an_op_of_each_kind(every_op: dict[str, Op], reference: Any, cosine: Any) -> None:
    ordered = sorted(every_op.values(), key=lambda op: -op.macs)
    for op in {(op.kind, op.act, op.se): op for op in ordered}.values():
        assert close((op,), write(graph_of([op]), images(op)), reference, cosine)


@pytest.mark.slow
@pytest.mark.usefixtures("quantizer")
def test_every_form_of_op(op: Op, reference: Any, cosine: Any) -> None:
    assert close((op,), write(graph_of([op]), images(op)), reference, cosine)


@pytest.mark.slow
@pytest.mark.usefixtures("quantizer", "exact_integers")
@pytest.mark.parametrize("space", [TINY, LITE], ids=["tiny", "lite"])
def test_whole_networks(space: spaces.SearchSpace, reference: Any, cosine: Any) -> None:
    genomes = spaces.sample.random(space, 3, np.random.default_rng(2))
    for ops in [ops_of(space.subnet(genome)) for genome in genomes] + [ops_of(space.corner("max"))]:
        assert close(ops, write(graph_of(ops), images(ops[0])), reference, cosine)


@pytest.mark.usefixtures("quantizer", "exact_integers")
@pytest.mark.parametrize(("opset", "ir_version"), [(13, 7), (14, 7), (17, 8), (19, 9)])
def test_opset_and_ir_version_are_the_ones_asked_for(
    opset: int, ir_version: int, reference: Any, cosine: Any, tmp_path: Path
) -> None:
    ops = ops_of(TINY.corner("min"))
    data = write(graph_of(ops), images(ops[0]), opset=opset, ir_version=ir_version)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(entry.domain, entry.version) for entry in model.opset_import]) == (
        ir_version,
        [("", opset)],
    )
    # No operator of onnxruntime's own: old versions lack them.
    assert {node.domain for node in model.graph.node} == {""}
    assert ([value.name for value in model.graph.input], [value.name for value in model.graph.output]) == (["x"], ["y"])
    assert close(ops, data, reference, cosine)


@pytest.mark.usefixtures("quantizer")
def test_weights_are_int8_with_a_step_for_each_channel_and_zero_at_zero() -> None:
    ops = ops_of(LITE.corner("min"))
    model = onnx.load_from_string(write(graph_of(ops), images(ops[0])))
    constants = {value.name: onnx.numpy_helper.to_array(value) for value in model.graph.initializer}
    read = {node.input[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    weights = [name for name, value in constants.items() if value.dtype == np.int8 and value.ndim > 1]
    assert len(weights) == sum(node.weight is not None for node in graph_of(ops).nodes)
    for name in weights:
        step, zero = (constants[place] for place in read[name].input[1:])
        assert len(step) == constants[name].shape[0] and not zero.any()
    whole = fp32.write(graph_of(ops))
    assert len(model.SerializeToString()) < 0.45 * len(whole)


@pytest.mark.usefixtures("quantizer")
def test_nothing_is_left_behind_and_nothing_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    op = ops_of(TINY.corner("min"))[0]
    with caplog.at_level(logging.WARNING):
        assert write(graph_of([op]), images(op)) == write(graph_of([op]), images(op).copy())
    assert not list(tmp_path.iterdir()) and not caplog.records and capfd.readouterr().out == ""


def test_calibration_needs_images_and_a_new_opset() -> None:
    op = ops_of(TINY.corner("min"))[0]
    with pytest.raises(UsageInvalid, match="without calibration images"):
        write(graph_of([op]), images(op, 0))
    with pytest.raises(UsageInvalid, match="array of shape"):
        write(graph_of([op]), images(op)[:, :, 1:])
    with pytest.raises(MeasurementRefused, match="opset 12"):
        write(graph_of([op]), images(op), opset=12)


def test_a_quantizer_too_old_for_its_onnx_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of onnxruntime 1.16 is beside onnx 1.19 or newer."""

    def fail(*_: object, **__: object) -> None:
        raise AttributeError("module 'onnx' has no attribute 'mapping'")

    broken = SimpleNamespace(quant_pre_process=fail)
    monkeypatch.setattr(qdq, "_packages", lambda: (broken, onnx))
    op = ops_of(TINY.corner("min"))[0]
    with pytest.raises(PackageMissing, match="quantizer of onnxruntime") as caught:
        write(graph_of([op]), images(op))
    assert "mapping" in caught.value.why
