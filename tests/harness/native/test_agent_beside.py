"""The agent beside a device: it speaks the agent's protocol, and a stand-in for the program truly runs the networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from harness.inventory import Device
from harness.plan import Way
from harness.prepare import check_unit
from harness.protocol import Conversation, Done, Failed, Reference, Sample
from harness.session import ready_runtime
from ofa.errors import MeasurementRefused

PARAMETERS = {
    "warm_calls": 1, "cold_cycles": 3, "hot_bursts": 2, "burst_least": 4, "burst_most": 4, "burst_us": 50,
    "reference_every": 2, "canary_calls": 2, "canary_us": 0, "soak_s": 0, "seed": 7,
}  # fmt: skip
Beside = Callable[..., Device]


def ask(device: Device, **changes: Any) -> list[Any]:
    request = {
        "do": "bench", "runtime": "benchmark_model", "kernels": "default", "precision": "fp32", "threads": 1,
        "parameters": PARAMETERS, "reference": "io", "canaries": {"dispatch": "empty"},
        "items": [[0, "hot", "empty"], [3, "hot", "io"]],
    }  # fmt: skip
    channel = device.transport.open()
    return list(Conversation(channel, device.name).ask({**request, **changes}, patience_s=60))


@pytest.mark.slow
@pytest.mark.parametrize(("style", "statistic"), [("old", "min"), ("new", "p5"), ("compiled", "p5")])
def test_a_hello_tells_the_tool_its_hash_and_what_is_known_of_a_run(beside: Beside, style: str, statistic: str) -> None:
    device = beside(style=style, context="app")
    hello, runtime = ready_runtime(device, "benchmark_model")
    environment = hello.environment
    assert runtime.ready and runtime.version is not None and environment["program_sha256"][:12] in runtime.version
    assert environment["program_tool"] == ("compiled_model" if style == "compiled" else "interpreter")
    assert (environment["calls"], environment["statistic"]) == ("summary", statistic)
    assert (environment["context"], environment["pinned"]) == ("app", "no")
    assert environment["cores"] >= 1 and environment["kernel"] != "unreadable"


@pytest.mark.slow
def test_a_bench_gives_each_item_once_beside_a_reference(beside: Beside) -> None:
    answers = ask(beside())
    samples = {answer.item: answer for answer in answers if isinstance(answer, Sample)}
    assert sorted(samples) == [3] and samples[3].cpu_min_ns is None and samples[3].calls >= 8
    failed = [answer for answer in answers if isinstance(answer, Failed)]
    assert [answer.item for answer in failed] == [0] and "whole µs" in failed[0].reason
    assert [answer.state for answer in answers if isinstance(answer, Reference)] == ["hot"]
    done = answers[-1]
    assert isinstance(done, Done) and (done.samples, done.failed) == (1, 1)
    # A call of a few µs moves by its own steps, which says nothing of the device.
    assert done.canaries == {} and isinstance(done.foreign_cores, float)


@pytest.mark.slow
def test_single_calls_are_told_where_the_program_writes_them_down(beside: Beside) -> None:
    device = beside("ort_perf_test", "old")
    assert ready_runtime(device, "ort_perf_test")[0].environment["calls"] == "each"
    answers = ask(beside("ort_perf_test"), runtime="ort_perf_test", items=[[0, "hot", "io"]], canaries={})
    samples = [answer for answer in answers if isinstance(answer, Sample)]
    assert len(samples) == 1 and samples[0].calls >= 8 and answers[-1].canaries == {}


@pytest.mark.slow
def test_cold_is_answered_by_the_reason_and_the_rest_is_measured(beside: Beside) -> None:
    answers = ask(beside(), items=[[0, "cold", "io"], [1, "hot", "io"]], canaries={})
    failed = [answer for answer in answers if isinstance(answer, Failed)]
    assert [answer.item for answer in failed] == [0] and "hot only" in failed[0].reason
    assert [answer.item for answer in answers if isinstance(answer, Sample)] == [1]


@pytest.mark.slow
def test_a_file_whose_content_is_not_its_name_is_not_run(beside: Beside) -> None:
    device = beside()
    name = "0" * 64
    device.transport.files.mkdir(parents=True, exist_ok=True)
    (device.transport.files / name).write_bytes(b"TFL3")
    answers = ask(device, items=[[0, "hot", name], [1, "hot", "1" * 64], [2, "hot", "io"]], canaries={})
    failed = [answer for answer in answers if isinstance(answer, Failed)]
    assert sorted(answer.item for answer in failed) == [0, 1] and "does not match its name" in failed[0].reason
    assert [answer.item for answer in answers if isinstance(answer, Sample)] == [2]


@pytest.mark.slow
def test_what_a_gpu_does_not_take_whole_is_unsupported_and_names_the_ops(beside: Beside) -> None:
    device = beside(fault="partial")
    _, runtime = ready_runtime(device, "benchmark_model")
    says = runtime.units["gpu"].says
    assert says.startswith("unsupported: the gpu does not run all of it, not HARD_SWISH, MEAN; it said: ")
    assert not runtime.units["gpu"].ready and "Disallowed CPU fallback" in says
    with pytest.raises(MeasurementRefused, match="cannot use the gpu") as refused:
        check_unit(device, runtime, Way(unit="gpu"))
    assert "--program" in refused.value.hints[0]


@pytest.mark.slow
def test_a_unit_is_ready_where_the_network_that_does_nothing_runs_there(beside: Beside) -> None:
    units = ready_runtime(beside(), "benchmark_model")[1].units
    assert {name: (unit.ready, unit.kernels) for name, unit in units.items()} == {
        "gpu": (True, ["default"]),
        "npu": (True, ["default"]),
    }
    device = beside("ort_perf_test")
    units = ready_runtime(device, "ort_perf_test")[1].units
    assert not units["gpu"].ready and units["npu"].says.startswith("nnapi: unsupported: the npu does not run all")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"), [("garbage", "cannot be read: it names no times"), ("dies", "exit code 134; it said: Aborted")]
)
def test_a_program_that_fails_is_a_reason_with_its_words(beside: Beside, fault: str, said: str) -> None:
    channel = beside(fault=fault).transport.open()
    answers = list(Conversation(channel, "x").ask({"do": "hello", "runtimes": ["benchmark_model"]}, patience_s=60))
    assert said in (answers[0].runtimes[0].reason or "") and len(answers[0].runtimes[0].reason) <= 1000


@pytest.mark.slow
def test_memory_is_told_or_has_a_reason(beside: Beside) -> None:
    request = {"runtime": "benchmark_model", "kernels": "default", "precision": "fp32", "threads": 1, "file": "empty"}
    for style, known in (("new", True), ("compiled", True), ("old", False)):
        channel = beside(style=style).transport.open()
        (found,) = Conversation(channel, "x").ask({"do": "footprint", **request}, patience_s=60)
        assert (found.peak_rss_kib is not None) == known and (found.peak_rss_kib or 9999) > 1000


@pytest.mark.slow
def test_a_program_is_pinned_and_it_is_looked_whether_it_was(beside: Beside) -> None:
    device = beside(mask="1")
    assert ready_runtime(device, "benchmark_model")[0].environment["pinned"] == "1"
    done = ask(device, items=[[0, "hot", "io"]], canaries={})[-1]
    assert isinstance(done, Done) and done.state["cores"] == "0"


@pytest.mark.slow
def test_requests_that_are_none_are_errors_and_the_conversation_goes_on(beside: Beside) -> None:
    channel = beside().transport.open()
    bad = (b"", b"{", b"[]", b'{"id": 1}', b'{"id": 1, "do": "party"}', b'{"id": 1, "do": "rest", "seconds": 1e9}')
    for line in (*bad, b'{"id":1,"do":"footprint","runtime":"x","threads":1,"file":"../../etc/passwd"}'):
        channel.send(line, timeout_s=1)
        assert json.loads(channel.receive(timeout_s=1, max_bytes=10_000))["ev"] == "error", line
    channel.send(b'{"id": 7, "do": "stop"}', timeout_s=1)
    assert json.loads(channel.receive(timeout_s=1, max_bytes=1000)) == {"id": 7, "ev": "stopped"}
