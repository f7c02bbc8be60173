"""The two programs called `benchmark_model`: TFLite's, which drives an interpreter, and LiteRT's, which drives a
compiled model."""

from __future__ import annotations

import re

from harness.native.benchmark_text import read as read_text
from harness.native.runs import CannotRun, Program, Timed, Use, Wanted

INTERPRETER, COMPILED_MODEL = "interpreter", "compiled_model"
FLAG = re.compile(r"--([a-z][a-z0-9_]{1,60})\b")
# What each tool must know for us to have a use for it.
NEEDED = {"graph", "num_runs", "min_secs", "warmup_runs"}


def flags_of(text: str) -> frozenset[str]:
    """Return the flags that a help text names."""
    return frozenset(FLAG.findall(text))


def tool_of(text: str) -> str | None:
    """Return which of the two tools a help text is of; None where it is of neither."""
    flags = flags_of(text)
    if not flags >= NEEDED:
        return None
    if {"use_cpu", "use_npu"} <= flags:
        return COMPILED_MODEL
    return INTERPRETER if flags & {"use_xnnpack", "use_nnapi", "use_gpu", "num_threads"} else None


def argv(tool: str, flags: frozenset[str], graph: str, result: str, wanted: Wanted, use: Use) -> list[str]:
    """Return the arguments that run a network; raises CannotRun where the tool cannot run it in such a way.

    It stops once it has made both the calls and the seconds, or is at the most of them. Fewer flags than are needed
    are an error and never left out: an old version would then measure something else.
    """
    given = {
        "graph": graph,
        "num_threads": str(use.way.threads),
        "num_runs": str(wanted.calls),
        "min_secs": _seconds(wanted.least_s),
        "max_secs": _seconds(wanted.most_s),
        "warmup_runs": str(wanted.warm_calls),
        "warmup_min_secs": _seconds(wanted.warm_s),
        **(_interpreter(flags, use) if tool == INTERPRETER else _compiled_model(use)),
    }
    lacking = sorted(set(given) - flags)
    if lacking:
        raise CannotRun("this benchmark_model has no " + ", ".join(f"--{name}" for name in lacking))
    if "result_file_path" in flags:
        given["result_file_path"] = result
    if "report_peak_memory_footprint" in flags:
        given["report_peak_memory_footprint"] = "true"
    return [f"--{name}={value}" for name, value in given.items()]


def _interpreter(flags: frozenset[str], use: Use) -> dict[str, str]:
    """Return how the interpreter's tool is told what to run on; no second delegate takes what the first one left."""
    if use.way.unit == "cpu":
        if use.way.precision == "fp16":
            raise CannotRun("fp16 is what a GPU or NPU relaxes a network to")
        return {"use_xnnpack": _word(use.way.kernels == "default")}
    full = {"use_xnnpack": "false", "require_full_delegation": "true"}
    relaxed = use.way.precision == "fp16"
    if use.way.unit == "gpu":
        return {"use_gpu": "true", "gpu_precision_loss_allowed": _word(relaxed), **full}
    named = {} if use.accelerator is None else {"nnapi_accelerator_name": use.accelerator}
    # Older versions have another name for it, which newer ones keep for kernels of the CPU.
    allowed = "nnapi_allow_fp16" if "nnapi_allow_fp16" in flags else "allow_fp16"
    return {"use_nnapi": "true", **named, allowed: _word(relaxed), **full}


def _compiled_model(use: Use) -> dict[str, str]:
    """Return how the compiled model's tool is told what to run on; it ends where a CPU may be used and none may be."""
    if use.way.kernels != "default":
        raise CannotRun("the tool for compiled models has no other kernels")
    if use.way.unit == "cpu":
        if use.way.precision == "fp16":
            raise CannotRun("fp16 is what a GPU or NPU relaxes a network to")
        return {"use_cpu": "true", "use_gpu": "false", "use_npu": "false"}
    given = {"use_cpu": "false", "use_gpu": _word(use.way.unit == "gpu"), "use_npu": _word(use.way.unit == "npu")}
    given |= {"allow_fp16": _word(use.way.precision == "fp16"), "require_full_delegation": "true"}
    if use.way.unit == "npu" and use.libraries is not None:
        given |= {"dispatch_library_path": use.libraries}
    return given


def read(text: str, result: bytes, wanted: Wanted, use: Use) -> Timed:
    """Return what a run said; raises CannotRun."""
    return read_text(text, result, use.way.unit)


def again(timed: Timed, wanted: Wanted) -> int | None:
    """Return None: the tool itself goes on until it has timed for long enough."""
    return None


def _word(value: bool) -> str:
    return "true" if value else "false"


def _seconds(value_s: float) -> str:
    return f"{value_s:.6f}".rstrip("0").rstrip(".")


PROGRAM = Program(suffix=".tflite", help=("--help",), tool_of=tool_of, argv=argv, read=read, again=again)
