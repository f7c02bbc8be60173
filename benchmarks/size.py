"""A large lab: commands beside a thousand tables and 200 devices, and a run of 100,000 items, from journal to page.

Tables are copies of a committed one under other names of devices, and the journal holds equal times: only their size
is what a large lab has. Every command is a process of its own; "first" begins with an empty cache.

    python benchmarks/size.py
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_seeds import DONE, SESSION, STATES, STATS
from record import record

import ofa.space as spaces
from harness import journal as journals
from harness import plan as plans
from harness import tables
from harness.founding import founded
from harness.plan import Item, Plan, Reference, Rounds
from ofa.files import canonical_json, write_atomic
from ofa.lut import format
from ofa.space import sample
from ofa.space.index import index_of
from ofa.space.ops import Op
from ofa.twins import accuracy

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "luts" / "x86-xeon-amx-2core-vm" / "onnxruntime-fp32-cpu-1t"
TABLES, DEVICES, ITEMS, ROUNDS, BATCH = 1000, 200, 100_000, 3, 250
LABELS = 100
WRITTEN = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
# A command that ends by saying its most resident memory: what the kernel tells its parent counts the parent's too.
COMMAND = """
import atexit, pathlib, sys
from harness.cli import main
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print("\\n" + status.read_text().partition("VmHWM:")[2].split()[0], file=sys.stderr))
main(sys.argv[1:])
"""
# What every command that begins with that many tables may take, CPU time and resident memory.
LIMIT_S, LIMIT_MIB = 2.0, 500


def main() -> None:
    """Make a large lab, run each command in it, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=TABLES)
    parser.add_argument("--items", type=int, default=ITEMS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        lab = Lab(Path(name))
        found: dict[str, Any] = {
            "tables": given.tables, "devices_in_lab": DEVICES, "table_rows": len(format.read(TABLE).rows),
            "nothing": lab.runs("--help"),
            **with_tables(lab, given.tables),
            "journal": with_journal(lab, given.items),
        }  # fmt: skip
    began = ("index", "check", "search_begins", "search_undecided", "estimate", "devices")
    found["limits"] = {"cpu_s": LIMIT_S, "mib": LIMIT_MIB, "kept": all(
        found[name]["cpu_s"] <= LIMIT_S and found[name]["mib"] <= LIMIT_MIB for name in began
    )}  # fmt: skip
    what = "CPU time and peak memory of commands beside many tables and devices, and of a long run's table and page"
    changed = [] if given.tables == TABLES else [f"--tables {given.tables}"]
    changed += [] if given.items == ITEMS else [f"--items {given.items}"]
    record("size", what, found, " ".join(changed))


class Lab:
    """A lab's folder with 200 devices, and commands run in it."""

    def __init__(self, folder: Path) -> None:
        """Make it."""
        self.folder, self.cache = folder / "lab", folder / "cache"
        # As pip leaves an installed copy: compiled.
        for package in ("harness", "ofa"):
            compileall.compile_dir(ROOT / package, quiet=1)
        founded(self.folder)
        units = [f'[devices.unit-{n}]\nkind = "simulated-phone"\n' for n in range(DEVICES)]
        with (self.folder / "lab.toml").open("a") as stream:
            stream.write("\n" + "\n".join(units))

    def runs(self, *words: str, exit_code: int = 0) -> dict[str, float]:
        """Run a command, and return its CPU time, s, wall time, s, and most resident memory, MiB."""
        own = {"OFA_LAB": str(self.folder), "OFA_CACHE": str(self.cache), "PYTHONPATH": str(ROOT)}
        began_s = time.monotonic()
        process = os.posix_spawn(
            sys.executable, [sys.executable, "-c", COMMAND, *words], {**os.environ, **own},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, stream, str(self.folder / f"said-{stream}.txt"), WRITTEN, 0o600)
                for stream in (1, 2)
            ],
        )  # fmt: skip
        _, status, spent = os.wait4(process, 0)
        said = (self.folder / "said-2.txt").read_text()
        if os.waitstatus_to_exitcode(status) != exit_code:
            raise SystemExit(f"{' '.join(words)}: {said}")
        return {
            "cpu_s": round(spent.ru_utime + spent.ru_stime, 2),
            "wall_s": round(time.monotonic() - began_s, 2),
            "mib": round(int(said.split()[-1]) / 1024),
        }


