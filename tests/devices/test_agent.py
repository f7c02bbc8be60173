"""The agent's contract with a host: what it answers, what it refuses, when it ends."""

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

AGENT = Path(__file__).parents[2] / "devices" / "agent"
Exchange = Callable[..., tuple[list[dict[str, Any]], int]]

PARAMETERS = {
    "warm_calls": 1, "cold_cycles": 3, "hot_bursts": 2, "burst_least": 2, "burst_most": 4, "burst_us": 50,
    "reference_every": 2, "canary_calls": 2, "canary_us": 0, "soak_s": 0, "seed": 7,
}  # fmt: skip


def line(**request: object) -> bytes:
    return json.dumps(request).encode() + b"\n"


def bench(number: int, **changes: object) -> bytes:
    request = {
        "do": "bench", "runtime": "onnxruntime", "kernels": "default", "threads": 1, "parameters": PARAMETERS,
        "reference": "empty", "items": [[0, "cold", "empty"], [1, "hot", "empty"]],
    }  # fmt: skip
    return line(id=number, **{**request, **changes})


def footprint(number: int, **changes: object) -> bytes:
    request = {"do": "footprint", "runtime": "onnxruntime", "kernels": "default", "threads": 1, "file": "empty"}
    return line(id=number, **{**request, **changes})


def test_it_parses_as_python_3_6() -> None:
    for path in AGENT.rglob("*.py"):
        ast.parse(path.read_text(), str(path), feature_version=(3, 6))


def test_it_imports_only_the_standard_library_and_itself() -> None:
    own = {path.stem for path in AGENT.iterdir()}
    for path in AGENT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in own | set(sys.stdlib_module_names), f"{path} imports {name}"


def test_hello_states_the_protocol_and_imports_no_runtime(exchange: Exchange, python: str) -> None:
    records, code = exchange(python, line(id=1, do="hello"))
    assert code == 0 and len(records) == 1
    hello = records[0]
    assert (hello["id"], hello["ev"], hello["protocol"], hello["runtimes"]) == (1, "hello", 2, [])
    assert hello["environment"]["cores"] != 0 and hello["clocks"]["wall_cost_ns"] > 0


def test_a_runtime_that_is_not_there_is_a_reason_and_not_a_fault(exchange: Exchange, python: str) -> None:
    records, _ = exchange(python, line(id=1, do="hello", runtimes=["bogus", "litert"]), PYTHONPATH="")
    bogus, litert = records[0]["runtimes"]
    assert not bogus["ready"] and "no adapter" in bogus["reason"]
    assert litert["ready"] or litert["reason"]


def test_faulty_requests_are_answered_by_errors_and_the_agent_lives_on(exchange: Exchange, python: str) -> None:
    faulty = [
        b"not json\n",
        b"[1, 2]\n",
        b'{"do":"hello"}\n',
        b"\xff\xfe\n",
        line(id=5, do="dance"),
        line(id=6, do="hello", runtimes="all"),
        line(id=7, do="bench"),
        bench(8, runtime="bogus"),
        bench(9, items=[]),
        bench(10, items=[[0, "hot", "../../etc/passwd"]]),
        bench(11, items=[[0, "warm", "empty"]]),
        bench(12, items=[[-1, "hot", "empty"]]),
        bench(13, threads=True),
        bench(14, parameters={**PARAMETERS, "cold_cycles": 0}),
        bench(15, parameters={**PARAMETERS, "extra": 1}),
        bench(16, reference="/etc/passwd"),
        footprint(18, runtime="bogus"),
        footprint(19, threads=0),
        footprint(20, file="../../etc/passwd"),
        footprint(21, kernels=None),
        b'{"id":17,"do":"hello","pad":"' + b"x" * (5 << 20) + b'"}\n',
    ]
    records, code = exchange(python, b"".join(faulty) + line(id=99, do="hello"))
    assert code == 0
    assert [record["ev"] for record in records] == ["error"] * len(faulty) + ["hello"]
    assert [record["id"] for record in records[4:16]] == list(range(5, 17))
    assert [record["id"] for record in records[16:20]] == list(range(18, 22))
    assert "longer than" in records[20]["reason"] and "'items'" in records[8]["reason"]
    assert "'file'" in records[18]["reason"]


def test_stop_ends_it_at_once(exchange: Exchange, python: str) -> None:
    records, code = exchange(python, line(id=1, do="stop") + line(id=2, do="hello"))
    assert code == 0 and [record["ev"] for record in records] == ["stopped"]


def test_a_missing_runtime_makes_a_bench_an_error(exchange: Exchange, python: str) -> None:
    if python == sys.executable:
        pytest.skip("this Python may have the runtime")
    records, _ = exchange(python, bench(1))
    assert records[-1]["ev"] == "error" and "reference" in records[-1]["reason"]


