"""How torch's threads wait for each other: awake on a quiet computer, asleep where other work shares the cores."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from ofa import console

# Of libgomp and libiomp alike; it is read once, when they are loaded.
POLICY = "OMP_WAIT_POLICY"
STAT = Path("/proc/stat")
LOOK_S = 0.2
# Other work may keep this many cores busy before threads that wait awake are in its way, and it in theirs.
MOST_FOREIGN_CORES = 0.5


def load_torch() -> None:
    """Load torch so that its threads sleep while they wait, where other work keeps cores busy; say so then.

    Threads that wait awake are the faster ones on a quiet computer. Beside other work each of them takes the core that
    the one it waits for would need, and a step takes many times as long. What is computed is the same either way. A
    policy that the user has set stands, and so does what a torch that is loaded already does; one thread waits for
    nobody.
    """
    alone = os.environ.get("OMP_NUM_THREADS") == "1"
    foreign = 0.0 if alone or "torch" in sys.modules or POLICY in os.environ else foreign_cores()
    if foreign <= MOST_FOREIGN_CORES:
        return
    console.note(f"other work keeps {foreign:.1f} cores of this computer busy: this takes longer than on a quiet one")
    os.environ[POLICY] = "passive"
    import torch  # noqa: F401

    # Programs that are started from here are measured as they are.
    del os.environ[POLICY]


def foreign_cores() -> float:
    """Return how many cores are kept busy while this process sleeps for a moment; 0 where nothing says so."""
    before = _busy_s()
    time.sleep(LOOK_S)
    after = _busy_s()
    return 0.0 if before is None or after is None else max(0.0, after - before) / LOOK_S


def _busy_s() -> float | None:
    """Return for how long all cores together were busy since the start, s; None where nobody counts."""
    try:
        user, nice, system, _, _, irq, softirq, *_ = map(int, STAT.read_text().split("\n", 1)[0].split()[1:])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
