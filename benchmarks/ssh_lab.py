"""Four devices that differ, measured at once over SSH, beside the same four measured at once without it.

An OpenSSH server on loopback stands for each. Five campaigns: here, here, over SSH, over SSH, here. Only neighbours in
time are compared, so that a computer that gets faster or slower does so between all pairs alike: the two pairs of one
way are the noise floor, and the two pairs of both ways must lie within it. A floor so high that rows count as noisy
decides nothing. A campaign that was interrupted goes on where the same folder is given again.

    python benchmarks/ssh_lab.py
"""

from __future__ import annotations

import argparse
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
WAYS = ("local", "local", "ssh", "ssh", "local")
ROUNDS = 5
INSIDE = "--inside"
# Two medians of the same scatter agree to about this factor; above this floor, percent, rows are noisy themselves.
FACTOR, MOST_FLOOR_PCT = 1.5, 3.0


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
    what = (
        "rows of tables measured at once over SSH against local ones, beside tables of one way measured twice: percent"
    )
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
    """Return how far tables of both ways are apart, beside how far those of one way are, percent."""
    floor = np.concatenate([differences(luts[0], luts[1]), differences(luts[2], luts[3])])
    # Both from local to SSH: what the computer became faster by is in one of them, and out of the other.
    ssh = np.concatenate([differences(luts[1], luts[2]), differences(luts[4], luts[3])])
    usual_pct = {name: float(np.median(np.abs(values))) for name, values in (("floor", floor), ("ssh", ssh))}
    verdict = "equal within the floor" if usual_pct["ssh"] <= FACTOR * usual_pct["floor"] else "apart"
    if usual_pct["floor"] > MOST_FLOOR_PCT:
        verdict = "undecided: the computer was too busy"
    return {
        "rows": len(floor) // 2,
        "statistics": sorted({str(lut.header.protocol["statistic"]) for lut in luts}),
        "floor": spread(floor),
        "ssh": spread(ssh),
        "verdict": verdict,
    }


def differences(first: Lut, other: Lut) -> NDArray[np.float64]:
    """Return by how much each row and network of one table is above that of another, percent."""
    tables = [
        {row[:2]: row.ns or 0 for row in lut.rows} | {(row.space, row.id): row.ns or 0 for row in lut.networks}
        for lut in (first, other)
    ]
    assert set(tables[0]) == set(tables[1]) and all(tables[0].values())
    return np.array([100 * (tables[1][key] / value - 1) for key, value in tables[0].items()])


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Return what is usual of differences: how far, how far at the worst but one in twenty, and to which side."""
    return {
        "median_pct": round(float(np.median(np.abs(values))), 2),
        "p95_pct": round(float(np.percentile(np.abs(values), 95)), 2),
        "signed_median_pct": round(float(np.median(values)), 2),
    }


if __name__ == "__main__":
    main()
