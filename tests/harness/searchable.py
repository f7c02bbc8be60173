"""What tests search with: a table of the tiny space, and an accuracy twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import ofa.space as spaces
from ofa import estimate
from ofa.lut import format as tables
from ofa.lut.format import Header, Lut, Row
from ofa.lut.write import write
from ofa.space import sample
from ofa.space.index import index_of, ops_in
from ofa.twins import accuracy

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
SPACE = ("--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10")


def inputs(folder: Path) -> Path:
    """Write "table" and "twin" into a folder, and return it."""
    rng = np.random.default_rng(0)
    rows = [
        Row(op.key, "cold", "ok", ns, ns - 1, ns + 1, None, None, 3, (), "s1")
        for op in ops_in(TINY)
        for ns in [int((op.macs / 10 + 2000) * rng.uniform(0.7, 1.4)) + 2]
    ]
    facts = {"device": "pixel-8", "runtime": "litert", "runtime_version": "2.1", "precision": "fp32"}
    facts |= {"conditions": "1t", "created": "2026-02-28"}
    header = Header.model_validate({**facts, "environment": {"threads": 1}, "protocol": {}, "simulated": False})
    write(Lut(header=header, rows=tuple(rows), sessions=({"id": "s1"},)), folder / "table")
    genomes = sample.random(TINY, 60, rng)
    index = index_of(TINY)
    top1 = 60 + 4 * np.log(index.sum(genomes, index.values(lambda op: float(op.macs)))) + rng.normal(0, 0.2, 60)
    accuracy.fit(TINY, genomes, top1).save(folder / "twin")
    return folder


def asked(folder: Path) -> tuple[str, ...]:
    """Return the options that search with what is in a folder, under the middle latency."""
    drawn = sample.random(TINY, 200, np.random.default_rng(0))
    ms = float(np.median(estimate.sums(tables.read(folder / "table"), TINY, drawn, "cold")))
    return (*SPACE, "--lut", str(folder / "table"), "--accuracy", str(folder / "twin"), "--under", f"{ms}ms")
