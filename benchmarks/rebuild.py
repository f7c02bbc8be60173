"""A table built three times from nothing: again after a change of load, and once more beside two busy processes.

All ops of a space with one runtime on this computer, without whole networks; by how much the rows differ, and whether
a table made under load says so. Each build can be interrupted and run again.

    python benchmarks/rebuild.py --runtime onnxruntime --out FOLDER
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from record import record

import ofa.space as spaces
from harness import bench
from harness.inventory import this_computer
from harness.tables import TABLE
from ofa.lut.format import Lut, read

BUSY = 2
BUILDS = ("first", "second", "busy")
# As many as `ofa bench` measures everything in where nobody says how many.
ROUNDS = 5
# How long the computer is kept busy between the first and the second build, s.
CHANGE_S = 120
# Flags and a status that warn whoever reads a row.
WARNINGS = {"cpu", "loaded", "drift", "moved"}


def main() -> None:
    """Build three times, compare, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--space", default="mobilenet_v3")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, required=True, help="where plans, journals and tables are kept")
    given = parser.parse_args()
    begun = any((given.out / name).exists() for name in BUILDS)
    first = built(given, "first")
    if not (given.out / "second" / TABLE).exists():
        with busy():
            time.sleep(CHANGE_S)
    second = built(given, "second")
    with busy():
        third = built(given, "busy")
    found: dict[str, Any] = {
        "after_a_change_of_load": apart(first, second),
        "beside_two_busy_processes": apart(first, third),
    }
    if not begun:
        # Of a process that only reads what another one built it would say little.
        found["host_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    what = "rows of a table built again from nothing: difference in percent, and how many rows warn"
    name = "rebuild" if given.rounds == ROUNDS else f"rebuild_{given.rounds}_rounds"
    facts = {"space": given.space, "runtime": given.runtime, **found}
    record(name, what, facts, f"--rounds {given.rounds} --runtime {given.runtime}", script="rebuild")


def built(given: argparse.Namespace, name: str) -> Lut:
    """Build one table, or go on with it."""
    folder = given.out / name
    scope = bench.Scope(
        fit=0, holdout=0, rounds=given.rounds, rounds_most=given.rounds, seed=0, again=False, memory=False
    )
    space = spaces.load(given.space)
    bench.bench(space, device=this_computer(given.out / ".files"), runtime=given.runtime, folder=folder, scope=scope)
    return read(folder / TABLE)


@contextmanager
def busy() -> Iterator[None]:
    """Keep two other processes computing."""
    others = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(BUSY)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.terminate()


def _compute() -> None:
    """Multiply matrices that no cache holds, for ever."""
    values = np.random.default_rng(0).random((1500, 1500))
    while True:
        values = values @ values
        values /= np.abs(values).max()


def apart(first: Lut, other: Lut) -> dict[str, Any]:
    """Return by how much rows of two tables differ, percent: all of them, those of each state, those that do not warn.

    ``faster`` is how much less time everything takes in the other one; the rest is at equal speed but for "as_is".
    """
    known = {row[:2]: row for row in first.rows if row.ns}
    pairs = [(known[row[:2]], row) for row in other.rows if row[:2] in known and row.ns]
    logs = np.log([(b.ns or 0) / (a.ns or 1) for a, b in pairs])
    warned = np.array([b.status == "noisy" or bool(WARNINGS & set(b.flags)) for _, b in pairs])
    states = np.array([a.state for a, _ in pairs])
    level = float(np.median(logs[states == "hot"]))
    facts = {
        "rows": len(pairs),
        "warned_pct": round(100 * float(warned.mean()), 1),
        "noisy_pct": round(100 * float(np.mean([b.status == "noisy" for _, b in pairs])), 1),
        "loaded_pct": round(100 * float(np.mean(["loaded" in b.flags for _, b in pairs])), 1),
        "faster_pct": round(100 * (1 - float(np.exp(level))), 2),
        **_spread("as_is_", logs),
        **_spread("", logs - level),
    }
    for state in sorted(set(states.tolist())):
        facts |= _spread(f"{state}_", logs[states == state] - level)
    return facts | (_spread("unwarned_", (logs - level)[~warned]) if (~warned).any() else {})


def _spread(name: str, logs: Any) -> dict[str, float]:
    """Return the median and the 95th percentile of differences."""
    values = 100 * np.expm1(np.abs(logs))
    return {
        f"{name}median_pct": round(float(np.median(values)), 2),
        f"{name}p95_pct": round(float(np.percentile(values, 95)), 2),
    }


if __name__ == "__main__":
    main()
