"""TFLite files in int8: near the numpy reference in every runtime, zero exactly zero, operators as the format asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.errors import UsageInvalid
from ofa.graphs import run, tflite
from ofa.graphs.ir import Graph, Weights, graph_of, random_weights
from ofa.graphs.quantize import quantized
from ofa.graphs.tflite import write, write_int8
from ofa.space.layers import layers_of
from ofa.space.ops import Op, ops_of

pytest.importorskip("onnxruntime", reason="the package 'onnxruntime' is not installed")
pytest.importorskip("flatbuffers", reason="the package 'flatbuffers' is not installed")
schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="the package 'ai-edge-litert' is not installed"
)

# Random weights and the calibration images themselves; every form reached 0.9995 when this was written.
LEAST_COSINE = 0.99
RUNTIMES: tuple[run.Runtime, ...] = ("litert", "tflite_runtime")
TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
LITE = spaces.load("mobilenet_v3_tiny_lite", channels=1, classes=10)


def images(op: Op, count: int = 4) -> Any:
    rng = np.random.default_rng(5)
    return rng.standard_normal((count, op.in_channels, op.in_size, op.in_size), dtype=np.float32)


def of_each_kind(every_op: dict[str, Op]) -> list[Op]:
    """Return small ops, one of each kind, activation and stride, with and without squeeze-excite."""
    ordered = sorted(every_op.values(), key=lambda op: -op.macs)
    return list({(op.kind, op.act, op.se, op.stride, op.residual): op for op in ordered}.values())


def model(data: bytes) -> tuple[Any, list[tuple[str, int]], list[Any]]:
    """Return a file's graph, its operators in order with their versions, and its tensors."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    whole = schema.ModelT.InitFromPackedBuf(data, 0)
    (graph,) = whole.subgraphs
    codes = [whole.operatorCodes[step.opcodeIndex] for step in graph.operators]
    return graph, [(names[code.builtinCode], code.version) for code in codes], graph.tensors


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_form_of_op(op: Op, runtime: run.Runtime, working: Any, cosine: Any) -> None:
    """Near the float32 file, which other tests hold to the reference."""
    graph, x = graph_of([op]), images(op, 2)
    expected = run.load(write(graph), working(runtime))(x)
    for hard_swish in {False, "hswish" in (op.act, op.block_act)}:
        found = run.load(write_int8(graph, x, hard_swish=hard_swish), runtime)(x)
        assert found.dtype == np.float32 and cosine(found, expected) >= LEAST_COSINE


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_whole_networks(runtime: run.Runtime, working: Any, reference: Any, cosine: Any) -> None:
    working(runtime)
    for space in (TINY, LITE):
        genomes = spaces.sample.random(space, 2, np.random.default_rng(2))
        for ops in [ops_of(space.subnet(genome)) for genome in genomes] + [ops_of(space.corner("min"))]:
            found = run.load(write_int8(graph_of(ops), images(ops[0])), runtime)(images(ops[0]))
            expected = reference(ops, [random_weights(op) for op in ops], images(ops[0]))
            assert cosine(found, expected) >= LEAST_COSINE


def without_bias(op: Op) -> list[dict[str, Weights]]:
    """Return weights with which an op computes 0 from 0."""
    return [{name: (weight, None) for name, (weight, _) in random_weights(op).items()}]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_zero_stays_exactly_zero(every_op: dict[str, Op], runtime: run.Runtime, working: Any) -> None:
    """Padding, ReLU and pruned channels are zeros: a zero point that is off by one would move them all."""
    working(runtime)
    for op in of_each_kind(every_op):
        data = write_int8(graph_of([op], without_bias(op)), images(op))
        assert np.abs(run.load(data, runtime)(images(op))).max() > 0
        assert (run.load(data, runtime)(np.zeros_like(images(op, 1))) == 0).all()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_padding_is_zero(runtime: run.Runtime, working: Any, every_op: dict[str, Op], reference: Any) -> None:
    """Of ones through a depthwise convolution of ones, each result counts the real places under its kernel."""
    working(runtime)
    op = next(op for op in every_op.values() if (op.kind, op.kernel, op.stride) == ("mbconv", 3, 2) and not op.se)
    (node,) = [node for node in graph_of([op]).nodes if node.layer.name == "depthwise"]
    assert node.weight is not None and node.layer.in_size % 2 == 0
    layer = replace(node.layer, act=None)
    node = replace(node, layer=layer, inputs=("x",), weight=np.ones_like(node.weight), bias=None)
    shapes = graph_of([op]).shapes
    graph = Graph(nodes=(node,), shapes={"x": shapes["0.expand"], node.name: shapes[node.name]})
    ones = np.ones((1, layer.in_channels, layer.in_size, layer.in_size), np.float32)
    mixed = np.concatenate([ones, -ones * np.float32(128 / 127)])  # so that 1 and 9 are integers
    found, exact = (run.load(data, runtime)(mixed) for data in (write_int8(graph, mixed), write(graph)))
    assert {4.0, 9.0} <= set(np.unique(exact)) and np.abs(found - exact).max() <= 0.501 * 9 / 127


