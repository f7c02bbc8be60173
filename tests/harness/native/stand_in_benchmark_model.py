"""A stand-in for `benchmark_model`: it truly runs the .tflite file with ai_edge_litert, and prints the documented text.

It is test code and no build of the real program. STYLE is which text it prints: "old" (no percentiles), "new", or
"compiled" (LiteRT's tool for compiled models, with its result file). FAULT is what goes wrong, if anything.
"""

import math
import os
import statistics
import struct
import sys
import time
from collections.abc import Callable

STYLE = "new"
FAULT = "none"
HELP = {
    "graph": "", "num_threads": "-1", "num_runs": "50", "min_secs": "1", "max_secs": "150", "warmup_runs": "1",
    "warmup_min_secs": "0.5", "use_gpu": "false", "require_full_delegation": "false",
}  # fmt: skip
MORE = {
    "old": {"use_xnnpack": "false", "use_nnapi": "false", "gpu_precision_loss_allowed": "true"},
    "new": {
        "use_xnnpack": "false", "use_nnapi": "false", "gpu_precision_loss_allowed": "true",
        "nnapi_accelerator_name": "", "nnapi_allow_fp16": "false", "report_peak_memory_footprint": "false",
    },
    "compiled": {"use_cpu": "true", "use_npu": "false", "allow_fp16": "true", "result_file_path": ""},
}  # fmt: skip


def say(text: str) -> None:
    print(f"INFO: {text}", file=sys.stderr)


def usage() -> int:
    print("usage: stand-in for benchmark_model (test code)\nFlags:")
    for name, default in {**HELP, **MORE[STYLE]}.items():
        print(f"\t--{name}={default}\tstring\toptional\t")
    return 0


def counts(times_us: list[int]) -> str:
    ordered = sorted(times_us)
    percentiles = "".join(
        f" {name}={ordered[(len(ordered) - 1) * share // 100]}"
        for name, share in (("p5", 5), ("median", 50), ("p95", 95))
    )
    percentiles = "" if STYLE == "old" else percentiles
    if len(times_us) == 1:
        return f"count=1 curr={times_us[0]}{percentiles}"
    if len(set(times_us)) == 1:
        return f"count={len(times_us)} curr={times_us[0]}(all same){percentiles}"
    mean, deviation = statistics.fmean(times_us), round(statistics.pstdev(times_us))
    ends = f"first={times_us[0]} curr={times_us[-1]} min={ordered[0]} max={ordered[-1]}"
    return f"count={len(times_us)} {ends} avg={mean:g} std={deviation}{percentiles}"


def timed(run: Callable[[], None], least: int, least_s: float, most_s: float) -> list[int]:
    say(f"Running benchmark for at least {least} iterations and at least {least_s:g} seconds but terminate if")
    times_us: list[int] = []
    began = time.perf_counter()
    while len(times_us) < least or time.perf_counter() - began < least_s:
        start = time.perf_counter()
        run()
        times_us.append(int(1e6 * (time.perf_counter() - start)))
        if time.perf_counter() - began > most_s:
            break
    say(counts(times_us))
    return times_us


