"""Files are named by their content, built once, in the form the device reads; the agent travels as one archive."""

import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from harness.artefacts import Artefacts, agent_archive, target
from harness.protocol import Runtime


def runtime(name: str, opset: int | None = None, ir_version: int | None = None) -> Runtime:
    return Runtime(name=name, version="1", ready=True, opset=opset, ir_version=ir_version)


def test_storing_twice_keeps_one_file(tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path)
    first, second = artefacts.store(b"model"), artefacts.store(b"model")
    assert first == second and first.size_bytes == 5
    assert artefacts.path(first.name).read_bytes() == b"model" and len(list(tmp_path.iterdir())) == 1


def test_the_devices_opset_is_asked_for_and_never_more_than_we_write() -> None:
    assert target(runtime("onnxruntime", 23, 11)) == {"format": "onnx", "opset": 17, "ir_version": 8}
    assert target(runtime("onnxruntime", 15, 7)) == {"format": "onnx", "opset": 15, "ir_version": 7}
    assert target(runtime("litert")) == target(runtime("tflite_runtime")) == {"format": "tflite"}


def test_the_archive_is_named_by_its_source_and_holds_nothing_else(tmp_path: Path, python: str) -> None:
    archive = agent_archive(tmp_path)
    assert archive == agent_archive(tmp_path) and archive.name.startswith("agent-")
    names = zipfile.ZipFile(archive).namelist()
    assert "__main__.py" in names and all(name.endswith((".py", "/")) for name in names)
    ended = subprocess.run([python, str(archive)], input=b'{"id":1,"do":"hello"}\n', capture_output=True, timeout=30)
    assert b'"ev":"hello"' in ended.stdout


def test_a_file_is_built_once_and_again_when_it_was_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ofa.graphs.ir", reason="needs the package ofa.graphs")
    pytest.importorskip("onnx", reason="needs onnx")
    import ofa.space as spaces
    from harness import artefacts as module
    from ofa.space.ops import ops_of

    ops = ops_of(spaces.load("mobilenet_v3_tiny").corner("min"))
    artefacts = Artefacts(tmp_path)
    built: list[object] = []
    build = module.build

    def count(*given: Any) -> bytes:
        built.append(given)
        return build(*given)

    monkeypatch.setattr(module, "build", count)
    first = artefacts.for_network(ops, runtime("onnxruntime", 17, 8))
    assert artefacts.for_network(ops, runtime("onnxruntime", 23, 11)) == first and len(built) == 1
    artefacts.path(first.name).write_bytes(b"scribble")
    assert artefacts.for_network(ops, runtime("onnxruntime", 17, 8)) == first and len(built) == 2
    assert artefacts.path(first.name).stat().st_size == first.size_bytes