def test_the_boundary_is_float_and_the_inside_is_not() -> None:
    ops = ops_of(TINY.corner("min"))
    data = write_int8(graph_of(ops), images(ops[0]))
    graph, operators, tensors = model(data)
    kinds = schema.TensorType
    outer, inner = model(write(graph_of(ops)))[0], {*graph.inputs, *graph.outputs}
    for ours, theirs in ((graph.inputs, outer.inputs), (graph.outputs, outer.outputs)):
        assert tensors[ours[0]].type == kinds.FLOAT32
        assert list(tensors[ours[0]].shape) == list(outer.tensors[theirs[0]].shape)
    assert tensors[graph.inputs[0]].name == b"x"
    assert {tensor.type for place, tensor in enumerate(tensors) if place not in inner} == {kinds.INT8, kinds.INT32}
    assert [operators[0], operators[-1]] == [("QUANTIZE", 1), ("DEQUANTIZE", 2)]


def test_a_file_holds_the_grids_it_was_quantized_with(every_op: dict[str, Op]) -> None:
    for op in of_each_kind(every_op):
        numbers = quantized(graph_of([op]), images(op, 1))
        tensors = {tensor.name.decode(): tensor for tensor in model(write_int8(graph_of([op]), images(op, 1)))[2]}
        for name, grid in numbers.grids.items():
            found = tensors["x.int8" if name == "x" else name].quantization
            assert (tuple(found.scale), tuple(found.zeroPoint)) == (grid.steps, (grid.zero,))


def test_operators_have_the_version_that_takes_int8(every_op: dict[str, Op]) -> None:
    """TensorFlow's own table; a runtime older than a version refuses the file instead of computing nonsense."""
    expected = {
        "ADD": 2, "AVERAGE_POOL_2D": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "DEQUANTIZE": 2, "FULLY_CONNECTED": 4,
        "HARD_SWISH": 1, "MAX_POOL_2D": 2, "MEAN": 2, "MUL": 2, "PAD": 2, "QUANTIZE": 1, "RESHAPE": 1,
    }  # fmt: skip
    seen: dict[str, int] = {}
    for op in every_op.values():
        if op.in_size % 2 == 0 and op.kernel < 5:
            for hard_swish in {False, "hswish" in (op.act, op.block_act)}:
                seen |= dict(model(write_int8(graph_of([op]), images(op, 1), hard_swish=hard_swish))[1])
    assert seen == expected


def test_weights_have_a_step_for_each_channel_along_their_own_axis() -> None:
    ops = ops_of(TINY.corner("min"))
    _, _, tensors = model(write_int8(graph_of(ops), images(ops[0])))
    nodes = {f"{node.name}.weight".encode(): node for node in graph_of(ops).nodes}
    found = {tensor.name: tensor for tensor in tensors if tensor.name in nodes}
    assert len(found) == sum(node.weight is not None for node in nodes.values())
    for name, tensor in found.items():
        layer, steps = nodes[name].layer, tensor.quantization.scale
        if layer.kind == "linear":
            assert len(steps) == 1
            continue
        assert tensor.quantization.quantizedDimension == (3 if layer.groups > 1 else 0)
        assert len(steps) == tensor.shape[tensor.quantization.quantizedDimension] == layer.out_channels
        assert (tensor.quantization.zeroPoint == 0).all() and len(tensor.quantization.zeroPoint) == len(steps)


