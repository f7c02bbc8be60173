"""Published weights: names and shapes as published, outputs as an independent reading of them computes, bad files."""

from __future__ import annotations

import json
import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import ofa.space as spaces
from ofa.errors import FileInvalid
from ofa.nn import weights
from ofa.nn.supernet import build
from ofa.nn.weights import Published, load_published, published_shapes, renamed
from ofa.space.core import SearchSpace, Subnet

Tensors = dict[str, Tensor]
Activation = Callable[[Tensor], Tensor]

PUBLISHED = {
    "mbv3_w1.0": ("mobilenet_v3", 1.0),
    "mbv3_w1.2": ("mobilenet_v3", 1.2),
    "proxyless_w1.3": ("proxyless", 1.3),
    "resnet50": ("resnet50", 1.0),
}
TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
TRANSFORM = "blocks.2.conv.depth_conv.conv.7to5_matrix"
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def synthetic(space: SearchSpace, seed: int = 0) -> Tensors:
    """Return random tensors as a published checkpoint has them, in which nothing is at its start."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in published_shapes(space).items():
        value = torch.randn(shape, generator=generator) * 0.2
        if name.endswith("_matrix"):
            value += torch.eye(shape[0])
        elif name.endswith(".weight") and len(shape) == 1:
            value += 1
        found[name] = value
    return found


def respelled(tensors: Tensors, *, static: bool, old: bool) -> Tensors:
    """Return the same tensors as other files name them: static layers in every block, the former name of a block."""
    found = {}
    for name, value in tensors.items():
        if static:
            name = name.replace(".bn.bn.", ".bn.").replace(".conv.conv.weight", ".conv.weight")
            name = name.replace(".linear.linear.", ".linear.")
        if old and name.startswith("blocks."):
            head, number, inside, tail = name.split(".", 3)
            name = f"{head}.{number}.{'mobile_inverted_conv' if inside == 'conv' else inside}.{tail}"
        found[name] = value
    return found


def same(found: Published, expected: Published) -> bool:
    return set(found.weights) == set(expected.weights) and all(
        torch.equal(value, expected.weights[name]) for name, value in found.weights.items()
    )


def message(tensors: Tensors, space: SearchSpace = TINY) -> str:
    with pytest.raises(FileInvalid) as caught:
        renamed(tensors, space, source="some.pth")
    return str(caught.value)


# An independent reading of the published tensors, by their own names: no layer, no op, no module of ours.


def eights(channels: float) -> int:
    """Return the nearest multiple of 8, half up, or the next one where that is below nine tenths."""
    nearest = max(8, int(channels / 8 + 0.5) * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def relu(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def relu6(x: Tensor) -> Tensor:
    return x.clamp(0, 6)


def hswish(x: Tensor) -> Tensor:
    return x * relu6(x + 3) / 6


def normed(x: Tensor, tensors: Tensors, name: str) -> Tensor:
    """Normalise with the batch's own statistics, then the first of the stored scales and shifts."""
    centred = x - x.mean((0, 2, 3), keepdim=True)
    scale, shift = (tensors[f"{name}.{part}"][: x.shape[1], None, None] for part in ("weight", "bias"))
    return centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt() * scale + shift


def convolved(x: Tensor, weight: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, groups)


