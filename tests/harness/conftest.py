"""Devices for the host's tests: this computer with the real agent, and a stand-in agent that misbehaves on request."""

import base64
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from report_fixtures import browser

from harness.artefacts import Artefacts, File
from harness.inventory import Device, this_computer
from harness.plan import Item, Plan, Reference, Rounds
from harness.transport.local import Local

STAND_IN = Path(__file__).parent / "stand_in_agent.py"
AGENT = Path(__file__).parents[2] / "devices" / "agent"


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return this_computer(tmp_path / "files")


@pytest.fixture
def stand_in(device: Device) -> Callable[..., Device]:
    """Return a device whose agent is the stand-in with the named fault."""

    def make(fault: str = "none", **environment: str) -> Device:
        assert isinstance(device.transport, Local)
        variables = {**device.transport.environment, "STAND_IN_FAULT": fault, **environment}
        return replace(device, transport=replace(device.transport, agent=STAND_IN, environment=variables))

    return make


@pytest.fixture
def onnx_files(device: Device, onnx_bytes: list[bytes]) -> list[File]:
    """Return the small ONNX files, kept where the device reads them."""
    artefacts = Artefacts(device.transport.files)
    return [artefacts.store(data) for data in onnx_bytes]


@pytest.fixture
def onnx_bytes() -> list[bytes]:
    """Return small ONNX files that differ in their producer's name only: a field appended to the empty network."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    source = (AGENT / "runtimes" / "onnxruntime.py").read_text()
    found = re.search(r'EMPTY_NETWORK = "([^"]+)"', source)
    assert found is not None
    model = base64.b64decode(found.group(1))
    return [model + b"\x12\x02n%d" % number for number in range(6)]


def small_plan(files: list[File] | None = None, **changes: object) -> Plan:
    """Return a plan of six items in two states that takes a fraction of a second a round."""
    names = [file.name for file in files] if files else [f"{number:064x}" for number in range(6)]
    items = [
        Item(key=f"op{number}.n1", kind="op", state=state, file=name)
        for number, name in enumerate(names)
        for state in ("cold", "hot")
    ]
    content = {
        "device": "this-computer", "runtime": "onnxruntime", "rounds": 3, "seed": 5, "items": tuple(items),
        "protocol": Rounds(cold_cycles=4, hot_bursts=2, burst_us=20, rounds_most=1),
        "reference": Reference(key="reference", file=names[0]),
    }  # fmt: skip
    return Plan(**{**content, **changes})  # type: ignore[arg-type]


@pytest.fixture
def plan() -> Callable[..., Plan]:
    return small_plan


@pytest.fixture
def python() -> str:
    return sys.executable


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    program = browser.binary()
    if program is None:
        pytest.skip("the package 'chromium' is not installed")
    with browser.Browser(program, tmp_path_factory.mktemp("profile")) as started:
        yield started