def test_an_h_swish_is_one_operator_only_where_asked_or_needed(every_op: dict[str, Op]) -> None:
    op = next(op for op in every_op.values() if op.kind == "mbconv" and op.act == "hswish" and not op.se)
    count = sum(layer.act == "hswish" for layer in layers_of(op))
    parts = [kind for kind, _ in model(write_int8(graph_of([op]), images(op)))[1]]
    whole = [kind for kind, _ in model(write_int8(graph_of([op]), images(op), hard_swish=True))[1]]
    coarse = [kind for kind, _ in model(write_int8(graph_of([op]), images(op) * np.float32(1e4)))[1]]
    assert (parts.count("HARD_SWISH"), parts.count("MUL")) == (0, 2 * count)
    assert (whole.count("HARD_SWISH"), whole.count("MUL")) == (count, 0)
    assert coarse.count("HARD_SWISH") == count


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("scale", [1e-5, 300.0, 1e4])
def test_values_of_any_size(
    every_op: dict[str, Op], scale: float, runtime: run.Runtime, working: Any, cosine: Any
) -> None:
    """Runtimes refuse, or silently miscompute, factors between steps that are too large."""
    working(runtime)
    for op in of_each_kind(every_op):
        x = images(op) * np.float32(scale)
        graph = graph_of([op], without_bias(op))
        found, exact = (run.load(data, runtime)(x) for data in (write_int8(graph, x), write(graph)))
        assert np.isfinite(found).all() and cosine(found, exact) >= 0.95


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_dead_maps_and_saturated_gates_load(every_op: dict[str, Op], runtime: run.Runtime, working: Any) -> None:
    """A map that is all zero behind large values, and a gate whose every weight opens or shuts it."""
    working(runtime)
    ordered = sorted(every_op.values(), key=lambda op: op.macs)
    dead = next(op for op in ordered if op.kind == "mbconv" and op.act == "hswish")
    weight, bias = random_weights(dead)["expand"]
    graph = graph_of([dead], [random_weights(dead) | {"expand": (weight, np.full_like(bias, -1e4))}])
    for hard_swish in (False, True):
        data = write_int8(graph, images(dead), hard_swish=hard_swish)
        exact = run.load(write(graph), runtime)(images(dead))
        assert np.abs(run.load(data, runtime)(images(dead)) - exact).max() <= 0.02 * np.abs(exact).max()
    gated = next(op for op in ordered if op.se)
    weight, bias = random_weights(gated)["excite"]
    graph = graph_of([gated], [random_weights(gated) | {"excite": (weight * np.float32(1e6), bias)}])
    assert np.isfinite(run.load(write_int8(graph, images(gated)), runtime)(images(gated))).all()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_cancels_out_is_no_finer_than_what_it_is_made_of(
    every_op: dict[str, Op], runtime: run.Runtime, working: Any
) -> None:
    """A mean near zero of large values: its own range would ask for a factor that runtimes refuse or get wrong."""
    working(runtime)
    op = next(op for op in every_op.values() if op.kind == "head" and not op.mid and op.in_size % 2 == 0)
    (pool,) = [node for node in graph_of([op]).nodes if node.layer.kind == "gap"]
    graph = Graph(nodes=(pool,), shapes=graph_of([op]).shapes)
    signs = 1 - 2 * (np.indices((op.in_size, op.in_size)).sum(0) % 2)
    x = np.broadcast_to(100 * signs + 0.01, images(op, 1).shape).astype(np.float32)
    assert quantized(graph, x).grids[pool.name].steps[0] >= 200 / 255 / 64 * 0.999
    assert np.abs(run.load(write_int8(graph, x), runtime)(x)).max() <= 200 / 255


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_padding_never_wins_a_maximum(every_op: dict[str, Op], runtime: run.Runtime, working: Any) -> None:
    working(runtime)
    op = next(op for op in every_op.values() if op.kind == "deepstem" and op.in_size % 4 == 0)
    whole = graph_of([op])
    (pool,) = [node for node in whole.nodes if node.layer.kind == "maxpool"]
    shapes = {"x": whole.shapes[pool.inputs[0]], pool.name: whole.shapes[pool.name]}
    graph = Graph(nodes=(replace(pool, inputs=("x",)),), shapes=shapes)
    shape = (2, pool.layer.in_channels, pool.layer.in_size, pool.layer.in_size)
    mixed = np.concatenate([np.full(shape, -3, np.float32), np.full(shape, 3, np.float32)])
    data = write_int8(graph, mixed)
    assert ("PADV2", 2) in model(data)[1]
    assert np.abs(run.load(data, runtime)(mixed[:1]) + 3).max() <= 6 / 255


def test_a_file_is_a_third_of_the_float_one() -> None:
    ops = ops_of(TINY.corner("max"))
    whole, small = write(graph_of(ops)), write_int8(graph_of(ops), images(ops[0], 1))
    assert len(small) < 0.45 * len(whole)


@pytest.mark.slow
def test_the_same_graph_and_images_give_the_same_bytes(every_op: dict[str, Op]) -> None:
    for op in of_each_kind(every_op):
        graph, x = graph_of([op]), images(op)
        assert write_int8(graph, x) == write_int8(graph_of([op]), x.copy())
        assert write_int8(graph, x) != write_int8(graph_of([op], seed=1), x)
        assert write_int8(graph, x) != write_int8(graph, 2 * x)


def test_calibration_needs_images(every_op: dict[str, Op]) -> None:
    op = next(iter(every_op.values()))
    with pytest.raises(UsageInvalid, match="without calibration images"):
        write_int8(graph_of([op]), images(op, 0))
    assert tflite.write(graph_of([op]))
