"""Two runs side by side: which of their tables and fronts belong together, and in what these differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.refusals import nothing_to_compare
from harness.report.read import Bench, Run, gather
from harness.report.searched import Front, Point, pareto
from ofa import score
from ofa.lut.diff import diff
from ofa.lut.format import Lut
from ofa.lut.pullrequest import disturbances

Vector = NDArray[np.float64]

# Two tables with these in common are of one device, measured twice; else they are of two.
ONE_DEVICE = ("device", "runtime", "precision", "conditions")
FEWEST_RANKED = 3
BUDGETS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An op or network timed on both sides, in ms, with its place among all of them from the quickest, from 1."""

    name: str
    a_ms: float
    b_ms: float
    a_rank: int
    b_rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """How far two sides agree on what is quick: Spearman's correlation, and all that was ranked."""

    what: str
    spearman: float | None
    rows: tuple[Ranked, ...]

    @property
    def apart(self) -> list[Ranked]:
        """Return the rows whose places differ, the farthest apart first."""
        moved = (row for row in self.rows if row.a_rank != row.b_rank)
        return sorted(moved, key=lambda row: (-abs(row.a_rank - row.b_rank), row.name))

    @property
    def ratio(self) -> float | None:
        """Return how many times as long the median row takes on the second side; None without rows."""
        return float(np.median([row.b_ms / row.a_ms for row in self.rows])) if self.rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Two tables: the facts of `ofa.lut.diff`, whether they are of one device, and both rankings.

    ``ratio`` is the time of ops in ``state`` on the second side over the first: the 5th, 50th and 95th percentile;
    ``others`` is the median of each other state.
    """

    a: Lut
    b: Lut
    facts: Mapping[str, Any]
    one_device: bool
    state: str
    ops: Ranking
    networks: Ranking
    ratio: tuple[float, float, float] | None
    others: Mapping[str, float]

    @property
    def disturbed(self) -> str:
        """Return what says that rows were measured while a device was disturbed; empty where few were."""
        return disturbances(self.facts)

    @property
    def told(self) -> str:
        """Return what a page calls two tables that are not of one device under one set of conditions."""
        if self.a.header.device != self.b.header.device:
            return "Two devices"
        return f"One device, two {'runtimes' if self.a.header.runtime != self.b.header.runtime else 'settings'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The best accuracy, percent, that each of two fronts has under a latency, ms."""

    ms: float
    a_top1: float
    b_top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fronts:
    """Two fronts: hypervolumes (points of accuracy times ms) and budgets, up to the latency that both were searched to.

    There are no budgets where one front begins beyond what the other was searched to.
    """

    a: Front
    b: Front
    a_volume: float
    b_volume: float
    budgets: tuple[Budget, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One bench of each run; ``name`` is what they are called on both sides, "" where each run has but one."""

    name: str
    tables: Tables | None
    fronts: Fronts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs by what people call them, and the pairs that can be compared."""

    names: tuple[str, str]
    runs: tuple[Run, Run]
    pairs: tuple[Pair, ...]


def comparison(a: Path, b: Path) -> Comparison:
    """Read two runs, tables or fronts, each by its folder or by its header or front as a file.

    Benches of one name belong together, and the only ones of two runs whatever they are called. Raises FileInvalid
    where there is nothing to show of a side, and where they have neither a table nor a front in common.
    """
    folders = [path.parent if Path(path).is_file() else Path(path) for path in (a, b)]
    first, second = (gather(folder) for folder in folders)
    names = _names(*folders)
    pairs = tuple(
        pair
        for name, (one, other) in _together(first.benches, second.benches).items()
        if (pair := _pair(name, one, other, names)) is not None
    )
    if not pairs:
        held = [[_held(bench) for bench in run.benches] for run in (first, second)]
        # A folder that is itself the table has no name within itself.
        broken = [
            f"in '{name}', {line.removeprefix('.: ')}"
            for name, run in zip(names, (first, second), strict=True)
            for line in run.broken
        ]
        raise nothing_to_compare(folders[0], folders[1], held[0], held[1], broken)
    return Comparison(names=names, runs=(first, second), pairs=pairs)


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Return what two folders are called: as much of the end of their paths as tells them apart."""
    parts = [path.resolve().parts for path in (a, b)]
    for count in range(1, max(map(len, parts))):
        first, second = ("/".join(part[-count:]) for part in parts)
        # A run is called by its own folder, not by that of the table in it.
        if first != second and not {first, second} & {"lut", "front"}:
            return first, second
    return "A", "B"


def _together(a: Sequence[Bench], b: Sequence[Bench]) -> dict[str, tuple[Bench, Bench]]:
    """Return the benches of two runs that belong together."""
    if len(a) == len(b) == 1:
        return {"": (a[0], b[0])}
    others = {bench.runtime: bench for bench in b}
    return {bench.runtime: (bench, others[bench.runtime]) for bench in a if bench.runtime in others}


def _held(bench: Bench) -> str:
    """Return what a bench holds, for a message."""
    parts = ["a table"] * (bench.table is not None) + ["a front"] * (bench.front is not None)
    return f"{bench.label}: {' and '.join(parts) or 'neither table nor front'}"


def _pair(name: str, a: Bench, b: Bench, names: tuple[str, str]) -> Pair | None:
    tables = _tables(a.table, b.table, names) if a.table and b.table else None
    fronts = of_fronts(a.front, b.front) if a.front and b.front and a.front.points and b.front.points else None
    return Pair(name=name, tables=tables, fronts=fronts) if tables or fronts else None


def _tables(a: Lut, b: Lut, names: tuple[str, str]) -> Tables | None:
    """Compare two tables; None where no row is timed on both sides."""
    facts = diff(a, b, names=names)
    if not facts["ops"]["rows"] and not facts["networks"]["rows"]:
        return None
    known = [row for row in facts["ops"]["rows"] if not row["key"].startswith("@")]
    states = [state for state in ("hot", "-", "cold") if any(row["state"] == state for row in known)] or ["hot"]
    ops = [row for row in known if row["state"] == states[0]]
    return Tables(
        a=a,
        b=b,
        facts=facts,
        one_device=all(getattr(a.header, name) == getattr(b.header, name) for name in ONE_DEVICE),
        state=states[0],
        ops=_ranking("ops", [(row["key"], row["a_ms"], row["b_ms"]) for row in ops]),
        networks=_ranking("networks", [(row["id"], row["a_ms"], row["b_ms"]) for row in facts["networks"]["rows"]]),
        ratio=_percentiles([row["ratio"] for row in ops]),
        others={
            state: float(np.median([row["ratio"] for row in known if row["state"] == state])) for state in states[1:]
        },
    )


def _percentiles(ratios: Sequence[float]) -> tuple[float, float, float] | None:
    if not ratios:
        return None
    low, middle, high = (float(value) for value in np.percentile(ratios, (5, 50, 95)))
    return low, middle, high


def _ranking(what: str, rows: Sequence[tuple[str, float, float]]) -> Ranking:
    """Rank rows of (name, ms in a, ms in b) on both sides."""
    times = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 2)
    ranks = np.argsort(np.argsort(times, axis=0, kind="stable"), axis=0) + 1
    known = len(rows) >= FEWEST_RANKED
    agreed = score.spearman(times[:, 0], times[:, 1]) if known else float("nan")
    return Ranking(
        what=what,
        spearman=agreed if np.isfinite(agreed) else None,
        rows=tuple(
            Ranked(name=name, a_ms=a_ms, b_ms=b_ms, a_rank=int(first), b_rank=int(second))
            for (name, a_ms, b_ms), (first, second) in zip(rows, ranks, strict=True)
        ),
    )


def of_fronts(a: Front, b: Front) -> Fronts:
    """Compare two fronts: up to the latency both were searched to, and above the least accuracy of either."""
    first, second = pareto(a.points), pareto(b.points)
    least_ms = max(first[0].latency_ms, second[0].latency_ms)
    most_ms = min(_reach_ms(first), _reach_ms(second))
    least_top1 = min(first[0].accuracy, second[0].accuracy)
    volumes = [
        score.hypervolume_2d(
            [point.accuracy for point in points],
            [point.latency_ms for point in points],
            least_gain=least_top1,
            most_cost=most_ms,
        )
        for points in (first, second)
    ]
    # Under less one side has nothing, and beyond one of them was not asked.
    budgets_ms = np.linspace(least_ms, most_ms, BUDGETS) if least_ms <= most_ms else ()
    return Fronts(
        a=a,
        b=b,
        a_volume=volumes[0],
        b_volume=volumes[1],
        budgets=tuple(
            Budget(ms=float(ms), a_top1=best_under(a, float(ms)), b_top1=best_under(b, float(ms))) for ms in budgets_ms
        ),
    )


def _reach_ms(points: Sequence[Point]) -> float:
    """Return the largest latency, ms, that a front was searched to: its last limit, or else its last network."""
    return max(point.latency_ms if point.budget_ms is None else point.budget_ms for point in points)


def best_under(front: Front, ms: float) -> float:
    """Return the best accuracy, percent, that a front has at or under a latency, ms; NaN under all of them."""
    return max((point.accuracy for point in front.points if point.latency_ms <= ms), default=float("nan"))
