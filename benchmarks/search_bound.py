"""How far the stated bound is from the answer, on twins with trees fitted to real labels under limits of MACs."""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import record

import ofa.space as spaces
from ofa.search import Limit, bound, find, proof, sums
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from ofa.twins import accuracy

SETS = {"ofa_mbv3_in1k": (3.0, 4.0, 6.0), "compofa_mbv3_in1k": (3.0, 4.0, 6.0), "moofa_mbv3_in1k": (2.0, 3.0, 4.0)}
LABELS = (100, 500)
SHARES = (0.15, 0.3, 0.5)


def labelled(path: Path, expands: tuple[float, ...]) -> tuple[SearchSpace, Genomes, NDArray[np.float64]]:
    """Return the space of a file of labels, its genomes uint8[n, G], and top-1, percent."""
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    whole = spaces.load("mobilenet_v3")
    stages = tuple(replace(stage, expands=expands) for stage in whole.stages)
    space = replace(whole, stages=stages, resolutions=tuple(sorted({int(row["r"]) for row in rows})))
    genomes = np.zeros((len(rows), len(space.genes)), dtype=np.uint8)
    for column, gene in enumerate(space.genes):
        name = "r" if gene.stage is None else f"d{gene.stage}"
        if gene.block is not None:
            name = f"{'ks' if gene.name.endswith('kernel') else 'e'}{gene.stage}_{gene.block + 1}"
        values = [float(row[name]) for row in rows]
        genomes[:, column] = [gene.choices.index(value) + 1 if value else 0 for value in values]
    space.check(genomes)
    return space, genomes, np.array([float(row["top1"]) for row in rows])


def measured(path: Path, expands: tuple[float, ...], labels: int) -> dict[str, Any]:
    """Fit a twin to some labels, and search under three limits."""
    space, genomes, top1 = labelled(path, expands)
    chosen = np.random.default_rng(labels).permutation(len(top1))[:labels]
    twin = accuracy.fit(space, genomes[chosen], top1[chosen], seed=0)
    macs = sums.of_ops(space, index_of(space).values(lambda op: op.macs * 1e-6))
    ends, above = bound.ends(space, macs), proof.accuracy_above(twin)
    gaps, cpu_s = [], []
    for share in SHARES:
        at_most = ends.least + share * (ends.most - ends.least)
        limit = Limit(name="MACs", predict=macs, at_most=at_most, unit="M", below=macs, exact=True)
        began_s = time.process_time()
        found = find(space, twin.predict, [limit], seed=0, above=above)
        cpu_s.append(time.process_time() - began_s)
        assert found.upper_bound is not None and found.upper_bound >= found.best.accuracy
        gaps.append(round(found.upper_bound - found.best.accuracy, 3))
    return {"trees": bool(above.forests), "gaps_points": gaps, "cpu_s_most": round(max(cpu_s), 1)}


def main() -> None:
    """Measure every set, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the labels as CSV files")
    given = parser.parse_args()
    found: dict[str, Any] = {
        f"{name}, {labels} labels": measured(given.data / f"{name}.csv", expands, labels)
        for name, expands in SETS.items()
        for labels in LABELS
    }
    gaps = [gap for one in found.values() if one["trees"] for gap in one["gaps_points"]]
    found["median_gap_points_with_trees"] = median(gaps)
    what = "upper bound less the answer, points, at 15, 30 and 50 % of the way from the least to the most MACs"
    record("search_bound", what, found, "--data FOLDER")


if __name__ == "__main__":
    main()