def inverted(x: Tensor, t: Tensors, name: str, kernel: int, expand: float, stride: int, act: Activation) -> Tensor:
    """Run an elastic inverted residual block; whether it has squeeze-excite is in its tensors."""
    mid = eights(round(x.shape[1] * expand))
    out = convolved(x, t[f"{name}.inverted_bottleneck.conv.conv.weight"][:mid])
    out = act(normed(out, t, f"{name}.inverted_bottleneck.bn.bn"))
    weight = t[f"{name}.depth_conv.conv.conv.weight"][:mid]
    for smaller, matrix in ((5, "7to5_matrix"), (3, "5to3_matrix")):
        if kernel <= smaller:
            centre = weight[:, 0, 1:-1, 1:-1].reshape(mid, -1)
            moved = torch.stack([t[f"{name}.depth_conv.conv.{matrix}"] @ values for values in centre])
            weight = moved.view(mid, 1, smaller, smaller)
    out = act(normed(convolved(out, weight, stride, mid), t, f"{name}.depth_conv.bn.bn"))
    gate = f"{name}.depth_conv.se.fc"
    if f"{gate}.reduce.weight" in t:
        inner = eights(mid // 4)
        pooled = out.mean((2, 3))
        squeezed = relu(pooled @ t[f"{gate}.reduce.weight"][:inner, :mid, 0, 0].T + t[f"{gate}.reduce.bias"][:inner])
        opened = squeezed @ t[f"{gate}.expand.weight"][:mid, :inner, 0, 0].T + t[f"{gate}.expand.bias"][:mid]
        out = out * relu6(opened + 3)[:, :, None, None] / 6
    out = convolved(out, t[f"{name}.point_linear.conv.conv.weight"][:, :mid])
    out = normed(out, t, f"{name}.point_linear.bn.bn")
    return x + out if stride == 1 and x.shape[1] == out.shape[1] else out


def mobile(x: Tensor, t: Tensors, subnet: Subnet, strides: str, acts: list[Activation]) -> Tensor:
    """Run a MobileNetV3 or ProxylessNAS subnet: acts are those of stem, block 0, each stage, head."""
    x = acts[0](normed(convolved(x, t["first_conv.conv.weight"], 2), t, "first_conv.bn"))
    inside = "blocks.0.conv"
    out = convolved(x, t[f"{inside}.depth_conv.conv.weight"], 1, x.shape[1])
    out = acts[1](normed(out, t, f"{inside}.depth_conv.bn"))
    out = normed(convolved(out, t[f"{inside}.point_linear.conv.weight"]), t, f"{inside}.point_linear.bn")
    x = x + out if x.shape == out.shape else out
    first = 1
    for stage, (kernels, expands) in enumerate(zip(subnet.kernels, subnet.expands, strict=True)):
        for place, (kernel, expand) in enumerate(zip(kernels, expands, strict=True)):
            stride = int(strides[stage]) if place == 0 else 1
            x = inverted(x, t, f"blocks.{first + place}.conv", kernel, expand, stride, acts[stage + 2])
        first += max(subnet.space.stages[stage].depths)
    if "final_expand_layer.conv.weight" in t:
        x = acts[-1](normed(convolved(x, t["final_expand_layer.conv.weight"]), t, "final_expand_layer.bn"))
        x = acts[-1](x.mean((2, 3)) @ t["feature_mix_layer.conv.weight"][:, :, 0, 0].T)
    else:
        x = acts[-1](normed(convolved(x, t["feature_mix_layer.conv.weight"]), t, "feature_mix_layer.bn")).mean((2, 3))
    return x @ t["classifier.linear.weight"].T + t["classifier.linear.bias"]


def residual(x: Tensor, t: Tensors, subnet: Subnet) -> Tensor:
    """Run a ResNet50D subnet."""

    def layer(x: Tensor, name: str, outputs: int, stride: int = 1) -> Tensor:
        weight = t[f"{name}.conv.conv.weight"][:outputs, : x.shape[1]]
        return normed(convolved(x, weight, stride), t, f"{name}.bn.bn")

    mid, out = subnet.stem_widths
    x = relu(layer(x, "input_stem.0", mid, 2))
    if subnet.stem_residual:
        x = x + relu(layer(x, "input_stem.1.conv", mid))
    x = F.max_pool2d(relu(layer(x, "input_stem.2", out)), 3, 2, 1)
    first = 0
    for stage, (width, expands) in enumerate(zip(subnet.widths, subnet.expands, strict=True)):
        for place, expand in enumerate(expands):
            name, stride = f"blocks.{first + place}", 2 if place == 0 and stage > 0 else 1
            mid = eights(round(width * expand))
            value = relu(layer(relu(layer(x, f"{name}.conv1", mid)), f"{name}.conv2", mid, stride))
            value = layer(value, f"{name}.conv3", width)
            if place == 0:
                x = layer(F.avg_pool2d(x, stride, stride, ceil_mode=True), f"{name}.downsample", width)
            x = relu(x + value)
        first += max(subnet.space.stages[stage].depths)
    return x.mean((2, 3)) @ t["classifier.linear.linear.weight"][:, : x.shape[1]].T + t["classifier.linear.linear.bias"]


def reference(x: Tensor, tensors: Tensors, subnet: Subnet) -> Tensor:
    """Return the logits of a subnet by the published tensors alone."""
    six: list[Activation] = [relu6] * 9
    narrow: list[Activation] = [hswish, relu, relu, relu]
    if subnet.space.name == "resnet50":
        return residual(x, tensors, subnet)
    if subnet.space.name == "proxyless":
        return mobile(x, tensors, subnet, "222121", six)
    if subnet.space.name == "mobilenet_v3":
        return mobile(x, tensors, subnet, "22212", [*narrow, hswish, hswish, hswish, hswish])
    return mobile(x, tensors, subnet, "122", [*narrow, hswish, hswish])


@pytest.mark.parametrize(
    ("name", "width", "count"),
    [
        ("mobilenet_v3_tiny", 1.0, 8),
        ("resnet50", 0.2, 4),
        ("mobilenet_v3", 1.0, 1),
        pytest.param("proxyless", 1.3, 2, marks=pytest.mark.slow),
        pytest.param("resnet50", 1.0, 1, marks=pytest.mark.slow),
    ],
)
def test_subnets_compute_what_the_published_tensors_say(
    name: str, width: float, count: int, drawn: Callable[..., list[Subnet]], images: Callable[..., Tensor]
) -> None:
    space = spaces.load(name, width=width)
    tensors = synthetic(space)
    supernet = build(space)
    supernet.load_state_dict(renamed(tensors, space, source="made").weights)
    supernet.double()
    double = {name: value.double() for name, value in tensors.items()}
    for subnet in drawn(space, count):
        genome = subnet.array
        genome[space.at("resolution")] = 1
        subnet = space.subnet(genome)
        x = images(subnet, 3).double()
        with torch.no_grad():
            found, expected = supernet(x, subnet), reference(x, double, subnet)
        assert expected.std() > 1e-3
        assert (found - expected).abs().max() < 1e-8 * expected.abs().max()


@pytest.mark.parametrize("key", PUBLISHED)
def test_names_and_shapes_are_those_published(key: str, data_folder: Path) -> None:
    stated = json.loads((data_folder / "ofa_reference" / "state_dict_shapes.json").read_text())[key]
    name, width = PUBLISHED[key]
    assert published_shapes(spaces.load(name, width=width)) == {name: tuple(shape) for name, shape in stated}


@pytest.mark.parametrize(("static", "old"), [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("key", ["mbv3_w1.2", "proxyless_w1.3", "resnet50"])
def test_every_tensor_is_used_exactly_once_in_every_spelling(key: str, static: bool, old: bool) -> None:
    name, width = PUBLISHED[key]
    space = spaces.load(name, width=0.2 if name == "resnet50" else width)
    shapes = published_shapes(space)
    tensors = respelled(
        {name: torch.full((), number).float().expand(shape) for number, (name, shape) in enumerate(shapes.items())},
        static=static,
        old=old,
    )
    assert len(tensors) == len(shapes)
    assert static == (not any(".bn.bn." in name for name in tensors))
    found = renamed(tensors, space, source="made")
    names = list(shapes)
    used = {ours: int(value.flatten()[0]) for ours, value in found.weights.items()}
    statistics = {number for number, name in enumerate(names) if name.endswith(STATISTICS)}
    assert sorted(used.values()) == sorted(set(range(len(names))) - statistics) and not found.identity
    assert all(float(value.min()) == float(value.max()) == used[ours] for ours, value in found.weights.items())
    assert [list(tensors).index(name) for name in found.unneeded] == sorted(statistics)
    assert {ours: value.shape for ours, value in found.weights.items()} == {
        ours: value.shape for ours, value in build(space).state_dict().items()
    }


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "before torch 1.6"])
@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "bare"])
def test_files_of_either_kind_are_read(archive: bool, wrapped: bool, tmp_path: Path) -> None:
    tensors: dict[str, Any] = OrderedDict(synthetic(TINY))
    content = {"state_dict": tensors, "epoch": 120, "best_acc": 75.0} if wrapped else tensors
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=archive)
    found = load_published(tmp_path / "net.pth", TINY)
    assert same(found, renamed(tensors, TINY, source="made"))
    build(TINY).load_state_dict(found.weights)


