"""Int8 files as TensorRT takes them: still the same network, without zero points, or without integers at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.errors import FileInvalid, PackageMissing
from ofa.graphs import onnx as fp32
from ofa.graphs import qdq, run
from ofa.graphs.ir import Graph, graph_of
from ofa.graphs.tensorrt import symmetric, taken_apart
from ofa.space.ops import ops_of

onnx = pytest.importorskip("onnx", reason="the package 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the package 'onnxruntime' is not installed")

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
# Random weights; symmetric integers lose a bit of values that are never negative.
LEAST_COSINE = 0.98


def images(graph: Graph, count: int = 4) -> Any:
    rng = np.random.default_rng(5)
    return rng.standard_normal((count, graph.input.channels, graph.input.size, graph.input.size), dtype=np.float32)


@pytest.fixture(params=["min", "max"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return graph_of(ops_of(TINY.corner(request.param)))


def integers(graph: Graph, **options: Any) -> bytes:
    """Return an int8 file, or skip where onnxruntime cannot write any."""
    try:
        return qdq.write(graph, images(graph), opset=13, **options)
    except PackageMissing as fault:
        pytest.skip(f"{fault.what}: {fault.why}")


def zero_points(data: bytes) -> list[int]:
    model = onnx.load_model_from_string(data)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    return [int(value) for node in pairs for value in np.ravel(constants[node.input[2]])]


@pytest.mark.usefixtures("exact_integers")
@pytest.mark.slow
def test_symmetric_integers_compute_the_same_network(graph: Graph, cosine: Any) -> None:
    before = integers(graph)
    made = symmetric(before)
    assert any(zero_points(before)) and not any(zero_points(made))
    x = images(graph)
    assert cosine(run.load(made, "onnxruntime")(x), run.load(fp32.write(graph), "onnxruntime")(x)) >= LEAST_COSINE
    model = onnx.load_model_from_string(made)
    # TensorRT has no int32 biases.
    assert all(tensor.data_type != onnx.TensorProto.INT32 for tensor in model.graph.initializer)
    assert symmetric(before) == made


@pytest.mark.slow
def test_a_file_taken_apart_is_the_float_one_and_its_steps(graph: Graph, cosine: Any) -> None:
    apart = taken_apart(integers(graph))
    model = onnx.load_model_from_string(apart.data)
    assert not [node for node in model.graph.node if "Linear" in node.op_type]
    assert all(tensor.data_type == onnx.TensorProto.FLOAT for tensor in model.graph.initializer)
    x = images(graph)
    assert cosine(run.load(apart.data, "onnxruntime")(x), run.load(fp32.write(graph), "onnxruntime")(x)) >= 0.999
    # Every value has a step, and 127 of them reach as far as the value does on the images.
    values = {name for node in model.graph.node for name in node.output} | {"x"}
    assert values <= set(apart.steps)
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in values - {"x", "y"}
    )
    reach = dict.fromkeys(values, 0.0)
    for found in run.watch(model.SerializeToString(), x):
        reach |= {name: max(reach[name], float(np.abs(value).max())) for name, value in found.items()}
    # A ReLU's input reaches below zero, where nothing of it is kept.
    cut = {node.input[0] for node in model.graph.node if node.op_type in ("Relu", "Clip")}
    for name in values - cut - {"x"}:
        assert reach[name] <= 127 * apart.steps[name] * 1.05, name


def test_between_blocks_integers_become_floats() -> None:
    ops = ops_of(TINY.corner("min"))[1:2]
    graph = graph_of(ops)
    apart = taken_apart(integers(graph, takes_int8=True, gives_int8=True))
    found = run.load(apart.data, "onnxruntime")(images(graph, 1))
    assert found.dtype == np.float32 and {"x", "y"} <= set(apart.steps)


def made_of(**changes: Any) -> bytes:
    """Return a file of two values that are quantized without names, as exporters of others write them."""
    kind = changes.get("kind", np.int8)
    steps = [
        onnx.numpy_helper.from_array(np.array(value, np.float32), f"s{place}") for place, value in enumerate((1, 2))
    ]
    zero = onnx.numpy_helper.from_array(np.array(changes.get("zero", 0), kind), "z")
    add = onnx.helper.make_node("Add", ["x", "x"], ["a"])
    pairs = [
        onnx.helper.make_node(op, [source, step, "z"], [target])
        for op, source, step, target in (
            ("QuantizeLinear", "a", "s0", "q"), ("DequantizeLinear", "q", "s0", "b"),
            ("QuantizeLinear", "b", "s1", "p"), ("DequantizeLinear", "p", "s1", "y"),
            ("QuantizeLinear", "a", "s1", "r"), ("DequantizeLinear", "r", "s1", "w"),
        )
    ]  # fmt: skip
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 4, 4]) for name in ("x", "y", "w")]
    body = onnx.helper.make_graph([add, *pairs], "g", value[:1], value[1:], [*steps, zero])
    opset = [onnx.helper.make_opsetid("", 13)]
    return bytes(onnx.helper.make_model(body, opset_imports=opset, ir_version=8).SerializeToString())


def test_nodes_without_names_keep_their_own_steps() -> None:
    made = onnx.load_model_from_string(symmetric(made_of()))
    steps = {tensor.name: float(onnx.numpy_helper.to_array(tensor)) for tensor in made.graph.initializer}
    assert (steps["q.step"], steps["p.step"]) == (1.0, 2.0)
    # Integers that end at 0 do a ReLU's work: it stands there once, for both that read it.
    cut = onnx.load_model_from_string(symmetric(made_of(zero=-128)))
    assert [node.op_type for node in cut.graph.node].count("Relu") == 1


def test_other_integers_are_refused() -> None:
    for make in (symmetric, taken_apart):
        with pytest.raises(FileInvalid, match="TensorRT") as refusal:
            make(made_of(kind=np.uint8))
        assert "only int8 is read" in refusal.value.why


def test_files_without_integers_stay_and_what_is_no_file_is_refused(graph: Graph) -> None:
    apart = taken_apart(fp32.write(graph))
    assert not apart.steps
    for make in (symmetric, taken_apart):
        for data in (b"", b"\x08\x07nonsense", integers(graph)[:-400]):
            with pytest.raises(FileInvalid, match="TensorRT"):
                make(data)