def with_tables(lab: Lab, count: int) -> dict[str, Any]:
    """Return what commands cost beside so many tables."""
    root = lab.folder / "luts"
    folders = shelved(root, count)
    space = spaces.load("mobilenet_v3")
    genomes = sample.unique(sample.random(space, 4 * LABELS, np.random.default_rng(0)))[:LABELS]
    macs = index_of(space).sum(genomes, index_of(space).values(lambda op: op.macs))
    accuracy.fit(space, genomes, 60 + 10 * np.log10(macs / 1e8), seed=0).save(lab.folder / "twin")
    subnets = [space.subnet(genome).to_json() for genome in genomes[:5]]
    write_atomic(lab.folder / "subnets.json", json.dumps(subnets))
    # The limit is below what any network takes: it ends when it has read all that it begins with.
    search = ("search", "--space", "mobilenet_v3", "--accuracy", str(lab.folder / "twin"), "--under", "0.01ms", "--lut")
    return {
        "index_first": lab.runs("lut", "index", str(root)),
        "index": lab.runs("lut", "index", str(root), "--check"),
        "check": lab.runs("lut", "check", str(root), "--json"),
        "search_begins": lab.runs(*search, str(folders[-1]), exit_code=6),
        "search_undecided": lab.runs(*search, str(root), exit_code=2),
        "estimate": lab.runs("estimate", "--lut", str(folders[-1]), "--subnets", str(lab.folder / "subnets.json")),
        "devices": lab.runs("devices"),
    }


def shelved(root: Path, count: int) -> list[Path]:
    """Write copies of the table, each under the name of a device and of conditions of its own."""
    lut = format.read(TABLE)
    contents = {part: (TABLE / part).read_bytes() for part in format.MOST_BYTES}
    found = []
    for number in range(count):
        names = {"device": f"device-{number % DEVICES}", "conditions": f"cpu-{1 + number // DEVICES}t"}
        header = json.loads(contents[format.HEADER]) | names
        place = root / str(lut.header.model_copy(update=names).place)
        place.mkdir(parents=True)
        for part, raw in contents.items():
            (place / part).write_bytes(json.dumps(header).encode() if part == format.HEADER else raw)
        found.append(place)
    return found


def with_journal(lab: Lab, items: int) -> dict[str, Any]:
    """Return what the table and the page of a long run cost."""
    folder = lab.folder / "runs" / "long"
    folder.mkdir(parents=True)
    size_bytes = journal_of(folder, items)
    build = lab.runs("lut", "build", str(folder), "--into", str(lab.folder / "built"))
    [header] = (lab.folder / "built").rglob(format.HEADER)
    header.parent.rename(folder / tables.TABLE)
    return {
        "items": items, "rounds": ROUNDS, "journal_mib": round(size_bytes / 2**20), "build": build,
        "report": lab.runs("report", str(folder)),
        "page_mib": round((folder / "report.html").stat().st_size / 2**20, 2),
    }  # fmt: skip


def journal_of(folder: Path, count: int) -> int:
    """Write a run of so many items, half of them cold, as `ofa bench` leaves it; return the bytes of its journal."""
    shapes = [(kernel, size, mid) for kernel in (3, 5, 7) for size in range(1, 226) for mid in range(8, 8 * 80, 8)]
    ops = [
        Op(
            kind="mbconv", kernel=kernel, in_channels=16, in_size=size, out_channels=16, mid=(mid,), act="relu",
        )
        for kernel, size, mid in shapes[: count // len(STATES)]
    ]  # fmt: skip
    items = [Item(key=op.key, kind="op", state=state, file=f"{n:064x}") for n, op in enumerate(ops) for state in STATES]
    plan = Plan(
        device="linux-host", runtime="onnxruntime", rounds=ROUNDS, seed=5, items=tuple(items),
        protocol=Rounds(rounds_most=ROUNDS), reference=Reference(key="reference", file="d" * 64),
    )  # fmt: skip
    plans.write(plan, folder / tables.PLAN)
    stats = tuple(STATS.values())
    done = canonical_json({name: value for name, value in DONE.items() if name != "ev"} | {"redone": 0})
    batches = range(-(-len(items) // BATCH))
    with journals.create(folder / tables.JOURNAL, plan) as journal:
        journal.begin_session("s0", SESSION)
        for number in range(ROUNDS):
            attempt = journal.begin_attempt(number, session="s0", started_utc="2026-01-02T03:04:05Z")
            journal.end_attempt(number, attempt, {
                "samples": [(item // BATCH, item, *stats, 9, 10) for item in range(len(items))],
                "refs": [(batch, state, *stats) for batch in batches for state in STATES],
                "batches": [(batch, done) for batch in batches],
            }, ended_utc="2026-01-02T03:05:05Z")  # fmt: skip
    return (folder / tables.JOURNAL).stat().st_size


if __name__ == "__main__":
    main()
