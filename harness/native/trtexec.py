"""Times whole networks by TensorRT's own program on a GPU or a DLA, each built several times: the choice of kernels
differs from build to build, and the interval holds by how much."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from harness.native import trtexec_text
from harness.native.errors import layers_elsewhere, trtexec_refused, trtexec_unfit
from harness.plan import Precision, Unit
from harness.stats import over_rounds
from ofa.files import MEBIBYTE

# Words, seconds to wait, bytes to read at most; gives the exit code and what was said, both outputs in one. Raises
# DeviceLost.
Execute = Callable[[Sequence[str], float, int], tuple[int, str]]

REBUILDS = 3
WARM_UP_MS = 500
DURATION_S = 3
BUILD_S = 3600.0
QUERY_S = 60.0
MOST_OUTPUT_BYTES = 16 * MEBIBYTE
MOST_TIMES_BYTES = 256 * MEBIBYTE
DIGEST = re.compile(r"^\\?([0-9a-f]{64})\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One network to time: ``model`` is its ONNX file on the device, ``folder`` what engines, caches and times go to.

    ``calibration`` is a calibration cache there: for int8 on a DLA it is needed, on a GPU a file with its own ranges
    (QDQ) does without. ``profile`` also writes the time of each layer, from a run of its own.
    """

    model: str
    folder: str
    unit: Unit = "gpu"
    precision: Precision = "fp16"
    dla_core: int = 0
    calibration: str | None = None
    profile: bool = False

    def path(self, build: int, what: str) -> str:
        """Return where a build keeps its engine, its timing cache, its times or its profile."""
        return str(PurePosixPath(self.folder) / f"{PurePosixPath(self.model).name}.{build}.{what}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One engine, built without the timings of any other, and what it took: ``p10_ns``, ``p95_ns`` of its samples."""

    engine_sha256: str
    timing_cache_sha256: str
    version: str
    throughput_qps: float
    samples: int
    p10_ns: int
    p95_ns: int
    median_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """A network's time on the unit, without copies to it and back: ns with the 95 % interval over its builds."""

    ns: int
    lo: int
    hi: int
    p95_ns: int
    builds: tuple[Build, ...]
    calibration_sha256: str | None


def words(program: str, job: Job, build: int) -> list[str]:
    """Return the command that builds one engine and times it; raises UsageInvalid for what TensorRT cannot do.

    `--allowGPUFallback` is never given: where a DLA cannot run a layer, the build fails.
    """
    if job.unit == "cpu":
        raise trtexec_unfit("it runs on a GPU or a DLA, and not on a CPU")
    if job.unit == "npu" and job.precision == "fp32":
        raise trtexec_unfit("a DLA computes in fp16 or int8, and not in fp32")
    if job.unit == "npu" and job.precision == "int8" and job.calibration is None:
        raise trtexec_unfit("int8 on a DLA needs a calibration cache")
    return [
        program,
        f"--onnx={job.model}",
        f"--saveEngine={job.path(build, 'engine')}",
        f"--timingCacheFile={job.path(build, 'timing')}",
        *([f"--{job.precision}"] if job.precision != "fp32" else []),
        *([f"--calib={job.calibration}"] if job.precision == "int8" and job.calibration is not None else []),
        # A DLA computes some layers of an int8 network in fp16, where it may.
        *([f"--useDLACore={job.dla_core}"] if job.unit == "npu" else []),
        "--noDataTransfers",
        "--useSpinWait",
        f"--warmUp={WARM_UP_MS}",
        f"--duration={DURATION_S}",
        f"--exportTimes={job.path(build, 'times')}",
        *([f"--exportProfile={job.path(build, 'profile')}", "--separateProfileRun"] if job.profile else []),
    ]


def measure(job: Job, execute: Execute, *, device: str, program: str = "trtexec", rebuilds: int = REBUILDS) -> Timing:
    """Build and time a network ``rebuilds`` times, each from nothing, and return what they say together.

    Raises DeviceLost, UsageInvalid, and MeasurementRefused where it cannot be built, where what trtexec says cannot be
    believed, and where a DLA leaves layers to the GPU.
    """
    name = PurePosixPath(job.model).name
    calibration = None if job.calibration is None else _sha256(execute, job.calibration, device, name)
    builds = tuple(_built(job, execute, device, program, number) for number in range(rebuilds))
    estimate = over_rounds([build.p10_ns for build in builds])
    return Timing(
        ns=round(estimate.value),
        lo=round(estimate.lo),
        hi=round(estimate.hi),
        p95_ns=round(float(np.median([build.p95_ns for build in builds]))),
        builds=builds,
        calibration_sha256=calibration,
    )


def _built(job: Job, execute: Execute, device: str, program: str, number: int) -> Build:
    """Build one engine and time it."""
    name = PurePosixPath(job.model).name
    command = words(program, job, number)
    kept = {what: job.path(number, what) for what in ("engine", "timing", "times")}
    # A timing cache that is there would give this build the choices of the one before.
    code, said = execute(["rm", "-f", "--", *kept.values()], QUERY_S, MOST_OUTPUT_BYTES)
    if code != 0:
        raise trtexec_refused(device, name, f"what an earlier build left cannot be removed: {said[-200:]}")
    code, said = execute(command, BUILD_S, MOST_OUTPUT_BYTES)
    try:
        found = trtexec_text.summary(said)
        if code != 0:
            raise ValueError(f"it ended with exit code {code}")
        if job.unit == "npu" and found.on_gpu:
            raise layers_elsewhere(device, name, found.on_gpu)
        if job.unit == "npu" and not found.on_dla:
            raise ValueError("it does not say which layers run on the DLA")
        code, times = execute(["cat", "--", kept["times"]], QUERY_S, MOST_TIMES_BYTES)
        if code != 0:
            raise ValueError("it wrote no times")
        took_ns = trtexec_text.samples_ns(times, WARM_UP_MS)
    except ValueError as fault:
        raise trtexec_refused(device, name, str(fault)) from fault
    p10_ns, p95_ns = np.percentile(took_ns, (10, 95), method="lower")
    return Build(
        engine_sha256=_sha256(execute, kept["engine"], device, name),
        timing_cache_sha256=_sha256(execute, kept["timing"], device, name),
        version=found.version,
        throughput_qps=found.throughput_qps,
        samples=len(took_ns),
        p10_ns=int(p10_ns),
        p95_ns=int(p95_ns),
        median_ms=found.times_ms["compute"]["median"],
    )


def _sha256(execute: Execute, path: str, device: str, name: str) -> str:
    """Return the SHA-256 of a file on the device; raises MeasurementRefused where it is not there."""
    code, said = execute(["sha256sum", "--", path], QUERY_S, MOST_OUTPUT_BYTES)
    found = DIGEST.match(said)
    if code != 0 or found is None:
        raise trtexec_refused(device, name, f"'{PurePosixPath(path).name}' is not there")
    return found[1]


def record(timing: Timing) -> dict[str, Any]:
    """Return what a table's session says of a network's builds."""
    return {
        "engines": [build.engine_sha256 for build in timing.builds],
        "timing_caches": [build.timing_cache_sha256 for build in timing.builds],
        "calibration": timing.calibration_sha256,
        "tensorrt": sorted({build.version for build in timing.builds}),
        "throughput_qps": [build.throughput_qps for build in timing.builds],
        "samples": [build.samples for build in timing.builds],
        "p10_ns": [build.p10_ns for build in timing.builds],
    }
