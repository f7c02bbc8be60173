"""Subnets: ids that never change, JSON that comes back as it went, and every misfit refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ofa.space as spaces
from ofa.errors import OfaError, SpaceMismatch, UsageInvalid
from ofa.space import sample
from ofa.space.core import SearchSpace, from_json, make_divisible

MOBILE = spaces.load("mobilenet_v3")
RESNET = spaces.load("resnet50")
# Tables, labels and twins name subnets by these: another id for the same network would orphan them all.
IDS = {
    ("mobilenet_v3", "max"): "4fe685296d91",
    ("mobilenet_v3", "min"): "eae7d5e5af6d",
    ("mobilenet_v3", "k7e3d4"): "25c6029150c4",
    ("mobilenet_v3_lite", "max"): "4b1818972baf",
    ("mobilenet_v3_tiny", "max"): "89a1b791ca10",
    ("mobilenet_v3_tiny_lite", "max"): "598e4d24b28a",
    ("proxyless", "k7e6d2"): "3152c2147f84",
    ("resnet50", "max"): "2b1f4930f046",
    ("resnet50", "min"): "e4d681cb82e3",
}
KEYS = {"mbconv": {"kernels"}, "bottleneck": {"widths", "stem"}}


def assert_three_parts(fault: OfaError) -> None:
    assert fault.what and fault.why and fault.hints and all(fault.hints)


@pytest.mark.parametrize(("name", "corner"), IDS)
def test_ids_are_stable(name: str, corner: str) -> None:
    assert spaces.load(name).corner(corner).id == IDS[name, corner]


def test_ids_are_the_same_in_another_process() -> None:
    code = "import ofa.space as s; print(s.load('mobilenet_v3').corner('max').id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == IDS["mobilenet_v3", "max"]


def test_ids_differ_between_networks_and_between_spaces(space: SearchSpace) -> None:
    genomes = sample.unique(sample.random(space, 300, np.random.default_rng(0)))
    assert len({space.subnet(genome).id for genome in genomes}) == len(genomes)
    genome = spaces.load("mobilenet_v3_tiny").corner("max").array
    of_width = {spaces.load("mobilenet_v3_tiny", width=width).subnet(genome).id for width in (0.5, 1.0, 1.5)}
    assert len(of_width) == 3


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_json_comes_back_as_it_went(space: SearchSpace, seed: int) -> None:
    subnet = space.subnet(sample.random(space, 1, np.random.default_rng(seed))[0])
    facts = json.loads(json.dumps({"id": subnet.id} | subnet.to_json()))
    assert set(facts) == {"id", "space", "resolution", "depths", "expands"} | KEYS[space.family]
    assert from_json(spaces.by_id(facts["space"]), facts) == subnet
    del facts["id"]
    assert from_json(space, facts) == subnet


def test_json_says_what_is_in_use() -> None:
    facts = MOBILE.corner("k3e6d4", 160).to_json()
    assert facts == {
        "space": "mobilenet_v3-w1.0",
        "resolution": 160,
        "depths": [4] * 5,
        "kernels": [[3] * 4] * 5,
        "expands": [[6] * 4] * 5,
    }
    assert RESNET.corner("min", 128).to_json() == {
        "space": "resnet50-w1.0",
        "resolution": 128,
        "depths": [2, 2, 4, 2],
        "expands": [[0.2] * 2, [0.2] * 2, [0.2] * 4, [0.2] * 2],
        "widths": [168, 336, 664, 1328],
        "stem": {"mid": 24, "out": 40, "residual": False},
    }


def nested(levels: int) -> Any:
    """Return a list in a list in a list."""
    return json.loads("[" * levels + "]" * levels)


GOOD = MOBILE.corner("min").to_json()
RESNET_GOOD = RESNET.corner("min").to_json()
# What is wrong, and what the message has to say.
MISFITS: list[tuple[Any, str]] = [
    ("a text", "str"),
    (None, "NoneType"),
    ([GOOD], "list"),
    ({}, "None"),
    (GOOD | {"space": "mobilenet_v3-w1.2"}, "mobilenet_v3-w1.2"),
    (GOOD | {"space": nested(500)}, "mobilenet_v3-w1.0"),
    (GOOD | {"kernel": []}, "unknown key 'kernel'"),
    (GOOD | {"widths": [24, 40, 80, 112, 160]}, "unknown key 'widths'"),
    (GOOD | {"stem": {}}, "unknown key 'stem'"),
    (GOOD | {"resolution": 130}, "'resolution' is 130"),
    (GOOD | {"resolution": "224"}, "'resolution' is '224'"),
    (GOOD | {"resolution": None}, "'resolution' is None"),
    (GOOD | {"resolution": float("nan")}, "'resolution' is nan"),
    (GOOD | {"resolution": float("inf")}, "'resolution' is inf"),
    (GOOD | {"resolution": nested(500)}, "'resolution' is [[["),
    (GOOD | {"resolution": {"a": list(range(100_000))}}, "'resolution' is {'a'"),
    (GOOD | {"depths": [2, 2, 2, 2, 5]}, "'s5.depth' is 5"),
    (GOOD | {"depths": [True] * 5}, "'s1.depth' is True"),
    (GOOD | {"depths": [2, 2, 2, 2]}, "lacks 's5.depth'"),
    (GOOD | {"depths": [2, 2, 2, 2, 2, 2]}, "'depths' is not what"),
    (GOOD | {"depths": 2}, "lacks 's1.depth'"),
    (GOOD | {"depths": [3, 2, 2, 2, 2]}, "lacks 's1.b3.kernel'"),
    (GOOD | {"kernels": [[3, 9]] + [[3, 3]] * 4}, "'s1.b2.kernel' is 9"),
    (GOOD | {"kernels": [[3, 3, 3]] + [[3, 3]] * 4}, "'kernels' is not what"),
    (GOOD | {"kernels": [[3, 3, 3, 3, 3]] + [[3, 3]] * 4}, "'kernels' is not what"),
    (GOOD | {"kernels": [[3, 3]] * 5 + [7]}, "'kernels' is not what"),
    (GOOD | {"kernels": [[3, 3]] * 4 + [3]}, "lacks 's5.b1.kernel'"),
    (GOOD | {"kernels": ["33"] * 5}, "'s1.b1.kernel' is '3'"),
    (GOOD | {"kernels": {"0": [3, 3]}}, "lacks 's1.b1.kernel'"),
    (GOOD | {"kernels": [[[3], [3]]] * 5}, "'s1.b1.kernel' is [3]"),
    (GOOD | {"expands": [[3, 5]] + [[3, 3]] * 4}, "'s1.b2.expand' is 5"),
    (GOOD | {"expands": []}, "lacks 's1.b1.expand'"),
    ({key: value for key, value in GOOD.items() if key != "resolution"}, "lacks 'resolution'"),
    (GOOD | {"id": "0" * 12}, "id '000000000000'"),
    (GOOD | {"id": None}, "id None"),
    (GOOD | {"id": nested(500)}, "id [[["),
]
RESNET_MISFITS: list[tuple[Any, str]] = [
    (RESNET_GOOD | {"kernels": [[3, 3]]}, "unknown key 'kernels'"),
    (RESNET_GOOD | {"stem": None}, "lacks 'stem.residual'"),
    (RESNET_GOOD | {"stem": RESNET_GOOD["stem"] | {"mid": 25}}, "'stem.mid' is 25"),
    (RESNET_GOOD | {"stem": RESNET_GOOD["stem"] | {"residual": 2}}, "'stem.residual' is 2"),
    (RESNET_GOOD | {"stem": RESNET_GOOD["stem"] | {"more": 1}}, "'stem' is not what"),
    (RESNET_GOOD | {"widths": [168, 336, 664, 1329]}, "'s4.width' is 1329"),
    (RESNET_GOOD | {"widths": [*RESNET_GOOD["widths"], 1]}, "'widths' is not what"),
]


@pytest.mark.parametrize(("facts", "says"), MISFITS, ids=[says for _, says in MISFITS])
def test_a_misfit_is_named(facts: Any, says: str) -> None:
    with pytest.raises(SpaceMismatch) as caught:
        from_json(MOBILE, facts)
    assert says in caught.value.what
    assert_three_parts(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(("facts", "says"), RESNET_MISFITS, ids=[says for _, says in RESNET_MISFITS])
def test_a_misfit_of_resnet_is_named(facts: Any, says: str) -> None:
    with pytest.raises(SpaceMismatch) as caught:
        from_json(RESNET, facts)
    assert says in caught.value.what
    assert_three_parts(caught.value)


def test_a_value_not_offered_names_those_offered() -> None:
    with pytest.raises(SpaceMismatch) as caught:
        from_json(MOBILE, GOOD | {"kernels": [[9, 3]] + [[3, 3]] * 4})
    assert caught.value.hints == ("one of: 3, 5, 7",)


def test_what_was_wrong_is_well_with_the_misfit_mended() -> None:
    """The refusals above are of the misfits alone."""
    assert from_json(MOBILE, GOOD | {"id": IDS["mobilenet_v3", "min"]}) == MOBILE.corner("min")
    assert from_json(RESNET, RESNET_GOOD) == RESNET.corner("min")
    assert from_json(MOBILE, GOOD | {"resolution": 224.0}) == MOBILE.corner("min")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 300) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.slow
@given(key=st.sampled_from([*sorted(GOOD), *sorted(RESNET_GOOD), "id", "other"]), value=json_values)
@settings(max_examples=300, deadline=None)
def test_garbage_in_any_key_is_refused_and_never_a_crash(key: str, value: Any) -> None:
    for space, good in ((MOBILE, GOOD), (RESNET, RESNET_GOOD)):
        try:
            found = from_json(space, good | {key: value})
        except SpaceMismatch as fault:
            assert_three_parts(fault)
        else:
            assert ({"id": found.id} | found.to_json())[key] == value


def test_corners_are_the_ends_of_every_gene(space: SearchSpace) -> None:
    for name, pick in (("max", max), ("min", min)):
        subnet = space.corner(name, pick(space.resolutions))
        for gene in space.genes:
            assert subnet.choice(gene.name) in (pick(gene.choices), None), gene.name
        assert subnet.depths == tuple(pick(stage.depths) for stage in space.stages)


def test_mixed_corners_are_what_their_names_say() -> None:
    for space in (MOBILE, spaces.load("proxyless"), spaces.load("mobilenet_v3_tiny")):
        assert len(space.corners()) == 5
        for name in space.corners()[2:]:
            subnet = space.corner(name)
            depths = {min(int(name[-1]), max(stage.depths)) for stage in space.stages}
            assert {kernel for stage in subnet.kernels for kernel in stage} == {int(name[1])}
            assert {expand for stage in subnet.expands for expand in stage} == {float(name[3])}
            assert set(subnet.depths) == depths
    assert RESNET.corners() == ("max", "min")


@pytest.mark.parametrize("name", ["", "biggest", "k5e4d3", "k3e6d9", "MAX"])
def test_an_unknown_corner_names_the_known(name: str) -> None:
    with pytest.raises(SpaceMismatch, match=f"no corner '{name}'") as caught:
        MOBILE.corner(name)
    assert "max, min, k3e6d4" in caught.value.hints[0]


def test_channels_are_rounded_as_in_the_reference() -> None:
    assert [make_divisible(value) for value in (1, 12, 11.9, 20, 35, 36, 60, 134.4, 38.4)] == [
        8, 16, 16, 24, 32, 40, 64, 136, 40,
    ]  # fmt: skip


@given(
    name=st.sampled_from(spaces.names()), tenths=st.integers(1, 40), channels=st.integers(1, 64),
    classes=st.integers(2, 100_000),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_ids_of_spaces_come_back_as_they_went(name: str, tenths: int, channels: int, classes: int) -> None:
    space = spaces.load(name, width=tenths / 10, channels=channels, classes=classes)
    again = spaces.by_id(space.id)
    assert again == space and hash(again) == hash(space)
    assert (again.name, again.width, again.channels, again.classes) == (name, tenths / 10, channels, classes)


def test_a_space_is_loaded_once_at_its_published_width() -> None:
    assert {name: spaces.load(name).width for name in spaces.names()} == {
        "mobilenet_v3": 1.0,
        "mobilenet_v3_lite": 1.0,
        "mobilenet_v3_tiny": 1.0,
        "mobilenet_v3_tiny_lite": 1.0,
        "proxyless": 1.3,
        "resnet50": 1.0,
    }
    assert spaces.load("proxyless") is spaces.load("proxyless", width=1.3)
    assert spaces.load("mobilenet_v3", width=0.1 + 0.2) is spaces.load("mobilenet_v3", width=0.3)


@pytest.mark.parametrize(
    ("name", "facts", "says"),
    [
        ("mobilenet_v4", {}, "no search space 'mobilenet_v4'"),
        ("", {}, "no search space ''"),
        ("mobilenet_v3", {"width": 0}, "width multiplier 0"),
        ("mobilenet_v3", {"width": -1}, "width multiplier -1"),
        ("mobilenet_v3", {"width": 1.25}, "width multiplier 1.25"),
        ("mobilenet_v3", {"width": 4.1}, "width multiplier 4.1"),
        ("mobilenet_v3", {"width": float("nan")}, "width multiplier nan"),
        ("mobilenet_v3", {"width": float("inf")}, "width multiplier inf"),
        ("mobilenet_v3", {"channels": 0}, "0 channels"),
        ("mobilenet_v3", {"channels": 65}, "65 channels"),
        ("mobilenet_v3", {"classes": 1}, "1 classes"),
        ("mobilenet_v3", {"classes": 100_001}, "100,001 classes"),
    ],
)
def test_a_space_that_cannot_be_is_usage(name: str, facts: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageInvalid) as caught:
        spaces.load(name, **facts)
    assert says in caught.value.what and "nan" not in caught.value.hints[0]
    assert_three_parts(caught.value)


@pytest.mark.parametrize(
    "identity",
    [
        "", "mobilenet_v3", "mobilenet_v3-w1", "mobilenet_v3-w1.00", "mobilenet_v3-w0.0", "mobilenet_v3-w9.0",
        "mobilenet_v3-w1.0-c3", "mobilenet_v3-w1.0-n1000", "mobilenet_v3-w1.0-n010", "mobilenet_v3-w1.0-n10-c1",
        "mobilenet_v3-w1.0-c0", "mobilenet_v3-w1.0-n1", "mobilenet_v3-w1.0\n", "Mobilenet_v3-w1.0",
        "mobilenet_v3-w１.0", "resnet-w1.0", "x" * 10_000,
    ],
)  # fmt: skip
def test_what_is_no_id_of_a_space_is_refused(identity: str) -> None:
    with pytest.raises(SpaceMismatch, match="is not the id of a search space") as caught:
        spaces.by_id(identity)
    assert_three_parts(caught.value)
    assert identity[:20] in caught.value.what and len(caught.value.what) < 200


def test_a_subnet_is_shown_shortly() -> None:
    space = spaces.load("mobilenet_v3_tiny")
    shown = repr(space.corner("max"))
    assert space.corner("max").id in shown and space.id in shown and len(shown) < 100
