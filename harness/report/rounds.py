"""How a measurement went: what each round and batch of a journal was off by, in the order they were measured in."""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import journal as journals
from harness.errors import file_invalid
from harness.gate import hottest_c
from harness.header import is_simulated
from harness.journal import Journal
from harness.plan import Item
from harness.reduce import conditions
from harness.report.shape import kind_of
from ofa import files

Vector = NDArray[np.float64]

NETWORK = "whole network"
PERCENTILES = (5, 25, 50, 75, 95)
MAX_BYTES = 512 * files.MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch of items that ran together; ``minutes`` since the first round began, to the batch's end.

    ``reference_percent``: how much longer the reference network took than in the median batch. ``low``, ``median`` and
    ``high_percent``: the 5th, 50th and 95th percentile of what its items' times over the reference were off by from
    their medians over rounds. ``temperature_c`` is the hottest sensor at the batch's end, None where none can be read.
    """

    round: int
    batch: int
    minutes: float
    reference_percent: float
    low_percent: float
    median_percent: float
    high_percent: float
    items: int
    temperature_c: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The 5th, 25th, 50th, 75th and 95th percentile, percent, of what single rounds of one kind of op are off by."""

    kind: str
    state: str
    samples: int
    percent: tuple[float, float, float, float, float]


def spread(kind: str, state: str, off_percent: Sequence[float]) -> Spread:
    """Return the spread of what some values of a kind and state are off by, percent."""
    low, first, middle, third, high = (float(value) for value in np.percentile(off_percent, PERCENTILES))
    return Spread(kind=kind, state=state, samples=len(off_percent), percent=(low, first, middle, third, high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """A journal in a few numbers: of what it is and how far it came, its batches in the order they were measured in,
    and the spread of each kind.

    Of ``planned`` rounds or more, ``done`` are complete; batches and spreads are empty where these are fewer than two.
    """

    device: str
    runtime: str
    simulated: bool
    ops: int
    networks: int
    planned: int
    done: int
    batches: tuple[Batch, ...] = ()
    spreads: tuple[Spread, ...] = ()


def rounds(path: Path) -> Rounds:
    """Return how far a journal has come, and what its complete rounds were off by.

    Raises FileInvalid where the journal is damaged, or larger than a page is worth waiting for.
    """
    with _copied(path) as journal:
        plan = journal.plan
        kinds = {(item.kind, item.key) for item in plan.items}
        found = Rounds(
            device=plan.device,
            runtime=plan.runtime,
            simulated=any(is_simulated(plan, record) for _, record in journal.sessions()),
            ops=sum(kind == "op" for kind, _ in kinds),
            networks=sum(kind == "network" for kind, _ in kinds),
            planned=plan.rounds,
            done=len(journal.complete_rounds()),
        )
        samples = journal.samples()
        if len({row.round for row in samples}) < 2:
            return found
        basis = conditions(journal).basis
        items = plan.items
        references = {
            (row.round, row.batch, row.state): getattr(row, basis)
            for row in journal.references()
            if getattr(row, basis) is not None
        }
        known = [
            (row.round, row.batch, row.item or 0, getattr(row, basis), reference)
            for row in samples
            if getattr(row, basis) is not None
            and (reference := references.get((row.round, row.batch, items[row.item or 0].state)))
        ]
        places = np.array([entry[:3] for entry in known], dtype=np.int64).reshape(-1, 3)
        off = _off_percent(places[:, 2], np.array([ns / reference for *_, ns, reference in known]))
        return replace(
            found, batches=_batches(journal, places, off, references), spreads=_spreads(items, places[:, 2], off)
        )


@contextmanager
def _copied(path: Path) -> Iterator[Journal]:
    """Yield a copy of a journal: whoever opens one folds its write-ahead log into it, and a report changes nothing."""
    if path.stat().st_size > MAX_BYTES:
        raise file_invalid("journal", path, f"it is larger than the {MAX_BYTES:,} bytes that a report reads")
    journals.check(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        for end in ("", "-wal"):
            if (source := path.with_name(path.name + end)).exists():
                shutil.copyfile(source, copy.with_name(source.name))
        with journals.open_journal(copy) as journal:
            yield journal


def _off_percent(items: NDArray[np.int64], ratios: Vector) -> Vector:
    """Return what each ratio is off by from the median over its item's rounds, percent, float64[n]."""
    own: dict[int, list[float]] = defaultdict(list)
    for item, ratio in zip(items.tolist(), ratios.tolist(), strict=True):
        own[item].append(ratio)
    usual = {item: float(np.median(values)) for item, values in own.items()}
    return np.asarray(100.0 * (ratios / np.array([usual[item] for item in items.tolist()]) - 1.0))


def _batches(
    journal: Journal, places: NDArray[np.int64], off: Vector, references: dict[tuple[int, int, str | None], int]
) -> tuple[Batch, ...]:
    """Return the batches that have samples, in the order they were measured in."""
    began = _began(journal)
    usual = {
        state: float(np.median([ns for (*_, other), ns in references.items() if other == state]))
        for state in {key[2] for key in references}
    }
    passed: dict[int, float] = defaultdict(float)
    found = []
    for number, batch, record in journal.batches():
        passed[number] += float(record["timed_s"])
        own = off[(places[:, 0] == number) & (places[:, 1] == batch)]
        levels = [
            100.0 * (ns / usual[state] - 1.0) for (a, b, state), ns in references.items() if (a, b) == (number, batch)
        ]
        if not len(own) or not levels:
            continue
        low, median, high = (float(value) for value in np.percentile(own, [5, 50, 95]))
        found.append(
            Batch(
                round=number + 1,
                batch=batch + 1,
                minutes=(began[number] + passed[number]) / 60.0,
                reference_percent=float(np.mean(levels)),
                low_percent=low,
                median_percent=median,
                high_percent=high,
                items=len(own),
                temperature_c=hottest_c(_state(record)),
            )
        )
    return tuple(sorted(found, key=lambda one: (began[one.round - 1], one.round, one.batch)))


def _state(record: dict[str, Any]) -> dict[str, Any]:
    state = record.get("state")
    return state if isinstance(state, dict) else {}


def _began(journal: Journal) -> dict[int, float]:
    """Return when the last attempt at each round began, seconds after the first round did."""
    rows = journal.database.execute("SELECT round, max(started_utc) FROM attempts GROUP BY round").fetchall()
    times = {int(number): datetime.datetime.fromisoformat(text).timestamp() for number, text in rows}
    first = min(times.values())
    return {number: time - first for number, time in times.items()}


def _spreads(items: Sequence[Item], places: NDArray[np.int64], off: Vector) -> tuple[Spread, ...]:
    """Return the spread of every kind of op in each state."""
    own: dict[tuple[str, str], list[float]] = defaultdict(list)
    for item, value in zip(places.tolist(), off.tolist(), strict=True):
        entry = items[item]
        if entry.kind in ("op", "network"):
            kind = NETWORK if entry.kind == "network" else kind_of(entry.key)
            own[kind, entry.state].append(value)
    return tuple(spread(kind, state, values) for (kind, state), values in sorted(own.items()))
