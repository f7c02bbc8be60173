"""How far the sums of committed tables are from whole networks: beside the floor, and beside calibrated MACs alone.

For each table: its error on held-out networks, the same networks measured again, and how sure it is that its sums are
nearer than MACs alone (paired bootstrap over held-out networks).

    python benchmarks/networks.py --luts luts

Tables of whole networks alone (`ofa bench --space mobilenet_v3 --runtime litert --no-ops --out FOLDER/litert`, and so
on) have a result of their own, which keeps what is known of others:

    python benchmarks/networks.py --luts FOLDER --name networks_alone

So have tables that were built once more on another day, and are not committed (`networks_again`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import known, record

from ofa import score
from ofa.lut import check, heldout
from ofa.lut.format import Lut

NAMES = ("networks", "networks_alone", "networks_again")
RESAMPLES = 2000
NANOSECONDS_PER_MS = 1e6
Vector = NDArray[np.float64]


def main() -> None:
    """Score every table below a folder, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--luts", type=Path, default=Path("luts"))
    parser.add_argument("--name", choices=NAMES, default=NAMES[0], help="of the result")
    given = parser.parse_args()
    luts = [check.checked(folder) for folder in check.find(given.luts)]
    alone = given.name == "networks_alone"
    found = {} if given.name == "networks" else known(given.name)
    found |= {lut.name: judged(lut, alone=alone) | {"created": lut.header.created} for lut in luts}
    what = "held-out error of tables, beside two measurements of the same networks and calibrated MACs alone"
    record(given.name, what, found, f"--luts FOLDER --name {given.name}", script="networks")


def judged(lut: Lut, *, alone: bool) -> dict[str, Any]:
    """Return what a table says of its error, what it must keep to, and its lead over MACs alone."""
    said = heldout.of_table(lut)
    if said["holdout"] is None:
        return said
    facts, floor = said["holdout"], said["holdout"]["floor_mape_pct"] or 0.0
    floor_rank = facts["floor_within_resolution_spearman"]
    within = facts["within_resolution_spearman"]
    kept = {
        "floor_at_most_4_pct": 0 < floor <= 4,
        "mape_low_enough": facts["mape_pct"] <= (max(4.0, 1.5 * floor) if alone else max(3.0, 1.2 * floor)),
        "spearman_at_least_0.99": facts["spearman"] >= 0.99,
        "within_resolution_at_least_floor_less_0.03": None if floor_rank is None else within >= floor_rank - 0.03,
        "98_pct_within_10_pct": facts["within_10_pct"] >= 98,
        "none_beyond_20_pct": facts["worst_pct"] <= 20,
    }
    return said | {"kept": kept, "lead_over_macs": lead(lut, said["calibration"]["chosen"])}


def lead(lut: Lut, chosen: str) -> dict[str, Any]:
    """Return by how much MACs alone err more, points of MAPE and of rank within resolutions, with 95 % intervals."""
    found = heldout.judged(lut)
    actual = np.array([row.ns or 0 for row in found.rows]) / NANOSECONDS_PER_MS
    groups = [np.flatnonzero([one == group for one in found.groups]) for group in sorted(set(found.groups))]
    groups = [places for places in groups if len(places) >= heldout.FEWEST_IN_RESOLUTION]
    ours, macs = found.predicted_ms[chosen], found.predicted_ms[heldout.FLOPS]
    rng = np.random.default_rng(0)
    errors, ranks = [], []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(actual), size=len(actual))
        errors.append(score.mape_pct(macs[drawn], actual[drawn]) - score.mape_pct(ours[drawn], actual[drawn]))
        parts = [rng.choice(places, size=len(places)) for places in groups]
        gains = [_rank(ours, actual, part) - _rank(macs, actual, part) for part in parts]
        ranks.append(float(np.mean(gains)) if gains else 0.0)
    return {"mape_points": _interval(errors), "within_resolution_spearman": _interval(ranks) if groups else None}


def _rank(predicted: Vector, actual: Vector, places: NDArray[np.int64]) -> float:
    """Return Spearman's correlation over some networks."""
    return score.spearman(predicted[places], actual[places])


def _interval(values: list[float]) -> dict[str, float]:
    """Return median and 95 % interval of resampled values."""
    low, middle, high = np.nanpercentile(values, [2.5, 50, 97.5])
    return {"median": round(float(middle), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


if __name__ == "__main__":
    main()
