"""Integers for real numbers: zero stays zero, ranges are those of the reference, no weight or bias is out of reach."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ofa.errors import UsageInvalid
from ofa.graphs import quantize
from ofa.graphs.ir import Graph, Weights, graph_of, random_weights
from ofa.graphs.quantize import grid_of, quantized, ranges_of, saturating
from ofa.space.layers import layers_of
from ofa.space.ops import Op

pytest.importorskip("onnx", reason="the package 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the package 'onnxruntime' is not installed")


def images(op: Op, count: int = 3) -> Any:
    rng = np.random.default_rng(5)
    return rng.standard_normal((count, op.in_channels, op.in_size, op.in_size), dtype=np.float32)


def one_of_each_kind(every_op: dict[str, Op]) -> list[Op]:
    """Return one op for every set of layers and activations."""
    found: dict[object, Op] = {}
    for op in every_op.values():
        found.setdefault(tuple((layer.name, layer.act) for layer in layers_of(op)), op)
    return list(found.values())


def test_zero_is_an_integer_whatever_the_range() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        low, high = np.sort(rng.standard_normal(2) * 10.0 ** rng.uniform(-6, 6))
        grid = grid_of(float(low), float(high))
        step, zero = grid.steps[0], grid.zero
        assert isinstance(zero, int) and -128 <= zero <= 127
        # Both ends of the range, and zero itself, lie within half a step of what int8 reaches.
        assert step * (-128 - zero) <= min(low, 0) + 0.5001 * step
        assert step * (127 - zero) >= max(high, 0) - 0.5001 * step
        assert step <= max((max(high, 0) - min(low, 0)) / 255, 1e-8) * 1.0001


def test_a_grid_is_as_coarse_as_asked_and_never_without_a_step() -> None:
    assert grid_of(0.0, 0.0).steps == (1.0,) and grid_of(0.0, 1e-12).steps[0] >= 1e-8 * 0.999
    assert grid_of(0.0, 1.0, least=0.5).steps == (0.5,)
    assert (grid_of(0.0, 1.0).zero, grid_of(-1.0, 0.0).zero, grid_of(3.0, 4.0).zero) == (-128, 127, -128)


def test_ranges_are_those_of_the_reference(every_op: dict[str, Op], values: Any) -> None:
    for op in one_of_each_kind(every_op):
        x = images(op)
        found = ranges_of(graph_of([op]), x)
        expected = values(op, random_weights(op), x)
        bounded = {layer.name for layer in layers_of(op) if layer.act == "hsigmoid"}
        assert {name.removeprefix("0.") for name in found} == set(expected)
        for name, value in expected.items():
            low, high = found[name if name == "x" else f"0.{name}"]
            if name in bounded:
                assert (low, high) == (0, 1)
            else:
                np.testing.assert_allclose((low, high), (value.min(), value.max()), rtol=1e-3, atol=1e-4)


def test_weights_and_biases_lie_within_half_a_step(every_op: dict[str, Op]) -> None:
    for op in one_of_each_kind(every_op):
        numbers = quantized(graph_of([op]), images(op))
        for node in numbers.graph.nodes:
            if node.weight is None:
                assert node.name not in numbers.integers
                continue
            own = numbers.integers[node.name]
            assert own.weight.dtype == np.int8 and own.bias.dtype == np.int32 and own.weight.min() >= -127
            assert own.weight_grid.zero == own.bias_grid.zero == 0
            assert len(own.weight_grid.steps) == (1 if node.layer.kind == "linear" else node.layer.out_channels)
            steps = np.array(own.weight_grid.steps)
            weight = own.weight * steps.reshape(-1, *[1] * (node.weight.ndim - 1))
            assert (np.abs(weight - node.weight) <= 0.501 * steps.max()).all()
            bias = own.bias * np.array(own.bias_grid.steps)
            given = np.zeros(len(bias)) if node.bias is None else node.bias
            assert (np.abs(bias - given) <= 0.501 * np.array(own.bias_grid.steps)).all()
            source = numbers.grids[node.inputs[0]].steps[0]
            np.testing.assert_allclose(own.bias_grid.steps, source * steps, rtol=1e-6)


def test_a_pool_keeps_the_grid_of_its_input(every_op: dict[str, Op]) -> None:
    seen = set()
    for op in one_of_each_kind(every_op):
        numbers = quantized(graph_of([op]), images(op))
        for node in numbers.graph.nodes:
            if node.layer.kind in ("maxpool", "avgpool"):
                seen.add(node.layer.kind)
                assert numbers.grids[node.name] == numbers.grids[node.inputs[0]]
    assert seen == {"maxpool", "avgpool"}


def test_an_h_sigmoid_becomes_a_convolution_that_int8_cuts(every_op: dict[str, Op]) -> None:
    op = next(op for op in every_op.values() if op.se)
    graph = graph_of([op])
    plain = saturating(graph)
    (before,) = [node for node in graph.nodes if node.layer.act == "hsigmoid"]
    (after,) = [node for node in plain.nodes if node.name == before.name]
    assert before.weight is not None and after.weight is not None and before.bias is not None
    np.testing.assert_array_equal(after.weight, before.weight / np.float32(6))
    np.testing.assert_array_equal(after.bias, before.bias / np.float32(6) + np.float32(0.5))
    grid = quantized(graph, images(op)).grids[before.name]
    assert (grid.zero, grid.steps) == (-128, (float(np.float32(1 / 255)),))


def test_an_h_sigmoid_elsewhere_is_refused(every_op: dict[str, Op]) -> None:
    graph = graph_of([next(op for op in every_op.values() if op.se)])
    nodes = tuple(
        replace(node, layer=replace(node.layer, act="hsigmoid")) if node.layer.kind == "gap" else node
        for node in graph.nodes
    )
    with pytest.raises(UsageInvalid, match="squeeze"):
        saturating(Graph(nodes=nodes, shapes=graph.shapes))


def changed(op: Op, **of: Weights) -> list[dict[str, Weights]]:
    return [random_weights(op) | of]


def test_a_bias_that_a_dead_channel_leaves_behind_is_kept(every_op: dict[str, Op]) -> None:
    """Training may leave weights near nothing beside a large bias, which int32 cannot hold in their steps."""
    op = next(op for op in every_op.values() if op.kind == "mbconv" and not op.se and op.act == "relu")
    weight, bias = (array.copy() for array in random_weights(op)["expand"] if array is not None)
    weight[0], bias[0] = 1e-12, 50.0
    weight[1], bias[1] = 0.0, 0.0
    weight[2], bias[2] = 0.0, -1e5
    numbers = quantized(graph_of([op], changed(op, expand=(weight, bias))), images(op))
    own = numbers.integers["0.expand"]
    np.testing.assert_allclose(own.bias * np.array(own.bias_grid.steps), bias, rtol=1e-4, atol=1e-2)
    assert np.abs(own.bias.astype(np.int64)).max() <= quantize.MOST_BIAS


def test_maps_that_are_zero_do_not_make_their_sum_coarse(every_op: dict[str, Op]) -> None:
    op = next(op for op in every_op.values() if op.kind == "mbconv" and layers_of(op)[-1].kind == "add")
    weight, bias = random_weights(op)["project"]
    assert bias is not None
    dead = changed(op, project=(np.zeros_like(weight), np.zeros_like(bias)))
    x = images(op) * np.float32(1e-3)
    grids = quantized(graph_of([op], dead), x).grids
    assert grids["0.add"].steps[0] <= 1.001 * grids["x"].steps[0]


def test_a_layer_whose_weights_are_zero_still_gives_its_bias(every_op: dict[str, Op]) -> None:
    op = next(op for op in every_op.values() if op.kind == "head" and not op.mid)
    weight, bias = random_weights(op)["classifier"]
    assert bias is not None
    graph = graph_of([op], changed(op, classifier=(np.zeros_like(weight), bias)))
    grid = quantized(graph, images(op) * np.float32(1e4)).grids["0.classifier"]
    assert grid.steps[0] <= 1.001 * (max(bias.max(), 0) - min(bias.min(), 0)) / 255


def test_a_gate_ends_at_one_however_large_its_weights(every_op: dict[str, Op]) -> None:
    op = next(op for op in every_op.values() if op.se)
    weight, bias = random_weights(op)["excite"]
    numbers = quantized(graph_of([op], changed(op, excite=(weight * np.float32(1e6), bias))), images(op))
    grid, own = numbers.grids["0.excite"], numbers.integers["0.excite"]
    assert (grid.zero, grid.steps) == (-128, (float(np.float32(1 / 255)),))
    # Runtimes refuse a factor of 256 or more.
    assert max(own.bias_grid.steps) / grid.steps[0] <= 200


def test_calibration_needs_images_of_the_network(every_op: dict[str, Op]) -> None:
    op = next(iter(every_op.values()))
    graph, x = graph_of([op]), images(op)
    with pytest.raises(UsageInvalid, match="without calibration images"):
        quantized(graph, x[:0])
    for wrong in (x[:, :, 1:], x[0], x.astype(np.float64), x.astype(np.uint8)):
        with pytest.raises(UsageInvalid, match="calibration images are an array of shape"):
            quantized(graph, wrong)
    broken = x.copy()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(UsageInvalid, match="not finite"):
        quantized(graph, broken)