def test_absent_transforms_become_identity_and_are_reported() -> None:
    tensors = {name: value for name, value in synthetic(TINY).items() if not name.endswith("_matrix")}
    found = renamed(tensors, TINY, source="made")
    assert len(found.identity) == 2 * 9 and "stages.1.2.convs.depthwise.transform_3" in found.identity
    assert all(torch.equal(found.weights[name], torch.eye(len(found.weights[name]))) for name in found.identity)
    some = renamed({**tensors, TRANSFORM: torch.ones(25, 25)}, TINY, source="made")
    assert set(found.identity) - set(some.identity) == {"stages.0.1.convs.depthwise.transform_5"}
    assert bool((some.weights["stages.0.1.convs.depthwise.transform_5"] == 1).all())


def test_statistics_may_be_absent() -> None:
    tensors = {name: value for name, value in synthetic(TINY).items() if not name.endswith(STATISTICS)}
    found = renamed(tensors, TINY, source="made")
    assert found.unneeded == () and len(found.weights) == len(tensors)


def test_weights_are_copies_even_where_a_file_shares_memory() -> None:
    tensors = synthetic(TINY)
    tensors["first_conv.bn.bias"] = tensors["first_conv.bn.weight"]
    found = renamed(tensors, TINY, source="made").weights
    found["stem.norms.conv.weight"].zero_()
    assert bool(tensors["first_conv.bn.weight"].all()) and bool(found["stem.norms.conv.bias"].all())


