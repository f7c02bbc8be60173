"""Times calls on the device: clocks in nanoseconds on every Python since 3.6, bursts, round-robin cycles, order
statistics."""

import contextlib
import gc
import random
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

Clock = Callable[[], int]
Run = Callable[[], Any]
Tick = Callable[[float], None]

COST_CALLS = 2000


class Clocks(NamedTuple):
    """A wall clock, a CPU clock (None where it is too coarse), and what timing an empty call costs in each."""

    wall: Clock
    cpu: Optional[Clock]
    wall_name: str
    cpu_name: str
    wall_cost_ns: int
    cpu_cost_ns: int

    def record(self) -> Dict[str, Any]:
        """Return what the hello says about the clocks."""
        return {
            "wall_clock": self.wall_name,
            "wall_cost_ns": self.wall_cost_ns,
            "cpu_clock": self.cpu_name,
            "cpu_cost_ns": self.cpu_cost_ns,
        }


def nanosecond_clock(clock_id: int) -> Clock:
    """Return a reader of one POSIX clock in integer nanoseconds; Python 3.6 has only the float form."""
    if hasattr(time, "clock_gettime_ns"):
        return lambda: time.clock_gettime_ns(clock_id)
    return lambda: int(time.clock_gettime(clock_id) * 1e9)


def wall_clock() -> Tuple[Clock, str]:
    """Return the wall clock and its name; the raw monotonic one is not slewed by network time."""
    if hasattr(time, "CLOCK_MONOTONIC_RAW"):
        return nanosecond_clock(time.CLOCK_MONOTONIC_RAW), "monotonic_raw"
    return (lambda: int(time.perf_counter() * 1e9)), "perf_counter"


def clocks(threads: int, unit: str = "cpu") -> Clocks:
    """Choose the clocks: raw monotonic wall time; CPU time of this thread, or of the process for more threads.

    Where another unit computes, the CPU's time is that of waiting for it: no clock of ours.
    """
    wall, wall_name = wall_clock()
    names = {"thread": "CLOCK_THREAD_CPUTIME_ID", "process": "CLOCK_PROCESS_CPUTIME_ID"}
    cpu_name = "thread" if threads == 1 else "process"
    clock_id = getattr(time, names[cpu_name], None)
    cpu: Optional[Clock] = None
    # A CPU clock that counts scheduler ticks (milliseconds) says nothing about a call of microseconds.
    if unit == "cpu" and clock_id is not None and time.clock_getres(clock_id) <= 1e-6:
        cpu = nanosecond_clock(clock_id)
    bare = Clocks(wall, cpu, wall_name, cpu_name if cpu else "unreadable", 0, 0)
    empty = Timed(bare)
    for _ in range(COST_CALLS):
        empty.call(_nothing)
    return bare._replace(wall_cost_ns=min(empty.walls), cpu_cost_ns=min(empty.cpus) if cpu else 0)


def _nothing() -> None:
    """Be the empty call whose timing is the cost of timing."""


class Timed(object):
    """The timed calls of one item in one state."""

    __slots__ = ("clocks", "walls", "cpus")

    def __init__(self, the_clocks: Clocks) -> None:
        """Start without calls."""
        self.clocks = the_clocks
        self.walls: List[int] = []
        self.cpus: List[int] = []

    def call(self, run: Run) -> int:
        """Time one call and return its wall time in ns."""
        wall, cpu = self.clocks.wall, self.clocks.cpu
        if cpu is None:
            start = wall()
            run()
            took = wall() - start
        else:
            cpu_start = cpu()
            start = wall()
            run()
            took = wall() - start
            self.cpus.append(cpu() - cpu_start)
        self.walls.append(took)
        return took

    def summary(self) -> Dict[str, Any]:
        """Return order statistics in ns, less the cost of timing; cpu is null where the clock cannot be used."""
        walls = sorted(max(1, value - self.clocks.wall_cost_ns) for value in self.walls)
        cpus = sorted(max(1, value - self.clocks.cpu_cost_ns) for value in self.cpus)
        return {
            "calls": len(walls),
            "wall_min_ns": walls[0],
            "wall_p10_ns": quantile(walls, 10),
            "wall_p20_ns": quantile(walls, 20),
            "wall_median_ns": quantile(walls, 50),
            "wall_p95_ns": quantile(walls, 95),
            "cpu_min_ns": cpus[0] if cpus else None,
            "cpu_p10_ns": quantile(cpus, 10) if cpus else None,
        }


def quantile(ordered: Sequence[int], percent: int) -> int:
    """Return the order statistic at or below a percentile of sorted values: always a time that really happened."""
    return ordered[(len(ordered) - 1) * percent // 100]


class Item(object):
    """One thing to time: a loaded network in one state."""

    __slots__ = ("index", "run", "timed")

    def __init__(self, index: int, run: Run, timed: Timed) -> None:
        """Take the host's index, the call, and where its times go."""
        self.index = index
        self.run = run
        self.timed = timed


def warm(run: Run, calls: int, wall: Clock) -> int:
    """Call without keeping times; return how long the last call took in ns."""
    took = 1
    for _ in range(calls):
        start = wall()
        run()
        took = wall() - start
    return took


def burst(item: Item, parameters: Dict[str, int]) -> None:
    """Warm up, then time back-to-back calls: as many as fill ``burst_us``, within the given least and most."""
    took = warm(item.run, parameters["warm_calls"], item.timed.clocks.wall)
    wanted = parameters["burst_us"] * 1000 // max(1, took)
    for _ in range(max(parameters["burst_least"], min(parameters["burst_most"], wanted))):
        item.timed.call(item.run)


def hot(items: Sequence[Item], reference: Optional[Item], parameters: Dict[str, int], tick: Tick) -> None:
    """Time items with their caches warm: passes over all of them, one burst each, the reference every few items."""
    passes = parameters["hot_bursts"]
    for turn in range(passes):
        for place, item in enumerate(items):
            if reference is not None and place % parameters["reference_every"] == 0:
                burst(reference, parameters)
            burst(item, parameters)
            tick((turn + (place + 1.0) / len(items)) / passes)


def cold(items: Sequence[Item], reference: Optional[Item], parameters: Dict[str, int], tick: Tick) -> None:
    """Time items with their caches cold: cycles over all of them, one call each, so that drift becomes variance.

    Every cycle has an order of its own: what ran just before an item changes its time by tens of percent, and with one
    order for the whole round that would be an error of the round, which cycles cannot average out.
    """
    cycles = parameters["cold_cycles"]
    order = list(items)
    shuffler = random.Random(parameters["seed"])
    for cycle in range(cycles):
        shuffler.shuffle(order)
        for place, item in enumerate(order):
            if reference is not None and place % parameters["reference_every"] == 0:
                reference.timed.call(reference.run)
            item.timed.call(item.run)
        tick((cycle + 1.0) / cycles)


def soak(run: Run, seconds: int, wall: Clock, tick: Tick) -> None:
    """Call without keeping times for a while: the device is then as hot as long work makes it."""
    end = wall() + seconds * 10**9
    while wall() < end:
        run()
        tick(0.3)


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Keep Python's garbage collector off: a collection inside a timed call is noise of ours."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
