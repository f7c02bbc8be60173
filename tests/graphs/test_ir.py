"""Graphs: every form of op is among those tested, weights depend on the op alone, and what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest

import ofa.space as spaces
from ofa.errors import FileInvalid, SpaceMismatch
from ofa.graphs.ir import Weights, graph_of, pads_of, random_weights, weight_shape
from ofa.space.layers import layers_of
from ofa.space.ops import Op, ops_of

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)


def tiny_ops() -> tuple[Op, ...]:
    return ops_of(TINY.corner("min"))


def test_every_form_is_tested(every_op: dict[str, Op]) -> None:
    """What the writers are tested on: each kind, activation, kernel, stride, squeeze-excite, shortcut, parity."""
    ops = list(every_op.values())
    assert {op.kind for op in ops} == {"stem", "deepstem", "mbconv", "bottleneck", "head"}
    layers = {(op.kind, *(layer.name for layer in layers_of(op))) for op in ops}
    assert {len(names) for kind, *names in layers if kind == "head"} == {4, 3, 2}
    assert {("conv1" in names) for kind, *names in layers if kind == "deepstem"} == {True, False}
    for kernel in (3, 5, 7):
        for stride in (1, 2):
            for act in ("relu", "hswish", "relu6"):
                for odd in (0, 1):
                    assert any(
                        (op.kind, op.kernel, op.stride, op.act, op.in_size % 2) == ("mbconv", kernel, stride, act, odd)
                        for op in ops
                    ), (kernel, stride, act, odd)
    shortcuts = {
        (op.stride, op.in_size % 2, *(layer.name for layer in layers_of(op))) for op in ops if op.kind == "bottleneck"
    }
    assert {(stride, odd, "pool" in names) for stride, odd, *names in shortcuts} == {
        (1, 0, False), (1, 1, False), (2, 0, True), (2, 1, True)
    }  # fmt: skip
    assert any(layer.kind == "mul" for op in ops for layer in layers_of(op))


def test_an_op_has_the_same_weights_wherever_it_stands() -> None:
    ops = tiny_ops()
    whole = {node.name: node.weight for node in graph_of(ops).nodes if node.weight is not None}
    for place, op in enumerate(ops):
        alone = {node.name: node.weight for node in graph_of([op]).nodes if node.weight is not None}
        for name, weight in alone.items():
            np.testing.assert_array_equal(weight, whole[name.replace("0.", f"{place}.", 1)])


def test_random_weights_are_he_and_differ_by_layer_and_seed() -> None:
    op = max(ops_of(spaces.load("mobilenet_v3").corner("max")), key=lambda op: op.params)
    weights, others = random_weights(op), random_weights(op, seed=1)
    for layer in layers_of(op):
        if layer.name in weights:
            weight, _ = weights[layer.name]
            assert weight.dtype == np.float32 and weight.shape == weight_shape(layer)
            assert np.isclose(weight.var(), (2 if layer.act else 1) / np.prod(weight.shape[1:]), rtol=0.05)
            assert not np.array_equal(weight, others[layer.name][0])


def test_the_graph_knows_its_shapes() -> None:
    graph = graph_of(tiny_ops())
    assert (graph.input.channels, graph.input.size) == (1, TINY.corner("min").resolution)
    last = graph.shapes[graph.output]
    assert (last.channels, last.size) == (10, 0)
    assert graph.weight_bytes == 4 * sum(
        array.size for node in graph.nodes for array in (node.weight, node.bias) if array is not None
    )


def test_padding_that_no_window_reads_is_left_out() -> None:
    layers = [layer for op in ops_of(TINY.corner("max"), 36) for layer in layers_of(op) if layer.stride == 2]
    seen = {(layer.kernel, layer.in_size % 2, *pads_of(layer)) for layer in layers}
    assert (3, 0, 1, 0) in seen and all(before - after == 1 - odd for _, odd, before, after in seen)


def test_ops_that_do_not_follow_each_other_are_refused() -> None:
    ops = tiny_ops()
    with pytest.raises(SpaceMismatch, match="cannot follow"):
        graph_of([ops[0], ops[-1]])


def given() -> list[dict[str, Weights]]:
    return [dict(random_weights(op)) for op in tiny_ops()]


def test_a_wrong_weight_names_its_layer_and_both_shapes() -> None:
    weights = given()
    weight, bias = weights[1]["depthwise"]
    weights[1]["depthwise"] = (weight[:-1], bias)
    with pytest.raises(SpaceMismatch) as caught:
        graph_of(tiny_ops(), weights)
    assert "depthwise" in caught.value.what and str(weight[:-1].shape) in caught.value.what
    assert str(weight.shape) in caught.value.why
    weights[1]["depthwise"] = (weight, np.zeros(3, np.float32))
    with pytest.raises(SpaceMismatch, match="bias of layer 'depthwise'"):
        graph_of(tiny_ops(), weights)


def test_weights_of_other_layers_are_refused() -> None:
    weights = given()
    del weights[1]["project"]
    with pytest.raises(SpaceMismatch, match="not its own"):
        graph_of(tiny_ops(), weights)
    with pytest.raises(SpaceMismatch, match="not its own"):
        graph_of(tiny_ops(), given()[:-1])


def test_weights_that_are_not_finite_are_refused() -> None:
    weights = given()
    weight, bias = weights[0]["conv"]
    assert bias is not None
    weights[0]["conv"] = (weight, np.full_like(bias, np.inf))
    with pytest.raises(FileInvalid, match="bias of layer 'conv'"):
        graph_of(tiny_ops(), weights)