def test_all_differences_are_listed() -> None:
    tensors = synthetic(TINY)
    del tensors["classifier.linear.bias"]
    tensors["teacher.\x1b[2J"] = torch.ones(1)
    tensors["first_conv.conv.weight"] = torch.ones(16, 3, 3, 3)
    said = message(tensors).splitlines()
    assert said[0] == "error: 'some.pth' does not hold the weights of the supernet of 'mobilenet_v3_tiny-w1.0-c1-n10'"
    assert [line.strip().removeprefix("why: ") for line in said[1:7]] == [
        "1 tensor missing:",
        "'classifier.linear.bias'",
        "1 tensor not known:",
        r"'teacher.\x1b[2J'",
        "1 tensor not as expected:",
        "'first_conv.conv.weight': float32 [16, 3, 3, 3], expected float32 [16, 1, 3, 3]",
    ]


def test_long_lists_are_cut_with_their_counts() -> None:
    narrow = spaces.load("mobilenet_v3", width=1.0)
    said = message({name: torch.zeros(()).expand(shape) for name, shape in published_shapes(narrow).items()})
    unknown = len(set(published_shapes(narrow)) - set(published_shapes(TINY)))
    assert f"{unknown} tensors not known:" in said and f"... and {unknown - 10} more" in said
    assert "1 tensor not known" in message({**synthetic(TINY), "momentum": torch.ones(1)})
    assert len(said.splitlines()) < 40 and len(message({"x" * 10**6: torch.ones(1)})) < 2000
    assert "120 tensors missing:" in message({}) and "not known" not in message({})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.full((25, 25), torch.nan), "float32 [25, 25] with values that are not finite"),
        (torch.ones(25, 25).half(), "float16 [25, 25]"),
        (torch.ones(25, 25).to_sparse(), "no plain tensor"),
        (torch.ones(25, 25, device="meta"), "no plain tensor"),
        (torch.zeros(()).expand(10**9, 10**9), "float32 [1000000000, 1000000000]"),
    ],
    ids=["not finite", "half", "sparse", "nothing behind it", "larger than any memory"],
)
def test_only_plain_finite_numbers_are_weights(value: Tensor, said: str) -> None:
    assert f"'{TRANSFORM}': {said}, expected float32 [25, 25]" in message({**synthetic(TINY), TRANSFORM: value})


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_is_no_weight() -> None:
    value = torch.nested.nested_tensor([torch.ones(25), torch.ones(24)])
    assert f"'{TRANSFORM}': no plain tensor" in message({**synthetic(TINY), TRANSFORM: value})


def test_a_tensor_in_two_spellings_is_refused() -> None:
    second = TRANSFORM.replace(".conv.", ".mobile_inverted_conv.", 1)
    said = message({**synthetic(TINY), second: torch.eye(25)})
    assert f"'{second}': a second spelling of '{TRANSFORM}'" in said


class Harmful:
    """What a file must not be able to run."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("harmed",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": {}, "more": Harmful()}, "something else than tensors"),
        ({"state_dict": {"first_conv.conv.weight": 1}}, "no dict of tensors"),
        ([torch.ones(1)], "no dict of tensors"),
        ({1: torch.ones(1)}, "no dict of tensors"),
    ],
    ids=["code", "number", "list", "unnamed"],
)
def test_files_with_anything_else_are_refused(
    content: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(FileInvalid, match=said):
        load_published(tmp_path / "net.pth", TINY)
    assert not (tmp_path / "harmed").exists()


def test_damaged_and_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pth"
    torch.save({"state_dict": synthetic(TINY)}, path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (bytes(flipped), whole[:-100], whole[:100], b"<html>404</html>", b""):
        path.write_bytes(damaged)
        with pytest.raises(FileInvalid):
            load_published(path, TINY)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", bytes(4 << 20))
    monkeypatch.setattr(weights, "MOST_BYTES", 1 << 20)
    with pytest.raises(FileInvalid) as unpacked:
        load_published(path, TINY)
    assert "unpacked" in str(unpacked.value)
    path.write_bytes(whole)
    with pytest.raises(FileInvalid, match="too large"):
        load_published(path, TINY)
    with pytest.raises(FileInvalid, match="cannot be read"):
        load_published(tmp_path / "absent.pth", TINY)
