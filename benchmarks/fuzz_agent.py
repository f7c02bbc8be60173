"""The agent under damaged requests and damaged journals, in a process of its own: `fuzz.py` starts it.

Nothing of this computer is measured, changed or started: runtimes, workers and waiting are taken out of the agent, and
the device it reads is a small tree of files. Prints one JSON object: what came of the inputs.

    python benchmarks/fuzz_agent.py FOLDER SEED requests|journals COUNT
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import random
import sys
from pathlib import Path
from typing import Any

from damage import damaged
from guard import Tally, alone_within, poisoned

from harness.places import devices_folder
from harness.protocol import parse

JOB, TOKEN, FILE = "0123456789abcdef" * 2, "a" * 32, "0" * 64
PARAMETERS = {
    "warm_calls": 1, "cold_cycles": 3, "hot_bursts": 2, "burst_least": 2, "burst_most": 4, "burst_us": 50,
    "reference_every": 2, "canary_calls": 2, "canary_us": 0, "soak_s": 0, "seed": 7,
}  # fmt: skip
WAY = {"runtime": "onnxruntime", "kernels": "default", "threads": 1, "unit": "cpu", "precision": "fp32"}
BENCH = {
    "do": "bench", **WAY, "parameters": PARAMETERS, "reference": "empty", "canaries": {"io": "io"},
    "items": [[0, "cold", "empty"], [1, "hot", FILE]],
}  # fmt: skip
SAVED = {
    "schema": "tuned/1", "token": TOKEN, "boot_id": "boot", "power_mode": None, "jetson_clocks": False,
    "fixed_performance": False, "files": {"sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil"},
}  # fmt: skip
REQUESTS: tuple[dict[str, Any], ...] = (
    {"do": "hello", "runtimes": ["onnxruntime", "litert"], "at": [0, 0, 0]},
    {"do": "hello", "lease": TOKEN},
    {"do": "rest", "seconds": 2.5, "at": [1, 0, 2]},
    BENCH,
    {"do": "footprint", **WAY, "file": "empty"},
    {"do": "energy", **WAY, "file": "empty", "windows": 5, "window_s": 10, "idle_s": 5, "pulses": True},
    {"do": "tune", "step": "look", "want": {"governor": "performance", "lock": True}, "token": TOKEN},
    {"do": "tune", "step": "set", "want": {"governor": "performance"}, "token": TOKEN},
    {"do": "tune", "step": "restore", "saved": SAVED},
    {"do": "start", "job": JOB, "work": BENCH, "cap_s": 60, "lease": TOKEN},
    {"do": "attach", "job": JOB, "offset": 0},
    {"do": "end", "job": JOB},
    {"do": "forget", "jobs": [JOB, "f" * 32]},
    {"do": "lease", "owner": "somebody on a host", "token": TOKEN, "ttl_s": 120, "force": False},
    {"do": "release", "token": TOKEN},
    {"do": "lacking", "names": [FILE, "f" * 64]},
    {"do": "unpack", "pack": FILE},
)
STATS = {"calls": 9, "wall_min_ns": 1, "wall_p10_ns": 2, "wall_p20_ns": 3, "wall_median_ns": 4, "wall_p95_ns": 5}
RECORDS: tuple[dict[str, Any], ...] = (
    {"ev": "begin", "pid": 99999999, "boot_id": "boot", "started_s": 1.5, "attempt": 1, "id": None},
    {"ev": "sample", "item": 0, **STATS, "cpu_min_ns": 1, "cpu_p10_ns": 2, "load_ns": 5, "first_ns": 6, "id": 0},
    {"ev": "reference", "state": "hot", **STATS, "cpu_min_ns": 1, "cpu_p10_ns": 2, "id": 0},
    {"ev": "footprint", "peak_rss_kib": 12345, "reason": None, "id": 0},
)
GOVERNOR, FREQUENCIES = "scaling_governor", ("scaling_min_freq", "scaling_max_freq")


class Records:
    """Takes the place of the host: keeps what the agent says."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self.said: list[dict[str, Any]] = []

    def send(self, record: dict[str, Any]) -> None:
        """Keep a record, as far as its line can be made; raises ValueError as the real channel does."""
        json.dumps(record, allow_nan=False)
        self.said.append(record)


