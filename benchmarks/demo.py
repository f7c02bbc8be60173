"""The whole demo in a fresh folder: wall time, peak memory, and every promise it is held to.

    python benchmarks/demo.py [--out FOLDER]

What a demo leaves is kept where a folder is named: `choices.py` and `search_optimum.py` go on from it.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import record

from harness import demo as demos
from harness import plan as plans
from ofa.files import read_json
from ofa.score import standard_error_points

RUNTIMES = ("onnxruntime", "litert")
MOST = 64 << 20


def main() -> None:
    """Run the demo, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a folder that is not there yet; none is kept if not given")
    given = parser.parse_args()
    if given.out is not None and given.out.exists():
        parser.error(f"{given.out} is there already: a demo that goes on from another would be timed in part")
    with tempfile.TemporaryDirectory() as name:
        folder = given.out or Path(name) / "demo"
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "harness.cli", "demo", "--out", str(folder)])
        peak_mib = watched(process)
        wall_s = time.monotonic() - began
        if process.returncode:
            sys.exit(process.returncode)
        summary = read_json(folder / "summary.json", max_bytes=MOST, what="summary")
        stages_s = read_json(folder / "run.json", max_bytes=MOST, what="run file")["stages_s"]
        verified = read_json(folder / "verify.json", max_bytes=MOST, what="verification")
        found = {
            "wall_s": round(wall_s),
            "stages_s": {stage: round(seconds) for stage, seconds in stages_s.items()},
            "peak_mib": round(peak_mib),
            "slower": {name: round(slower, 4) for name, slower in summary["slower"].items()},
            **promises(summary, calibration(folder)),
            "models": summary["models"],
            "noise_floor_pct": {name: verified[name]["floor_pct"] for name in RUNTIMES},
            "rows": [{key: rounded(value) for key, value in row.items() if key != "subnet"} for row in summary["rows"]],
        }
    broken = [name for name, holds in kept(found).items() if not holds]
    found["broken_promises"] = broken
    record("demo", "the demo from nothing: one supernet, two runtimes of this computer, three budgets each", found)
    if broken:
        sys.exit("broken: " + ", ".join(broken))


def watched(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process; return the most memory it and its descendants held together, MiB (sum of resident sets)."""
    peak_mib = 0.0
    while process.poll() is None:
        parents = {}
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                facts = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
                parents[int(facts["Pid"])] = (int(facts["PPid"]), int(facts.get("VmRSS", "0 kB").split()[0]) / 1024)
            except (OSError, ValueError, KeyError):
                continue
        family = {process.pid}
        while more := {pid for pid, (parent, _) in parents.items() if parent in family} - family:
            family |= more
        peak_mib = max(peak_mib, sum(parents[pid][1] for pid in family if pid in parents))
        time.sleep(0.25)
    return peak_mib


def kept(found: dict[str, Any]) -> dict[str, bool]:
    """Say of each promise of the demo whether it holds."""
    tops = found["measured_top1_by_budget"].values()
    return {
        "at most 8 minutes": found["wall_s"] <= 480,
        "at most 3 GiB": found["peak_mib"] <= 3 * 1024,
        "accuracy spread of at least 5 points": found["accuracy_spread_points"] >= 5,
        "latency error of at most 10 %": found["mean_latency_error_pct"] <= 10,
        "accuracy error of at most 3 points": found["mean_accuracy_error_points"] <= 3,
        "no budget exceeded by more than 3 %": found["largest_lower_limit_over_budget_pct"] <= 3,
        "no network chosen that was calibrated with": found["chosen_among_calibration_networks"] == 0,
        "different networks for some budget": found["budgets_with_different_networks"] >= 1,
        "accuracy rises with budget within the intervals of two tests": all(
            after >= before - 2**0.5 * half_interval(before)
            for own in tops
            for before, after in itertools.pairwise(own)
        ),
        "a device as fast as when its table was made, within 10 %": all(
            abs(slower - 1) <= 0.1 for slower in found["slower"].values()
        ),
    }


def half_interval(top1: float) -> float:
    """Return the half width, points, of the 95 % interval of a top-1 accuracy on the demo's test images."""
    return 1.96 * standard_error_points(top1 / 100, demos.settings().test_images)


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
    signed = [row["predicted_top1"] - row["measured_top1"] for row in rows]
    inside = [row["predicted_lo_top1"] <= row["measured_top1"] <= row["predicted_hi_top1"] for row in rows]
    over = [100 * (row["measured_lo_ms"] / row["budget_ms"] - 1) for row in rows]
    by_runtime = {name: [row for row in rows if row["runtime"] == name] for name in RUNTIMES}
    ids = {name: [row["subnet_id"] for row in own] for name, own in by_runtime.items()}
    return {
        "accuracy_spread_points": round(high - low, 2),
        "mean_latency_error_pct": round(sum(latency) / len(latency), 2),
        "mean_accuracy_error_points": round(sum(accuracy) / len(accuracy), 2),
        "mean_signed_accuracy_error_points": round(sum(signed) / len(signed), 2),
        "measured_top1_inside_its_interval": f"{sum(inside)} of {len(inside)}",
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
