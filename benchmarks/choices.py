"""Forty searches on the tables of a finished demo: what was chosen, measured; what a device's own table is worth.

Twenty limits for each of two runtimes. Every chosen network is measured with both runtimes, and its accuracy by the
supernet on the images that labels were made with. Beside it: how often the twin's 90 % intervals hold for networks
that searches picked (of further supernets: `picked.py`).

    ofa demo --out FOLDER
    python benchmarks/choices.py --run FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import record

from harness import closing
from harness.appraise import appraise
from harness.demo import RUNTIMES, Place, Settings, settings, train
from harness.inventory import this_computer
from harness.learn import LABELS
from harness.plan import RuntimeName
from harness.tables import TABLE
from ofa import files
from ofa.lut import format as formats
from ofa.lut.format import Lut
from ofa.search import Limit, extremes, find, latency_limit
from ofa.search.active import unseen
from ofa.space.core import Genomes, Subnet
from ofa.train import label, labelled
from ofa.twins import accuracy, latency
from ofa.twins.accuracy import AccuracyTwin
from ofa.twins.latency import LatencyTwin

SHARES = np.linspace(0.06, 0.9, 20)
COVERAGE = 0.9
# Of each search, so many that differ: the best, and others that it would have offered.
OFFERED = 5

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """What a demo left: twins, tables, and the genomes that twins were fitted to."""

    folder: Path
    top1: AccuracyTwin
    ms: dict[RuntimeName, LatencyTwin]
    luts: dict[RuntimeName, Lut]
    seen: Genomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """What one search chose: the limit it had, and networks that differ, the chosen one first."""

    runtime: RuntimeName
    at_most_ms: float
    offered: tuple[Subnet, ...]


def opened(folder: Path) -> Lab:
    """Read what a demo left."""
    top1 = accuracy.load(folder / "twins" / "accuracy")
    assert not isinstance(top1.space, str)
    luts = {runtime: formats.read(folder / runtime / TABLE) for runtime in RUNTIMES}
    ms = {runtime: latency.load(folder / runtime / "twin") for runtime in RUNTIMES}
    space = ms[RUNTIMES[0]].space
    labels, _ = labelled.read(folder / LABELS, space)
    seen = [labels, *(closing.networks(space, lut, None)[0] for lut in luts.values())]
    return Lab(folder=folder, top1=top1, ms=ms, luts=luts, seen=np.concatenate(seen))


def searched(lab: Lab, runtime: RuntimeName) -> list[Pick]:
    """Search under twenty limits of one runtime's latency."""
    twin = lab.ms[runtime]
    ends = extremes(twin.space, twin.op_values_ms, twin.constant_ms)
    known = {bytes(genome) for genome in lab.seen}
    picks = []
    for number, share in enumerate(SHARES):
        at_most_ms = ends.least + float(share) * (ends.most - ends.least)
        limit: Limit = latency_limit(twin, at_most_ms, coverage=COVERAGE)
        found = find(twin.space, unseen(lab.top1.predict, known), [limit], seed=number)
        offered = tuple(one.subnet for one in found.top[:OFFERED] if one.accuracy >= 0)
        picks.append(Pick(runtime=runtime, at_most_ms=at_most_ms, offered=offered or (found.best.subnet,)))
    return picks


