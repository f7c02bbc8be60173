"""Ops: what a network is made of, every one of a space listed, and sums over populations that a plain loop confirms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

import ofa.space as spaces
from ofa.space import index as indices
from ofa.space import sample
from ofa.space.core import SearchSpace, Subnet
from ofa.space.facts import macs, params
from ofa.space.index import index_of, ops_in
from ofa.space.layers import layers_of
from ofa.space.ops import Op, block_op, ops_of

# How many ops a table of each space prices at all of its resolutions.
COUNTS = {
    "mobilenet_v3-w1.0": 1226,
    "mobilenet_v3-w1.2": 1226,
    "mobilenet_v3_lite-w1.0": 1226,
    "proxyless-w1.3": 1262,
    "resnet50-w1.0": 2643,
    "mobilenet_v3_tiny-w1.0-c1-n10": 260,
    "mobilenet_v3_tiny-w1.0-n100": 260,
    "mobilenet_v3_tiny_lite-w1.0-c1-n10": 260,
}


def drawn(space: SearchSpace, count: int, seed: int = 0) -> Iterator[Subnet]:
    genomes = sample.random(space, count, np.random.default_rng(seed))
    return (space.subnet(genome) for genome in genomes)


def test_the_number_of_ops_is_golden(space: SearchSpace) -> None:
    assert len(ops_in(space)) == COUNTS[space.id]


def test_published_spaces_have_25_resolutions() -> None:
    for name in ("mobilenet_v3", "proxyless", "resnet50"):
        assert spaces.load(name).resolutions == tuple(range(128, 225, 4))
        assert len(spaces.load(name).resolutions) == 25


def test_the_tiny_space_is_mobilenet_v3_in_small() -> None:
    large = spaces.load("mobilenet_v3")
    for channels in (1, 3):
        tiny = spaces.load("mobilenet_v3_tiny", channels=channels, classes=10)
        assert len(tiny.stages) == 3 and tiny.resolutions == (16, 20, 24, 28, 32)
        assert all(stage.depths == (1, 2, 3) for stage in tiny.stages)
        assert {(stage.kernels, stage.expands) for stage in tiny.stages} == {
            (stage.kernels, stage.expands) for stage in large.stages
        }
        assert ops_of(tiny.corner("min"))[0].in_channels == channels
        assert ops_of(tiny.corner("min"))[-1].out_channels == 10


@pytest.mark.parametrize("name", ["mobilenet_v3", "mobilenet_v3_tiny"])
def test_lite_spaces_are_the_same_with_relu6_alone_and_no_squeeze_excite(name: str) -> None:
    whole, lite = spaces.load(name, width=1.2), spaces.load(f"{name}_lite", width=1.2)
    assert lite.id == f"{name}_lite-w1.2" and lite.genes == whole.genes
    for subnet in drawn(whole, 50):
        expected = [
            dataclasses.replace(op, se=False, act="relu6", block_act=op.block_act and "relu6") for op in ops_of(subnet)
        ]
        assert list(ops_of(lite.subnet(subnet.array))) == expected
    acts = {layer.act for op in ops_in(lite) for layer in layers_of(op)}
    assert acts == {None, "relu6"} and len(ops_in(lite)) == len(ops_in(whole))


def test_ops_are_sorted_by_key_and_each_there_once(space: SearchSpace) -> None:
    keys = [op.key for op in ops_in(space)]
    assert keys == sorted(set(keys))


def test_the_index_knows_the_ops_of_each_subnet_in_order(space: SearchSpace) -> None:
    index = index_of(space)
    for subnet in drawn(space, 200):
        assert index.of(subnet.array) == ops_of(subnet)


@pytest.mark.slow
def test_every_op_listed_stands_in_some_subnet_and_no_other_does(space: SearchSpace) -> None:
    index = index_of(space)
    largest = space.corner("max").array
    witnessed: set[Op] = set()
    for slot in index.slots:
        for values in zip(*np.nonzero(slot.rows < len(index.ops)), strict=True):
            if index.ops[slot.rows[values]] not in witnessed:
                genome = largest.copy()
                genome[list(slot.columns)] = values
                witnessed.update(ops_of(space.subnet(genome)))
    assert witnessed == set(index.ops)
    assert {op for subnet in drawn(space, 500, seed=1) for op in ops_of(subnet)} <= witnessed


@pytest.mark.parametrize("chunk", [1, 7, indices.CHUNK_ROWS])
def test_sums_are_those_of_a_plain_loop(space: SearchSpace, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indices, "CHUNK_ROWS", chunk)
    index = index_of(space)
    values = np.random.default_rng(1).normal(size=len(index.ops))
    of_op = dict(zip(index.ops, values, strict=True))
    subnets = list(drawn(space, 100))
    genomes = np.stack([subnet.array for subnet in subnets])
    expected = [sum(of_op[op] for op in ops_of(subnet)) for subnet in subnets]
    assert index.sum(genomes, values) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert index.sum(genomes[:0], values).shape == (0,)


def test_sums_count_macs_and_parameters(space: SearchSpace) -> None:
    index = index_of(space)
    subnets = list(drawn(space, 50, seed=2))
    genomes = np.stack([subnet.array for subnet in subnets])
    assert index.sum(genomes, index.values(lambda op: op.macs)).tolist() == [macs(subnet) for subnet in subnets]
    assert index.sum(genomes, index.values(lambda op: op.params)).tolist() == [params(subnet) for subnet in subnets]


def test_a_subnet_has_a_stem_its_blocks_and_a_head_that_fit_each_other(space: SearchSpace) -> None:
    for subnet in [*drawn(space, 100), *(space.corner(name) for name in space.corners())]:
        for resolution in (None, 33, 260):
            ops = ops_of(subnet, resolution)
            blocks = ops[1:-1]
            assert (ops[0].in_channels, ops[0].in_size) == (space.channels, resolution or subnet.resolution)
            assert (ops[0].mid[0], ops[0].out_channels) == subnet.stem_widths
            for before, after in pairwise(ops):
                assert (before.out_channels, before.out_size) == (after.in_channels, after.in_size)
            assert [op.kernel for op in blocks] == [kernel for stage in subnet.kernels for kernel in stage]
            assert [op.out_channels for op in blocks] == [
                width for width, depth in zip(subnet.widths, subnet.depths, strict=True) for _ in range(depth)
            ]
            firsts = {sum(subnet.depths[:stage]): space.stages[stage].stride for stage in range(len(space.stages))}
            assert [op.stride for op in blocks] == [firsts.get(place, 1) for place in range(len(blocks))]
            assert (ops[-1].kind, ops[-1].out_channels, ops[-1].out_size) == ("head", space.classes, 1)


def test_layers_of_every_op_chain(space: SearchSpace) -> None:
    for op in ops_in(space):
        known = {"x": (op.in_channels, op.in_size)}
        read = set()
        for layer in layers_of(op):
            assert layer.name not in known and set(layer.inputs) <= set(known), (op.key, layer)
            channels, size = known[layer.inputs[0]]
            assert (layer.in_channels, layer.in_size) == (channels, size), (op.key, layer)
            if layer.kind in ("mul", "add"):
                other = known[layer.inputs[1]]
                assert other == (channels, size if layer.kind == "add" else 1), (op.key, layer)
            else:
                assert len(layer.inputs) == 1
            if layer.kind in ("conv", "maxpool", "avgpool"):
                assert layer.out_size == -(-size // layer.stride), (op.key, layer)
            elif layer.kind in ("gap", "linear"):
                assert layer.out_size == 1
            if layer.kind not in ("conv", "linear"):
                assert layer.out_channels == layer.in_channels and layer.macs == layer.params == 0
            assert layer.groups in (1, layer.in_channels) and not (layer.norm and layer.bias)
            read |= set(layer.inputs)
            known[layer.name] = (layer.out_channels, layer.out_size)
        last = layers_of(op)[-1]
        assert known[last.name] == (op.out_channels, op.out_size), op.key
        assert read == set(known) - {last.name}, f"{op.key}: a layer that nobody reads"


def test_costs_worked_by_hand() -> None:
    """An inverted residual with squeeze-excite: expand, depthwise, reduce, excite, project."""
    op = Op(
        kind="mbconv", kernel=5, stride=2, in_channels=24, in_size=56, out_channels=40, mid=(144,), act="relu", se=True
    )
    inner = 40  # a quarter of 144, to the next multiple of 8
    se = 144 * inner + inner * 144
    assert op.macs == 24 * 144 * 56**2 + 25 * 144 * 28**2 + se + 144 * 40 * 28**2
    norms = 2 * (144 + 144 + 40)
    assert op.params == 24 * 144 + 25 * 144 + se + inner + 144 + 144 * 40 + norms


def test_a_block_keeps_its_shortcut_only_where_shapes_agree() -> None:
    for name, kind in (("mobilenet_v3", "mbconv"), ("proxyless", "mbconv"), ("resnet50", "bottleneck")):
        for op in ops_in(spaces.load(name)):
            if op.kind != kind:
                continue
            same = op.stride == 1 and op.in_channels == op.out_channels
            adds = [layer for layer in layers_of(op) if layer.kind == "add"]
            if kind == "mbconv":
                assert len(adds) == same
            else:
                assert len(adds) == 1 and (adds[0].inputs[1] == "x") == same


def test_inner_channels_are_rounded_before_they_are_made_divisible() -> None:
    """As in the reference: 171 x 0.35 is 59.85, so 60, so 64; cut to 59 it would be 56."""
    space = spaces.load("resnet50")
    stage = space.stages[0]
    op = block_op(space, stage, first=False, inputs=64, outputs=171, size=8, kernel=3, expand=0.35)
    assert op.mid == (64,)
