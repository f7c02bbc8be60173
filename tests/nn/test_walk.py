"""Declaration and network agree: the ops walked out of an extracted torch module are those of its subnet."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import ofa.space as spaces
from ofa.nn.blocks import PlainOp
from ofa.nn.supernet import PlainNet, build, extract
from ofa.space.core import SearchSpace, Subnet
from ofa.space.layers import layers_of
from ofa.space.ops import ops_of

SPACES = {
    "mobilenet_v3 w1.0": spaces.load("mobilenet_v3"),
    "mobilenet_v3 w1.2": spaces.load("mobilenet_v3", width=1.2),
    "mobilenet_v3_lite": spaces.load("mobilenet_v3_lite"),
    "proxyless": spaces.load("proxyless"),
    "tiny": spaces.load("mobilenet_v3_tiny", channels=1, classes=10),
    "tiny lite": spaces.load("mobilenet_v3_tiny_lite", channels=1, classes=10),
    "resnet50 w0.2": spaces.load("resnet50", width=0.2),
    "resnet50": spaces.load("resnet50"),
}
ACTS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.Hardswish: "hswish",
    nn.Hardsigmoid: "hsigmoid",
}
# What a network may do without a module: pool, gate of squeeze-excite, shortcut.
BARE = {
    torch.Tensor.mean: "mean",
    torch.Tensor.mul: "mul",
    torch.Tensor.add: "add",
    F.max_pool2d: "maxpool",
    F.avg_pool2d: "avgpool",
}


@dataclasses.dataclass(slots=True, kw_only=True)
class Step:
    """One thing an op was seen to do; a convolution takes up the norm and activation that follow it, a sum its ReLU.

    ``settings`` are those of a pool: kernel, stride, padding, ceiling mode.
    """

    what: str
    module: Any = None
    settings: tuple[Any, ...] = ()
    given: tuple[int, ...] = ()
    made: tuple[int, ...] = ()
    norm: bool = False
    act: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """What an op was found to be."""

    key: str
    macs: int
    params: int


class Bare(TorchFunctionMode):
    """Notes what is computed without a module."""

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        self.steps = steps

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func in BARE:
            self.steps.append(Step(what=BARE[func], settings=pooling(func, args, options)))
        # A convolution's own activation is a module, noted by its hook; only a sum is activated without one.
        elif func is F.relu and self.steps and self.steps[-1].what == "add":
            assert self.steps[-1].act is None
            self.steps[-1].act = "relu"
        return func(*args, **options)


def pooling(func: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return kernel, stride, padding and ceiling mode of a pool that never counts what lies beyond its map."""
    if func not in (F.max_pool2d, F.avg_pool2d):
        return ()
    given = dict(zip(("input", "kernel_size", "stride", "padding"), args, strict=False)) | options
    assert func is F.max_pool2d or given["count_include_pad"] is False
    return given["kernel_size"], given["stride"], given.get("padding", 0), given["ceil_mode"]


