"""ONNX files: equal to the numpy reference in onnxruntime, in every opset and IR version old runtimes ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.errors import MeasurementRefused
from ofa.graphs import run
from ofa.graphs.ir import graph_of, random_weights
from ofa.graphs.onnx import write
from ofa.space.ops import Op, ops_of

onnx = pytest.importorskip("onnx", reason="the package 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the package 'onnxruntime' is not installed")

TOLERANCE = 1e-4


def images(op: Op, count: int = 2) -> Any:
    rng = np.random.default_rng(5)
    return rng.standard_normal((count, op.in_channels, op.in_size, op.in_size), dtype=np.float32)


@pytest.mark.parametrize("opset", [11, 13, 14, 17])
def test_every_form_of_op(op: Op, opset: int, reference: Callable[..., Any], parity: Callable[..., float]) -> None:
    data = write(graph_of([op]), opset=opset, ir_version=6 if opset < 13 else 8)
    found = run.load(data, "onnxruntime")(images(op))
    assert parity(found, reference([op], [random_weights(op)], images(op))) <= TOLERANCE


@pytest.mark.slow
def test_whole_networks(networks: list[tuple[Op, ...]], reference: Any, parity: Any) -> None:
    for ops in networks:
        found = run.load(write(graph_of(ops)), "onnxruntime")(images(ops[0], 1))
        expected = reference(ops, [random_weights(op) for op in ops], images(ops[0], 1))
        assert parity(found, expected) <= TOLERANCE


@pytest.mark.parametrize(
    ("opset", "ir_version"), [(11, 6), (12, 7), (13, 7), (14, 7), (15, 8), (16, 8), (17, 8), (18, 8), (19, 9)]
)
def test_opset_and_ir_version_are_the_ones_asked_for(opset: int, ir_version: int) -> None:
    ops = ops_of(spaces.load("mobilenet_v3_tiny").corner("min"))
    data = write(graph_of(ops), opset=opset, ir_version=ir_version)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [entry.version for entry in model.opset_import]) == (ir_version, [opset])
    kinds = {node.op_type for node in model.graph.node}
    assert ("HardSwish" in kinds) == (opset >= 14) and "HardSigmoid" in kinds
    assert [value.name for value in model.graph.input] == ["x"]
    assert np.isfinite(run.load(data, "onnxruntime")(images(ops[0], 1))).all()


def test_an_opset_before_11_is_refused() -> None:
    with pytest.raises(MeasurementRefused, match="opset 10"):
        write(graph_of(ops_of(spaces.load("mobilenet_v3_tiny").corner("min"))[:1]), opset=10)


def test_a_partial_window_averages_what_it_covers(every_op: dict[str, Op]) -> None:
    """Only where a window hangs over does the file ask for ceil mode, whose meaning changed between opsets."""
    pooled = [op for op in every_op.values() if op.kind == "bottleneck" and op.stride == 2]
    assert {op.in_size % 2 for op in pooled} == {0, 1}
    for op in pooled:
        model = onnx.load_from_string(write(graph_of([op])))
        (pool,) = [node for node in model.graph.node if node.op_type == "AveragePool"]
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in pool.attribute}
        assert attributes.get("ceil_mode", 0) == op.in_size % 2 and attributes.get("count_include_pad", 0) == 0


def test_the_same_graph_gives_the_same_bytes(op: Op) -> None:
    assert write(graph_of([op])) == write(graph_of([op]))
    assert write(graph_of([op])) != write(graph_of([op], seed=1))
