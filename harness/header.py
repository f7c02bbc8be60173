"""What a measured table says about itself, and the short name of the conditions it was measured under."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from harness.plan import Plan
from ofa.lut.format import Header

# What tables of a tuned device are called by, in this order; its power mode is told anyway.
TUNED = {
    "governor": "performance",
    "lock": "locked",
    "jetson_clocks": "jetson_clocks",
    "fixed_performance": "fixed_performance",
}


def conditions_slug(plan: Plan, environment: Mapping[str, Any]) -> str:
    """Return the short name of what differs between tables of one device, runtime and precision: "xnnpack-1t".

    Which cores it was kept to, a power mode that the device tells, what it was tuned to and the sustained regime stand
    behind it: "cpu-1t-big", "cpu-1t-15w-locked-sustained".
    """
    usual: str = plan.unit
    if plan.unit == "cpu" and plan.runtime in ("litert", "tflite_runtime", "benchmark_model"):
        usual = "xnnpack"
    # A provider of phones drives more than one unit.
    kernels = f"{plan.unit}-{plan.kernels}" if plan.kernels in ("nnapi", "qnn") else plan.kernels
    parts = [usual if kernels == "default" else kernels, f"{plan.threads}t"]
    parts += [plan.cores] if plan.cores is not None else []
    mode = str(environment.get("power_mode", "unreadable")).lower()
    parts += [re.sub(r"[^a-z0-9]+", "_", mode).strip("_")] if mode != "unreadable" else []
    asked = environment.get("tuned", {}).get("asked", {})
    parts += [word for name, word in TUNED.items() if name in asked]
    parts += [plan.protocol.regime] if plan.protocol.regime != "burst" else []
    parts += ["app"] if environment.get("context") == "app" else []
    return "-".join(parts)


def header_of(plan: Plan, statistic: str, first: Mapping[str, Any]) -> Header:
    """Return what a table says about itself: its values are medians over rounds of ``statistic``, ``first`` is the
    record of its first session."""
    return Header(
        device=plan.device,
        runtime=plan.runtime,
        runtime_version=str(first["environment"]["runtime_version"]),
        precision=plan.precision,
        conditions=conditions_slug(plan, first["environment"]),
        environment=first["environment"],
        protocol={
            **plan.protocol.model_dump(),
            "rounds": plan.rounds,
            "seed": plan.seed,
            "statistic": statistic,
            "reference": plan.reference.key,
        },
        simulated=is_simulated(plan, first),
        created=str(first["started_utc"])[:10],
    )


def is_simulated(plan: Plan, session: Mapping[str, Any]) -> bool:
    """Say whether what a session's record stands beside was measured on no real device."""
    # A real runtime whose agent read a recorded tree is no device, either.
    return plan.runtime == "simulated" or "simulated" in session["environment"]
