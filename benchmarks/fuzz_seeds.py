"""The sound inputs that `fuzz.py` damages: an answer of each kind, a conversation, a journal, a table."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from damage import damaged

import ofa.space as spaces
from harness import journal as journals
from harness import plan as plans
from harness import tables
from harness.errors import device_lost
from harness.inventory import Device, load_profile
from harness.plan import EMPTY, Item, Plan, Reference, Rounds
from harness.transport.contract import OnBytes, silent
from ofa.files import canonical_json, sha256_bytes
from ofa.lut import format
from ofa.lut.format import Header, Lut, NetworkRow, Row
from ofa.lut.header import environment_id
from ofa.space import sample
from ofa.space.ops import ops_of

STATS = {
    "calls": 9, "wall_min_ns": 1000, "wall_p10_ns": 1002, "wall_p20_ns": 1003, "wall_median_ns": 1004,
    "wall_p95_ns": 1005, "cpu_min_ns": 990, "cpu_p10_ns": 999,
}  # fmt: skip
CLOCKS = {"wall_clock": "monotonic", "wall_cost_ns": 40, "cpu_clock": "thread", "cpu_cost_ns": 200}
STATE = {"boot_id": "b", "load_1min": 0.5, "temperature_c": {"cpu": 41.5, "gpu": "unreadable"}, "clusters": [{"a": 1}]}
ENVIRONMENT = {"cpu": "some", "cores": 4, "governor": "performance", "runtime": "onnxruntime", "runtime_version": "1.2"}
SESSION = {
    "started_utc": "2026-01-02T03:04:05Z", "device": "linux-host", "environment": ENVIRONMENT, "state": STATE,
    "environment_id": environment_id(ENVIRONMENT), "clocks": CLOCKS,
}  # fmt: skip
SAMPLE = {"ev": "sample", "item": 3, **STATS, "load_ns": 9, "first_ns": 10}
DONE = {
    "ev": "done", "samples": 4, "failed": 0, "timed_s": 0.5, "foreign_cores": 0.1, "stolen_cores": "unreadable",
    "state": STATE, "clocks": CLOCKS, "canaries": {"bound": [{"wall_min_ns": 5, "cpu_min_ns": 4}]},
}  # fmt: skip
WINDOW = {"calls": 0, "watts": 2.5, "samples": 100}
ANSWERS: tuple[dict[str, Any], ...] = tuple(
    {"id": 7, **answer}
    for answer in (
        {
            "ev": "hello", "protocol": 2, "boot_id": "b", "environment": ENVIRONMENT, "state": STATE, "clocks": CLOCKS,
            "runtimes": [{"name": "litert", "version": "2.3", "ready": True, "opset": 21, "units": {
                "gpu": {"ready": False, "says": "none", "kernels": []}}}],
        },
        SAMPLE,
        {"ev": "reference", "state": "hot", **STATS},
        {"ev": "failed", "item": 2, "reason": "NotImplemented: HardSwish"},
        {"ev": "progress", "share": 0.25},
        DONE,
        {"ev": "rested", "state": STATE},
        {"ev": "footprint", "peak_rss_kib": 51234, "reason": None},
        {"ev": "tuned", "observed": {"sys/a": "performance"}, "saved": {"token": "a" * 32}, "refused": None},
        {
            "ev": "energy", "source": "rail", "averaging_s": 0.1, "reason": None, "pattern": "1111100110101",
            "windows": [
                {"kind": kind, "start_ns": 10 * place, "end_ns": 10 * place + 9, **WINDOW, "calls": 5 * (place % 2)}
                for place, kind in enumerate(("idle", "busy", "idle"))
            ],
            "pulses": [],
        },
        {"ev": "stopped"},
        {"ev": "error", "reason": "'cap_s' must be a whole number"},
        {"ev": "started", "state": "running", "attempt": 1, "pid": 4321, "boot_id": "b"},
        {"ev": "row", "offset": 400, "row": {**SAMPLE, "id": 0}},
        {"ev": "attached", "state": "dead", "offset": 400, "reason": "its worker ended", "attempt": 1},
        {"ev": "ended", "killed": True},
        {"ev": "forgotten", "jobs": 2},
        {"ev": "leased", "granted": False, "owner": "somebody", "left_s": 12.5},
        {"ev": "released", "held": True},
        {"ev": "absent", "names": ["0" * 64]},
        {"ev": "lacking", "names": ["f" * 64, "0" * 64]},
        {"ev": "unpacked", "files": 3},
    )
)  # fmt: skip


class SilentDevice:
    """A device on a link that says given lines, and then nothing more: its own transport and its own channel."""

    JOB = (
        {"id": 1, "ev": "started", "state": "running", "attempt": 1, "pid": 4321, "boot_id": "b"},
        {"id": 2, "ev": "row", "offset": 400, "row": {**SAMPLE, "id": 0}},
        {"id": 2, "ev": "progress", "share": 0.5},
        {"id": 2, "ev": "row", "offset": 800, "row": {**DONE, "id": 0}},
        {"id": 2, "ev": "attached", "state": "complete", "offset": 800},
    )
    agent = files = Path("nowhere")
    remote = True
    private: tuple[str, ...] = ()

    def __init__(self, lines: list[bytes]) -> None:
        """Take what is said, line by line."""
        self.lines = list(lines)

    @classmethod
    def of(cls, lines: list[bytes]) -> Device:
        """Return the device that says these lines."""
        return Device(profile=load_profile("linux-host"), transport=cls(lines), unit="far")

    def open(self) -> SilentDevice:
        """Begin another conversation, with what was not said yet."""
        return self

    def send(self, line: bytes, *, timeout_s: float) -> None:
        """Take a request, and do nothing with it."""

    def receive(self, *, timeout_s: float, max_bytes: int) -> bytes:
        """Return the next line; raises DeviceLost after the last one."""
        if not self.lines:
            raise device_lost("far", "the agent ended")
        return self.lines.pop(0)

    def push(self, path: Path, name: str, *, on_bytes: OnBytes = silent) -> None:
        """Take no file."""

    def close(self) -> None:
        """End."""

    def kill(self) -> None:
        """End at once."""

    def end(self) -> None:
        """Leave."""


@dataclass(slots=True)
class Whole:
    """A sound journal as bytes, and the ways to edit what is in it past its own guards."""

    raw: bytes
    last: str = ""

    def edited(self, rng: random.Random, folder: Path) -> bytes:
        """Return the journal with one value of one row damaged; its tables and guards are as they were."""
        path = folder / "edited.sqlite"
        path.write_bytes(self.raw)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA ignore_check_constraints = ON")
            database.execute("PRAGMA synchronous = OFF")
            guards = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            table = rng.choice(list(journals.TABLES))
            columns = [entry[1] for entry in database.execute(f"PRAGMA table_info({table})")]
            rowids = [entry[0] for entry in database.execute(f"SELECT rowid FROM {table}")]
            column = rng.choice(columns)
            self.last = f"{table}.{column}"
            if rowids:
                self._change(rng, database, guards, table, column, rng.choice(rowids))
            database.execute("PRAGMA journal_mode = DELETE")
        return path.read_bytes()

    def _change(
        self, rng: random.Random, database: sqlite3.Connection, guards: list[Any], table: str, column: str, row: int
    ) -> None:
        """Damage a value, or drop or repeat its row."""
        (before,) = database.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (row,)).fetchone()
        text = before.encode() if isinstance(before, str) else str(before).encode()
        fresh: Any = damaged(rng, text, [text])
        if rng.random() < 0.8:
            fresh = fresh.decode(errors="replace")
        if isinstance(before, int) and rng.random() < 0.8:
            fresh = rng.choice((0, 1, -1, 7, 2**62, 1.5, None, before + 1))
        self.last += f" = {fresh!r}"[:1500]
        with database:
            for name, _ in guards:
                database.execute(f"DROP TRIGGER {name}")
            if rng.random() < 0.1:
                database.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
                self.last += " (its row was removed)"
            else:
                database.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = ?", (fresh, row))
            for _, statement in guards:
                database.execute(statement)


def journal_of(folder: Path) -> Whole:
    """Write a run of a few items, as `ofa bench` leaves it, and return its journal."""
    tiny = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    ops = list(dict.fromkeys(op.key for op in ops_of(tiny.corner("min"))))[:3]
    items = [Item(key=key, kind="op", state=state, file=f"{n:064x}") for n, key in enumerate(ops) for state in STATES]
    genome = tiny.corner("min").genome
    items.append(Item(
        key=f"network.{tiny.corner('min').id}", kind="network", state="hot", file="e" * 64, space=tiny.id,
        genome=bytes(genome).hex(), split="fit",
    ))  # fmt: skip
    plan = Plan(
        device="linux-host", runtime="onnxruntime", rounds=2, seed=5, items=tuple(items),
        protocol=Rounds(cold_cycles=4, hot_bursts=2, burst_us=20, rounds_most=2),
        reference=Reference(key="reference", file="d" * 64),
    )  # fmt: skip
    plans.write(plan, folder / tables.PLAN)
    stats = tuple(STATS.values())
    record = {name: value for name, value in DONE.items() if name != "ev"} | {"redone": 1}
    with journals.create(folder / tables.JOURNAL, plan) as journal:
        journal.begin_session("s0", SESSION)
        for number in range(2):
            attempt = journal.begin_attempt(number, session="s0", started_utc="2026-01-02T03:04:05Z")
            journal.end_attempt(number, attempt, {
                "samples": [(0, item, *stats, 9, 10) for item in range(1, len(items))],
                "refs": [(0, state, *stats) for state in STATES],
                "failures": [(0, "NotImplemented: HardSwish")],
                "batches": [(0, canonical_json(record))],
            }, ended_utc="2026-01-02T03:05:05Z")  # fmt: skip
        journal.add_footprint(EMPTY, journals.Footprint(session="s0", peak_rss_kib=900, reason=""))
    return Whole((folder / tables.JOURNAL).read_bytes())


STATES: tuple[Any, ...] = ("cold", "hot")


def table_parts() -> dict[str, bytes]:
    """Return the four files of a small table with rows of several kinds."""
    tiny = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    keys = list(dict.fromkeys(op.key for op in ops_of(tiny.corner("max"))))[:8]
    rows = [
        Row(key, state, "ok", 1000 * n + 7, 1000 * n, 1000 * n + 90, 900, 1100, 31, (), "s1", 5, 4, 6)
        for n, key in enumerate(keys, 1)
        for state in STATES
    ]
    rows[0] = rows[0]._replace(status="noisy", flags=("drift", "wide"))
    rows[1] = rows[1]._replace(status="modelled", cpu_ns=None, wall_ns=None, rounds=0, session="")
    rows.append(Row("@session", "-", "ok", 52_000, 50_000, 55_000, None, 52_000, 31, (), "s1"))
    networks = [
        NetworkRow(tiny.id, subnet.id, bytes(subnet.genome).hex(), split, "ok", 600, 500, 700, 550, 650, 31, (), "s1")
        for subnet, split in zip(
            (tiny.subnet(genome) for genome in sample.random(tiny, 4, np.random.default_rng(0))),
            ("fit", "fit", "holdout", "verify"),
            strict=True,
        )
    ]
    header = Header(
        device="linux-host", runtime="litert", runtime_version="2.1.0", precision="fp32", conditions="xnnpack-1t",
        environment={"threads": 1, "nested": {"b": [1, 2.5], "a": None}}, protocol={"rounds": 31}, simulated=False,
        created="2026-02-28",
    )  # fmt: skip
    sessions = ({"id": "s1", "warm_s": 1.5, "temperature_c": {"cpu": 40.5}}, {"id": "s2", "unit": "ünit"})
    return format.render(Lut(header=header, rows=tuple(rows), networks=tuple(networks), sessions=sessions).sorted())


def seal(parts: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files with a header that names them as they are, where it can be read at all."""
    try:
        header = json.loads(parts[format.HEADER])
        counts, digests = header["counts"], header["sha256"]
        for part, name in ((format.OPS, "ops"), (format.NETWORKS, "networks"), (format.SESSIONS, "sessions")):
            digests[part] = sha256_bytes(parts[part])
            counts[name] = max(0, parts[part].count(b"\n") - (name != "sessions"))
        header["environment_id"] = environment_id(header["environment"])
        return {**parts, format.HEADER: json.dumps(header).encode()}
    except (ValueError, TypeError, LookupError, RecursionError):
        return parts
