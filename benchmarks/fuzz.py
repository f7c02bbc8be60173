"""Damaged inputs for all that reads what a device, a disk or another lab wrote: no crash, no hang, no unpickling.

Seeded, so that each input can be made again. A reader may refuse an input by the error it documents, or take it: then
what it took must be fit for what is done with it next (kept as JSON, written out, turned into a table).

    python benchmarks/fuzz.py            # all 200,000
    python benchmarks/fuzz.py --share 0.01 --dry-run
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from damage import damaged
from fuzz_seeds import ANSWERS, SilentDevice, journal_of, seal, table_parts
from guard import Tally, alone_within, poisoned
from record import record

from harness import gate, tables
from harness import journal as journals
from harness.link import Link
from harness.protocol import Hello, Rested, parse
from ofa.errors import DeviceLost, FileInvalid
from ofa.files import canonical_json, readable_json
from ofa.lut import check, format

# How many of the 200,000 inputs each reader gets: by what an input costs, and by how far its writer is from us.
INPUTS = {
    "answers": 66_000,
    "conversations": 20_000,
    "requests": 60_000,
    "journals on the device": 20_000,
    "journals here": 4_000,
    "tables": 30_000,
}
HERE = Path(__file__).resolve().parent
MOST_S = 3600


def answers(rng: random.Random, tally: Tally, count: int, _: Path) -> None:
    """Read damaged lines as a host does, and keep what was taken as a journal and a page do."""
    seeds = [json.dumps(answer).encode() for answer in ANSWERS]
    for _number in range(count):
        line = damaged(rng, rng.choice(seeds), seeds)
        with alone_within(tally, line):
            try:
                found = parse(line)
            except ValueError:
                tally.count("refused")
                continue
            kept = found.model_dump()
            canonical_json(kept)
            readable_json(kept).encode()
            if isinstance(found, Hello | Rested):
                gate.hottest_c(found.state)
            tally.count("accepted")


def conversations(rng: random.Random, tally: Tally, count: int, _: Path) -> None:
    """Follow a job over a link whose far side says damaged lines; a lost device is the only end but a good one."""
    seeds = [json.dumps({**answer, "id": 1}).encode() for answer in ANSWERS]
    job = [json.dumps(answer).encode() for answer in SilentDevice.JOB]
    for _number in range(count):
        lines = list(job)
        place = rng.randrange(len(lines))
        lines[place] = damaged(rng, lines[place], seeds)
        if rng.random() < 0.3:
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
        with alone_within(tally, lines):
            try:
                with Link(SilentDevice.of(lines), retry_s=0.0) as link:
                    for answer in link.work("0" * 32, {"do": "bench"}, patience_s=1.0):
                        canonical_json(answer.model_dump())
            except DeviceLost:
                tally.count("refused")
                continue
            tally.count("accepted")


def of_agent(kind: str) -> Callable[[random.Random, Tally, int, Path], None]:
    """Return what gives damaged inputs to the agent, in a process of its own."""

    def run(rng: random.Random, tally: Tally, count: int, folder: Path) -> None:
        place = folder / f"agent-{kind}"
        command = [sys.executable, str(HERE / "fuzz_agent.py"), str(place), str(rng.randrange(2**31)), kind, str(count)]
        # This checkout's own modules, whichever copy is installed.
        variables = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        ended = subprocess.run(command, capture_output=True, timeout=MOST_S, check=False, env=variables)
        if ended.returncode != 0:
            raise SystemExit(ended.stderr.decode(errors="replace")[-4000:])
        found = json.loads(ended.stdout)
        tally.outcomes.update({name: found[name] for name in ("accepted", "refused", "crashed", "hung")})
        tally.faults += found["faults"]
        tally.slowest_s, tally.seconds, tally.pickles = found["slowest_s"], found["seconds"], found["unpickled"]

    return run


def journals_here(rng: random.Random, tally: Tally, count: int, folder: Path) -> None:
    """Open damaged journals; one that is taken gives a table, or says why not."""
    run = folder / "run"
    whole = journal_of(run)
    path = run / tables.JOURNAL
    for number in range(count):
        if number % 2:
            path.write_bytes(damaged(rng, whole.raw, [whole.raw]))
            whole.last = "its bytes"
        else:
            path.write_bytes(whole.edited(rng, folder))
        with alone_within(tally, f"journal {number}: {whole.last}"):
            try:
                with journals.open_journal(path) as journal:
                    journal.sessions(), journal.batches(), journal.failures(), journal.footprints()
                    journal.samples(), journal.references(), journal.session_of_rounds()
                format.render(tables.table_in(run, max_foreign_cores=0.25))
            except FileInvalid:
                tally.count("refused")
                continue
            tally.count("accepted")


def tables_read(rng: random.Random, tally: Tally, count: int, folder: Path) -> None:
    """Read damaged tables, half with a header that vouches for the damage; what is taken is written as it was."""
    whole = table_parts()
    names, place = list(whole), folder / "table"
    place.mkdir()
    others = list(whole.values())
    for number in range(count):
        name = rng.choice(names)
        parts = {**whole, name: damaged(rng, whole[name], others)}
        if number % 2:
            parts = seal(parts)
        with alone_within(tally, (name, parts[name])):
            try:
                lut = format.parse(parts, place)
            except FileInvalid:
                tally.count("refused")
                continue
            again = format.render(lut)
            assert again[format.OPS] == parts[format.OPS] and again[format.NETWORKS] == parts[format.NETWORKS]
            _said(place, parts)
            tally.count("accepted")


def _said(place: Path, parts: dict[str, bytes]) -> None:
    """Say what a table holds, as 'ofa lut check' and 'ofa lut show' do; raises nothing but FileInvalid, caught here."""
    for name, raw in parts.items():
        (place / name).write_bytes(raw)
    readable_json(check.check(place)).encode()
    try:
        readable_json(check.show(place)).encode()
    except FileInvalid:
        return


READERS: dict[str, Callable[[random.Random, Tally, int, Path], None]] = {
    "answers": answers,
    "conversations": conversations,
    "requests": of_agent("requests"),
    "journals on the device": of_agent("journals"),
    "journals here": journals_here,
    "tables": tables_read,
}


def fuzzed(name: str, count: int, seed: int, folder: Path) -> Tally:
    """Give a reader so many damaged inputs and return what came of them."""
    tally = Tally()
    with poisoned() as poison:
        READERS[name](random.Random(f"{seed} {name}"), tally, count, folder)
    tally.pickles += poison.calls
    return tally


def main() -> None:
    """Fuzz every reader and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs, above 0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(READERS), help="one reader; nothing is recorded")
    parser.add_argument("--dry-run", action="store_true", help="print, and record nothing")
    given = parser.parse_args()
    # Readers are tried, not the disk: a journal waits for it with every copy.
    tempfile.tempdir = "/dev/shm" if Path("/dev/shm").is_dir() else None
    found: dict[str, Any] = {}
    for name in [given.only] if given.only else READERS:
        with tempfile.TemporaryDirectory() as folder:
            tally = fuzzed(name, max(1, round(given.share * INPUTS[name])), given.seed, Path(folder))
        found[name] = tally.facts()
        sys.stderr.write(f"{name}: {readable_json(found[name])}")
    faults = sum(facts["crashed"] + facts["hung"] + facts["unpickled"] for facts in found.values())
    names = ("inputs", "accepted", "refused", "seconds")
    total = {name: round(sum(facts[name] for facts in found.values()), 1) for name in names}
    if not given.dry_run and not given.only:
        what = "damaged inputs to every reader of what others wrote, by outcome; no fault is expected"
        record("fuzz", what, {**total, "faults": faults, "readers": found, "seed": given.seed})
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
