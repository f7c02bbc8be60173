"""A stand-in for trtexec: it prints the documented text of several releases and writes the files it is told to.

It is test code: it builds nothing, and nothing it says is a measurement. Texts have the form of NVIDIA/TensorRT's
`samples/common/sampleReporting.cpp` (8.2 to 10) and of logs of 7.1 and 7.2 that users published; the list of a DLA's
layers has that of the same repository's `samples/sampleCudla/README.md` and of published logs of 8.4.
"""

import json
import os
import sys
from pathlib import Path

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
FORMS = {"7": SEVEN, "8": EIGHT, "10": TEN}
ON_DLA = "[I] [TRT] ---------- Layers Running on DLA ----------\n[I] [TRT] [DlaLayer] {ForeignNode[conv1...pool5]}\n"
ON_GPU = "[I] [TRT] ---------- Layers Running on GPU ----------\n"
LEFT = "[I] [TRT] [GpuLayer] SHUFFLE: shuffle_between\n[I] [TRT] [GpuLayer] CONVOLUTION: fc6\n"
AFTER = "[I] [TRT] [MemUsageChange] Init cuBLAS/cuBLASLt: CPU +0, GPU +8, now: CPU 612, GPU 3520 (MiB)\n"
REFUSED = """[E] Error[4]: [network.cpp::validate::2991] Error Code 4: Internal Error (hswish: not supported on DLA)
&&&& FAILED TensorRT.trtexec [TensorRT v8502] # trtexec
"""


def main(arguments: list[str], fault: str) -> int:
    options = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments)
    if fault == "refused":
        print(REFUSED, end="")
        return 1
    if "useDLACore" in options and fault != "silent":
        print(ON_DLA + ON_GPU + (LEFT if fault == "left" else "") + AFTER, end="")
    number = int(options["saveEngine"].rsplit(".", 2)[1])
    # Builds differ by a percent, as choices of kernels do.
    took_ms = 2.0 * (1 + 0.01 * number)
    entries = [
        {
            "startComputeMs": place * 20.0,
            "endComputeMs": 1.0,
            "computeMs": took_ms * (9 if place < 25 else 1),
            "latencyMs": 1.0,
        }
        for place in range(125)
    ]
    if fault != "no engine":
        Path(options["saveEngine"]).write_text(f"engine {number} of {options['onnx']}")
    if Path(options["timingCacheFile"]).exists():
        print("[I] Loaded timing cache")
    Path(options["timingCacheFile"]).write_text(f"timings {number}")
    Path(options["exportTimes"]).write_text("{}" if fault == "no times" else json.dumps(entries))
    print(FORMS[os.environ.get("STAND_IN_FORM", "10")], end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ.get("STAND_IN_FAULT", "none")))
