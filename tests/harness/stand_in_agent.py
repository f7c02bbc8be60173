"""A stand-in for the agent: speaks the protocol from a fixed table of times, with one fault that its environment names.

It is test code: nothing it says is a measurement.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

FAULT = os.environ.get("STAND_IN_FAULT", "none")
SCALE = float(os.environ.get("STAND_IN_SCALE", "1"))
CLOCKS = {"wall_clock": "w", "wall_cost_ns": 1, "cpu_clock": "thread", "cpu_cost_ns": 1}


def send(**record: Any) -> None:
    print(json.dumps(record), flush=True)


def stats(ns: int) -> dict[str, Any]:
    ns = int(ns * SCALE)
    wall = int(ns * float(os.environ.get("STAND_IN_WALL_OVER_CPU", "1")))
    names = ["wall_min_ns", "wall_p10_ns", "wall_p20_ns", "wall_median_ns", "wall_p95_ns"]
    return {"calls": 9, **{name: wall + step for step, name in enumerate(names)}, "cpu_min_ns": ns, "cpu_p10_ns": ns}


def hello(request: dict[str, Any]) -> None:
    version = 0 if FAULT == "old version" else 2
    ready = FAULT != "not ready"
    runtimes = [
        {"name": name, "version": "1.0", "ready": ready, "reason": None if ready else "numpy is too new"}
        for name in request.get("runtimes", [])
    ]
    environment = {"cpu": os.environ.get("STAND_IN_CPU", "stand-in"), "cores": 1}
    state = json.loads(os.environ.get("STAND_IN_STATE", "{}"))
    facts = {
        "protocol": version,
        "boot_id": "",
        "environment": environment,
        "state": state,
        "clocks": CLOCKS,
        "runtimes": runtimes,
    }
    send(id=request["id"], ev="hello", **facts)


def rest(request: dict[str, Any]) -> None:
    """Say how the device is after any rest: no time passes here, and it does not cool."""
    send(id=request["id"], ev="rested", state=json.loads(os.environ.get("STAND_IN_STATE", "{}")))


def sample(number: int, item: int, **changes: Any) -> None:
    send(
        **{
            "id": number,
            "ev": "sample",
            "item": item,
            "load_ns": 9,
            "first_ns": 9,
            **stats(1000 * (item + 1)),
            **changes,
        }
    )


def twice(number: int, item: int) -> None:
    sample(number, item)
    sample(number, item)


def misbehave(number: int, item: int) -> bool:
    """Answer one item wrongly; return whether the fault was an answer."""
    faults: dict[str, Callable[[], Any]] = {
        "not JSON": lambda: print("Segmentation fault (core dumped)", flush=True),
        "not an object": lambda: print("[1, 2, 3]", flush=True),
        "deep": lambda: print("[" * 60000, flush=True),
        "too long": lambda: print("x" * 200000, flush=True),
        "endless": lambda: [sys.stdout.write("x" * 100000) for _ in range(1000)],
        "binary": lambda: (sys.stdout.buffer.write(b"\xff\xfe\x00\n"), sys.stdout.buffer.flush()),
        "NaN": lambda: send(id=number, ev="progress", share=float("nan")),
        "infinite": lambda: sample(number, item, load_ns=float("inf")),
        "negative": lambda: sample(number, item, wall_min_ns=-5),
        "zero": lambda: sample(number, item, cpu_min_ns=0),
        "text for a number": lambda: sample(number, item, wall_min_ns="1000"),
        "fraction": lambda: sample(number, item, wall_min_ns=1000.5),
        "huge": lambda: sample(number, item, wall_p95_ns=10**30),
        "out of order": lambda: sample(number, item, wall_min_ns=10**9),
        "unknown field": lambda: sample(number, item, extra=1),
        "unknown event": lambda: send(id=number, ev="party"),
        "no event": lambda: send(id=number),
        "replayed": lambda: sample(number - 1, item),
        "twice": lambda: twice(number, item),
        "not asked for": lambda: sample(number, 4000),
        "wrong state": lambda: send(id=number, ev="reference", state="warm", **stats(1)),
        "early hello": lambda: hello({"id": number}),
        "error": lambda: send(id=number, ev="error", reason="out of memory"),
        "dies": lambda: (sys.stderr.write("MemoryError: arena\n"), sys.stderr.flush(), os._exit(3)),
        "silent": lambda: time.sleep(3600),
        "left out": lambda: None,
        "early done": lambda: done(number, 0),
    }
    if FAULT not in faults:
        return False
    faults[FAULT]()
    return True


def done(number: int, samples: int) -> None:
    foreign = float(os.environ.get("STAND_IN_FOREIGN", "0"))
    send(
        id=number,
        ev="done",
        samples=samples,
        failed=0,
        timed_s=0.1,
        foreign_cores=foreign,
        stolen_cores="unreadable",
        state=json.loads(os.environ.get("STAND_IN_STATE", "{}")),
        clocks=CLOCKS,
    )


def bench(request: dict[str, Any]) -> None:
    number, items = request["id"], request["items"]
    send(id=number, ev="progress", share=0.5)
    if FAULT == "noisy stderr":
        sys.stderr.write("warning: cpuinfo\n" * 200000)
        sys.stderr.flush()
    for place, (item, _, _) in enumerate(items):
        if place == 2 and misbehave(number, item):
            continue
        if FAULT == "one fails" and item == 3:
            send(id=number, ev="failed", item=item, reason="NotImplemented: HardSwish")
            continue
        sample(number, item)
    for state in sorted({state for _, state, _ in items}):
        if FAULT != "no reference":
            send(id=number, ev="reference", state=state, **stats(5000))
    done(number, len(items))


def footprint(request: dict[str, Any]) -> None:
    """Say 50,000 KiB, and more by a digit of the file's name."""
    kib = 50_000 + (0 if request["file"] == "empty" else 1000 + int(request["file"][-1], 16))
    if FAULT == "footprint dies":
        os._exit(3)
    if FAULT == "footprint says both":
        send(id=request["id"], ev="footprint", peak_rss_kib=kib, reason="none")
    elif FAULT == "footprint is nothing":
        send(id=request["id"], ev="footprint", peak_rss_kib=0, reason=None)
    elif FAULT == "one has no footprint" and request["file"] != "empty" and kib % 2:
        send(id=request["id"], ev="footprint", peak_rss_kib=None, reason="RuntimeError: cannot allocate")
    else:
        send(id=request["id"], ev="footprint", peak_rss_kib=kib, reason=None)


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        {"hello": hello, "rest": rest, "bench": bench, "footprint": footprint}[asked["do"]](asked)
