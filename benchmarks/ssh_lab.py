"""Four devices that differ, measured at once over SSH, beside the same four measured at once without it.

An OpenSSH server on loopback stands for each. Eight campaigns, four of each way, in an order in which neither a
computer that gets slower all the time nor one that does so ever faster is in one way more than in the other. How far
the ways are apart, row by row, is compared with how far any four of the campaigns are apart from the other four: there
are 35 ways to divide eight, and all but this one have campaigns of both ways on both sides. Divisions so far apart that
rows of a table would count as noisy decide nothing. A campaign that was interrupted goes on where the same folder is
given again.

    python benchmarks/ssh_lab.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import loopback
import numpy as np
from numpy.typing import NDArray
from record import record

import ofa.space as spaces
from ofa.files import write_atomic
from ofa.lut.format import Lut, read

SPACE, OPTIONS = "mobilenet_v3_tiny", {"channels": 1, "classes": 10}
USES = {
    "onnxruntime-int8": ('runtime = "onnxruntime"', 'precision = "int8"'),
    "onnxruntime-fp32": ('runtime = "onnxruntime"',),
    "litert-xnnpack": ('runtime = "litert"',),
    "litert-builtin": ('runtime = "litert"', 'kernels = "builtin"'),
}
WAYS = ("local", "ssh", "ssh", "local", "ssh", "local", "local", "ssh")
ROUNDS = 5
INSIDE = "--inside"
# Of the divisions at most this share is as far apart as the ways are, where these truly are; a floor above that many
# percent is one of noisy rows.
RARE, MOST_FLOOR_PCT = 0.05, 3.0


def main() -> None:
    """Measure here and over SSH, and compare row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where the tables are kept; nowhere if not given")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--subnets", type=int, help="only the ops of so many random subnets, which are its networks")
    if sys.argv[1:2] == [INSIDE]:
        campaign(sys.argv[2:])
        return
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(given, Path(folder), (given.out or Path(folder) / "tables").resolve())
    small = "" if given.subnets is None else f"--subnets {given.subnets}"
    rounds = "" if given.rounds == ROUNDS else f"--rounds {given.rounds}"
    what = "rows of tables measured at once over SSH against local ones, beside other divisions of the campaigns"
    record("ssh_lab", what, found, f"{small} {rounds}".strip())


def campaign(words: list[str]) -> None:
    """Run `ofa bench` with some words; what it prints is not asked for."""
    from harness.cli import main as ofa

    folder = Path(words[0])
    resumed = ["--resume"] if folder.exists() else []
    try:
        # Four at once on one computer are each other's load.
        ofa(["bench", "--allow-load", "--out", str(folder), *words[1:], *resumed])
    except SystemExit as ending:
        if ending.code:
            raise
    print("{}")


def measured(given: argparse.Namespace, folder: Path, out: Path) -> dict[str, Any]:
    """Run the campaigns, and return how far their tables are apart."""
    words = scope(given, folder)
    with loopback.servers(folder, len(USES)) as servers:
        listed: dict[str, Any] = {f"{name}-local": (None, *use) for name, use in USES.items()}
        listed |= {f"{name}-ssh": (server, *use) for server, (name, use) in zip(servers, USES.items(), strict=True)}
        own = loopback.host(folder / "host", listed)
        for number, way in enumerate(WAYS):
            names = [word for name in USES for word in ("--device", f"{name}-{way}")]
            loopback.inside(own, __file__, INSIDE, str(out / str(number)), *words, *names)
    return {
        name: compared([read(out / str(number) / f"{name}-{way}" / "lut") for number, way in enumerate(WAYS)])
        for name in USES
    }


def scope(given: argparse.Namespace, folder: Path) -> list[str]:
    """Return the words that say what each table holds."""
    words = ["--space", SPACE, "--channels", str(OPTIONS["channels"]), "--classes", str(OPTIONS["classes"])]
    words += ["--rounds", str(given.rounds), "--rounds-most", str(given.rounds), "--no-again"]
    if given.subnets is None:
        return words
    space = spaces.load(SPACE, **OPTIONS)
    drawn = spaces.sample.random(space, given.subnets, np.random.default_rng(0))
    path = folder / "subnets.json"
    write_atomic(path, json.dumps([space.subnet(genome).to_json() for genome in drawn]))
    return [*words, "--subnets", str(path)]


def compared(luts: Sequence[Lut]) -> dict[str, Any]:
    """Return how far tables of both ways are apart, beside how far those of any other division are, percent."""
    values = logarithms(luts)
    ssh = frozenset(number for number, way in enumerate(WAYS) if way == "ssh")
    # Each division once: the side without the first campaign.
    half = len(luts) // 2
    sides = [frozenset(side) for side in itertools.combinations(range(1, len(luts)), half)]
    assert ssh in sides
    found = {side: usual_pct(values, side) for side in sides}
    farther = sum(pct >= found[ssh] for pct in found.values())
    floor_pct = float(np.percentile(list(found.values()), 100 * (1 - RARE)))
    verdict = "equal within the floor" if farther > RARE * len(sides) else "apart"
    if floor_pct > MOST_FLOOR_PCT:
        verdict = "undecided: the computer was too busy"
    return {
        "rows": values.shape[1],
        "statistics": sorted({str(lut.header.protocol["statistic"]) for lut in luts}),
        "ssh_apart_median_pct": round(found[ssh], 2),
        "ssh_signed_median_pct": round(float(100 * np.median(np.expm1(apart(values, ssh)))), 2),
        "divisions": len(sides),
        "divisions_as_far_apart": farther,
        "divisions_median_pct": round(float(np.median(list(found.values()))), 2),
        "divisions_p95_pct": round(floor_pct, 2),
        "two_campaigns_of_one_way_pct": round(one_way_pct(values), 2),
        "verdict": verdict,
    }


def logarithms(luts: Sequence[Lut]) -> NDArray[np.float64]:
    """Return the logarithm of the time of each row and network of tables, float64[tables, rows]."""
    tables = [
        {row[:2]: row.ns or 0 for row in lut.rows} | {(row.space, row.id): row.ns or 0 for row in lut.networks}
        for lut in luts
    ]
    assert all(set(table) == set(tables[0]) and all(table.values()) for table in tables)
    return np.log([[table[key] for key in tables[0]] for table in tables])


def apart(values: NDArray[np.float64], side: frozenset[int]) -> NDArray[np.float64]:
    """Return by how much each row of some tables is above that of the others, on the log scale, means of each side."""
    mine = np.array([number in side for number in range(len(values))])
    found: NDArray[np.float64] = values[mine].mean(axis=0) - values[~mine].mean(axis=0)
    return found


def usual_pct(values: NDArray[np.float64], side: frozenset[int]) -> float:
    """Return how far the rows of some tables are from those of the others, percent, the median of rows."""
    return float(100 * np.median(np.abs(np.expm1(apart(values, side)))))


def one_way_pct(values: NDArray[np.float64]) -> float:
    """Return how far two campaigns of one way are apart, percent, the median of rows and pairs."""
    pairs = [pair for pair in itertools.combinations(range(len(WAYS)), 2) if WAYS[pair[0]] == WAYS[pair[1]]]
    return float(100 * np.median([np.abs(np.expm1(values[one] - values[other])) for one, other in pairs]))


if __name__ == "__main__":
    main()
