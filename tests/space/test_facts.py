"""What networks cost: the sizes of the published supernets and their corners, and activation memory worked by hand."""

from __future__ import annotations

import pytest

import ofa.space as spaces
from ofa.space.facts import facts, macs, params, peak_activation_bytes, supernet_params

# The reference's own classes, built and counted: parameters in M, MACs in M at 128, 160, 192 and 224 px.
PUBLISHED = {
    ("mobilenet_v3", 1.0, "max"): (7.665, 188.2, 291.3, 417.3, 566.2),
    ("mobilenet_v3", 1.0, "min"): (3.411, 41.5, 63.2, 89.8, 121.3),
    ("mobilenet_v3", 1.0, "k3e6d4"): (7.300, 144.8, 223.4, 319.6, 433.1),
    ("mobilenet_v3", 1.0, "k7e3d4"): (4.554, 97.7, 150.9, 215.9, 292.7),
    ("mobilenet_v3", 1.0, "k7e6d2"): (4.838, 94.7, 146.0, 208.6, 282.6),
    ("mobilenet_v3", 1.2, "max"): (10.702, 280.0, 433.6, 621.3, 843.1),
    ("mobilenet_v3", 1.2, "min"): (4.602, 65.5, 100.3, 142.8, 193.1),
    ("proxyless", 1.3, "max"): (7.942, 329.3, 513.5, 738.7, 1004.9),
    ("proxyless", 1.3, "min"): (3.719, 87.8, 136.3, 195.5, 265.5),
    ("resnet50", 1.0, "max"): (48.106, 2447.6, 3823.3, 5504.6, 7491.6),
    ("resnet50", 1.0, "min"): (6.539, 315.1, 491.6, 707.3, 962.2),
}
SUPERNETS = {
    ("mobilenet_v3", 1.0): 7_678_880,
    ("mobilenet_v3", 1.2): 10_715_752,
    ("proxyless", 1.3): 7_956_882,
    ("resnet50", 1.0): 48_105_992,
}


@pytest.mark.parametrize(("name", "width", "corner"), PUBLISHED)
def test_corners_cost_what_the_reference_counts(name: str, width: float, corner: str) -> None:
    millions, *expected = PUBLISHED[name, width, corner]
    subnet = spaces.load(name, width=width).corner(corner)
    assert round(params(subnet) / 1e6, 3) == millions
    assert [round(macs(subnet, resolution) / 1e6, 1) for resolution in (128, 160, 192, 224)] == expected


@pytest.mark.parametrize(("name", "width"), SUPERNETS)
def test_supernets_have_the_parameters_of_the_reference(name: str, width: float) -> None:
    assert supernet_params(spaces.load(name, width=width)) == SUPERNETS[name, width]


def test_the_teacher_is_the_largest_subnet_without_kernel_transforms() -> None:
    space = spaces.load("mobilenet_v3")
    assert params(space.corner("max")) == 7_664_760
    assert supernet_params(space) - params(space.corner("max")) == 20 * (25**2 + 9**2)


@pytest.mark.parametrize(("name", "width"), SUPERNETS)
def test_facts_say_the_same(name: str, width: float) -> None:
    space = spaces.load(name, width=width)
    found = facts(space)
    assert found["space"] == space.id and found["resolutions_px"] == list(range(128, 225, 4))
    assert found["supernet"]["params"] == SUPERNETS[name, width]
    assert found["supernet"]["macs"] == found["corners"]["max"]["macs"]
    assert set(found["corners"]) == set(space.corners())
    for (other, of_width, corner), (millions, *expected) in PUBLISHED.items():
        if (other, of_width) == (name, width):
            entry = found["corners"][corner]
            assert round(entry["params"] / 1e6, 3) == millions
            assert [round(value / 1e6, 1) for value in entry["macs"].values()] == expected
            assert list(entry["macs"]) == list(entry["peak_activation_bytes"]) == ["128", "160", "192", "224"]


def test_facts_of_a_small_space_are_at_its_own_resolutions() -> None:
    found = facts(spaces.load("mobilenet_v3_tiny", channels=1, classes=10))
    assert list(found["corners"]["min"]["macs"]) == ["16", "20", "24", "28", "32"]


def test_parameters_do_not_depend_on_resolution_and_macs_grow_with_it() -> None:
    space = spaces.load("proxyless")
    corners = [space.corner("max", resolution) for resolution in space.resolutions]
    assert len({params(subnet) for subnet in corners}) == 1
    counts = [macs(subnet) for subnet in corners]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    assert counts == [macs(corners[0], resolution) for resolution in space.resolutions]


def test_activation_memory_without_shortcuts() -> None:
    """Smallest tiny network at 16 px: the first block's expanded map and the depthwise one, 48 channels of 8 x 8."""
    space = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    stem = 3 * 16 * 8**2  # the shortcut of block 0 keeps the first convolution beside depthwise and projection
    block = 2 * 48 * 8**2  # the input of 16 channels is read once, by the expansion
    assert block > stem
    assert peak_activation_bytes(space.corner("min", 16)) == 4 * block


def test_activation_memory_with_a_shortcut() -> None:
    """Largest tiny network at 32 px: in the second block the shortcut keeps 24 channels beside two maps of 144."""
    space = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    assert peak_activation_bytes(space.corner("max", 32)) == 4 * (24 + 144 + 144) * 16**2


def test_activation_memory_of_a_bottleneck() -> None:
    """Largest ResNet at 128 px, first stage: main path, projected shortcut and their sum, 256 channels of 32 x 32."""
    space = spaces.load("resnet50")
    stem = (32 + 32 + 32) * 64**2  # first convolution, second, their sum
    block = 3 * 256 * 32**2
    assert block > stem
    assert peak_activation_bytes(space.corner("max"), 128) == 4 * block