@contextmanager
def watched(op: nn.Module, steps: list[Step]) -> Iterator[None]:
    """Note in ``steps`` what each torch module inside an op does, in the order it is done."""

    def note(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        if isinstance(module, nn.Conv2d | nn.Linear):
            what = type(module).__name__
            steps.append(Step(what=what, module=module, given=tuple(given[0].shape), made=tuple(made.shape)))
        elif isinstance(module, nn.BatchNorm2d):
            assert steps[-1].what == "Conv2d" and not steps[-1].norm and steps[-1].act is None
            assert module.num_features == steps[-1].made[1] and module.eps == 1e-5 and module.affine
            steps[-1].norm = True
        else:
            assert steps[-1].what == "Conv2d" and steps[-1].act is None
            steps[-1].act = ACTS[type(module)]

    handles = [part.register_forward_hook(note) for part in op.modules() if not list(part.children())]
    try:
        with Bare(steps):
            yield
    finally:
        for handle in handles:
            handle.remove()


def form(step: Step) -> str:
    """Name a step by its hyper-parameters alone."""
    if step.what != "Conv2d":
        return step.what
    conv = step.module
    kernel = conv.kernel_size[0]
    assert conv.kernel_size == (kernel, kernel) and conv.stride[0] == conv.stride[1] and conv.dilation == (1, 1)
    assert conv.padding == (kernel // 2, kernel // 2) and conv.padding_mode == "zeros"
    assert conv.bias is None or not step.norm
    if conv.groups > 1:
        assert conv.groups == conv.in_channels == conv.out_channels
        return "depthwise"
    return "full" if kernel > 1 else "pointwise" if step.norm else "gate"


def key_of(steps: list[Step], given: tuple[int, ...], made: tuple[int, ...]) -> str:
    """Return the key of an op from what it was seen to do on a batch; AssertionError where no op does that."""
    batch, inputs, size = given[:3]
    forms = [form(step) for step in steps]
    convs = [step for step in steps if step.what == "Conv2d"]
    ends = f"i{inputs}x{size}.o{made[1]}" + (f"x{made[2]}" if len(made) == 4 else "")
    if forms[-1] == "Linear":
        if forms == ["mean", "Linear"]:
            return f"head.{ends}.n{batch}"
        assert forms in (["pointwise", "mean", "gate", "Linear"], ["pointwise", "mean", "Linear"])
        acts = {step.act for step in convs}
        assert len(acts) == 1 and steps[-1].module.bias is not None
        return f"head.{ends}.m{'-'.join(str(step.made[1]) for step in convs)}.{acts.pop()}.n{batch}"
    if forms[-1] == "maxpool":
        return f"deepstem.{deepstem(steps, forms, ends)}.n{batch}"
    if forms[:3] == ["pointwise", "full", "pointwise"]:
        return f"bottleneck.{bottleneck(steps, forms, given, made, ends)}.n{batch}"
    shortcut = forms[-1] == "add"
    assert not shortcut or steps[-1].act is None
    inside, kernel, stride = forms[: len(forms) - shortcut], convs[1].module.kernel_size[0], convs[1].module.stride[0]
    assert convs[-1].act is None and convs[0].made[1] == convs[1].made[1]
    if inside == ["full", "depthwise", "pointwise"]:
        assert (kernel, stride) == (3, 1) and shortcut == (convs[0].made == made)
        first = convs[0].module
        sizes = f"k{first.kernel_size[0]}.s{first.stride[0]}.{ends}.m{convs[0].made[1]}"
        return f"stem.{sizes}.{convs[0].act}-{convs[1].act}.n{batch}"
    gated = inside == ["pointwise", "depthwise", "mean", "gate", "gate", "mul", "pointwise"]
    assert gated or inside == ["pointwise", "depthwise", "pointwise"], inside
    assert shortcut == (given == made) and convs[0].act == convs[1].act and convs[0].module.stride == (1, 1)
    assert not gated or [step.act for step in convs[2:4]] == ["relu", "hsigmoid"]
    gate = ".se" if gated else ""
    return f"mbconv.k{kernel}.s{stride}.{ends}.m{convs[0].made[1]}.{convs[0].act}{gate}.n{batch}"


def deepstem(steps: list[Step], forms: list[str], ends: str) -> str:
    """Return what the key of a deep stem says of its inside."""
    residual = forms == ["full", "full", "add", "full", "maxpool"]
    assert residual or forms == ["full", "full", "maxpool"], forms
    convs = [step for step in steps if step.what == "Conv2d"]
    assert {step.act for step in convs} == {"relu"} and not (residual and steps[2].act)
    assert {step.module.kernel_size[0] for step in convs} == {3}
    assert {step.module.stride[0] for step in convs[1:]} == {1}
    assert {step.made[1] for step in convs[:-1]} == {convs[0].made[1]}
    assert steps[-1].settings == (3, 2, 1, False)
    whole = convs[0].module.stride[0] * 2
    return f"k3.s{whole}.{ends}.m{convs[0].made[1]}.relu" + (".res" if residual else "")


def bottleneck(steps: list[Step], forms: list[str], given: tuple[int, ...], made: tuple[int, ...], ends: str) -> str:
    """Return what the key of a bottleneck says of its inside."""
    reduce, conv, expand = steps[:3]
    stride = conv.module.stride[0]
    right = ["pointwise", "full", "pointwise"] + ["avgpool"] * (stride > 1)
    right += ["pointwise"] * (stride > 1 or given[1] != made[1]) + ["add"]
    assert forms == right
    assert reduce.made[1] == conv.made[1] and reduce.module.stride == expand.module.stride == (1, 1)
    assert (reduce.act, conv.act, expand.act, steps[-1].act) == ("relu", "relu", None, "relu")
    for step in steps[3:-1]:
        assert step.act is None and (step.what != "avgpool" or step.settings == (stride, stride, 0, True))
    return f"k{conv.module.kernel_size[0]}.s{stride}.{ends}.m{reduce.made[1]}.relu"


def macs_of(steps: list[Step]) -> int:
    """Count the multiply-accumulates of one image from weights and maps."""
    weighted = [step for step in steps if step.module is not None]
    return sum(step.module.weight[0].numel() * torch.Size(step.made[1:]).numel() for step in weighted)


@torch.inference_mode()
def walk(network: PlainNet, images: Tensor) -> list[Walked]:
    """Run images through a network and say what each of its ops was seen to be."""
    found = []
    x = images
    for op in network.ops:
        steps: list[Step] = []
        with watched(op, steps):
            after = op(x)
        params = sum(value.numel() for value in op.parameters())
        key = key_of(steps, tuple(x.shape), tuple(after.shape))
        found.append(Walked(key=key, macs=macs_of(steps), params=params))
        x = after
    return found


def expected(subnet: Subnet, batch: int = 1) -> list[Walked]:
    return [Walked(key=op.key, macs=op.macs, params=op.params) for op in ops_of(subnet, batch=batch)]


def blank(subnet: Subnet, batch: int = 1) -> Tensor:
    return torch.zeros(batch, subnet.space.channels, subnet.resolution, subnet.resolution)


@pytest.fixture
def unfilled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the random start of weights that extraction replaces; it is most of the time of building a network."""
    monkeypatch.setattr(nn.Conv2d, "reset_parameters", lambda self: None)
    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda self: None)


def agree(space: SearchSpace, subnets: list[Subnet]) -> None:
    supernet = build(space)
    for subnet in subnets:
        assert walk(extract(supernet, subnet), blank(subnet)) == expected(subnet), subnet.to_json()


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_corners_and_some_random_subnets(name: str, drawn: Callable[..., list[Subnet]], unfilled: None) -> None:
    space = SPACES[name]
    agree(space, [*map(space.corner, space.corners()), *drawn(space, 5, seed=1)])


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_two_hundred_random_subnets(name: str, drawn: Callable[..., list[Subnet]], unfilled: None) -> None:
    """On no images: all has the form that it has on some, and most of the time is spared."""
    supernet = build(SPACES[name])
    for subnet in drawn(SPACES[name], 200):
        walked = walk(extract(supernet, subnet), blank(subnet, 0))
        keyed = [dataclasses.replace(one, key=f"{one.key.removesuffix('.n0')}.n1") for one in walked]
        assert keyed == expected(subnet), subnet.to_json()


def test_the_batch_is_walked_too(tiny: SearchSpace, drawn: Callable[..., list[Subnet]]) -> None:
    (subnet,) = drawn(tiny, 1)
    assert walk(extract(build(tiny), subnet), blank(subnet, 3)) == expected(subnet, 3)


# What can be wrong with a network, each done to a block with squeeze-excite and shortcut.


def other_kernel(op: PlainOp) -> None:
    layer = op.layers[1]
    wide = nn.Conv2d(layer.in_channels, layer.out_channels, 5, 1, 2, groups=layer.groups, bias=False)
    op.get_submodule("depthwise").conv = wide


def other_activation(op: PlainOp) -> None:
    op.get_submodule("expand").act = nn.ReLU6()
    op.get_submodule("depthwise").act = nn.ReLU6()


def other_gate(op: PlainOp) -> None:
    """Squeeze to fewer channels than a quarter: the key does not say so, the parameters do."""
    rebuilt = [
        dataclasses.replace(
            layer,
            in_channels=8 if layer.name == "excite" else layer.in_channels,
            out_channels=8 if layer.name == "reduce" else layer.out_channels,
        )
        for layer in op.layers
    ]
    become(op, PlainOp(rebuilt))


def become(op: PlainOp, other: PlainOp) -> None:
    op.layers = other.layers
    for name in list(op._modules):
        delattr(op, name)
    for name, module in other.named_children():
        op.add_module(name, module)


WRONG: dict[str, Callable[[PlainOp], None]] = {
    "another kernel": other_kernel,
    "another activation": other_activation,
    "another gate": other_gate,
}


def gated_block(subnet: Subnet) -> int:
    """Return the place of a block with squeeze-excite, shortcut and a kernel that is not 5."""
    return next(at for at, op in enumerate(ops_of(subnet)) if op.se and op.stride == 1 and op.kernel == 7)


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_module_is_seen(fault: str, tiny: SearchSpace) -> None:
    subnet = tiny.corner("max")
    network = extract(build(tiny), subnet)
    place = gated_block(subnet)
    op = network.ops[place]
    assert isinstance(op, PlainOp)
    WRONG[fault](op)
    found = walk(network, blank(subnet))
    assert [at for at, pair in enumerate(zip(found, expected(subnet), strict=True)) if pair[0] != pair[1]] == [place]


@pytest.mark.parametrize("parts", [{"se": False}, {"mid": (64,)}, {"act": "hswish"}], ids=["no se", "width", "act"])
def test_a_module_of_another_op_walks_to_that_ops_key(parts: dict[str, Any], tiny: SearchSpace) -> None:
    subnet = tiny.corner("max")
    network, place = extract(build(tiny), subnet), gated_block(subnet)
    op = ops_of(subnet)[place]
    network.ops[place] = PlainOp(layers_of(dataclasses.replace(op, **parts)))
    found = walk(network.eval(), blank(subnet))[place].key
    assert found == dataclasses.replace(op, **parts).key != op.key


DIFFERENT: dict[str, dict[str, dict[str, Any]]] = {
    "no activation after the sum": {"add": {"act": None}},
    "another pool": {"pool": {"kernel": 3}},
    "stride on the first convolution": {"reduce": {"stride": 2}, "conv": {"stride": 1}},
    "activation before the sum": {"expand": {"act": "relu"}},
    "activation of the shortcut": {"shortcut": {"act": "relu"}},
    "no norm in the shortcut": {"shortcut": {"norm": False}},
}


@pytest.mark.parametrize("fault", DIFFERENT)
def test_a_bottleneck_that_differs_is_no_network(fault: str) -> None:
    subnet = SPACES["resnet50 w0.2"].corner("min")
    network, place = extract(build(subnet.space), subnet), 1 + subnet.depths[0]
    layers = layers_of(ops_of(subnet)[place])
    assert [layer.name for layer in layers] == ["reduce", "conv", "expand", "pool", "shortcut", "add"]
    network.ops[place] = PlainOp([dataclasses.replace(each, **DIFFERENT[fault].get(each.name, {})) for each in layers])
    with pytest.raises(AssertionError):
        walk(network.eval(), blank(subnet))


def test_a_network_that_lacks_a_part_is_no_network(tiny: SearchSpace) -> None:
    subnet = tiny.corner("max")
    place = gated_block(subnet)
    layers = layers_of(ops_of(subnet)[place])
    no_shortcut = layers[:-1]
    no_norm = tuple(dataclasses.replace(layer, norm=False) for layer in layers)
    for wrong in (no_shortcut, no_norm):
        network = extract(build(tiny), subnet)
        network.ops[place] = PlainOp(wrong)
        with pytest.raises(AssertionError):
            walk(network.eval(), blank(subnet))
