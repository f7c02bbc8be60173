"""A stand-in for trtexec: it prints the documented text of several releases and writes the files it is told to.

It is test code: it builds nothing, and nothing it says is a measurement. It only looks whether an int8 network is in a
form that TensorRT takes (what it says of others is in NVIDIA/TensorRT issue 2774). STYLE is the release whose text it
prints, FAULT what goes wrong, if anything. Texts have the form of NVIDIA/TensorRT's
`samples/common/sampleReporting.cpp` (8.2 to 10) and of logs of 7.1 and 7.2 that users published; the list of a DLA's
layers has that of the same repository's `samples/sampleCudla/README.md` and of published logs of 8.4.
"""

import json
import os
import struct
import sys
from pathlib import Path

STYLE = "10"
FAULT = "none"
FORM = STYLE
SEVEN = """[10/20/2020-19:56:29] [I] Host Latency
[10/20/2020-19:56:29] [I] min: 4.34442 ms (end to end 4.35388 ms)
[10/20/2020-19:56:29] [I] max: 7.12915 ms (end to end 7.14398 ms)
[10/20/2020-19:56:29] [I] mean: 4.52398 ms (end to end 4.53851 ms)
[10/20/2020-19:56:29] [I] median: 4.49951 ms (end to end 4.51025 ms)
[10/20/2020-19:56:29] [I] percentile: 5.46606 ms at 99% (end to end 6.10291 ms at 99%)
[10/20/2020-19:56:29] [I] throughput: 221.7 qps
[10/20/2020-19:56:29] [I] walltime: 3.00956 s
[10/20/2020-19:56:29] [I] Enqueue Time
[10/20/2020-19:56:29] [I] min: 2.3894 ms
[10/20/2020-19:56:29] [I] median: 2.64331 ms
[10/20/2020-19:56:29] [I] GPU Compute
[10/20/2020-19:56:29] [I] min: 4.2439 ms
[10/20/2020-19:56:29] [I] max: 7.02356 ms
[10/20/2020-19:56:29] [I] mean: 4.42492 ms
[10/20/2020-19:56:29] [I] median: 4.40088 ms
[10/20/2020-19:56:29] [I] percentile: 5.36792 ms at 99%
[10/20/2020-19:56:29] [I] total compute time: 2.93372 s
&&&& PASSED TensorRT.trtexec # trtexec
"""
EIGHT = """[05/09/2022-06:27:25] [I] === Performance summary ===
[05/09/2022-06:27:25] [I] Throughput: 476.66 qps
[05/09/2022-06:27:25] [I] Latency: min = 2.05 ms, max = 2.59 ms, mean = 2.09 ms, median = 2.08 ms, percentile(99%) = 2.58 ms
[05/09/2022-06:27:25] [I] End-to-End Host Latency: min = 2.05 ms, max = 2.59 ms, mean = 2.09 ms, median = 2.08 ms, percentile(99%) = 2.58 ms
[05/09/2022-06:27:25] [I] GPU Compute Time: min = 2.04 ms, max = 2.57 ms, mean = 2.07 ms, median = 2.06 ms, percentile(99%) = 2.55 ms
[05/09/2022-06:27:25] [I] Total GPU Compute Time: 2.99956 s
&&&& PASSED TensorRT.trtexec [TensorRT v8401] # trtexec
"""  # noqa: E501
TEN = """[09/02/2024-17:47:04] [I] Throughput: 1574.34 qps
[09/02/2024-17:47:04] [I] Latency: min = 0.94249 ms, max = 1.51343 ms, mean = 0.949318 ms, median = 0.948975 ms, percentile(90%) = 0.951172 ms, percentile(95%) = 0.951843 ms, percentile(99%) = 0.953735 ms
[09/02/2024-17:47:04] [I] GPU Compute Time: min = 0.626678 ms, max = 1.15527 ms, mean = 0.632278 ms, median = 0.631836 ms, percentile(90%) = 0.633789 ms, percentile(95%) = 0.633911 ms, percentile(99%) = 0.634888 ms
[09/02/2024-17:47:04] [W] * Throughput may be bound by Enqueue Time rather than GPU Compute and the GPU may be under-utilized.
&&&& PASSED TensorRT.trtexec [TensorRT v100300] # trtexec
"""  # noqa: E501
ON_DLA = "[I] [TRT] ---------- Layers Running on DLA ----------\n[I] [TRT] [DlaLayer] {ForeignNode[conv1...pool5]}\n"
ON_GPU = "[I] [TRT] ---------- Layers Running on GPU ----------\n"
LEFT = "[I] [TRT] [GpuLayer] SHUFFLE: shuffle_between\n[I] [TRT] [GpuLayer] CONVOLUTION: fc6\n"
AFTER = "[I] [TRT] [MemUsageChange] Init cuBLAS/cuBLASLt: CPU +0, GPU +8, now: CPU 612, GPU 3520 (MiB)\n"
REFUSED = """[E] Error[4]: [network.cpp::validate::2991] Error Code 4: Internal Error (hswish: not supported on DLA)
&&&& FAILED TensorRT.trtexec [TensorRT v8502] # trtexec
"""


