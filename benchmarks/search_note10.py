"""Searches on the public Note10 tables with the published accuracy predictor, beside the reference's evolution."""

from __future__ import annotations

import argparse
import json
import os
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
BELOW_MS, FRONT_MS, FRONT_POINTS = 9.5, 45.0, 20
REFERENCE_SEEDS = 3

# Run by the reference's own package, in a process of its own: it is also called `ofa`.
REFERENCE = """
import json, sys, time, types
from pathlib import Path
data, limits, seeds = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
import random, yaml, torch, numpy
load = yaml.load
yaml.load = lambda stream, Loader=yaml.SafeLoader: load(stream, Loader=Loader)
for name in ("gdown", "torchvision", "torchvision.transforms", "torchvision.datasets"):
    sys.modules.setdefault(name, types.ModuleType(name))
from ofa.tutorial import accuracy_predictor as accuracies, latency_table as tables
from ofa.tutorial.evolution_finder import EvolutionFinder
accuracies.download_url = lambda url, **_: str(data / "acc_predictor.pth")
tables.download_url = lambda url, **_: str(data / "note10" / Path(url).name)
predictor = accuracies.AccuracyPredictor(pretrained=True, device="cpu")
table = tables.LatencyTable(device="note10", resolutions=(160, 176, 192, 208, 224))
found = {}
for limit in limits:
    found[limit] = []
    for seed in range(seeds):
        random.seed(seed); numpy.random.seed(seed); torch.manual_seed(seed)
        began = time.process_time()
        finder = EvolutionFinder(constraint_type="latency", efficiency_constraint=limit, mutate_prob=0.1,
            mutation_ratio=0.5, efficiency_predictor=table, accuracy_predictor=predictor, population_size=100,
            max_time_budget=500, parent_ratio=0.25)
        best = finder.run_evolution_search()[1]
        found[limit].append([100 * float(best[0]), time.process_time() - began])
print("FOUND" + json.dumps(found))
"""


def asked(data: Path, at_most_ms: float) -> Request:
    """Return the search of one limit."""
    target = Target(name="note10", paths=(data / "note10",), at_most_ms=at_most_ms)
    whole = spaces.load("mobilenet_v3", width=1.2)
    return request(whole, f"ofa-mlp:{data / 'acc_predictor.npz'}", [target], {}, warn=lambda text: None)


def measured(data: Path, at_most_ms: float, seeds: int, effort: dict[str, Any]) -> dict[str, Any]:
    """Search under one limit with each seed."""
    made = asked(data, at_most_ms)
    best, cpu_s, evaluated = [], [], []
    for seed in range(seeds):
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
        "seeds": seeds,
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
    done = subprocess.run(
        [sys.executable, "-c", REFERENCE, str(data), json.dumps(LIMITS_MS), str(REFERENCE_SEEDS)],
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1:]}"
    return json.loads(done.stdout.rpartition("FOUND")[2])


def main() -> None:
    """Measure all, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with note10/ and acc_predictor.npz")
    parser.add_argument("--reference", type=Path, help="a checkout of mit-han-lab/once-for-all")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--thorough-seeds", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, Any] = {
        "impossible": impossible(given.data),
        "default": {f"{ms:g}": measured(given.data, ms, given.seeds, {}) for ms in LIMITS_MS},
        "default_other_limits": {f"{ms:g}": measured(given.data, ms, given.seeds, {}) for ms in OTHER_LIMITS_MS},
        "front": whole_front(given.data),
        "thorough": {f"{ms:g}": measured(given.data, ms, given.thorough_seeds, THOROUGH) for ms in LIMITS_MS},
        "reference": reference(given.reference, given.data),
    }
    record(
        "search_note10",
        "best predicted accuracy, percent, under limits of latency, ms; predictions of a published model, nothing "
        "measured; CPU seconds of one thread",
        found,
        "--data FOLDER",
    )


if __name__ == "__main__":
    main()
