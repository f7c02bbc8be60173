"""What `onnxruntime_perf_test` says and writes, old and new; and whatever else comes, without a crash."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.header import conditions_slug
from harness.native import ort_perf_test
from harness.native.ort_perf_test import after_warming, again, argv, calls_of, read
from harness.native.runs import CannotRun, Use, Wanted, of_calls
from harness.plan import Item, Plan, Reference, Way
from harness.ways import check_use, settled
from ofa.errors import UsageInvalid

WANTED = Wanted(warm_calls=2, warm_s=0.0, calls=3, least_s=0.1)

# Arm's learning path on onnxruntime with SME2 prints this of a newer build.
NEW = """Setting intra_op_num_threads to 1
Session creation time cost: 0.217932 s
First inference time cost: 196 ms
Total inference time cost: 0.49481 s
Total inference requests: 5
Average inference time cost total: 98.961997 ms
Peak working set size: 271122432 bytes
Min Latency: 0.0958204 s
Max Latency: 0.101519 s
P50 Latency: 0.0995086 s
P95 Latency: 0.101519 s
"""
# microsoft/onnxruntime issue 17313 and pull request 2798: older builds.
OLD = """Session creation time cost:1.84149 s
Total time cost: 58.8053
Total iterations: 1000
Average time cost: 58.8053 ms
Min Latency is 0.0559777sec
Max Latency is 0.0623472 sec
P50 Latency is 0.0587108 sec
"""
# microsoft/onnxruntime, performance_runner.cc: what a call leaves; pull request 26313 added a column.
CALLS = "".join(f"models,with comma,{s},158171136,68,{n}\n" for n, s in enumerate((0.0101, 0.0099, 0.01)))
MORE_COLUMNS = "models,0.0001,0.0101,158171136,68,0\nmodels,0.0001,0.0099,158171136,68,1\n"
STATISTICS = "\nMin Latency: 0.0099 s\nP50 Latency: 0.01 s\n"


def test_each_call_is_read_from_a_result_of_either_form() -> None:
    assert calls_of((CALLS + STATISTICS).encode()) == ([10_100_000, 9_900_000, 10_000_000], 154_464)
    assert calls_of(MORE_COLUMNS.encode())[0] == [10_100_000, 9_900_000]
    found = read(NEW, CALLS.encode(), Wanted(warm_calls=1, warm_s=0.0, calls=2, least_s=0), Use())
    assert (found.calls, found.min_ns, found.known) == (2, 9_900_000, "each")
    assert (found.load_ns, found.first_ns, found.peak_rss_kib) == (217_932_000, 196_000_000, 154_464)


def test_without_a_result_file_the_text_is_a_summary() -> None:
    found = read(OLD, b"", WANTED, Use())
    assert (found.calls, found.min_ns, found.p10_ns, found.p95_ns) == (1000, 55_977_700, 55_977_700, 62_347_200)
    assert (found.known, found.load_ns) == ("min", 1_841_490_000)
    assert read(NEW, b"", WANTED, Use()).first_ns == 196_000_000


@pytest.mark.parametrize(
    ("text", "result", "why"),
    [
        ("", CALLS, "how long loading took"),
        (NEW, CALLS.replace(",1\n", ",7\n"), "line 2 of its result"),
        (NEW, "models,nan,1,1,0\n", "is no number"),
        (NEW, "models,-1,1,1,0\n", "a time of"),
        (NEW, "text", "line 1 of its result"),
        ("Session creation time cost: 1 s", "", "names no times"),
    ],
)
def test_what_is_no_result_is_refused(text: str, result: str, why: str) -> None:
    with pytest.raises(CannotRun, match=why):
        read(text, result.encode(), WANTED, Use())


def test_the_warm_up_is_left_out_and_enough_is_kept() -> None:
    wanted = Wanted(warm_calls=1, warm_s=0.002, calls=2, least_s=0)
    assert after_warming([10**6] * 5, wanted) == [10**6] * 3
    assert after_warming([10**6] * 2, wanted) == [10**6] * 2
    short = of_calls([10**5] * 10, load_ns=1, first_ns=1)
    assert again(short, WANTED) == 1000
    assert again(of_calls([10**9] * 3, load_ns=1, first_ns=1), WANTED) is None


def test_arguments_are_the_documented_ones() -> None:
    words = argv("perf_test", frozenset(), "/t/a.onnx", "/t/r", WANTED, Use(way=Way(threads=4)))
    assert " ".join(words) == "-I -e cpu -m times -r 5 -x 4 -y 1 -o 99 -s /t/a.onnx /t/r"
    assert argv("perf_test", frozenset(), "a", "r", WANTED, Use(way=Way(kernels="xnnpack")))[2] == "xnnpack"
    npu = argv("perf_test", frozenset(), "a", "r", WANTED, Use(way=Way(unit="npu", kernels="qnn"), libraries="/t/libs"))
    assert "session.disable_cpu_ep_fallback|1" in npu and "backend_path|/t/libs/libQnnHtp.so" in npu
    half = argv("perf_test", frozenset(), "a", "r", WANTED, Use(way=Way(unit="npu", kernels="qnn", precision="fp16")))
    assert "backend_path|libQnnHtp.so enable_htp_fp16_precision|1" in half
    half = argv("perf_test", frozenset(), "a", "r", WANTED, Use(way=Way(unit="npu", kernels="nnapi", precision="fp16")))
    assert "NNAPI_FLAG_CPU_DISABLED NNAPI_FLAG_USE_FP16" in half
    with pytest.raises(CannotRun, match="relax a network to fp16"):
        argv("perf_test", frozenset(), "a", "r", WANTED, Use(way=Way(unit="gpu", kernels="qnn", precision="fp16")))
    nnapi = argv("perf_test", frozenset(), "a", "r", WANTED, Use(way=Way(unit="npu", kernels="nnapi")))
    assert nnapi[2] == "nnapi" and "NNAPI_FLAG_CPU_DISABLED" in nnapi and "session.disable_cpu_ep_fallback|1" in nnapi
    with pytest.raises(CannotRun, match="provider 'qnn' is none for a cpu"):
        argv("perf_test", frozenset(), "a", "r", WANTED, Use(way=Way(kernels="qnn")))
    assert ort_perf_test.tool_of("perf_test [options...] model_path result_file") and not ort_perf_test.tool_of("ls")


def test_an_op_that_falls_to_the_cpu_is_unsupported() -> None:
    said = "nodes that are assigned to the default CPU EP, but fallback to CPU EP has been explicitly disabled by"
    with pytest.raises(CannotRun, match=r"^unsupported: the npu does not run all of it; it said"):
        read(said, b"", WANTED, Use(way=Way(unit="npu")))


PIECES = st.sampled_from([*OLD.splitlines(), *NEW.splitlines(), *CALLS.splitlines(), "", ",,,,", "Min Latency: e"])
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=40)), max_size=20).map("\n".join)


@pytest.mark.slow
@given(TEXTS, st.one_of(TEXTS.map(str.encode), st.binary(max_size=100)))
@settings(max_examples=200, deadline=None)
def test_anything_gives_times_or_a_reason(text: str, result: bytes) -> None:
    try:
        found = read(text, result, WANTED, Use())
    except CannotRun as fault:
        assert 0 < len(str(fault)) <= 1000
    else:
        assert 0 < found.min_ns <= found.p10_ns <= found.median_ns <= found.p95_ns


def test_a_provider_is_the_kernels_of_a_way_and_names_its_table() -> None:
    assert [settled("ort_perf_test", Way(unit=unit)).kernels for unit in ("cpu", "gpu", "npu")] == [
        "default",
        "qnn",
        "nnapi",
    ]
    for way, said in (
        (Way(unit="gpu", kernels="nnapi"), "no kernels called 'nnapi' on the gpu"),
        (Way(unit="npu", kernels="qnn"), "cannot be measured in fp32"),
        (Way(precision="fp16"), "cannot be measured in fp16"),
    ):
        with pytest.raises(UsageInvalid, match=said):
            check_use("ort_perf_test", way)
    item = Item(key="a.n1", kind="op", state="hot", file="0" * 64)
    plan = Plan(
        device="x",
        runtime="ort_perf_test",
        rounds=1,
        seed=0,
        items=(item,),
        reference=Reference(key="a", file="0" * 64),
    )
    slugs = {
        conditions_slug(plan.model_copy(update={"unit": unit, "kernels": kernels}), {})
        for unit, kernels in (("cpu", "default"), ("cpu", "xnnpack"), ("gpu", "qnn"), ("npu", "qnn"), ("npu", "nnapi"))
    }
    assert slugs == {"cpu-1t", "xnnpack-1t", "gpu-qnn-1t", "npu-qnn-1t", "npu-nnapi-1t"}