def device(folder: Path) -> Path:
    """Make the tree of files that stands for the device's own, and return its root."""
    root = folder / "root"
    policy = root / "sys/devices/system/cpu/cpufreq/policy0"
    policy.mkdir(parents=True)
    (root / "proc/sys/kernel/random").mkdir(parents=True)
    (root / "proc/sys/kernel/random/boot_id").write_text("boot\n")
    for name, text in ((GOVERNOR, "schedutil"), ("scaling_available_governors", "schedutil performance")):
        (policy / name).write_text(text)
    for name, text in zip((*FREQUENCIES, "cpuinfo_max_freq"), ("600000", "1800000", "1800000"), strict=True):
        (policy / name).write_text(text)
    return root


def agent() -> Any:
    """Return the agent's main module, with everything taken out of it that takes time or reaches beyond it."""
    place = devices_folder() / "agent"
    sys.path.insert(1, str(place))
    spec = importlib.util.spec_from_file_location("agent_main", place / "__main__.py")
    assert spec is not None and spec.loader is not None
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    jobs: Any = importlib.import_module("jobs")
    runtimes: Any = importlib.import_module("runtimes")
    time: Any = importlib.import_module("time")

    def absent(*_: object) -> Any:
        raise ImportError("there is no runtime here")

    runtimes.ADAPTERS.update({name: runtimes.Adapter(absent, absent, absent) for name in runtimes.ADAPTERS})
    jobs.spawn = lambda place, files, cap_s: None
    jobs.kill_group = lambda pid: False
    # Waiting is what a request may ask for, up to a limit that is checked; here it would be all that happens.
    time.sleep = lambda seconds: None
    return main


def main(folder: Path, seed: int, kind: str, count: int) -> Tally:
    """Give the agent so many damaged inputs; what it says must be records that its host can read."""
    rng, tally = random.Random(seed), Tally()
    files = folder / "device" / "files"
    files.mkdir(parents=True)
    place = folder / "device" / "jobs" / JOB
    place.mkdir(parents=True, mode=0o700)
    served = agent()
    seeds = [json.dumps({"id": number, **request}).encode() for number, request in enumerate(REQUESTS, 1)]
    journal = b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)
    follow = json.dumps({"id": 1, "do": "attach", "job": JOB, "offset": 0}).encode()
    begin = json.dumps({"id": 1, **REQUESTS[9], "lease": None}).encode()
    with poisoned() as poison:
        for number in range(count):
            if kind == "requests":
                line = damaged(rng, rng.choice(seeds), seeds)
            else:
                place.mkdir(parents=True, exist_ok=True)
                (place / "journal.jsonl").write_bytes(damaged(rng, journal, seeds))
                for name in ("attempt", "share", "log"):
                    (place / name).write_bytes(damaged(rng, b"1\n", seeds))
                line = follow if number % 2 else begin
            records = Records()
            with alone_within(tally, line):
                served.answer(line, str(files), records)
                tally.count(outcome(records.said, line))
    tally.pickles = poison.calls
    return tally


def outcome(said: list[dict[str, Any]], line: bytes) -> str:
    """Return whether a request was refused; raises where the host could not read the answer to it."""
    assert said, "no answer"
    for record in said:
        text = json.dumps(record, allow_nan=False).encode("ascii")
        # A row is checked by the host as what it holds; what a journal says wrongly is refused there.
        if record["ev"] != "row" and record["id"] is not None and len(text) < 1 << 16:
            parse(text)
    return "refused" if said[-1]["ev"] == "error" else "accepted"


if __name__ == "__main__":
    import os

    os.environ["OFA_AGENT_ROOT"] = str(device(Path(sys.argv[1])))
    found = main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    sys.stdout.write(json.dumps(found.facts()))
