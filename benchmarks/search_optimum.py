"""Whether searches find the optimum of a cut of the tiny space, enumerated once, with the twins of a finished demo.

The cut: kernels 3 and 7, expand ratios 3 and 6, resolutions 16, 24 and 32, every depth: 1,778,112 networks.

    ofa demo --out FOLDER
    python benchmarks/search_optimum.py --run FOLDER
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from choices import Lab, opened
from numpy.typing import NDArray
from record import record

from harness.demo import RUNTIMES
from harness.plan import RuntimeName
from ofa.search import Limit, find, latency_limit
from ofa.space.core import Genomes, SearchSpace

KERNELS, EXPANDS, RESOLUTIONS = (3, 7), (3.0, 6.0), (16, 24, 32)
SHARES = (0.05, 0.2, 0.5)
SEEDS = 10
PART = 100_000


def cut_of(space: SearchSpace) -> SearchSpace:
    """Return the cut."""
    stages = tuple(replace(stage, kernels=KERNELS, expands=EXPANDS) for stage in space.stages)
    return replace(space, stages=stages, resolutions=RESOLUTIONS)


def whole_of(cut: SearchSpace, space: SearchSpace, genomes: Genomes) -> Genomes:
    """Return genomes of the cut as those of the whole space."""
    whole = np.zeros_like(genomes)
    for column, gene in enumerate(cut.genes):
        choices = space.genes[column].choices
        numbers = np.array([0, *(1 + choices.index(choice) for choice in gene.choices)], dtype=np.uint8)
        whole[:, column] = numbers[genomes[:, column]]
    return whole


def everything(cut: SearchSpace) -> Iterator[Genomes]:
    """Yield every genome of the cut once, in parts: per stage, the genomes of its blocks at each depth."""
    stages = []
    for number in range(1, len(cut.stages) + 1):
        columns = [column for column, gene in enumerate(cut.genes) if gene.stage == number]
        depth = cut.at(f"s{number}.depth")
        rows = []
        for value, blocks in enumerate(cut.genes[depth].choices, start=1):
            used = [c for c in columns if (block := cut.genes[c].block) is not None and block < blocks]
            for values in itertools.product(*(range(1, len(cut.genes[c].choices) + 1) for c in used)):
                row = np.zeros(len(cut.genes), dtype=np.uint8)
                row[depth], row[used] = value, values
                rows.append(row)
        stages.append(np.array(rows))
    for first in range(1, len(RESOLUTIONS) + 1):
        for one in stages[0]:
            joint = (stages[1][:, None] + stages[2][None]).reshape(-1, len(cut.genes)) + one
            joint[:, cut.at("resolution")] = first
            yield joint


def scored(lab: Lab, runtime: RuntimeName, cut: SearchSpace) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return predicted top-1, percent, and what a limit on latency looks at, ms, of every network of the cut."""
    twin = lab.ms[runtime]
    limit = latency_limit(twin, 1.0)
    top1: list[NDArray[np.float64]] = []
    ms: list[NDArray[np.float64]] = []
    waiting: list[Genomes] = []
    for part in itertools.chain(everything(cut), [None]):
        if part is not None:
            waiting.append(part)
        if waiting and (part is None or sum(map(len, waiting)) >= PART):
            genomes = whole_of(cut, twin.space, np.concatenate(waiting))
            twin.space.check(genomes)
            top1.append(lab.top1.predict(genomes))
            ms.append(limit.predict(genomes))
            waiting = []
    return np.concatenate(top1), np.concatenate(ms)


def limit_of(whole: Limit, cut: SearchSpace, space: SearchSpace) -> Limit:
    """Return a limit on networks of the whole space as one on those of the cut."""

    def predict(genomes: Genomes) -> NDArray[np.float64]:
        return whole.predict(whole_of(cut, space, genomes))

    return Limit(name=whole.name, predict=predict, at_most=whole.at_most, unit=whole.unit)


def tried(lab: Lab, runtime: RuntimeName) -> dict[str, Any]:
    """Enumerate, then search under three limits with ten seeds each."""
    twin = lab.ms[runtime]
    cut = cut_of(twin.space)
    top1, ms = scored(lab, runtime, cut)
    found: dict[str, Any] = {"networks": len(top1)}
    for share in SHARES:
        at_most = float(ms.min() + share * (ms.max() - ms.min()))
        limit = limit_of(latency_limit(twin, at_most), cut, twin.space)
        best, answers, cpu_s = float(top1[ms <= at_most].max()), [], []
        for seed in range(SEEDS):
            began_s = time.process_time()
            answer = find(cut, lambda g: lab.top1.predict(whole_of(cut, twin.space, g)), [limit], seed=seed)
            cpu_s.append(time.process_time() - began_s)
            answers.append(answer.best.accuracy)
        found[f"{share:.0%} of the way to the slowest"] = {
            "at_most_ms": round(at_most, 4),
            "networks_within": int((ms <= at_most).sum()),
            "optimum_pct": round(best, 4),
            "seeds_that_found_it": int((np.array(answers) >= best - 1e-4).sum()),
            "seeds": SEEDS,
            "worst_below_points": round(best - min(answers), 4),
            "cpu_s_median": round(median(cpu_s), 2),
        }
    return found


def main() -> None:
    """Try both runtimes, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished demo")
    lab = opened(parser.parse_args().run)
    found: dict[str, Any] = {runtime: tried(lab, runtime) for runtime in RUNTIMES}
    record(
        "search_optimum", "searches of an enumerated cut of the tiny space with a demo's twins", found, "--run FOLDER"
    )


if __name__ == "__main__":
    main()
