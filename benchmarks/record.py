"""The record of a benchmark: what was measured, with which command and versions, on what kind of machine, and when."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from harness.ledger import versions
from ofa.files import readable_json, write_atomic

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scipy", "xgboost-cpu", "torch", "onnxruntime", "ai-edge-litert", "pydantic")


def record(name: str, what: str, found: dict[str, Any], arguments: str = "", *, script: str | None = None) -> None:
    """Write and print a result; ``arguments`` are those of the command of its ``script``, by default of its name."""
    content = {
        "what": what,
        "result": found,
        "command": f"python benchmarks/{script or name}.py {arguments}".rstrip(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine(),
        "versions": versions(*PACKAGES),
    }
    write_atomic(RESULTS / f"{name}.json", readable_json(content))
    sys.stdout.write(readable_json(content))


def known(name: str) -> dict[str, Any]:
    """Return what a result holds already; nothing where there is none."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text())["result"]) if path.exists() else {}


def machine() -> dict[str, Any]:
    """Return what kind of machine this is; nothing that names it."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_gib),
        "system": f"{platform.system()} {platform.machine()}",
        "load_1min": round(os.getloadavg()[0], 2),
    }


def cpu_s(run: Callable[[], object], repeats: int = 5) -> float:
    """Return the median CPU time of some calls, s."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return median(taken)
