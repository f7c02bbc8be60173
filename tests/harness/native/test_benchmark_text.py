"""What `benchmark_model` says, in golden texts of its versions; and whatever else comes, without a crash or a hang."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.native import benchmark_model, wire
from harness.native.benchmark_text import of_result, of_text, read, refused_ops
from harness.native.runs import CannotRun, Timed, Use, Wanted
from harness.plan import Way

WANTED = Wanted(warm_calls=2, warm_s=0.2, calls=16, least_s=0.3)

# google-ai-edge/LiteRT, tflite/tools/benchmark/README.md and benchmark_model.cc: the text before percentiles.
OLD = """STARTING!
Min num runs: [50]
Loaded model /data/local/tmp/mobilenet_quant_v1_224.tflite
The input model file size (MB): 4.27635
Initialized session in 1.859ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=6 first=94012 curr=80112 min=80050 max=94012 avg=83500.2 std=4871

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=79449 curr=81350 min=77385 max=88213 avg=79732 std=1929

Inference timings in us: Init: 1859, First inference: 94012, Warmup (avg): 83500.2, Inference (avg): 79732
Memory footprint delta from the start of the tool (MB): init=3.8 overall=7.1
Overall peak memory footprint (MB) via periodic monitoring: 12.5
"""
# Older still: the means in one line, in another order.
OLDEST = """Initialized session in 1.859ms
count=1 curr=94012
count=50 first=79449 curr=81350 min=77385 max=88213 avg=79732 std=1929
Average inference timings in us: Warmup: 94012, Init: 1859, Inference: 79732
"""
# Texas Instruments' guide to TensorFlow Lite on the AM62x prints this of a newer build, each line with its level.
NEW = """INFO: STARTING!
INFO: Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the delegate w/ 1 kernels.
INFO: Initialized session in 614.333ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1 curr=905463 p5=905463 median=905463 p95=905463
INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=900416 curr=898333 min=898007 max=906121 avg=899641 std=1549 p5=898333 median=899281 p95=904305
INFO: Inference timings in us: Init: 614333, First inference: 905463, Warmup (avg): 905463, Inference (avg): 899641
"""
# google-ai-edge/LiteRT, litert/tools/benchmark_litert_model.h: the tool for compiled models.
COMPILED = """INFO: [benchmark_litert_model.h:72]
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:73] Model initialization: 48.20 ms
INFO: [benchmark_litert_model.h:74] Warmup (first):       9.10 ms
INFO: [benchmark_litert_model.h:76] Warmup (avg):         8.33 ms (60 runs)
INFO: [benchmark_litert_model.h:78] Inference (avg):      8.02 ms (125 runs)
INFO: [benchmark_litert_model.h:82] Inference (min):      7.91 ms
INFO: [benchmark_litert_model.h:84] Inference (max):      8.60 ms
INFO: [benchmark_litert_model.h:86] Inference (std):      0.05
INFO: [benchmark_litert_model.h:91] Peak memory:          31.50 MB
"""
# The lists of the GPU delegate: tensorflow/lite/delegates/gpu, older ("Next", "on the CPU") and newer.
PARTIAL = """ERROR: Following operations are not supported by GPU delegate:
CUSTOM TFLite_Detection_PostProcess: TFLite_Detection_PostProcess
DEQUANTIZE:
TRANSPOSE_CONV: Max version supported: 3. Requested version 4.
123 operations will run on the GPU, and the remaining 156 operations will run on the CPU.
ERROR: Disallowed CPU fallback detected.
ERROR: Benchmarking failed.
"""


def test_old_text_is_a_summary_of_which_the_minimum_is_known() -> None:
    found = of_text(OLD)
    assert found == Timed(
        calls=50, min_ns=77_385_000, p10_ns=77_385_000, p20_ns=77_385_000, median_ns=79_732_000, p95_ns=88_213_000,
        load_ns=1_859_000, first_ns=94_012_000, known="min", peak_rss_kib=12_800,
    )  # fmt: skip
    oldest = of_text(OLDEST)
    assert (oldest.min_ns, oldest.load_ns, oldest.first_ns) == (77_385_000, 1_859_000, 94_012_000)


def test_new_text_has_percentiles_whatever_stands_before_its_lines() -> None:
    for text in (NEW, NEW.replace("INFO: ", "11-28 10:00:01.123  4711  4711 I tflite  : "), NEW.replace("INFO: ", "")):
        found = of_text(text)
        assert (found.min_ns, found.p10_ns, found.median_ns) == (898_007_000, 898_333_000, 899_281_000)
        assert (found.p95_ns, found.calls, found.known) == (904_305_000, 50, "p5")


def test_calls_that_were_all_the_same_and_unknown_keys_are_read() -> None:
    counts = next(line for line in OLD.splitlines() if line.startswith("count=50"))
    same = "count=20 curr=41(all same) p5=41 median=41 p95=41 p99=41 mode=2"
    found = of_text(OLD.replace(counts, same).replace("(avg): 79732", "(avg): 41"))
    assert (found.min_ns, found.p95_ns, found.calls) == (41_000, 41_000, 20)
    large = of_text(OLD.replace("avg=79732", "avg=7.9732e+04"))
    assert large.median_ns == 79_732_000


def test_the_block_of_compiled_models_is_used_where_a_hundredth_of_a_ms_is_fine_enough() -> None:
    found = of_text(COMPILED)
    assert (found.min_ns, found.median_ns, found.calls, found.known) == (7_910_000, 8_020_000, 125, "min")
    assert (found.load_ns, found.first_ns, found.peak_rss_kib) == (48_200_000, 9_100_000, 32_256)
    with pytest.raises(CannotRun, match="hundredths of a ms"):
        of_text(COMPILED.replace("7.91 ms", "0.08 ms"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no times"),
        (OLD.replace("count=50", "count=0"), "names no times"),
        (OLD.replace("min=77385", "min=99999"), "contradicts itself"),
        (OLD.replace("(avg): 79732", "(avg): 12"), "two different means"),
        (OLD.replace("max=88213", "max=1e300"), "a time of"),
        (OLD.replace("Init: 1859,", "").replace("Initialized session in 1.859ms.", ""), "how long loading took"),
        (NEW.replace("p95=904305", "p95=999999999"), "contradicts itself"),
    ],
)
def test_what_contradicts_itself_or_lacks_something_is_refused(text: str, why: str) -> None:
    with pytest.raises(CannotRun, match=why):
        read(text, b"")


def test_a_delegate_that_takes_a_part_is_unsupported_on_a_gpu_and_usual_on_a_cpu() -> None:
    ops = ["CUSTOM TFLite_Detection_PostProcess", "DEQUANTIZE", "TRANSPOSE_CONV"]
    assert refused_ops(PARTIAL) == ops
    with pytest.raises(CannotRun, match=r"^unsupported: the gpu .* TRANSPOSE_CONV; it said: .*Disallowed"):
        read(PARTIAL, b"", "gpu")
    # A version that goes on all the same, with times of both units together.
    with pytest.raises(CannotRun, match=r"^unsupported: the npu"):
        read(NEW.replace("XNNPACK", "NNAPI"), b"", "npu")
    many = [f"OP_{'X' * 50}{number}: no" for number in range(100)]
    with pytest.raises(CannotRun) as refused:
        read("\n".join([PARTIAL.splitlines()[0], *many, *PARTIAL.splitlines()[4:]]), b"", "gpu")
    assert len(str(refused.value)) <= 900 and str(refused.value).endswith("Benchmarking failed.")
    with pytest.raises(CannotRun, match=r"^its gpu cannot be used"):
        read("GPU acceleration is unsupported on this platform.\nDisallowed CPU fallback detected.", b"", "gpu")
    assert read(NEW, b"").calls == 50


def result(**changes: float) -> bytes:
    """Return a BenchmarkResult as google-ai-edge/LiteRT's proto/benchmark_result.proto numbers its fields."""
    ms = {"avg": 0.135, "min": 0.121, "max": 0.2, "std": 0.01, "median": 0.13, "p5": 0.122, "p95": 0.18, "init": 5.0,
          "first": 0.3, "warm": 0.14, **changes}  # fmt: skip
    latency = b"".join(bytes([n << 3 | 5]) + struct.pack("<f", value) for n, value in enumerate(ms.values(), 1))
    misc = bytes([2 << 3, 0xE8, 0x07])
    named = bytes([1 << 3 | 2, 4]) + b"name"
    unknown = bytes([9 << 3 | 1]) + bytes(8)
    return named + bytes([2 << 3 | 2, len(latency)]) + latency + unknown + bytes([4 << 3 | 2, len(misc)]) + misc