SINCE_8 = ("timingCacheFile", "separateProfileRun")
KNOWN = ("onnx", "saveEngine", "loadEngine", "warmUp", "duration", "exportTimes", "useDLACore", "allowGPUFallback",
         "fp16", "int8", "calib", "noDataTransfers", "useSpinWait", "help")  # fmt: skip


def usage() -> int:
    release = {"7": "", "8": " [TensorRT v8401]", "10": " [TensorRT v100300]"}[FORM]
    print(f"&&&& RUNNING TensorRT.trtexec{release} # trtexec --help")
    print("A stand-in (test code)\n=== Model Options ===\n  --onnx=<file>               ONNX model")
    for name in (*KNOWN[1:], *(SINCE_8 if FORM != "7" else ())):
        print(f"  --{name}")
    return 0


def main(arguments: list[str]) -> int:
    options = dict(argument.removeprefix("--").partition("=")[::2] for argument in arguments)
    unknown = set(options) - set(KNOWN) - set(SINCE_8 if FORM != "7" else ())
    if unknown:
        print(f"[E] Unknown option: --{unknown.pop()}\n&&&& FAILED TensorRT.trtexec [TensorRT v8502] # trtexec")
        return 1
    if "help" in options:
        return usage()
    if "allowGPUFallback" in options:
        return 3
    if FAULT == "refused":
        print(REFUSED, end="")
        return 1
    if "int8" in options and (fault := refusal(options)):
        print(f"[E] {fault}\n&&&& FAILED TensorRT.trtexec [TensorRT v8502] # trtexec")
        return 1
    if "loadEngine" in options:
        base_ms, factor = json.loads(Path(options["loadEngine"]).read_text())
        print("[I] Engine loaded in 0.0045 sec.")
    else:
        base_ms, factor = built(options)
    return timed(options, base_ms * factor)


def refusal(options: dict[str, str]) -> str:
    """Return why TensorRT would not build an int8 network; "" where it would."""
    if b"QuantizeLinear" in Path(options["onnx"]).read_bytes():
        return "Assertion failed: TRT only supports symmetric quantization - zeroPt must be all zeros"
    if "calib" not in options:
        return ""
    first, *lines = Path(options["calib"]).read_text().splitlines()
    release = {"8": "8401", "10": "100300"}[FORM]
    if first != f"TRT-{release}-EntropyCalibration2":
        return f"the cache is one of {first}"
    steps = {line.rpartition(": ")[0]: struct.unpack(">f", bytes.fromhex(line[-8:]))[0] for line in lines}
    whole = {"x", "y"} <= set(steps) and all(0 < step < 100 for step in steps.values())
    return "" if whole else "the cache lacks values"


def built(options: dict[str, str]) -> tuple[float, float]:
    """Build an engine: what it takes is by the size of the network, and by a percent another from build to build."""
    size_bytes = Path(options["onnx"]).stat().st_size
    assert size_bytes > 0
    base_ms = (0.2 + size_bytes / 1e6) / (2 if {"fp16", "int8"} & set(options) else 1)
    factor = 1 + (int.from_bytes(os.urandom(4), "big") / 2**32 - 0.5) / 50
    if "useDLACore" in options and FAULT != "silent":
        left = FAULT.startswith("left") and size_bytes > int(FAULT.partition(" ")[2] or 0)
        print(ON_DLA + ON_GPU + (LEFT if left else "") + AFTER, end="")
    if FAULT != "no engine":
        Path(options["saveEngine"]).write_text(json.dumps([base_ms, factor]))
    if "timingCacheFile" in options:
        if Path(options["timingCacheFile"]).exists():
            print("[I] Loaded timing cache")
        Path(options["timingCacheFile"]).write_text(f"timings {factor}")
    if FORM != "7":
        print("[05/09/2022-06:27:20] [I] Engine built in 12.5 sec.")
    return base_ms, factor


def timed(options: dict[str, str], took_ms: float) -> int:
    """Write the times of queries, those of the warm-up nine times as long, and print a summary."""
    entries = [
        {
            "startComputeMs": place * 20.0,
            "endComputeMs": 1.0,
            "computeMs": took_ms * (9 if place * 20.0 < float(options["warmUp"]) else 1) * (1 + 0.001 * (place % 7)),
            "latencyMs": 1.0,
        }
        for place in range(125)
    ]
    Path(options["exportTimes"]).write_text("{}" if FAULT == "no times" else json.dumps(entries))
    print({"7": SEVEN, "8": EIGHT, "10": TEN}[FORM], end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
