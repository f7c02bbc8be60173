"""How many threads compute: one for linear algebra of small matrices; how busy other work keeps the cores."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

P = ParamSpec("P")
R = TypeVar("R")


def on_one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function during which BLAS keeps to one thread, also in what it is handed to call.

    A search and a fit call it thousands of times for matrices of a few hundred rows. More threads gain nothing there,
    wait for each other by spinning, and beside other work make the same search take many times as long.
    """

    @functools.wraps(function)
    def limited(*args: P.args, **named: P.kwargs) -> R:
        with threadpool_limits(limits=1, user_api="blas"):
            return function(*args, **named)

    return limited


def busy_share(watched_s: float = 0.2) -> float:
    """Return the share of this process's cores that work besides it keeps busy now, 0 where the system does not say.

    Looked at while this process sleeps: the load of the last minute would hold its own last command, too.
    """
    before = _ticks()
    time.sleep(watched_s)
    idle, all_of_them = (after - then for after, then in zip(_ticks(), before, strict=True))
    return 1 - idle / all_of_them if all_of_them > 0 else 0.0


def _ticks() -> tuple[int, int]:
    """Return how long this process's cores have been idle and how long they are counted, both 0 outside Linux."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0, 0
    own = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    # user nice system idle iowait irq softirq steal; what guests take is within the first two.
    rows = [[int(part) for part in line.split()[1:9]] for line in lines if line.split(" ", 1)[0] in own]
    return sum(row[3] + row[4] for row in rows), sum(map(sum, rows))
