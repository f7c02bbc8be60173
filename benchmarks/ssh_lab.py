"""Four devices that differ, measured at once over SSH, beside the same four measured at once without it.

An OpenSSH server on loopback stands for each. The local tables are measured before and after those over SSH: how far
the two are apart is the noise floor, and what SSH adds must lie within it. All share this computer's cores, in each
of the three campaigns alike. A campaign that was interrupted goes on where the same folder is given again.

    python benchmarks/ssh_lab.py
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
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
PARTS = (("before", "local"), ("ssh", "ssh"), ("after", "local"))
ROUNDS = 5
INSIDE = "--inside"
# Two differences are drawn from the same scatter: their medians agree to about this factor.
FACTOR = 1.5


def main() -> None:
    """Measure here, over SSH, and here again; compare row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where the twelve tables are kept; nowhere if not given")
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
    what = "rows of four tables measured at once over SSH against local ones, beside local ones measured twice: percent"
    record("ssh_lab", what, found, f"{small} {rounds}".strip())


def campaign(words: list[str]) -> None:
    """Run `ofa bench` with some words; what it prints is not asked for."""
    from harness.cli import main as ofa

    folder = Path(words[0])
    resumed = ["--resume"] if folder.exists() else []
    try:
        ofa(["bench", "--out", str(folder), *words[1:], *resumed])
    except SystemExit as ending:
        if ending.code:
            raise
    print("{}")


def measured(given: argparse.Namespace, folder: Path, out: Path) -> dict[str, Any]:
    """Run the three campaigns, and return how far their tables are apart."""
    words = scope(given, folder)
    with loopback.servers(folder, len(USES)) as servers:
        listed: dict[str, Any] = {f"{name}-local": (None, *use) for name, use in USES.items()}
        listed |= {f"{name}-ssh": (server, *use) for server, (name, use) in zip(servers, USES.items(), strict=True)}
        own = loopback.host(folder / "host", listed)
        for part, way in PARTS:
            names = [word for name in USES for word in ("--device", f"{name}-{way}")]
            loopback.inside(own, __file__, INSIDE, str(out / part), *words, *names)
    return {name: compared(*(read(out / part / f"{name}-{way}" / "lut") for part, way in PARTS)) for name in USES}


def scope(given: argparse.Namespace, folder: Path) -> list[str]:
    """Return the words that say what each of the twelve tables holds."""
    words = ["--space", SPACE, "--channels", str(OPTIONS["channels"]), "--classes", str(OPTIONS["classes"])]
    words += ["--rounds", str(given.rounds), "--rounds-most", str(given.rounds), "--no-again"]
    if given.subnets is None:
        return words
    space = spaces.load(SPACE, **OPTIONS)
    drawn = spaces.sample.random(space, given.subnets, np.random.default_rng(0))
    path = folder / "subnets.json"
    write_atomic(path, json.dumps([space.subnet(genome).to_json() for genome in drawn]))
    return [*words, "--subnets", str(path)]


def compared(before: Lut, ssh: Lut, after: Lut) -> dict[str, Any]:
    """Return how far rows over SSH are from local ones, beside how far those are from each other, percent."""
    floor, apart = differences(before, after), np.concatenate([differences(lut, ssh) for lut in (before, after)])
    found: dict[str, Any] = {
        "rows": len(floor),
        "statistics": [str(lut.header.protocol["statistic"]) for lut in (before, ssh, after)],
        "floor": spread(floor),
        "ssh": spread(apart),
    }
    usual = {name: float(np.median(np.abs(values))) for name, values in (("floor", floor), ("ssh", apart))}
    return found | {"equal_within_the_floor": usual["ssh"] <= FACTOR * usual["floor"]}


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
