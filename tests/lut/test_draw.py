"""What is measured again: ops of every kind, kernel and size, the same for the same seed; networks of all speeds."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

import ofa.space as spaces
from ofa.lut.changes import group_of
from ofa.lut.draw import draw, networks_of_table, ops_of_table
from ofa.lut.format import Lut
from ofa.space.index import ops_in

from .builds import built

OPS = ops_in(spaces.load("mobilenet_v3"))


def test_ops_are_drawn_from_every_kind_kernel_and_size() -> None:
    drawn = draw(OPS, np.random.default_rng(0))
    assert len(drawn) == len({op.key for op in drawn}) == 30
    groups = Counter(group_of(op.key) for op in drawn)
    assert set(groups) == {group_of(op.key) for op in OPS}
    for kernel in (3, 5, 7):
        name = f"mbconv with {kernel}x{kernel} depthwise kernels"
        assert 7 <= groups[name] <= 9, "in proportion to how many the table has"
        edges = sorted({op.in_size for op in OPS if group_of(op.key) == name})
        thirds = {3 * edges.index(op.in_size) // len(edges) for op in drawn if group_of(op.key) == name}
        assert thirds == {0, 1, 2}
    assert groups["stem"] == groups["head"] == 3


def test_equal_seeds_draw_equal_ops_and_others_others() -> None:
    first, again, other = (draw(OPS, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again == draw(OPS[::-1], np.random.default_rng(1)) and first != other


@pytest.mark.parametrize("count", [1, 4, 5, 9, 14, 200])
def test_any_number_is_drawn_and_never_more_than_there_are(count: int) -> None:
    few = OPS[::30]
    drawn = draw(few, np.random.default_rng(3), count)
    assert len(drawn) == min(count, len(few)) and set(drawn) <= set(few)
    kinds = len({group_of(op.key) for op in few})
    assert len({group_of(op.key) for op in drawn}) == min(count, kinds), "each kind and kernel before any twice"
    assert draw((), np.random.default_rng(0)) == ()


def test_only_ops_that_a_device_has_measured_are_drawn(table: Lut) -> None:
    keys = {op.key for op in ops_of_table(table)}
    states = [row for row in table.rows if row.key in keys]
    assert keys and all(any(row.key == key and row.status in ("ok", "noisy") for row in states) for key in keys)
    assert not any(key.startswith("@") for key in keys)
    lone = [row for row in table.rows if row.key not in keys and not row.key.startswith("@")]
    assert {row.status for row in lone} <= {"modelled", "unsupported", "failed", "thermal"}
    assert ops_of_table(dataclasses.replace(table, rows=tuple(row._replace(rounds=1) for row in table.rows))) == ()


def test_networks_are_spread_over_latency_and_held_out_where_there_are_enough() -> None:
    lut = built(np.random.default_rng(0))
    ranked = sorted(lut.networks, key=lambda row: row.ns or 0)
    chosen = networks_of_table(lut)
    assert [row.id for row in (chosen[0], chosen[-1])] == [ranked[0].id, ranked[-1].id] and len(chosen) == 8
    held = [row._replace(split="holdout") for row in ranked[5:14]]
    chosen = networks_of_table(dataclasses.replace(lut, networks=(*ranked[:5], *held, *ranked[14:])))
    assert {row.split for row in chosen} == {"holdout"} and len(chosen) == 8
    verified = dataclasses.replace(lut, networks=tuple(row._replace(split="verify") for row in ranked))
    assert networks_of_table(verified) == ()
