"""Searches on the public Note10 tables with the published accuracy predictor, beside the reference's evolution."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import record

import ofa.space as spaces
from ofa.errors import NoSubnetFits
from ofa.search import find, sweep
from ofa.search.answer import THOROUGH
from ofa.search.request import Request, Target, request

LIMITS_MS = (15.0, 20.0, 25.0, 30.0, 35.0)
# None of these was looked at while the search was made.
OTHER_LIMITS_MS = (12.0, 17.5, 22.0, 27.5, 32.0, 40.0, 50.0)
# Seeds that nothing was chosen on, in groups as large as that of the default: ten seeds tell a spread roughly.
FURTHER = range(100, 150)
BELOW_MS, FRONT_MS, FRONT_POINTS = 9.5, 45.0, 20
REFERENCE_SEEDS = 3


def asked(data: Path, at_most_ms: float) -> Request:
    """Return the search of one limit."""
    target = Target(name="note10", paths=(data / "note10",), at_most_ms=at_most_ms)
    whole = spaces.load("mobilenet_v3", width=1.2)
    return request(whole, f"ofa-mlp:{data / 'acc_predictor.npz'}", [target], {}, warn=lambda text: None)


def measured(data: Path, at_most_ms: float, seeds: range, effort: dict[str, Any]) -> dict[str, Any]:
    """Search under one limit with each seed."""
    made = asked(data, at_most_ms)
    best, cpu_s, evaluated = [], [], []
    for seed in seeds:
        began_s = time.process_time()
        found = find(made.part.space, made.accuracy, made.limits, seed=seed, **effort)
        cpu_s.append(time.process_time() - began_s)
        best.append(found.best.accuracy)
        evaluated.append(found.evaluated)
        assert found.best.values["latency"] <= at_most_ms * (1 + 1e-9)
    return {
        "mean": round(float(np.mean(best)), 3),
        "sd": round(float(np.std(best)), 3),
        "least": round(min(best), 3),
        "best": round(max(best), 3),
        "cpu_s_most": round(max(cpu_s), 2),
        "evaluated_mean": round(float(np.mean(evaluated))),
        "seeds": len(seeds),
    }


def scatter(data: Path, at_most_ms: float) -> dict[str, Any]:
    """Search with further seeds, and say how much the answers of ten differ, group by group."""
    tens = [measured(data, at_most_ms, FURTHER[at : at + 10], {}) for at in range(0, len(FURTHER), 10)]
    return {
        "seeds": f"{FURTHER[0]}-{FURTHER[-1]}",
        "mean_of_tens": [ten["mean"] for ten in tens],
        "sd_of_tens": [ten["sd"] for ten in tens],
        "cpu_s_most": max(ten["cpu_s_most"] for ten in tens),
    }


def whole_front(data: Path) -> dict[str, Any]:
    """Search a whole front once."""
    made = asked(data, FRONT_MS)
    began_s, wall_s = time.process_time(), time.perf_counter()
    front = sweep(made.part.space, made.accuracy, made.limits[0], seed=0, points=FRONT_POINTS)
    return {
        "points": len(front.points),
        "cpu_s": round(time.process_time() - began_s, 1),
        "wall_s": round(time.perf_counter() - wall_s, 1),
        "hypervolume": round(front.hypervolume, 2),
        "evaluated": front.evaluated,
        "accuracy": {f"{point.at_most:.2f}": round(point.best.accuracy, 3) for point in front.points},
    }


def impossible(data: Path) -> dict[str, Any]:
    """Ask for what no network meets."""
    began_s = time.process_time()
    try:
        made = asked(data, BELOW_MS)
        find(made.part.space, made.accuracy, made.limits, seed=0)
    except NoSubnetFits as refusal:
        return {"said": refusal.why, "hint": refusal.hints[0], "cpu_s": round(time.process_time() - began_s, 2)}
    raise AssertionError("a limit that no network meets was met")


def reference(checkout: Path | None, data: Path) -> Any:
    """Time the reference's own search in this run, or say why not."""
    if checkout is None or not (checkout / "ofa" / "tutorial").is_dir():
        return "not run: no checkout of the reference was given (--reference PATH)"
    script = Path(__file__).with_name("reference_search.py")
    asked = json.dumps({"limits_ms": LIMITS_MS, "seeds": REFERENCE_SEEDS})
    done = subprocess.run(
        [sys.executable, script, checkout, data, asked], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit("the reference checkout stopped; what it said stands above")
    found = json.loads(done.stdout)
    return {
        limit: {
            "best": max(top1 for top1, _ in each),
            "mean": round(float(np.mean([top1 for top1, _ in each])), 3),
            "sd": round(float(np.std([top1 for top1, _ in each])), 3),
            "cpu_s_most": max(cpu_s for _, cpu_s in each),
            "seeds": len(each),
        }
        for limit, each in found.items()
    }


def main() -> None:
    """Measure all, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with note10/ and acc_predictor.npz")
    parser.add_argument("--reference", type=Path, help="a checkout of mit-han-lab/once-for-all, or its unpacked wheel")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--thorough-seeds", type=int, default=5)
    given = parser.parse_args()
    seeds, few = range(given.seeds), range(given.thorough_seeds)
    found: dict[str, Any] = {
        "impossible": impossible(given.data),
        "default": {f"{ms:g}": measured(given.data, ms, seeds, {}) for ms in LIMITS_MS},
        "default_other_limits": {f"{ms:g}": measured(given.data, ms, seeds, {}) for ms in OTHER_LIMITS_MS},
        "default_further_seeds": {f"{ms:g}": scatter(given.data, ms) for ms in LIMITS_MS},
        "front": whole_front(given.data),
        "thorough": {f"{ms:g}": measured(given.data, ms, few, THOROUGH) for ms in LIMITS_MS},
        "reference": reference(given.reference, given.data),
    }
    record(
        "search_note10",
        "best predicted accuracy, percent, under limits of latency, ms; predictions of a published model, nothing "
        "measured; CPU seconds of one thread",
        found,
        "--data FOLDER" + " --reference PATH" * (given.reference is not None),
    )


if __name__ == "__main__":
    main()
