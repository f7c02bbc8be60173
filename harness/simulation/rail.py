"""What a simulated device draws, and the rail that says so: in steps, as the mean of the last tenth of a second."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import numpy as np

from harness.simulation.truth import Work

IDLE_W = 1.9
# Work on the cores draws more than waiting for memory does: networks of one latency differ in energy.
CORES_W = 3.4
CACHES_W = 1.1
AVERAGING_S = 0.1
INTERVAL_S = 0.1
STEP_W = 0.008
NOISE_W = 0.02
SOURCE = "ina3221:SIMULATED"
LEAST_SAMPLES = 10


def call_joules(work: Work) -> float:
    """Return what one call truly takes beside idling, J, by a device at full clock."""
    return (CORES_W * work.cores_ns + CACHES_W * work.caches_ns) * 1e-9


class Rail:
    """The energy a device has drawn over virtual time, and the readings of it.

    ``now_s`` tells the virtual time; what it draws between two calls is that of idling.
    """

    def __init__(self, now_s: Callable[[], float], seed: int) -> None:
        """Begin with nothing drawn."""
        self.now_s = now_s
        self.began_s = now_s()
        self.luck = np.random.default_rng([seed, 7])
        self.starts_s: list[float] = [now_s()]
        self.ends_s: list[float] = [now_s()]
        self.drawn_j: list[float] = [0.0]

    def call(self, start_s: float, joules: float) -> None:
        """Note a call that began then, is over now, and took so much beside idling."""
        self.starts_s.append(start_s)
        self.ends_s.append(self.now_s())
        self.drawn_j.append(self.drawn_j[-1] + joules)

    def energy_j(self, at_s: float) -> float:
        """Return what was drawn until then, idling included; a call draws evenly over its time."""
        place = bisect_right(self.starts_s, at_s) - 1
        if place < 1:
            return IDLE_W * at_s
        taken = self.drawn_j[place] - self.drawn_j[place - 1]
        length_s = self.ends_s[place] - self.starts_s[place]
        share = min(1.0, (at_s - self.starts_s[place]) / length_s) if length_s > 0 else 1.0
        return IDLE_W * at_s + self.drawn_j[place - 1] + share * taken

    def reading_w(self, at_s: float) -> float:
        """Return what the rail says then: the mean of the time before it, with noise, in steps."""
        mean_w = (self.energy_j(at_s) - self.energy_j(at_s - AVERAGING_S)) / AVERAGING_S
        return STEP_W * round((mean_w + NOISE_W * float(self.luck.standard_normal())) / STEP_W)

    def begin(self) -> None:
        """Begin a window."""
        self.began_s = self.now_s()

    def end(self, seconds: float) -> tuple[float | None, int]:
        """Return the mean of the settled part of a window that is over, as the agent's own sampling does."""
        times = np.arange(self.began_s + INTERVAL_S, self.now_s(), INTERVAL_S).tolist()
        kept = [self.reading_w(at_s) for at_s in times if at_s - self.began_s >= 2 * AVERAGING_S]
        return (sum(kept) / len(kept), len(kept)) if len(kept) >= LEAST_SAMPLES else (None, len(kept))
