"""The evolutionary search of a checkout of mit-han-lab/once-for-all: its package is called as ours, so it runs alone.

    python benchmarks/reference_search.py CHECKOUT DATA REQUEST

REQUEST is JSON: ``{"limits_ms": [20.0], "seeds": 3}``; the answer is one line, JSON: by limit, for each seed the best
predicted accuracy, percent, and the CPU seconds it took. DATA holds its tables (``note10/``) and its predictor.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import json
import random
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

# Its search needs none of these; its package imports them all the same.
NOT_NEEDED = ("gdown", "torchvision", "horovod")
RESOLUTIONS = (160, 176, 192, 208, 224)
POPULATION, GENERATIONS = 100, 500


class Nothing(types.ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name: str) -> Any:
        """Return an empty class for any name."""
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``Nothing`` where a package that is not needed is asked for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load a module that is not needed."""
        needed = fullname.partition(".")[0] not in NOT_NEEDED
        return None if needed else importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Return an empty module."""
        return Nothing(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Leave it empty."""


def main() -> None:
    """Search under each limit with each seed, and print what came of it."""
    checkout, data, asked = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    sys.path.insert(0, checkout)
    sys.meta_path.insert(0, Finder())
    answers, sys.stdout = sys.stdout, sys.stderr
    room = "ofa.tutorial"
    names = ("accuracy_predictor", "latency_table", "evolution_finder")
    accuracies, tables, finder = (vars(importlib.import_module(f"{room}.{name}")) for name in names)
    # It would fetch both from a server.
    accuracies["download_url"] = lambda url, *_, **__: str(data / "acc_predictor.pth")
    tables["download_url"] = lambda url, *_, **__: str(data / "note10" / Path(url).name)
    # It names no loader, as today's PyYAML wants.
    yaml = tables["yaml"]
    tables["yaml"] = types.SimpleNamespace(load=yaml.safe_load)
    torch.set_num_threads(1)
    parts = {
        "accuracy_predictor": accuracies["AccuracyPredictor"](pretrained=True, device="cpu"),
        "efficiency_predictor": tables["LatencyTable"](device="note10", resolutions=RESOLUTIONS),
    }
    found = {
        f"{limit:g}": [searched(finder["EvolutionFinder"], parts, limit, seed) for seed in range(asked["seeds"])]
        for limit in asked["limits_ms"]
    }
    print(json.dumps(found), file=answers, flush=True)


def searched(finder: Any, parts: dict[str, Any], limit_ms: float, seed: int) -> list[float]:
    """Search once as its notebook does; return the best predicted accuracy, percent, and the CPU seconds it took."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    began_s = time.process_time()
    search = finder(
        constraint_type="note10",
        efficiency_constraint=limit_ms,
        mutate_prob=0.1,
        mutation_ratio=0.5,
        population_size=POPULATION,
        max_time_budget=GENERATIONS,
        parent_ratio=0.25,
        **parts,
    )
    best = search.run_evolution_search()[1]
    return [round(100.0 * float(best[0]), 3), round(time.process_time() - began_s, 2)]


if __name__ == "__main__":
    main()