def timed(lab: Lab, runtime: RuntimeName, subnets: Sequence[Subnet], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the measured latency and its lower limit, ms, of subnets by id, at the speed of the table."""
    found = appraise(
        [],
        subnets=subnets,
        device=this_computer(lab.folder / ".files"),
        runtime=runtime,
        folder=lab.folder / "choices" / runtime,
        lut=lab.luts[runtime],
        rounds=rounds,
        allow_load=False,
    )
    verdicts = found.found.verdicts
    return {one.name: (one.measured_ms or np.nan, one.lo_ms or np.nan) for one in verdicts}


def tested(lab: Lab, subnets: Sequence[Subnet], chosen: Settings) -> dict[str, float]:
    """Return top-1, percent, of subnets by id: of the supernet, on the images that the demo's labels were made with."""
    space = lab.ms[RUNTIMES[0]].space
    device = this_computer(lab.folder / ".files")
    place = Place(folder=lab.folder, settings=chosen, space=space, device=device)
    found = label.label(
        train(place),
        np.stack([subnet.array for subnet in subnets]),
        lab.folder / "choices" / LABELS,
        calibration=place.images("calibration"),
        images=place.images("label"),
        origin={"checkpoint_sha256": files.sha256_file(place.checkpoint)},
    )
    return dict(zip([subnet.id for subnet in subnets], found.tolist(), strict=True))


def held(top1: AccuracyTwin, subnets: Sequence[Subnet], actual: Vector) -> dict[str, Any]:
    """Return how often an interval held the label of a network that a search picked, and how much a twin flattered."""
    genomes = np.stack([subnet.array for subnet in subnets])
    low, high = top1.interval(genomes, COVERAGE)
    return {
        "networks": len(actual),
        "held_pct": round(100 * float(((low <= actual) & (actual <= high)).mean()), 1),
        "half_width_points": round(float(((high - low) / 2).mean()), 3),
        "flattered_by_points": round(float((top1.predict(genomes) - actual).mean()), 3),
    }


def kept(picks: Sequence[Pick], times: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Return how many chosen networks kept their limit: their lower limit of 95 %, and the measured value itself."""
    lower = np.array([times[pick.offered[0].id][1] for pick in picks])
    value = np.array([times[pick.offered[0].id][0] for pick in picks])
    limits = np.array([pick.at_most_ms for pick in picks])
    return {
        "searches": len(picks),
        "lower_limit_within": int((lower <= limits).sum()),
        "measured_within": int((value <= limits).sum()),
        "worst_over_pct": round(float(100 * (value / limits - 1).max()), 2),
    }


def worth(
    own: Sequence[Pick], others: Sequence[Pick], times: dict[str, tuple[float, float]], top1: dict[str, float]
) -> dict[str, Any]:
    """Return by how many points own choices are above those made with another runtime's table, at equal latency.

    Between own choices accuracy is put on a line over measured latency, once made to rise.
    """
    order = sorted({pick.offered[0].id for pick in own}, key=lambda name: times[name][0])
    x = np.array([times[name][0] for name in order])
    y = np.maximum.accumulate([top1[name] for name in order])
    foreign = sorted({pick.offered[0].id for pick in others})
    at = np.array([times[name][0] for name in foreign])
    inside = (at >= x[0]) & (at <= x[-1])
    gains = np.interp(at[inside], x, y) - np.array([top1[name] for name in foreign])[inside]
    faster = _faster(x, y, at[inside], np.array([top1[name] for name in foreign])[inside])
    return {
        "compared": int(inside.sum()),
        "mean_points": round(float(gains.mean()), 3),
        "least_points": round(float(gains.min()), 3),
        "most_points": round(float(gains.max()), 3),
        "better": int((gains > 0).sum()),
        "median_latency_saved_pct": faster,
    }


def _faster(x: Vector, y: Vector, at: Vector, top1: Vector) -> float | None:
    """Return by how much own choices of equal accuracy are faster, percent, where there are any."""
    rising = np.concatenate([[True], np.diff(y) > 0])
    able = (top1 >= y[0]) & (top1 <= y[-1])
    if not able.any():
        return None
    return round(float(np.median(100 * (1 - np.interp(top1[able], y[rising], x[rising]) / at[able]))), 2)


def main() -> None:
    """Search, measure, compare, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished demo")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    lab = opened(given.run)
    picks = {runtime: searched(lab, runtime) for runtime in RUNTIMES}
    everything = {one.id: one for own in picks.values() for pick in own for one in pick.offered}
    chosen = {pick.offered[0].id: pick.offered[0] for own in picks.values() for pick in own}
    top1 = tested(lab, list(everything.values()), settings())
    times = {runtime: timed(lab, runtime, list(chosen.values()), given.rounds) for runtime in RUNTIMES}
    found: dict[str, Any] = {runtime: kept(picks[runtime], times[runtime]) for runtime in RUNTIMES}
    for own, other in (RUNTIMES, RUNTIMES[::-1]):
        found[own]["beside_choices_of_the_other"] = worth(picks[own], picks[other], times[own], top1)
    actual = np.array([top1[name] for name in everything])
    found["intervals_on_picked_networks"] = held(lab.top1, list(everything.values()), actual)
    record("choices", "what forty searches chose on the tables of a demo, measured", found, "--run FOLDER")


if __name__ == "__main__":
    main()
