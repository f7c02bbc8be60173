"""How torch's threads wait for each other: awake on a quiet computer, asleep where other work shares the cores."""

from __future__ import annotations

import functools
import os
import sys

from ofa.threads import busy_share

# Of libgomp and libiomp alike; it is read once, when they are loaded.
POLICY = "OMP_WAIT_POLICY"
# Other work may keep this share of the cores busy before threads that wait awake are in its way, and it in theirs.
CROWDED = 0.25


@functools.cache
def busy_at_start() -> float:
    """Return the share of the cores that other work keeps busy, looked at once in this process: looking takes 0.2 s."""
    return busy_share()


def load_torch() -> bool:
    """Load torch so that its threads sleep while they wait, where other work keeps cores busy.

    Returns whether other work was found to keep them busy, by which the demo says that it takes longer: also where a
    policy of the user stands, and never where nobody looked, since torch was loaded or one thread waits for nobody.

    Threads that wait awake are the faster ones on a quiet computer. Beside other work each of them takes the core that
    the one it waits for would need, and a step takes many times as long. What is computed is the same either way. A
    policy that the user has set stands, and so does what a torch that is loaded already does.
    """
    if os.environ.get("OMP_NUM_THREADS") == "1" or "torch" in sys.modules or busy_at_start() < CROWDED:
        return False
    if POLICY not in os.environ:
        os.environ[POLICY] = "passive"
        import torch  # noqa: F401

        # Programs that are started from here are measured as they are.
        del os.environ[POLICY]
    return True