def test_a_result_file_has_every_digit_and_fields_we_do_not_know() -> None:
    found = of_result(result())
    assert (found.min_ns, found.p10_ns, found.median_ns, found.p95_ns) == (121_000, 122_000, 130_000, 180_000)
    assert (found.calls, found.load_ns, found.first_ns, found.known) == (1000, 5_000_000, 300_000, "p5")
    assert read("no times at all", result()) == found
    with pytest.raises(CannotRun, match="contradicts itself"):
        of_result(result(min=5.0))
    with pytest.raises(CannotRun, match="cannot be read"):
        read(OLD, result()[:-1])


@pytest.mark.parametrize(
    ("style", "use", "has", "lacks"),
    [
        ("interpreter", Use(way=Way(threads=4)),
         ["--num_threads=4", "--use_xnnpack=true"], ["require_full", "use_gpu"]),
        ("interpreter", Use(way=Way(kernels="builtin")), ["--use_xnnpack=false"], ["require_full"]),
        ("interpreter", Use(way=Way(unit="gpu")), ["--use_gpu=true", "--gpu_precision_loss_allowed=false"], []),
        ("interpreter", Use(way=Way(unit="gpu", precision="fp16")), ["--gpu_precision_loss_allowed=true"], ["nnapi"]),
        ("interpreter", Use(way=Way(unit="npu"), accelerator="google-edgetpu"),
         ["--use_nnapi=true", "--nnapi_accelerator_name=google-edgetpu", "--nnapi_allow_fp16=false"], ["use_gpu"]),
        ("compiled_model", Use(), ["--use_cpu=true", "--use_npu=false"], ["require_full"]),
        ("compiled_model", Use(way=Way(unit="gpu", precision="fp16")),
         ["--use_cpu=false", "--allow_fp16=true"], ["use_xnn"]),
        ("compiled_model", Use(way=Way(unit="npu"), libraries="/data/local/tmp/npu"),
         ["--use_npu=true", "--dispatch_library_path=/data/local/tmp/npu"], ["nnapi"]),
    ],
)  # fmt: skip
def test_flags_are_the_documented_ones(style: str, use: Use, has: list[str], lacks: list[str]) -> None:
    flags = frozenset(
        ["graph", "num_threads", "num_runs", "min_secs", "max_secs", "warmup_runs", "warmup_min_secs", "use_gpu",
         "require_full_delegation", "result_file_path", "report_peak_memory_footprint"]
        + (["use_xnnpack", "use_nnapi", "gpu_precision_loss_allowed", "nnapi_accelerator_name", "nnapi_allow_fp16"]
           if style == "interpreter" else ["use_cpu", "use_npu", "allow_fp16", "dispatch_library_path"])
    )  # fmt: skip
    assert benchmark_model.tool_of(" ".join(f"--{flag}=x" for flag in flags)) == style
    words = benchmark_model.argv(style, flags, "/there/a.tflite", "/there/r", WANTED, use)
    assert {"--graph=/there/a.tflite", "--num_runs=16", "--min_secs=0.3", "--warmup_runs=2", *has} <= set(words)
    assert ("--require_full_delegation=true" in words) == (use.way.unit != "cpu")
    assert not [word for word in words if any(part in word for part in lacks)]
    with pytest.raises(CannotRun, match="has no --num_threads"):
        benchmark_model.argv(style, flags - {"num_threads"}, "a", "r", WANTED, use)


