"""Devices reached by a shell and a program: this computer, and stand-ins for the programs, which say that they are."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.inventory import Device
from harness.native.devices import native
from harness.native.transport import Native

HERE = Path(__file__).parent
SOURCES = {
    "benchmark_model": "stand_in_benchmark_model.py",
    "ort_perf_test": "stand_in_perf_test.py",
    "trtexec": "stand_in_trtexec.py",
}
NEEDED = {"benchmark_model": "ai_edge_litert", "ort_perf_test": "onnxruntime", "trtexec": "onnx"}
USUAL = {"benchmark_model": "new", "ort_perf_test": "new", "trtexec": "10"}


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of stand-ins as one executable file, of a style and with a fault."""

    def make(runtime: str = "benchmark_model", style: str = "", fault: str = "none") -> Path:
        for package in (NEEDED[runtime], "onnx"):
            pytest.importorskip(package, reason=f"the package '{package}' is not installed")
        source = (HERE / SOURCES[runtime]).read_text()
        usual = USUAL[runtime]
        style = style or usual
        source = source.replace(f'STYLE = "{usual}"', f'STYLE = "{style}"')
        source = source.replace('FAULT = "none"', f'FAULT = "{fault}"')
        path = tmp_path / f"{runtime}-{style}-{fault.replace(' ', '-')}"
        path.write_text(f"#!{sys.executable}\n{source}")
        return path

    return make


@pytest.fixture
def beside(program: Callable[..., Path], tmp_path: Path) -> Callable[..., Device]:
    """Return a maker of devices; short runs, and changes to the way there."""

    def make(
        runtime: Any = "benchmark_model",
        style: str = "",
        fault: str = "none",
        **changes: Any,
    ) -> Device:
        path = program(runtime, style, fault)
        device = native("this-computer", tmp_path / "files", runtime=runtime, program=path)
        assert isinstance(device.transport, Native)
        way = replace(device.transport, warm_s=0.01, run_s=0.02, **changes)
        return replace(device, transport=way)

    return make
