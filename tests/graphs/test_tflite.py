"""TFLite files: equal to the numpy reference in litert and tflite_runtime, and laid out as old interpreters need."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.errors import UsageInvalid
from ofa.graphs import run
from ofa.graphs.ir import Graph, graph_of, random_weights
from ofa.graphs.tflite import write
from ofa.space.ops import Op, ops_of

pytest.importorskip("flatbuffers", reason="the package 'flatbuffers' is not installed")
schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="the package 'ai-edge-litert' is not installed"
)

TOLERANCE = 1e-4
RUNTIMES: tuple[run.Runtime, ...] = ("litert", "tflite_runtime")


def images(op: Op, count: int = 2) -> Any:
    rng = np.random.default_rng(5)
    return rng.standard_normal((count, op.in_channels, op.in_size, op.in_size), dtype=np.float32)


def operators(data: bytes) -> list[str]:
    """Return the names of a file's operators in order."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    return [names[model.operatorCodes[step.opcodeIndex].builtinCode] for step in model.subgraphs[0].operators]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_form_of_op(op: Op, runtime: run.Runtime, working: Any, reference: Any, parity: Any) -> None:
    found = run.load(write(graph_of([op])), working(runtime))(images(op))
    assert parity(found, reference([op], [random_weights(op)], images(op))) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_whole_networks(
    networks: list[tuple[Op, ...]], runtime: run.Runtime, working: Any, reference: Any, parity: Any
) -> None:
    working(runtime)
    for ops in networks:
        found = run.load(write(graph_of(ops)), runtime)(images(ops[0], 1))
        expected = reference(ops, [random_weights(op) for op in ops], images(ops[0], 1))
        assert parity(found, expected) <= TOLERANCE


def test_the_file_says_what_it_is() -> None:
    ops = ops_of(spaces.load("mobilenet_v3_tiny", channels=1).corner("min"))
    data = write(graph_of(ops))
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    assert data[4:8] == b"TFL3" and model.version == 3
    source, target = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    size = ops[0].in_size
    assert (source.name, list(source.shape)) == (b"x", [1, size, size, 1]) and list(target.shape) == [1, 1000]
    assert all(code.version == 1 and code.deprecatedBuiltinCode == code.builtinCode for code in model.operatorCodes)


def test_constants_lie_where_vector_instructions_may_read_them(op: Op) -> None:
    data = write(graph_of([op]))
    model = schema.Model.GetRootAs(data, 0)
    flatbuffers = importlib.import_module("flatbuffers")
    for place in range(1, model.BuffersLength()):
        table = model.Buffers(place)._tab
        field = flatbuffers.number_types.UOffsetTFlags.py_type(table.Offset(4))
        assert field and table.Vector(field) % 16 == 0


def test_activations_are_fused(op: Op) -> None:
    kinds = operators(write(graph_of([op])))
    layers = [node.layer for node in graph_of([op]).nodes]
    assert not {"RELU", "RELU6", "LOGISTIC"} & set(kinds)
    assert kinds.count("HARD_SWISH") == sum(layer.act == "hswish" for layer in layers)


def test_padding_is_explicit_only_where_tflite_pads_elsewhere(op: Op) -> None:
    """An odd map with stride 2 is padded alike by TFLite's SAME; an even one is not."""
    strided = [
        node.layer for node in graph_of([op]).nodes if node.layer.stride == 2 and node.layer.kind in ("conv", "maxpool")
    ]
    assert operators(write(graph_of([op]))).count("PAD") == sum(layer.in_size % 2 == 0 for layer in strided)


def pool_alone(op: Op) -> Graph:
    """Return the max pool of a deep stem as a graph of its own, whose input may be negative."""
    (node,) = [node for node in graph_of([op]).nodes if node.layer.kind == "maxpool"]
    whole = graph_of([op]).shapes
    return Graph(
        nodes=(replace(node, inputs=("x",)),), shapes={"x": whole[node.inputs[0]], node.name: whole[node.name]}
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_padding_never_wins_a_maximum(every_op: dict[str, Op], runtime: run.Runtime, working: Any) -> None:
    working(runtime)
    stems = [op for op in every_op.values() if op.kind == "deepstem"]
    for op in stems:
        graph = pool_alone(op)
        layer = graph.nodes[0].layer
        assert ("PADV2" in operators(write(graph))) == (layer.in_size % 2 == 0)
        negative = np.full((1, layer.in_channels, layer.in_size, layer.in_size), -3, np.float32)
        assert (run.load(write(graph), runtime)(negative) == -3).all()
    assert {pool_alone(op).nodes[0].layer.in_size % 2 for op in stems} == {0, 1}


def test_a_layer_without_an_operator_is_named(every_op: dict[str, Op]) -> None:
    graph = pool_alone(next(op for op in every_op.values() if op.kind == "deepstem"))
    layer = replace(graph.nodes[0].layer, kind="avgpool", kernel=4, stride=4, in_size=9, out_size=3)
    with pytest.raises(UsageInvalid, match=r"average pool|maxpool") as caught:
        write(Graph(nodes=(replace(graph.nodes[0], layer=layer),), shapes=graph.shapes))
    assert "4 x 4" in caught.value.why


def test_the_same_graph_gives_the_same_bytes(op: Op) -> None:
    assert write(graph_of([op])) == write(graph_of([op]))
    assert write(graph_of([op])) != write(graph_of([op], seed=1))
