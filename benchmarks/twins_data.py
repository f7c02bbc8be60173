"""Published accuracies and latencies as spaces, genomes and values; nothing of them is kept here.

A folder of data holds `accuracy/` and `latency/`, one CSV for each set; spaces that are not ours are declared as genes.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import ofa.space as spaces
from ofa.space.core import Gene, Genomes, SearchSpace
from ofa.twins.genes import GeneSpace, Space

Vector = NDArray[np.float64]
Rows = list[dict[str, str]]

MBV3 = spaces.load("mobilenet_v3", width=1.0)
# Layers of NAS-Bench-Macro by the stage they stand in (Su et al. 2021, table 1).
MACRO_STAGES = (1, 1, 2, 2, 2, 3, 3, 3)
EDGES = ("e01", "e02", "e12", "e03", "e13", "e23")
NB201_OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


class Labelled(NamedTuple):
    """Networks of a space, uint8[n, G], and their top-1, percent float64[n]."""

    space: Space
    genomes: Genomes
    top1: Vector


def rows_of(path: Path) -> Rows:
    """Return the rows of a CSV file by column."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def column(rows: Rows, name: str) -> Vector:
    """Return one column, float64[n]."""
    return np.array([float(row[name]) for row in rows])


def mbv3_genomes(space: SearchSpace, rows: Rows) -> Genomes:
    """Return rows with columns r, d1.., ks1_1.., e1_1.. as genomes of a MobileNetV3 space, uint8[n, G]."""
    found = np.zeros((len(rows), len(space.genes)), dtype=np.uint8)
    for at, gene in enumerate(space.genes):
        kind = gene.name.rsplit(".", 1)[-1]
        name = {"resolution": "r", "depth": f"d{gene.stage}"}.get(kind)
        if name is None:
            name = f"{ {'kernel': 'ks', 'expand': 'e'}[kind] }{gene.stage}_{(gene.block or 0) + 1}"
        picks = {0: 0} | {int(choice): value for value, choice in enumerate(gene.choices, 1)}
        found[:, at] = [picks[int(row[name])] for row in rows]
    space.check(found)
    return found


def accuracies(data: Path) -> dict[str, Labelled]:
    """Return every set of measured accuracies below ``data / "accuracy"``."""
    folder = data / "accuracy"
    found = {}
    moofa = dataclasses.replace(
        MBV3, name="moofa", stages=tuple(dataclasses.replace(stage, expands=(2, 3, 4)) for stage in MBV3.stages)
    )
    files = {"OFA ImageNet": ("ofa", MBV3), "CompOFA ImageNet": ("compofa", MBV3), "MOOFA ImageNet": ("moofa", moofa)}
    for name, (file, space) in files.items():
        rows = rows_of(folder / f"{file}_mbv3_in1k.csv")
        found[name] = Labelled(space, mbv3_genomes(space, rows), column(rows, "top1"))
    rows = rows_of(folder / "nas_bench_macro_cifar10.csv")
    picks = np.stack([column(rows, f"b{layer}") for layer in range(1, 9)], axis=1)
    found["NAS-Bench-Macro"] = Labelled(macro(), (picks + 1).astype(np.uint8), column(rows, "mean_acc"))
    rows = rows_of(folder / "nb201_cifar100_metad2a_500.csv")
    genomes = np.array([cell_of(row["arch_str"]) for row in rows], dtype=np.uint8)
    found["NB201 CIFAR-100"] = Labelled(nb201(), genomes, column(rows, "cifar100_test_acc"))
    return found


def macro() -> GeneSpace:
    """Return NAS-Bench-Macro: eight layers, each nothing, a block of expand ratio 3 and kernel 3, or of 6 and 5."""
    genes = [
        Gene(name=f"s{stage}.b{layer}.block", choices=(0, 1, 2), stage=stage, block=layer)
        for layer, stage in enumerate(MACRO_STAGES)
    ]
    return GeneSpace(id="nas-bench-macro", genes=tuple(genes), rising=frozenset({"block"}))


def nb201() -> GeneSpace:
    """Return NAS-Bench-201: six edges of a cell, each with one of five operations, which have no order."""
    genes = [Gene(name=f"{edge}.op", choices=(0, 1, 2, 3, 4), stage=1, block=at) for at, edge in enumerate(EDGES)]
    return GeneSpace(id="nas-bench-201", genes=tuple(genes), ordered=False)


def cell_of(text: str) -> list[int]:
    """Return the genome of a cell written as ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``."""
    ops = [part.partition("~")[0] for part in text.replace("+", "|").split("|") if part]
    return [NB201_OPS.index(op) + 1 for op in ops]