def test_what_a_tool_cannot_do_is_refused_and_other_programs_are_known() -> None:
    every = frozenset(["graph"])
    with pytest.raises(CannotRun, match="fp16"):
        benchmark_model.argv("interpreter", every, "a", "r", WANTED, Use(way=Way(precision="fp16")))
    with pytest.raises(CannotRun, match="no other kernels"):
        benchmark_model.argv("compiled_model", every, "a", "r", WANTED, Use(way=Way(kernels="builtin")))
    assert benchmark_model.tool_of("usage: trtexec --onnx=model --iterations=10") is None


PIECES = st.sampled_from(
    [*OLD.splitlines(), *NEW.splitlines(), *COMPILED.splitlines(), *PARTIAL.splitlines(), "count=", "=", " p5=", "e+"]
)


@pytest.mark.slow
@given(st.lists(st.one_of(PIECES, st.text(max_size=60)), max_size=30), st.sampled_from(["cpu", "gpu", "npu"]))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_times_or_a_reason(lines: list[str], unit: str) -> None:
    try:
        found = read("\n".join(lines), b"", unit)  # type: ignore[arg-type]
    except CannotRun as fault:
        assert 0 < len(str(fault)) <= 1000
    else:
        assert 0 < found.min_ns <= found.p10_ns <= found.p20_ns <= found.median_ns <= found.p95_ns <= 10**13


@pytest.mark.slow
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=40).map(lambda tail: result()[:-3] + tail)))
@settings(max_examples=400, deadline=None)
def test_any_result_file_gives_times_or_a_reason(data: bytes) -> None:
    with contextlib.suppress(CannotRun, ValueError):
        of_result(data)
    with contextlib.suppress(ValueError):
        assert all(number >= 1 for number, _, _ in wire.fields(data))


@pytest.mark.slow
@pytest.mark.parametrize("hostile", ["count=1 " * 100_000, "a=1" * 200_000, "Inference (avg): " + " " * 500_000,
                                     "timings in us: " * 50_000, "1" * 900_000])  # fmt: skip
def test_a_long_hostile_text_ends_at_once(hostile: str) -> None:
    with pytest.raises(CannotRun):
        read(hostile, b"", "gpu")
