"""The front of one run beside that of pymoo's NSGA-II at equal evaluations on the same problem."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
from record import record
from search_note10 import FRONT_MS, FRONT_POINTS, asked

from ofa import score
from ofa.search import sweep
from ofa.space import sample
from ofa.space.core import Genomes, SearchSpace

POPULATION = 200


def nsga2(space: SearchSpace, accuracy: Any, latency: Any, *, evaluations: int, seed: int) -> Any:
    """Return (accuracy, latency) float64[n, 2] of pymoo's front: integer genes, made canonical to be scored."""
    moo = {name: importlib.import_module(f"pymoo.{name}") for name in ("optimize", "core.problem")}
    algorithm = importlib.import_module("pymoo.algorithms.moo.nsga2").NSGA2
    crossover = importlib.import_module("pymoo.operators.crossover.ux").UX
    mutation = importlib.import_module("pymoo.operators.mutation.pm").PM
    rounding = importlib.import_module("pymoo.operators.repair.rounding").RoundingRepair

    def scored(rows: Any) -> tuple[Any, Any]:
        genomes: Genomes = space.canonical(np.asarray(rows).astype(np.uint8))
        return accuracy(genomes), latency(genomes)

    class Problem(moo["core.problem"].Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(
                n_var=len(space.genes), n_obj=2, n_ieq_constr=1, xl=1, xu=space.cardinalities.astype(int), vtype=int
            )

        def _evaluate(self, x: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            gain, cost = scored(x)
            out["F"] = np.stack([-gain, cost], axis=1)
            out["G"] = (cost - FRONT_MS)[:, None]

    first = sample.complete(space, POPULATION, np.random.default_rng(seed)).astype(int)
    solver = algorithm(
        pop_size=POPULATION,
        sampling=first,
        crossover=crossover(prob=0.9),
        mutation=mutation(prob=1.0, prob_var=1.0 / len(space.genes), eta=3.0, vtype=float, repair=rounding()),
        eliminate_duplicates=True,
    )
    found = moo["optimize"].minimize(Problem(), solver, ("n_eval", evaluations), seed=seed, verbose=False)
    return np.stack([-found.F[:, 0], found.F[:, 1]], axis=1)


def main() -> None:
    """Compare them with each seed, and write the result; skip with a reason where pymoo is not installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with note10/ and acc_predictor.npz")
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    if importlib.util.find_spec("pymoo") is None:
        sys.exit(
            "skipped: the package 'pymoo' is not installed; it is for this comparison only\n"
            "  try: pip install -e '.[benchmarks]' -c constraints.txt"
        )
    made = asked(given.data, FRONT_MS)
    rows = []
    for seed in range(given.seeds):
        front = sweep(made.part.space, made.accuracy, made.limits[0], seed=seed, points=FRONT_POINTS)
        theirs = nsga2(made.part.space, made.accuracy, made.limits[0].predict, evaluations=front.evaluated, seed=seed)
        ours = np.array(front.between)[:, ::-1]
        least = float(min(ours[:, 0].min(), theirs[:, 0].min()))
        volumes = [
            score.hypervolume_2d(points[:, 0], points[:, 1], least_gain=least, most_cost=FRONT_MS)
            for points in (ours, theirs)
        ]
        rows.append({"seed": seed, "evaluations": front.evaluated, "ours": volumes[0], "nsga2": volumes[1]})
    wins = sum(row["ours"] >= row["nsga2"] for row in rows)
    record(
        "search_nsga2",
        "hypervolume, points x ms, of two fronts after equal evaluations",
        {"wins": wins, "rows": rows},
        "--data FOLDER",
    )


if __name__ == "__main__":
    main()
