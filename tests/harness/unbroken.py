"""What every fault is followed by: a plan measured on, each sample there once; and the fault itself, at its moment."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import journal as journals
from harness.inventory import Device
from harness.journal import Journal
from harness.plan import Plan, Rounds
from harness.session import run

# One state is over soon, and the other takes a second or two: a fault falls into the middle of a batch.
HALVES = Rounds(
    cold_cycles=4,
    hot_bursts=250,
    burst_least=100,
    burst_most=100,
    canary_calls=1,
    canary_us=0,
    drift_most=10.0,
    rounds_most=1,
)
WATCHED_S = 40.0


def measured(device: Device, plan: Plan, path: Path, **options: Any) -> Journal:
    """Measure what a journal lacks of its plan, and return it as it then is on the disk."""
    with journals.resume(path, plan) as journal:
        run(plan, device=device, journal=journal, **options)
    return journals.resume(path, plan)


def triples(journal: Journal) -> list[tuple[int, int | None, str]]:
    """Return what was measured, as often as it was."""
    return sorted((row.round, row.item, "sample") for row in journal.samples())


def whole(plan: Plan) -> list[tuple[int, int, str]]:
    """Return what is to be measured, each thing once."""
    return [(number, item, "sample") for number in range(plan.rounds) for item in range(len(plan.items))]


def notes(journal: Journal) -> list[str]:
    """Return why attempts were lost."""
    return [note for (note,) in journal.database.execute("SELECT note FROM ends WHERE status = 'lost' ORDER BY rowid")]


def values(journal: Journal) -> dict[int | None, int]:
    """Return what was measured of each item of the only round."""
    return {row.item: row.wall_min_ns for row in journal.samples()}


def half(jobs: Path) -> bool:
    """Say whether some job has measured one of its states and not the other."""
    try:
        records = [path.read_bytes() for path in jobs.glob("*/journal.jsonl")]
    except OSError:
        return False
    return any(b'"ev":"reference"' in record and b'"ev":"done"' not in record for record in records)


def idle(workers: Callable[[], list[int]]) -> bool:
    """Say whether no worker is left: one that has written its last record takes a moment to end."""
    deadline_s = time.monotonic() + 10
    while workers() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return not workers()


def whole_job(jobs: Path) -> dict[int, int]:
    """Return what the only job on a device holds once its worker is through, which must be its first."""
    (journal,) = jobs.glob("*/journal.jsonl")
    deadline_s = time.monotonic() + WATCHED_S
    while b'"ev":"done"' not in journal.read_bytes() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    records = [json.loads(line) for line in journal.read_bytes().splitlines()]
    assert (records[0]["attempt"], records[-1]["ev"]) == (1, "done")
    return {row["item"]: row["wall_min_ns"] for row in records if row["ev"] == "sample"}


@contextmanager
def once(seen: Callable[[], bool], strike: Callable[[], object]) -> Iterator[None]:
    """Let something happen beside a block, as soon as it may; fails where it never came to that."""
    over, struck = threading.Event(), threading.Event()
    faults: list[BaseException] = []

    def watch() -> None:
        deadline_s = time.monotonic() + WATCHED_S
        while not seen():
            if over.wait(0.01) or time.monotonic() > deadline_s:
                return
        struck.set()
        try:
            strike()
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not faults, repr(faults)
    assert struck.is_set(), "the fault never came"