def test_a_bench_gives_each_item_once_and_a_reference_per_state(exchange: Exchange) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    absent = "0" * 64
    # A plan has up to 200,000 items, and a batch may hold any of them.
    items = [[0, "cold", "empty"], [199_999, "hot", "empty"], [2, "hot", absent]]
    records, _ = exchange(sys.executable, bench(1, items=items))
    kinds = [record["ev"] for record in records if record["ev"] != "progress"]
    assert kinds == ["failed", "sample", "reference", "sample", "reference", "done"]
    samples = {record["item"]: record for record in records if record["ev"] == "sample"}
    assert samples[0]["calls"] == 3 and 4 <= samples[199_999]["calls"] <= 8
    assert 0 < samples[0]["wall_min_ns"] <= samples[0]["wall_median_ns"]
    assert records[-1]["samples"] == 2 and records[-1]["failed"] == 1


@pytest.mark.parametrize("ballast_mib", [0, 300])
def test_a_footprint_is_of_the_process_and_not_of_its_parent(exchange: Exchange, ballast_mib: int) -> None:
    """What a child held at its peak is passed on by ru_maxrss; here it is a parent of 300 MiB."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    ballast = b"x" * (ballast_mib << 20)
    records, code = exchange(sys.executable, footprint(1))
    assert code == 0 and len(ballast) == ballast_mib << 20
    assert [record["ev"] for record in records] == ["footprint"] and records[0]["reason"] is None
    assert 10 << 10 < records[0]["peak_rss_kib"] < 200 << 10


@pytest.mark.slow
def test_a_network_without_a_footprint_has_a_reason(exchange: Exchange, python: str) -> None:
    records, code = exchange(python, footprint(1, file="0" * 64) + footprint(2, runtime="torch"), PYTHONPATH="")
    assert code == 0 and records[0]["peak_rss_kib"] is None and "FileNotFoundError" in records[0]["reason"]
    assert (records[1]["peak_rss_kib"] is None) == bool(records[1]["reason"])


def test_a_file_whose_content_is_not_its_name_is_not_run(exchange: Exchange, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    name = "1" * 64
    (tmp_path / name).write_bytes(b"something else")
    records, _ = exchange(sys.executable, bench(1, items=[[0, "hot", name]]))
    failed = next(record for record in records if record["ev"] == "failed")
    assert "does not match its name" in failed["reason"]


def test_what_a_runtime_prints_stays_off_the_channel(exchange: Exchange, tmp_path: Path) -> None:
    noisy = "import os\nprint('python noise')\nos.write(1, b'native noise\\n')\n__version__ = '1.20.0'\n"
    (tmp_path / "onnxruntime.py").write_text(noisy)
    records, code = exchange(sys.executable, line(id=1, do="hello", runtimes=["onnxruntime"]), PYTHONPATH=str(tmp_path))
    assert code == 0 and len(records) == 1 and records[0]["ev"] == "hello"


@pytest.mark.slow
def test_it_leaves_in_mid_measurement_when_the_host_is_gone(agent_archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    process = subprocess.Popen(
        [sys.executable, str(agent_archive), "--files", str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    long_parameters = {**PARAMETERS, "hot_bursts": 1000, "burst_least": 10000, "burst_most": 10000}
    items = [[index, "hot", "empty"] for index in range(20)]
    process.stdin.write(bench(1, parameters=long_parameters, items=items))
    process.stdin.flush()
    assert b"progress" in process.stdout.readline()
    process.stdin.close()
    try:
        assert process.wait(timeout=20) == 0
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def test_litert_is_probed_by_constructing_and_not_by_import(exchange: Exchange, tmp_path: Path) -> None:
    """Under numpy 2, tflite_runtime imports and its Interpreter raises SystemError."""
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '2.14.0'\n")
    (package / "interpreter.py").write_text(
        "class Interpreter:\n    def __init__(self, **_):\n        raise SystemError('_ARRAY_API not found')\n"
    )
    records, _ = exchange(sys.executable, line(id=1, do="hello", runtimes=["tflite_runtime"]), PYTHONPATH=str(tmp_path))
    found = records[0]["runtimes"][0]
    assert found["name"] == "tflite_runtime" and not found["ready"]
    assert "_ARRAY_API" in found["reason"] or "numpy" in found["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "litert", "tflite_runtime", "torch"])
def test_each_runtime_that_is_installed_runs_its_empty_network(exchange: Exchange, runtime: str) -> None:
    records, _ = exchange(sys.executable, line(id=1, do="hello", runtimes=[runtime]) + bench(2, runtime=runtime))
    found = records[0]["runtimes"][0]
    if not found["ready"]:
        pytest.skip(f"{runtime} is not usable here: {found['reason']}")
    assert found["version"] and records[-1]["ev"] == "done" and records[-1]["samples"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "litert", "tflite_runtime", "torch"])
def test_a_large_input_and_output_cost_more(exchange: Exchange, runtime: str) -> None:
    asked = bench(2, runtime=runtime, items=[[0, "hot", "empty"], [1, "hot", "io"]])
    records, _ = exchange(sys.executable, line(id=1, do="hello", runtimes=[runtime]) + asked)
    if not records[0]["runtimes"][0]["ready"]:
        pytest.skip(f"{runtime} is not usable here: {records[0]['runtimes'][0]['reason']}")
    least = {record["item"]: record["wall_min_ns"] for record in records if record["ev"] == "sample"}
    # Nothing reads and writes 150,528 floats in less than a microsecond.
    assert least[1] > least[0] + 1000
