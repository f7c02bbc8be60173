"""Op keys: every op has one, it says everything about the op, and no other text is taken for it."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ofa.space as spaces
from ofa.errors import FileInvalid
from ofa.space.core import SearchSpace
from ofa.space.index import ops_in
from ofa.space.layers import layers_of
from ofa.space.ops import ACTS, Kind, Op, ops_of, parse

STEM = "stem.k3.s2.i3x224.o16x112.m16.hswish-relu.n1"
DEEPSTEM = "deepstem.k3.s4.i3x224.o64x56.m32.relu.res.n1"
MBCONV = "mbconv.k5.s2.i24x56.o40x28.m144.relu.se.n1"
BOTTLENECK = "bottleneck.k3.s1.i256x56.o256x56.m88.relu.n1"
HEAD = "head.i160x7.o1000.m960-1280.hswish.n1"
BARE_HEAD = "head.i2048x7.o1000.n1"
KEYS = [STEM, DEEPSTEM, MBCONV, BOTTLENECK, HEAD, BARE_HEAD, "head.i416x7.o1000.m1664.relu6.n8"]


def test_every_op_of_a_space_comes_back_from_its_key(space: SearchSpace) -> None:
    ops = ops_in(space)
    assert [parse(op.key) for op in ops] == list(ops)
    assert len({op.key for op in ops}) == len(ops)


@pytest.mark.parametrize("batch", [1, 8, 999_999])
def test_ops_at_any_batch_come_back(space: SearchSpace, batch: int) -> None:
    ops = ops_of(space.corner("max"), batch=batch)
    assert [parse(op.key) for op in ops] == list(ops)
    assert all(op.key.endswith(f".n{batch}") and op.batch == batch for op in ops)


def test_keys_are_what_people_read() -> None:
    """Golden: committed tables hold these texts."""
    keys = {name: [op.key for op in ops_of(spaces.load(name).corner("max"))] for name in ("mobilenet_v3", "resnet50")}
    assert keys["mobilenet_v3"][0] == STEM
    assert keys["mobilenet_v3"][1] == "mbconv.k7.s2.i16x112.o24x56.m96.relu.n1"
    assert keys["mobilenet_v3"][5] == "mbconv.k7.s2.i24x56.o40x28.m144.relu.se.n1"
    assert keys["mobilenet_v3"][-1] == HEAD
    assert keys["resnet50"][:2] == [DEEPSTEM, "bottleneck.k3.s1.i64x56.o256x56.m88.relu.n1"]
    assert keys["resnet50"][-1] == BARE_HEAD


def test_a_key_says_everything_about_its_op() -> None:
    assert parse(MBCONV) == Op(
        kind="mbconv", kernel=5, stride=2, in_channels=24, in_size=56, out_channels=40, mid=(144,), act="relu", se=True
    )
    assert parse(STEM).block_act == "relu" and parse(DEEPSTEM).residual and parse(HEAD).mid == (960, 1280)
    assert (parse(MBCONV).out_size, parse(HEAD).out_size) == (28, 1)


@pytest.mark.parametrize("key", KEYS)
def test_the_keys_that_the_refused_ones_are_made_of_are_well(key: str) -> None:
    assert parse(key).key == key


REFUSED = {
    "empty": "",
    "kind alone": "mbconv",
    "unknown kind": MBCONV.replace("mbconv", "conv"),
    "upper case": MBCONV.upper(),
    "upper-case kind": MBCONV.replace("mbconv", "MBConv"),
    "leading zero": MBCONV.replace("i24x", "i024x"),
    "zero": MBCONV.replace("i24x", "i0x"),
    "negative": MBCONV.replace("i24x", "i-24x"),
    "signed": MBCONV.replace("i24x", "i+24x"),
    "fraction": MBCONV.replace("i24x", "i24.0x"),
    "exponent": MBCONV.replace("m144", "m1e2"),
    "underscore": MBCONV.replace("m144", "m1_44"),
    "seven digits": MBCONV.replace("i24x", "i1000000x"),
    "digits of another script": MBCONV.replace("i24x", "i２４x"),
    "wrong out size": MBCONV.replace("o40x28", "o40x27"),
    "out size not rounded up": "mbconv.k5.s2.i24x57.o40x28.m144.relu.se.n1",
    "no out size": MBCONV.replace("o40x28", "o40"),
    "no in size": MBCONV.replace("i24x56", "i24"),
    "no kernel": MBCONV.replace(".k5", ""),
    "no stride": MBCONV.replace(".s2", ""),
    "no kernel and stride": MBCONV.replace(".k5.s2", ""),
    "no inner channels": MBCONV.replace(".m144", ""),
    "no activation": MBCONV.replace(".relu", ""),
    "no batch": MBCONV.removesuffix(".n1"),
    "batch zero": MBCONV.replace(".n1", ".n0"),
    "even kernel": MBCONV.replace("k5", "k4"),
    "unknown activation": MBCONV.replace("relu", "gelu"),
    "other order": MBCONV.replace(".k5.s2", ".s2.k5"),
    "flag before activation": MBCONV.replace(".relu.se", ".se.relu"),
    "flag twice": MBCONV.replace(".se", ".se.se"),
    "unknown flag": MBCONV.replace(".se", ".sq"),
    "two inner widths": MBCONV.replace("m144", "m144-144"),
    "block with the activation of a stem": MBCONV.replace(".relu", ".relu-relu"),
    "block with a residual convolution": MBCONV.replace(".se", ".se.res"),
    "bottleneck with squeeze-excite": BOTTLENECK.replace(".relu", ".relu.se"),
    "stem with squeeze-excite": STEM.replace(".n1", ".se.n1"),
    "stem with one activation": STEM.replace("hswish-relu", "hswish"),
    "stem with two inner widths": STEM.replace("m16", "m16-16"),
    "deep stem with two activations": DEEPSTEM.replace(".relu", ".relu-relu"),
    "deep stem that its pool cannot halve": DEEPSTEM.replace("s4", "s1").replace("x56", "x224"),
    "head with a kernel": HEAD.replace("head", "head.k1.s1"),
    "head with an out size": HEAD.replace("o1000", "o1000x1"),
    "head with three inner widths": HEAD.replace("m960", "m960-960"),
    "head with squeeze-excite": HEAD.replace(".n1", ".se.n1"),
    "head with inner widths, no activation": HEAD.replace(".hswish", ""),
    "head with an activation, no inner widths": BARE_HEAD.replace(".n1", ".relu.n1"),
    "space before": " " + MBCONV,
    "newline after": MBCONV + "\n",
    "two keys": MBCONV + "." + MBCONV,
    "an overhead": "@session",
    "very long": MBCONV * 10_000,
}


@pytest.mark.parametrize("key", REFUSED.values(), ids=REFUSED)
def test_what_is_not_canonical_is_refused(key: str) -> None:
    with pytest.raises(FileInvalid, match="no op key") as caught:
        parse(key)
    assert caught.value.why and caught.value.hints and caught.value.exit_code == 3
    assert key[:40] in caught.value.what and len(str(caught.value)) < 500


def test_a_key_that_contradicts_itself_is_told_what_its_parts_say() -> None:
    with pytest.raises(FileInvalid) as caught:
        parse(MBCONV.replace("o40x28", "o40x27"))
    assert MBCONV in caught.value.why


def assert_refused_or_canonical(key: str) -> None:
    """Check that a text is refused, or is the key of an op that every part of this room can work with."""
    try:
        op = parse(key)
    except FileInvalid as fault:
        assert fault.what and fault.why and fault.hints
        return
    assert op.key == key
    layers = layers_of(op)
    assert op.macs > 0 and op.params > 0
    assert (layers[-1].out_channels, layers[-1].out_size) == (op.out_channels, op.out_size)


LETTERS = "".join(sorted(set("".join(KEYS)) | set("@ A_\n²")))


@given(text=st.text() | st.text(alphabet=LETTERS, max_size=60))
@settings(max_examples=300, deadline=None)
@example(text="deepstem.k3.s1.i3x224.o64x224.m32.relu.n1")
@pytest.mark.slow
def test_any_text_is_refused_or_canonical(text: str) -> None:
    assert_refused_or_canonical(text)


@st.composite
def damaged_keys(draw: st.DrawFn) -> str:
    """Return a good key after a few characters were replaced, added or removed, or parts swapped."""
    key = draw(st.sampled_from(KEYS))
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            start = draw(st.integers(0, len(key)))
            end = min(len(key), start + draw(st.integers(0, 2)))
            key = key[:start] + draw(st.text(alphabet=LETTERS, max_size=2)) + key[end:]
        else:
            parts = key.split(".")
            place = draw(st.integers(0, len(parts) - 1))
            parts[place] = draw(st.sampled_from([*".".join(KEYS).split("."), ""]))
            key = ".".join(part for part in parts if part)
    return key


@given(key=damaged_keys())
@settings(max_examples=500, deadline=None)
def test_damaged_keys_are_refused_or_canonical(key: str) -> None:
    assert_refused_or_canonical(key)


def many(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return the facts of any op of a kind."""
    wide, acts = st.integers(1, 4000), st.sampled_from(ACTS)
    facts: dict[str, st.SearchStrategy[Any]] = {
        "kind": st.just(kind),
        "in_channels": wide,
        "in_size": st.integers(1, 600),
        "out_channels": wide,
        "mid": st.tuples(wide),
        "act": acts,
        "batch": st.integers(1, 64),
    }
    if kind == "head":
        return st.fixed_dictionaries(facts | {"mid": st.tuples(wide) | st.tuples(wide, wide)})
    facts["kernel"] = st.sampled_from((1, 3, 5, 7, 9))
    facts["stride"] = st.sampled_from((2, 4) if kind == "deepstem" else (1, 2, 3))
    facts |= {"block_act": acts} if kind == "stem" else {}
    facts |= {"se": st.booleans()} if kind == "mbconv" else {}
    facts |= {"residual": st.booleans()} if kind == "deepstem" else {}
    return st.fixed_dictionaries(facts)


@given(facts=st.one_of([many(kind) for kind in get_args(Kind)]))
@settings(max_examples=300, deadline=None)
def test_ops_of_no_space_come_back_too(facts: dict[str, Any]) -> None:
    op = Op(**facts)
    assert parse(op.key) == op
    assert_refused_or_canonical(op.key)


def test_ops_that_differ_have_keys_that_differ() -> None:
    op = parse(MBCONV)
    others: dict[str, Any] = {
        "kernel": 3, "stride": 1, "in_channels": 16, "in_size": 55, "out_channels": 24, "mid": (72,), "act": "hswish",
        "se": False, "batch": 2,
    }  # fmt: skip
    keys = {dataclasses.replace(op, **{name: value}).key for name, value in others.items()}
    assert len(keys | {op.key}) == len(others) + 1
