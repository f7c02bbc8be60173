"""Running files on this computer: layouts and batches are hidden, and whatever is wrong is said clearly."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.errors import FileInvalid, PackageMissing, UsageInvalid
from ofa.graphs import flatbuffer, onnx, pytorch, run, tflite
from ofa.graphs.ir import Graph, Grid, graph_of
from ofa.space.ops import ops_of

WRITERS = {"onnxruntime": onnx.write, "litert": tflite.write, "tflite_runtime": tflite.write, "torch": pytorch.write}


@pytest.fixture(params=run.RUNTIMES)
def runtime(request: pytest.FixtureRequest, working: Any) -> Any:
    return working(request.param)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return graph_of(ops_of(spaces.load("mobilenet_v3_tiny", classes=10).corner("min")))


def images(graph: Graph, count: int) -> Any:
    shape = (count, graph.input.channels, graph.input.size, graph.input.size)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def test_a_batch_is_its_images_one_by_one(graph: Graph, runtime: run.Runtime) -> None:
    call = run.load(WRITERS[runtime](graph), runtime)
    batch = images(graph, 3)
    together = call(batch)
    assert together.shape == (3, 10) and together.dtype == np.float32
    np.testing.assert_array_equal(together, np.concatenate([call(batch[i : i + 1]) for i in range(3)]))
    assert len(np.unique(together.round(5), axis=0)) == 3


def test_no_images_give_no_rows(graph: Graph, runtime: run.Runtime) -> None:
    found = run.load(WRITERS[runtime](graph), runtime)(images(graph, 0))
    assert found.shape == (0, 10) and found.dtype == np.float32


def test_a_path_and_threads(graph: Graph, runtime: run.Runtime, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(WRITERS[runtime](graph))
    batch = images(graph, 1)
    one, two = run.load(path, runtime)(batch), run.load(str(path), runtime, threads=2)(batch)
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
    run.load(path, runtime)


def test_images_of_another_shape_or_type_are_refused(graph: Graph, runtime: run.Runtime) -> None:
    call = run.load(WRITERS[runtime](graph), runtime)
    for wrong in (images(graph, 1)[:, :, 1:], images(graph, 1)[0], images(graph, 1).astype(np.float64)):
        with pytest.raises(UsageInvalid, match="array of shape"):
            call(wrong)


def test_a_damaged_file_is_refused(graph: Graph, runtime: run.Runtime, tmp_path: Path) -> None:
    path = tmp_path / "model"
    for damaged in (b"", b"scribble" * 20, WRITERS[runtime](graph)[:3000]):
        path.write_bytes(damaged)
        with pytest.raises(FileInvalid, match="cannot be loaded"):
            run.load(path, runtime)
    with pytest.raises(FileInvalid, match="cannot be read"):
        run.load(tmp_path / "absent", runtime)


@pytest.mark.parametrize("runtime", ["litert", "tflite_runtime"])
def test_a_tflite_file_that_takes_integers_is_refused(runtime: run.Runtime, working: Any) -> None:
    working(runtime)
    draft = flatbuffer.Draft()
    grid = Grid(steps=(0.5,))
    tensors = [draft.tensor(name, [1, 2, 2, 1], "INT8", grid=grid) for name in "xy"]
    data = draft.finish([tensors[0]], [draft.operator("HARD_SWISH", [tensors[0]], tensors[1], "HardSwishOptions")])
    with pytest.raises(FileInvalid, match="cannot be loaded") as caught:
        run.load(data, runtime)
    assert "takes int8 and gives int8" in caught.value.why


def test_an_onnx_file_that_takes_integers_is_refused() -> None:
    proto = pytest.importorskip("onnx", reason="the package 'onnx' is not installed")
    values = [proto.helper.make_tensor_value_info(name, proto.TensorProto.INT64, [1, 1, 2, 2]) for name in "xy"]
    body = proto.helper.make_graph([proto.helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:])
    model = proto.helper.make_model(body, opset_imports=[proto.helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(FileInvalid, match="cannot be loaded") as caught:
        run.load(model.SerializeToString(), "onnxruntime")
    assert "takes tensor(int64)" in caught.value.why


def test_watching_shows_every_value_image_by_image(graph: Graph) -> None:
    batch = images(graph, 3)
    seen = list(run.watch(onnx.write(graph, watched=True), batch))
    assert len(seen) == 3 and all(set(values) == set(onnx.watched_values(graph).values()) for values in seen)
    np.testing.assert_allclose(
        np.concatenate([values["y"] for values in seen]), run.load(onnx.write(graph), "onnxruntime")(batch), atol=1e-4
    )


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(UsageInvalid, match="no runtime 'tvm'") as caught:
        run.load(b"", "tvm")  # type: ignore[arg-type]
    assert "litert" in str(caught.value)


@pytest.fixture
def unknown_versions() -> Iterator[None]:
    run.version.cache_clear()
    yield
    run.version.cache_clear()


@pytest.mark.usefixtures("unknown_versions")
@pytest.mark.parametrize("runtime", run.RUNTIMES)
def test_an_absent_runtime_is_named(runtime: run.Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    package = run.TFLITE_PACKAGES.get(runtime, runtime)
    for name in (package, f"{package}.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PackageMissing, match="not installed") as caught:
        run.load(b"", runtime)
    assert caught.value.hints[0].startswith("pip install ")


@pytest.mark.usefixtures("unknown_versions")
def test_a_runtime_that_imports_but_cannot_construct_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tflite-runtime 2.14 does under numpy 2."""

    def fail(**_: object) -> None:
        raise SystemError("initialization of _pywrap_tensorflow_interpreter_wrapper raised unreported exception")

    for name in ("tflite_runtime", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(Interpreter=fail))
    with pytest.raises(PackageMissing, match="does not work here") as caught:
        run.version("tflite_runtime")
    assert "SystemError" in caught.value.why and "numpy<2" in caught.value.hints[0]
