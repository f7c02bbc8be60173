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
from ofa.space.index import index_of
from ofa.twins import features, work
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


class Timed(NamedTuple):
    """Networks and their latencies, ms, by column: what linear models and trees read of them, and their MACs.

    ``space`` and ``genomes`` are those of our own spaces, None where the networks are none of ours; ``notes`` says
    which columns are not what they seem.
    """

    space: SearchSpace | None
    genomes: Genomes | None
    amounts: Vector
    genes: Vector
    macs: Vector
    ms: dict[str, Vector]
    notes: dict[str, str]


TICKS = "whole milliseconds: many ties, so ranks have a ceiling below 1"


def latencies(data: Path) -> dict[str, Timed]:
    """Return every set of measured latencies below ``data / "latency"``, columns by device."""
    folder = data / "latency"
    return {
        "ofa_mbv3_help": _ofa(folder / "ofa_mbv3_help", "archs.csv", "latency_ms.csv", 1.0),
        "ofa_mbv3_w12_pc": _ofa(folder / "ofa_mbv3_w12_pc", "measured.csv", "measured.csv", 1.2),
        "nb201_help": _nb201(folder / "nb201_help"),
        "fbnet_help": _fbnet(folder / "fbnet_help"),
        **{f"hat_transformer {path.stem}": _hat(path) for path in sorted((folder / "hat_transformer").glob("*.csv"))},
    }


def _ofa(folder: Path, networks: str, timed: str, width: float) -> Timed:
    """Return networks of MobileNetV3 spaces."""
    space = spaces.load("mobilenet_v3", width=width)
    rows, times = rows_of(folder / networks), rows_of(folder / timed)
    genomes = mbv3_genomes(space, rows)
    known = {"arch_id", *rows[0]} if networks != timed else set(rows[0]) - {"cpu_ms", "gpu_launch_ms"}
    index = index_of(space)
    return Timed(
        space=space,
        genomes=genomes,
        amounts=work.amounts(space, genomes),
        genes=features.choice_values(space, genomes),
        macs=index.sum(genomes, index.values(lambda op: float(op.macs))),
        ms={name: column(times, name) for name in times[0] if name not in known},
        notes={"gpu_launch_ms": "timed without synchronisation: what the host takes to launch, not a latency"},
    )


def _counted(picks: Vector, choices: int) -> Vector:
    """Return one-hot choices float64[n, G * C], then how often each choice is made, float64[n, C]."""
    hot = picks[:, :, None] == np.arange(choices)
    return np.concatenate([hot.reshape(len(picks), -1), hot.sum(axis=1)], axis=1).astype(np.float64)


def _nb201(folder: Path) -> Timed:
    """Return cells of NAS-Bench-201."""
    rows, times = rows_of(folder / "archs.csv"), rows_of(folder / "latency_ms.csv")
    picks = np.stack([column(rows, edge) for edge in EDGES], axis=1)
    amounts = _counted(picks, 5)
    ms = {name: column(times, name) for name in times[0] if name != "arch_id"}
    notes = dict.fromkeys(("essential_ph_1", "samsung_a50", "samsung_s7"), TICKS)
    notes["pixel3"] = "cells below 1 ms, whose ops the runtime removed, are left out"
    return Timed(
        space=None,
        genomes=None,
        amounts=amounts,
        genes=amounts,
        macs=(picks == 2).sum(axis=1) + 9.0 * (picks == 3).sum(axis=1),
        ms={name: np.where(values >= 1.0, values, np.nan) for name, values in ms.items()},
        notes=notes,
    )


# FBNet's positions: channels in and out, stride, and the edge of the map in (Wu et al. 2019, table 1; 224 px).
Place = tuple[int, int, int, int]
FBNET: tuple[Place, ...] = (
    (16, 16, 1, 112),
    *((16, 24, 2, 112), *((24, 24, 1, 56),) * 3),
    *((24, 32, 2, 56), *((32, 32, 1, 28),) * 3),
    *((32, 64, 2, 28), *((64, 64, 1, 14),) * 3),
    *((64, 112, 1, 14), *((112, 112, 1, 14),) * 3),
    *((112, 184, 2, 14), *((184, 184, 1, 7),) * 3),
    (184, 352, 1, 7),
)
FBNET_STAGES = (0, *(1,) * 4, *(2,) * 4, *(3,) * 4, *(4,) * 4, *(5,) * 4, 6)
# Kernel, expand ratio and groups of each operation; the last skips the position.
FBNET_OPS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1), None)


def _fbnet(folder: Path) -> Timed:
    """Return networks of FBNet's space."""
    rows, times = rows_of(folder / "archs.csv"), rows_of(folder / "latency_ms.csv")
    picks = np.stack([column(rows, f"op{place}") for place in range(1, 23)], axis=1)
    counted = _counted(picks, 9)
    at = (np.arange(22), picks.astype(np.int64))
    macs = np.array([[_fbnet_macs(place, op) for op in FBNET_OPS] for place in FBNET])[at]
    elements = np.array([[place[0] * place[3] ** 2 * (op[1] if op else 0) for op in FBNET_OPS] for place in FBNET])[at]
    own = [np.array(FBNET_STAGES) == stage for stage in range(7)]
    sums = [each[:, places].sum(axis=1) for each in (macs, elements) for places in own]
    notes = dict.fromkeys(("essential_ph_1", "samsung_a50", "samsung_s7"), TICKS)
    notes["pixel3"] = "a sum of blocks measured one by one, no measurement of networks"
    return Timed(
        space=None,
        genomes=None,
        amounts=np.concatenate([counted, np.stack(sums, axis=1)], axis=1),
        genes=counted,
        macs=macs.sum(axis=1),
        ms={name: column(times, name) for name in times[0] if name != "arch_id"},
        notes=notes,
    )


def _fbnet_macs(place: Place, op: tuple[int, int, int] | None) -> float:
    """Return the MACs of one operation at one position."""
    if op is None:
        return 0.0
    inputs, outputs, stride, size = place
    kernel, expand, groups = op
    mid, out = inputs * expand, (size // stride) ** 2
    return size**2 * inputs * mid / groups + out * (kernel**2 * mid + mid * outputs / groups)


def _hat(path: Path) -> Timed:
    """Return transformers; latencies of encoder and decoder are columns of their own."""
    rows = rows_of(path)
    names = [name for name in rows[0] if name != "row_id" and not name.startswith("latency")]
    facts = np.stack([column(rows, name) for name in names], axis=1)
    at = {name: facts[:, number] for number, name in enumerate(names)}
    parts = []
    for side, embed in (("encoder", "encoder_embed_dim"), ("decoder", "decoder_embed_dim")):
        layers, width = at[f"{side}_layer_num"], at[embed]
        ffn, heads = at[f"{side}_ffn_embed_dim_avg"], at[f"{side}_self_attention_heads_avg"]
        parts += [layers, layers * width**2, layers * width * ffn, layers * width * heads]
    return Timed(
        space=None,
        genomes=None,
        amounts=np.concatenate([facts, np.stack(parts, axis=1)], axis=1),
        genes=facts,
        macs=4.0 * (parts[1] + parts[5]) + 2.0 * (parts[2] + parts[6]),
        ms={name[8:]: column(rows, name) for name in rows[0] if name.startswith("latency_mean")},
        notes={},
    )