def peak_mb() -> float:
    with open("/proc/self/status") as stream:
        line = next(line for line in stream if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def field(number: int, value: float) -> bytes:
    return bytes([number << 3 | 5]) + struct.pack("<f", value)


def result(init_us: int, warm: list[int], times: list[int]) -> bytes:
    """Return a BenchmarkResult with latency_metrics (2), memory_metrics (3) and misc_metrics (4)."""
    ordered = sorted(times)
    shares = [ordered[(len(ordered) - 1) * share // 100] for share in (50, 5, 95)]
    values = [statistics.fmean(times), ordered[0], ordered[-1], statistics.pstdev(times), *shares, init_us, warm[0]]
    latency = b"".join(field(number, value / 1000) for number, value in enumerate(values, 1))
    memory = field(3, peak_mb())
    misc = bytes([2 << 3, len(times) & 0x7F | 0x80, len(times) >> 7]) if len(times) > 127 else bytes([16, len(times)])
    parts = ((2, latency), (3, memory), (4, misc))
    return b"".join(bytes([number << 3 | 2, len(part)]) + part for number, part in parts)


def delegated(flags: dict[str, str]) -> bool:
    """Say what a delegate took; there is none here, so a GPU is one that takes all or all but two kinds of op."""
    unit = next((unit for unit in ("gpu", "nnapi", "npu") if flags.get(f"use_{unit}") == "true"), None)
    if unit is None:
        return True
    # "partial", or "partial 1500000": of files of more bytes only.
    if FAULT.startswith("partial") and os.path.getsize(flags["graph"]) > int(FAULT.partition(" ")[2] or 0):
        print("ERROR: Following operations are not supported by GPU delegate:", file=sys.stderr)
        print("HARD_SWISH: Operation is not supported.\nMEAN: Only axes 1 and 2.", file=sys.stderr)
        print("40 operations will run on the GPU, and the remaining 7 operations will run on the CPU.", file=sys.stderr)
        if flags["require_full_delegation"] == "true":
            print("ERROR: Disallowed CPU fallback detected.", file=sys.stderr)
            return False
    say(f"Explicitly applied {unit.upper()} delegate, and the model graph will be completely executed by the delegate.")
    return True


def main(arguments: list[str]) -> int:
    flags = {**HELP, **MORE[STYLE]}
    if "--help" in arguments:
        return usage()
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        flags[name] = value
    if not delegated(flags):
        return 1
    if FAULT == "garbage":
        sys.stdout.buffer.write(b"\xff\x00count=\n" * 1000)
        return 0
    if FAULT == "dies":
        print("Aborted (core dumped)", file=sys.stderr)
        return 134
    from ai_edge_litert.interpreter import Interpreter

    start = time.perf_counter()
    interpreter = Interpreter(model_path=flags["graph"], num_threads=max(1, int(flags["num_threads"])))
    interpreter.allocate_tensors()
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(tensor["index"], tensor["dtype"](0) + 0 * interpreter.get_tensor(tensor["index"]))
    init_us = int(1e6 * (time.perf_counter() - start))
    say(f"Initialized session in {init_us / 1000:g}ms.")
    warm = timed(interpreter.invoke, int(flags["warmup_runs"]), float(flags["warmup_min_secs"]), 150)
    times = timed(interpreter.invoke, int(flags["num_runs"]), float(flags["min_secs"]), float(flags["max_secs"]))
    report(flags, init_us, warm, times)
    return 0


def report(flags: dict[str, str], init_us: int, warm: list[int], times: list[int]) -> None:
    mean, warm_mean = statistics.fmean(times), statistics.fmean(warm)
    if STYLE == "old":
        say(f"Average inference timings in us: Warmup: {warm_mean:g}, Init: {init_us}, Inference: {mean:g}")
    elif STYLE == "new":
        say(
            f"Inference timings in us: Init: {init_us}, First inference: {warm[0]}, "
            f"Warmup (avg): {warm_mean:g}, Inference (avg): {mean:g}"
        )
        if flags["report_peak_memory_footprint"] == "true":
            say(f"Overall peak memory footprint (MB) via periodic monitoring: {peak_mb():g}")
    else:
        say("\n========== BENCHMARK RESULTS ==========")
        say(f"Model initialization: {init_us / 1000:.2f} ms")
        say(f"Inference (avg):      {mean / 1000:.2f} ms ({len(times)} runs)")
        say(f"Inference (min):      {min(times) / 1000:.2f} ms")
        say(f"Inference (max):      {max(times) / 1000:.2f} ms")
        if flags["result_file_path"]:
            with open(flags["result_file_path"], "wb") as stream:
                stream.write(result(init_us, warm, times))
    assert math.isfinite(mean)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
