"""The programs there are, by the one word that each has everywhere as a runtime."""

from __future__ import annotations

from harness.native import benchmark_model, ort_perf_test, trtexec
from harness.native.runs import Program
from harness.plan import RuntimeName

PROGRAMS: dict[RuntimeName, Program] = {
    "benchmark_model": benchmark_model.PROGRAM,
    "ort_perf_test": ort_perf_test.PROGRAM,
    "trtexec": trtexec.PROGRAM,
}
