"""A numpy reference for every layer, one op of every form at odd and even sizes, and the runtimes that work here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ofa.space as spaces
from ofa.errors import PackageMissing
from ofa.graphs import run
from ofa.graphs.ir import Weights
from ofa.space.layers import Layer, layers_of
from ofa.space.ops import Op, ops_of

Array = NDArray[Any]
Reference = Callable[[Sequence[Op], Sequence[Mapping[str, Weights]], Array], Array]

TOLERANCE = 1e-4
# Input sizes whose maps are even and odd in turn: 36 18 9 5 3, 40 20 10 5 3, 33 17 9 5 3, 28 14 7 4 2.
SIZES = (36, 40, 33, 28)

ACTS: dict[str | None, Callable[[Array], Array]] = {
    None: lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "relu6": lambda v: np.clip(v, 0, 6),
    "hswish": lambda v: v * np.clip(v + 3, 0, 6) / 6,
    "hsigmoid": lambda v: np.clip(v + 3, 0, 6) / 6,
}


@pytest.fixture(scope="session")
def exact_integers() -> None:
    """Skip where onnxruntime adds pairs of int8 products in 16 bits: on x86 without VNNI they saturate."""
    try:
        known = Path("/proc/cpuinfo").read_text()
    except OSError:
        return
    if " avx2 " in known and "vnni" not in known:
        pytest.skip("this CPU has no VNNI: onnxruntime's int8 sums saturate, and no file can be held to its float one")


def windows(x: Array, layer: Layer, outside: float) -> list[tuple[int, int, Array]]:
    """Return (row, column, values[n, c, out, out]) for each place of a kernel; what lies beyond is ``outside``."""
    before = 0 if layer.kind == "avgpool" else layer.kernel // 2
    span = (layer.out_size - 1) * layer.stride + 1
    edge = max(0, span + layer.kernel - 1 - before - layer.in_size)
    wide = np.pad(x, ((0, 0), (0, 0), (before, edge), (before, edge)), constant_values=outside)
    places = [(i, j) for i in range(layer.kernel) for j in range(layer.kernel)]
    return [(i, j, wide[:, :, i : i + span : layer.stride, j : j + span : layer.stride]) for i, j in places]


def convolve(layer: Layer, x: Array, weight: Array) -> Array:
    if layer.groups == layer.in_channels == layer.out_channels and layer.groups > 1:
        return sum(v * weight[:, 0, i, j][None, :, None, None] for i, j, v in windows(x, layer, 0.0))  # type: ignore
    assert layer.groups == 1
    return sum(np.tensordot(weight[:, :, i, j], v, (1, 1)).swapaxes(0, 1) for i, j, v in windows(x, layer, 0.0))  # type: ignore


def compute(layer: Layer, read: list[Array], weights: Mapping[str, Weights]) -> Array:
    """Compute one layer and its activation in float64."""
    return ACTS[layer.act](before_activation(layer, read, weights))


def before_activation(layer: Layer, read: list[Array], weights: Mapping[str, Weights]) -> Array:
    """Compute one layer in float64."""
    x = read[0]
    match layer.kind:
        case "conv":
            weight, bias = weights[layer.name]
            value = convolve(layer, x, weight.astype(np.float64))
            value = value if bias is None else value + bias[None, :, None, None]
        case "linear":
            weight, bias = weights[layer.name]
            value = x.reshape(len(x), -1) @ weight.astype(np.float64).T + (0 if bias is None else bias)
        case "gap":
            value = x.mean((2, 3), keepdims=True)
        case "maxpool":
            value = np.max([v for _, _, v in windows(x, layer, -np.inf)], axis=0)
        case "avgpool":
            value = np.nanmean([v for _, _, v in windows(x, layer, np.nan)], axis=0)
        case "mul":
            value = x * read[1]
        case "add":
            value = x + read[1]
        case other:
            raise AssertionError(other)
    return value


@pytest.fixture(scope="session")
def reference() -> Reference:
    """Return what ops compute, by numpy alone: (ops, weights, NCHW images) to the output in float64."""

    def network(ops: Sequence[Op], weights: Sequence[Mapping[str, Weights]], images: Array) -> Array:
        x = images.astype(np.float64)
        for op, own in zip(ops, weights, strict=True):
            values = {"x": x}
            for layer in layers_of(op):
                values[layer.name] = x = compute(layer, [values[name] for name in layer.inputs], own)
                assert x.shape[1] == layer.out_channels and x.shape[2:] in ((), (layer.out_size,) * 2)
        return x

    return network


@pytest.fixture(scope="session")
def values() -> Callable[[Op, Mapping[str, Weights], Array], dict[str, Array]]:
    """Return all values inside an op, by numpy alone: each layer's result, and that before its h-swish as ".plain"."""

    def inside(op: Op, weights: Mapping[str, Weights], images: Array) -> dict[str, Array]:
        found = {"x": images.astype(np.float64)}
        for layer in layers_of(op):
            plain = before_activation(layer, [found[name] for name in layer.inputs], weights)
            found[layer.name] = ACTS[layer.act](plain)
            if layer.act == "hswish":
                found[f"{layer.name}.plain"] = plain
        return found

    return inside


