"""How each runtime can be used: on which units, there with which kernels, in which precisions; and which one is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.lab import read_lab
from harness.plan import Kernels, Precision, RuntimeName, Unit, Way
from harness.refusals import kernels_unknown, no_runtime, precision_unwritten, unit_unknown

Uses = Mapping[Unit, Mapping[Kernels, tuple[Precision, ...]]]

_TFLITE: Uses = {
    "cpu": {"default": ("fp32", "int8"), "builtin": ("fp32", "int8")},
    "gpu": {"default": ("fp32", "int8")},
    "npu": {"default": ("fp32", "int8")},
}
# The first kernels of a unit are those that run where none are named. fp16 is relaxed fp16: the file is fp32, and the
# runtime computes it in fp16. CUDA kernels of onnxruntime compute in the file's own precision, and have none in int8.
# Of onnxruntime's programs the kernels are its providers: NNAPI chooses its accelerator itself, so it is never called
# a GPU, and a Qualcomm NPU computes floats in fp16 only.
# TensorRT inside onnxruntime lets a DLA leave layers to the GPU without saying which, so there is no npu there.
USES: dict[RuntimeName, Uses] = {
    "onnxruntime": {
        "cpu": {"default": ("fp32", "int8")},
        "gpu": {"cuda": ("fp32",), "tensorrt": ("fp32", "fp16", "int8")},
    },
    "litert": _TFLITE,
    "tflite_runtime": _TFLITE,
    "benchmark_model": {
        "cpu": {"default": ("fp32", "int8"), "builtin": ("fp32", "int8")},
        "gpu": {"default": ("fp32", "fp16", "int8")},
        "npu": {"default": ("fp32", "fp16", "int8")},
    },
    "ort_perf_test": {
        "cpu": {"default": ("fp32", "int8"), "xnnpack": ("fp32", "int8")},
        "gpu": {"qnn": ("fp32",)},
        "npu": {"nnapi": ("fp32", "fp16", "int8"), "qnn": ("fp16", "int8")},
    },
    "trtexec": {"gpu": {"default": ("fp32", "fp16", "int8")}, "npu": {"default": ("fp16", "int8")}},
    "torch": {"cpu": {"default": ("fp32",)}, "gpu": {"default": ("fp32", "fp16")}},
    "simulated": {"cpu": {"default": ("fp32",)}},
}
# TensorRT builds an engine when it loads a network: minutes on a small board, in which nothing is heard.
BUILD_PATIENCE_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Which runtime a device is measured with, and how that is used."""

    runtime: RuntimeName
    way: Way


def use_of(device: str, asked: Mapping[str, Any]) -> Use:
    """Return what a device is measured with: as ``asked`` (None: not), else as the lab's list says, else as usual.

    What the list says is of the runtime it names: where another is asked for, or the same, the list has no say.
    Raises UsageInvalid where nobody names a runtime.
    """
    unit = read_lab().devices.get(device) if asked.get("runtime") is None else None
    said = {} if unit is None else unit.use
    said |= {name: value for name, value in asked.items() if value is not None}
    runtime = said.pop("runtime", None)
    if runtime is None:
        raise no_runtime(device, USES)
    return Use(runtime=runtime, way=settled(runtime, Way(**said)))


def check_use(runtime: RuntimeName, way: Way) -> None:
    """Raise UsageInvalid where a runtime does not run on the unit, has no such kernels there, or not the precision."""
    uses = USES[runtime]
    if way.unit not in uses:
        raise unit_unknown(runtime, way.unit, uses)
    if way.kernels not in uses[way.unit]:
        raise kernels_unknown(runtime, way.kernels, way.unit, uses[way.unit])
    if way.precision not in uses[way.unit][way.kernels]:
        raise precision_unwritten(runtime, way.precision, uses[way.unit][way.kernels])


def first_way(runtime: RuntimeName, unit: Unit | None = None, kernels: Kernels | None = None) -> Way:
    """Return the first way a runtime can be used in, or the first on a unit with some kernels."""
    on = next(iter(USES[runtime])) if unit is None else unit
    by = next(iter(USES[runtime][on])) if kernels is None else kernels
    return Way(unit=on, kernels=by, precision=USES[runtime][on][by][0])


def settled(runtime: RuntimeName, way: Way) -> Way:
    """Return a way with the unit's usual kernels in place of the word "default", where it has none of that name.

    One way has one name: else its measurements would be those of two environments.
    """
    kernels = tuple(USES[runtime].get(way.unit, {}))
    return replace(way, kernels=kernels[0]) if way.kernels == "default" and kernels else way


def patience_s(way: Way, usual_s: float) -> float:
    """Return how long one answer may be waited for, seconds."""
    return max(usual_s, BUILD_PATIENCE_S) if way.kernels == "tensorrt" else usual_s
