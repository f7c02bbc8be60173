"""`trtexec`, TensorRT's own program: it builds an engine from an ONNX file for a GPU or a DLA, and times it.

Two builds of one network may choose other kernels. So each run builds anew, without the timings of any other build, and
the rounds of a measurement hold by how much builds differ; only what a round is compared with (the reference, the
canaries) is built once in it. Formats: `samples/common/{sampleOptions,sampleReporting}.cpp` of NVIDIA/TensorRT, and of
a calibration cache its `samples/sampleINT8/README.md` of release 7.
"""

from __future__ import annotations

import re
import struct

from harness.native import trtexec_text
from harness.native.runs import CannotRun, Program, Timed, Use, Wanted, nanoseconds, of_calls, partial, told
from ofa.errors import FileInvalid, PackageMissing

TOOL = "trtexec"
WARM_UP_MS = 500
DURATION_S = 3
# A small board builds a large network for minutes, the kernels of each layer tried in turn.
BUILD_S = 3600.0
# Newer releases have a node for hard swish that the ones of older boards do not know.
OPSET = 13
ENGINE, TIMINGS = "engine", "timings"
NEEDED = {"onnx", "saveEngine", "loadEngine", "exportTimes"}
FLAG = re.compile(r"--([A-Za-z][A-Za-z0-9_]{1,60})\b")
RELEASE = re.compile(r"TensorRT\.trtexec \[TensorRT v(\d{3,7})\]")
TOOK_S = re.compile(r"Engine (?:built|created|loaded|deserialized) in ([0-9][0-9.eE+-]{0,20}) sec")
NOT_ON_DLA = re.compile(r"[Ll]ayer[: ]+\S?(.{1,120}?) is not supported on DLA|\((\w{1,60}): not supported on DLA\)")


def tool_of(text: str) -> str | None:
    """Return the one tool there is; None where a help text is of another program."""
    return TOOL if set(FLAG.findall(text)) >= NEEDED else None


def release(text: str) -> str | None:
    """Return TensorRT's release as the first line of the program says it; before 8 it says none."""
    found = RELEASE.search(text)
    return None if found is None else trtexec_text.version(found[1])


def argv(tool: str, flags: frozenset[str], graph: str, result: str, wanted: Wanted, use: Use) -> list[str]:
    """Return the arguments that build a network and time it, or time the engine that an earlier run built.

    Raises CannotRun for what TensorRT cannot do, and where the program lacks a flag. `--allowGPUFallback` is never
    given: where a DLA cannot run a layer, the build fails.
    """
    given = {"warmUp": str(WARM_UP_MS), "duration": str(DURATION_S), "exportTimes": result}
    named = ["noDataTransfers", "useSpinWait", *_unit(use)]
    if wanted.built is not None:
        given["loadEngine"] = wanted.built
        named = [name for name in named if name not in ("fp16", "int8")]
    else:
        given |= {"onnx": graph, "saveEngine": f"{result}.{ENGINE}"}
        given |= {} if wanted.ranges is None else {"calib": wanted.ranges}
        # Without it the timings of a build are kept nowhere, and each build takes its own all the same.
        given |= {"timingCacheFile": f"{result}.{TIMINGS}"} if "timingCacheFile" in flags else {}
    words = [f"--{name}={value}" for name, value in given.items()]
    words += [f"--{name}" for name in named]
    lacking = sorted({word[2:].partition("=")[0] for word in words} - flags)
    if lacking:
        raise CannotRun("this trtexec has no " + ", ".join(f"--{name}" for name in lacking))
    return words


def _unit(use: Use) -> list[str]:
    """Return the options that say what computes, and in what; raises CannotRun."""
    way = use.way
    if way.unit == "cpu":
        raise CannotRun("TensorRT runs on a GPU or a DLA, and not on a CPU")
    numbers = [] if way.precision == "fp32" else [str(way.precision)]
    if way.unit == "gpu":
        return numbers
    if not numbers:
        raise CannotRun("a DLA does not compute in fp32: it is measured in fp16 or int8")
    # What it has no integers for it computes in fp16: without that the build would fail.
    return [*numbers, *(["fp16"] if way.precision == "int8" else []), "useDLACore=0"]


def apart(data: bytes, version: str | None) -> tuple[bytes, bytes] | None:
    """Return what is brought for an int8 file: one in float32, and a calibration cache; None for one without integers.

    A DLA takes no other, and a GPU none whose zero points are not 0. Raises CannotRun for what is no ONNX file, and
    where the program does not say which release it is of: one reads the caches of its own only.
    """
    # Whoever lists devices loads this file, and need not load what writes models.
    from ofa.graphs import tensorrt

    try:
        found = tensorrt.taken_apart(data)
    except (FileInvalid, PackageMissing) as fault:
        raise CannotRun(f"its int8 file cannot be taken apart: {fault.why}") from fault
    if not found.steps:
        return None
    if version is None:
        raise CannotRun("this trtexec does not say its release, which the cache of an int8 network must name")
    lines = [f"TRT-{trtexec_text.digits(version)}-EntropyCalibration2"]
    lines += [f"{name}: {struct.pack('>f', step).hex()}" for name, step in found.steps.items()]
    return found.data, ("\n".join(lines) + "\n").encode()


def read(text: str, result: bytes, wanted: Wanted, use: Use) -> Timed:
    """Return what a run said: the GPU's or DLA's own compute time of each query after the warm-up.

    Raises CannotRun, also where a DLA leaves layers to the GPU; `load_ns` is 0 where it does not say how long building
    or loading took.
    """
    refused = list(dict.fromkeys(one or other for one, other in NOT_ON_DLA.findall(text)))
    if use.way.unit == "npu" and refused:
        raise partial("npu", refused, text)
    try:
        found = trtexec_text.summary(text)
        if use.way.unit == "npu" and found.on_gpu:
            raise partial("npu", found.on_gpu, text)
        if use.way.unit == "npu" and not found.on_dla and wanted.built is None:
            raise ValueError("it does not say which layers run on the DLA")
        took_ns = trtexec_text.samples_ns(result.decode("utf-8", "replace"), WARM_UP_MS)
    except ValueError as fault:
        raise told(f"what it said cannot be used: {fault}", text) from fault
    took = TOOK_S.search(text)
    load_ns = 0 if took is None else nanoseconds(1e6 * _number(took[1]))
    return of_calls(took_ns, load_ns=load_ns, first_ns=took_ns[0])


def again(timed: Timed, wanted: Wanted) -> int | None:
    """Return None: a run lasts as long as it is told."""
    return None


def _number(text: str) -> float:
    """Return a number; raises CannotRun where it only looks like one."""
    try:
        return float(text)
    except ValueError:
        raise CannotRun(f"'{text[:40]}' is no number") from None


PROGRAM = Program(
    suffix=".onnx",
    help=("--help",),
    tool_of=tool_of,
    argv=argv,
    read=read,
    again=again,
    version=release,
    load_s=BUILD_S,
    builds=(ENGINE, TIMINGS),
    memory=False,
    opset=OPSET,
    apart=apart,
)