@pytest.fixture(scope="session")
def cosine() -> Callable[[Array, Array], float]:
    """Return the cosine between two arrays of one shape, each as one vector."""

    def measure(found: Array, expected: Array) -> float:
        assert found.shape == expected.shape
        a, b = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    return measure


@pytest.fixture(scope="session")
def parity() -> Callable[[Array, Array], float]:
    """Return max|difference| / max|expected|."""

    def measure(found: Array, expected: Array) -> float:
        assert found.shape == expected.shape
        return float(np.abs(found - expected).max() / np.abs(expected).max())

    return measure


@pytest.fixture
def working() -> Callable[[run.Runtime], run.Runtime]:
    """Return the runtime, or skip where its package is not installed."""

    def check(runtime: run.Runtime) -> run.Runtime:
        try:
            run.version(runtime)
        except PackageMissing as fault:
            pytest.skip(fault.what)
        return runtime

    return check


def form(op: Op) -> str:
    """Name what makes an op compute differently from another, but for its width."""
    names = "-".join(layer.name for layer in layers_of(op))
    return f"{op.kind}.k{op.kernel}.s{op.stride}.{op.act}.{'odd' if op.in_size % 2 else 'even'}.{names}"


def every_form() -> dict[str, Op]:
    """Return one op of every form that the spaces have, at small sizes."""
    found: dict[str, Op] = {}
    for name in ("mobilenet_v3", "proxyless", "resnet50"):
        space = spaces.load(name, classes=10)
        rng = np.random.default_rng(1)
        genomes = spaces.sample.random(space, 12, rng)
        for subnet in [space.corner("min"), space.corner("max"), *map(space.subnet, genomes)]:
            for size in SIZES:
                for op in ops_of(subnet, size):
                    found.setdefault(form(op), op)
    return dict(sorted(found.items()))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``op`` on one op of every form."""
    if "op" in metafunc.fixturenames:
        ops = every_form()
        metafunc.parametrize("op", list(ops.values()), ids=list(ops))


@pytest.fixture(scope="session")
def every_op() -> dict[str, Op]:
    """Return the ops that tests asking for ``op`` run on, by form."""
    return every_form()


@pytest.fixture(scope="session")
def networks() -> list[tuple[Op, ...]]:
    """Return the ops of 20 random small networks and of 3 of MobileNetV3 at 128 px."""
    rng = np.random.default_rng(3)
    tiny = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    large = spaces.load("mobilenet_v3")
    found = [ops_of(tiny.subnet(genome)) for genome in spaces.sample.random(tiny, 20, rng)]
    return found + [ops_of(large.subnet(genome), 128) for genome in spaces.sample.random(large, 3, rng)]
