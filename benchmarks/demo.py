"""The whole demo in a fresh folder: wall time, peak memory, and every promise it is held to."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import record

from harness import plan as plans
from ofa.files import read_json

RUNTIMES = ("onnxruntime", "litert")
MOST = 64 << 20


def main() -> None:
    """Run the demo, and write the result."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "demo"
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "harness.cli", "demo", "--out", str(folder)], check=True)
        wall_s = time.monotonic() - began
        peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        summary = read_json(folder / "summary.json", max_bytes=MOST, what="summary")
        stages_s = read_json(folder / "run.json", max_bytes=MOST, what="run file")["stages_s"]
        verified = read_json(folder / "verify.json", max_bytes=MOST, what="verification")
        found = {
            "wall_s": round(wall_s),
            "stages_s": {stage: round(seconds) for stage, seconds in stages_s.items()},
            "peak_mib_of_largest_process": round(peak_mib),
            **promises(summary, calibration(folder)),
            "models": summary["models"],
            "noise_floor_pct": {name: verified[name]["floor_pct"] for name in RUNTIMES},
            "rows": [{key: rounded(value) for key, value in row.items() if key != "subnet"} for row in summary["rows"]],
        }
    record("demo", "the demo from nothing: one supernet, two runtimes of this computer, three budgets each", found)


def calibration(folder: Path) -> set[str]:
    """Return the ids of the whole networks that either table was calibrated or checked with."""
    keys = {item.key for name in RUNTIMES for item in plans.read(folder / name / "plan.json").items if item.genome}
    return {key.rpartition(":")[2] for key in keys}


def promises(summary: dict[str, Any], calibrated: set[str]) -> dict[str, Any]:
    """Return what the demo promises, as numbers."""
    rows = summary["rows"]
    low, high = summary["accuracy_spread"]
    latency = [abs(row["predicted_ms"] / row["measured_ms"] - 1) * 100 for row in rows]
    accuracy = [abs(row["predicted_top1"] - row["measured_top1"]) for row in rows]
    over = [100 * (row["measured_lo_ms"] / row["budget_ms"] - 1) for row in rows]
    by_runtime = {name: [row for row in rows if row["runtime"] == name] for name in RUNTIMES}
    ids = {name: [row["subnet_id"] for row in own] for name, own in by_runtime.items()}
    return {
        "accuracy_spread_points": round(high - low, 2),
        "mean_latency_error_pct": round(sum(latency) / len(latency), 2),
        "mean_accuracy_error_points": round(sum(accuracy) / len(accuracy), 2),
        "largest_lower_limit_over_budget_pct": round(max(over), 2),
        "chosen_among_calibration_networks": len({row["subnet_id"] for row in rows} & calibrated),
        "budgets_with_different_networks": sum(a != b for a, b in zip(*ids.values(), strict=True)),
        "measured_top1_by_budget": {name: [row["measured_top1"] for row in own] for name, own in by_runtime.items()},
        "half_width_points": summary["models"]["accuracy"]["half_width_points"],
    }


def rounded(value: Any) -> Any:
    """Return a number to 4 digits after the point, anything else as it is."""
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
