"""The virtual clock of a simulated device, and all that makes a call take longer than it should."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.simulation.machine import Machine
from harness.simulation.truth import Work, evicted

DRAWN_TOGETHER = 4096
PARETO_SHAPE = 2.5
# Which stream of luck the networks have that no file's hash names.
BARE = {"empty": 0, "io": 1}
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where a device stands: virtual time since it was made, and how hot it is."""

    time_s: float
    temperature_c: float


class Weather:
    """One process on a simulated device. Equal machines, seeds and calls give equal times, bit for bit."""

    def __init__(self, machine: Machine, moment: Moment, stream: Sequence[int]) -> None:
        """Begin a process at a moment; ``stream`` numbers the process among all of the device's."""
        self.machine = machine
        self.time_s = moment.time_s
        self.temperature_c = moment.temperature_c
        self.cpu_s = 0.0
        self.calls = 0
        self._rng = np.random.default_rng([machine.seed, *stream])
        self._slow = machine.slow_process_factor if self._rng.random() < machine.slow_process_share else 1.0
        little = not machine.pinned and self._rng.random() < machine.little_share
        self._speed = machine.power_speed * (machine.little_speed if little else 1.0)
        self._used: OrderedDict[str, float] = OrderedDict()
        self._drawn: list[tuple[float, float]] = []

    def moment(self) -> Moment:
        """Return where the device stands now."""
        return Moment(time_s=self.time_s, temperature_c=self.temperature_c)

    def clock(self) -> float:
        """Return the speed of the cores' clock at this temperature, 1 where the device does not throttle."""
        machine = self.machine
        over_c = max(0.0, self.temperature_c - machine.throttle_c)
        return max(machine.throttle_floor, 1.0 - machine.throttle_per_c * over_c)

    def rest(self, seconds: float) -> None:
        """Let time pass without work."""
        self._pass(seconds, busy=False)

    def foreign_s(self) -> float:
        """Return for how many core seconds other work has kept the device busy."""
        until_s = self.machine.foreign_until_s
        return (self.machine.foreign_cores or 0.0) * (self.time_s if until_s is None else min(self.time_s, until_s))

    def load(self, work: Work) -> None:
        """Read a network from storage and make it ready."""
        self._pass((self.machine.load_ns + work.footprint_bytes / self.machine.storage_bytes_per_ns) * 1e-9, busy=True)

    def call(self, name: str, work: Work, luck: float) -> None:
        """Run a network once; ``luck`` is its factor in this process."""
        machine = self.machine
        noise, tail = self._draw()
        drift = 1.0 + machine.drift_per_h * self.time_s / SECONDS_PER_HOUR
        cold = self._cold(name, work)
        own_ns = work.at_ns(self._speed * self.clock(), cold) * luck * self._slow * drift * noise
        wall_ns = own_ns * (1.0 + tail)
        beside = machine.foreign_until_s is None or self.time_s < machine.foreign_until_s
        often = machine.preempted_per_s if beside else 0.0
        if often and self._rng.random() < 1.0 - math.exp(-often * own_ns * 1e-9):
            wall_ns += machine.preemption_ns
        self.cpu_s += own_ns * 1e-9
        self._pass(wall_ns * 1e-9, busy=True)
        self.calls += 1

    def luck(self, name: str, stream: Sequence[int]) -> float:
        """Return a network's factor in one process: how its memory happens to lie, and the like."""
        number = BARE[name] if name in BARE else int(name[:15], 16)
        own = np.random.default_rng([self.machine.seed, *stream, number])
        return math.exp(self.machine.round_noise * own.standard_normal())

    def _cold(self, name: str, work: Work) -> float:
        """Return which share of a network the calls since its last one pushed out of the caches."""
        between = 0.0
        for other in reversed(self._used):
            if other == name or between >= self.machine.cache_bytes:
                break
            between += self._used[other]
        known = name in self._used
        self._used[name] = work.footprint_bytes
        self._used.move_to_end(name)
        return evicted(self.machine, between) if known else 1.0

    def _draw(self) -> tuple[float, float]:
        """Return the noise factor of a call, and how much longer than its own time it takes where it is in the tail."""
        if not self._drawn:
            machine, rng = self.machine, self._rng
            noise = np.exp(machine.call_noise * np.abs(rng.standard_normal(DRAWN_TOGETHER)))
            hit = rng.random(DRAWN_TOGETHER) < machine.tail_share
            tail = np.where(hit, machine.tail_scale * (1.0 + rng.pareto(PARETO_SHAPE, DRAWN_TOGETHER)), 0.0)
            self._drawn = list(zip(noise.tolist(), tail.tolist(), strict=True))
        return self._drawn.pop()

    def _pass(self, seconds: float, *, busy: bool) -> None:
        """Advance the clock, and the temperature towards where it would settle."""
        machine = self.machine
        settles_c = machine.ambient_c + (machine.heating_c_per_s * machine.cooling_s if busy else 0.0)
        self.temperature_c = settles_c + (self.temperature_c - settles_c) * math.exp(-seconds / machine.cooling_s)
        self.time_s += seconds
