"""Measures the energy of one network: long windows of back-to-back calls, idle ones around them, pulses to find them
by."""

import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import bench
import cores
import power
import runtimes
import sysfs
import timing

LEAST_WINDOW_S = 10
LIMITS = {"windows": (1, 20), "window_s": (LEAST_WINDOW_S, 60), "idle_s": (2, 60)}
WARM_CALLS = 5
# How long a reading reaches back where the rail does not say; twice as much is left out at the start of a window.
USUAL_AVERAGING_S = 0.25
LEAST_INTERVAL_S = 0.005
LEAST_SAMPLES = 10
# Barker's code of 13: shifted by any number of chips it resembles itself by 1 in 13 at most.
PATTERN = "1111100110101"
CHIP_S = 0.4


class Counted(object):
    """RAPL: the counters at both ends of a window."""

    def __init__(self, root: str, counters: List[power.Counter]) -> None:
        """Take the counters that are added up."""
        self.root = root
        self.counters = counters
        self.before: List[Optional[int]] = []

    def begin(self) -> None:
        """Read at the beginning of a window."""
        self.before = self._read()

    def end(self, seconds: float) -> Tuple[Optional[float], int]:
        """Return the mean watts since the beginning (None where a counter said nothing), and how many readings."""
        total_uj, now = 0, self._read()
        for place, counter in enumerate(self.counters):
            before, after = self.before[place], now[place]
            gained = None if before is None or after is None else power.gained_uj(counter, before, after)
            if gained is None:
                return None, 0
            total_uj += gained
        return total_uj / 1e6 / seconds, 2

    def _read(self) -> List[Optional[int]]:
        """Return every counter, uJ."""
        return [sysfs.number(self.root, counter.file) for counter in self.counters]


class Sampled(object):
    """Rails, read by a thread at their own rate; in idle windows too, so that what it costs is subtracted with them."""

    def __init__(self, root: str, rails: List[power.Rail], averaging_s: float) -> None:
        """Take the rails that are added up, and how long a reading reaches back."""
        self.root = root
        self.rails = rails
        self.averaging_s = averaging_s
        self.samples: List[Tuple[float, float]] = []
        self.over = threading.Event()
        self.thread: Optional[threading.Thread] = None

    def begin(self) -> None:
        """Begin to sample."""
        self.samples = []
        self.over.clear()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()

    def end(self, seconds: float) -> Tuple[Optional[float], int]:
        """End sampling; return the mean watts of the settled part of the window, and of how many readings."""
        self.over.set()
        if self.thread is not None:
            self.thread.join(5.0)
        return settled(self.samples, self.averaging_s, seconds)

    def _sample(self) -> None:
        """Keep (seconds since the beginning, watts) until the window is over; a reading that fails is left out."""
        start = time.monotonic()
        while not self.over.wait(max(LEAST_INTERVAL_S, self.averaging_s)):
            at_s = time.monotonic() - start
            powers = [power.microwatts(self.root, rail) for rail in self.rails]
            if None not in powers:
                self.samples.append((at_s, sum(value for value in powers if value is not None) / 1e6))


def settled(samples: List[Tuple[float, float]], averaging_s: float, seconds: float) -> Tuple[Optional[float], int]:
    """Return the mean of samples (s, watts) that hold nothing of before the window, None where there are too few.

    A reading is the mean of the time before it: the first ones are partly of what the device did before, and would make
    a short window resemble its neighbours.
    """
    kept = [watts for at_s, watts in samples if 2 * averaging_s <= at_s <= seconds]
    return (sum(kept) / len(kept), len(kept)) if len(kept) >= LEAST_SAMPLES else (None, len(kept))


def meter(root: str, averaging_s: sysfs.Reading) -> Any:
    """Return what measures here: rails, else counters, None where there is neither."""
    rails = power.total(power.rails(root))
    if rails:
        return Sampled(root, rails, averaging_s if isinstance(averaging_s, float) else USUAL_AVERAGING_S)
    counters = power.counters(root)
    return Counted(root, counters) if counters else None


def check(request: Dict[str, Any]) -> None:
    """Refuse a request of the wrong form; raises RequestInvalid naming the part."""
    bench.check_way(request)
    if not bench.is_file(request.get("file")):
        raise bench.RequestInvalid("'file' must be the sha256 of a file")
    for name, (least, most) in sorted(LIMITS.items()):
        value = request.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise bench.RequestInvalid("'%s' must be a whole number from %d to %d" % (name, least, most))
    if not isinstance(request.get("pulses"), bool):
        raise bench.RequestInvalid("'pulses' must be true or false")


def energy(request: Dict[str, Any], folder: str, send: bench.Send) -> None:
    """Answer one energy request by its windows, or by the reason why there are none; raises RequestInvalid.

    With ``pulses`` the windows are there whether or not the device has a source: a meter beside it sees them.
    """
    check(request)
    cores.pin(request)
    root = sysfs.root_of(None)
    name, averaging_s, reason = power.source(root)
    answer: Dict[str, Any] = {"ev": "energy", "source": name or None, "averaging_s": averaging_s, "reason": None}
    answer.update(pattern=PATTERN, windows=[], pulses=[])
    if not name and not request["pulses"]:
        send(dict(answer, reason=reason))
        return
    try:
        run = bench.opener(request, request["file"], folder)()
        timing.warm(run, WARM_CALLS, timing.wall_clock()[0])
    # A runtime may refuse a network in any way of its own; that is a result about the network.
    except Exception as fault:
        send(dict(answer, reason=runtimes.describe(fault)))
        return
    measures = Measures(meter(root, averaging_s), run, send, 2 * request["windows"] + 1)
    with timing.collector_off():
        measures.all(request, answer)
    send(answer)


class Measures(object):
    """Works and rests by turns beside a meter, and keeps what both did when."""

    def __init__(self, the_meter: Any, run: timing.Run, send: Callable[[Dict[str, Any]], None], steps: int) -> None:
        """Take the meter (None where only pulses are wanted), the call, where progress goes, how many windows come."""
        self.meter = the_meter
        self.run = run
        self.send = send
        self.steps = steps
        self.clock = timing.wall_clock()[0]

    def all(self, request: Dict[str, Any], answer: Dict[str, Any]) -> None:
        """Fill the answer: pulses, idle, busy, idle, ... idle, pulses."""
        if request["pulses"]:
            answer["pulses"].append(self.pulse())
        for step in range(self.steps):
            busy = step % 2 == 1
            answer["windows"].append(self.window(request["window_s"] if busy else request["idle_s"], busy))
            self.send({"ev": "progress", "share": round((step + 1.0) / (self.steps + 1), 4)})
        if request["pulses"]:
            answer["pulses"].append(self.pulse())

    def window(self, seconds: int, busy: bool) -> Dict[str, Any]:
        """Call back to back, or do nothing, for a while; return when, how often, and the mean watts."""
        if self.meter is not None:
            self.meter.begin()
        start = self.clock()
        calls = self.work(start + seconds * 10**9) if busy else self.rest(seconds)
        end = self.clock()
        watts, samples = self.meter.end((end - start) / 1e9) if self.meter is not None else (None, 0)
        record = {"kind": "busy" if busy else "idle", "start_ns": start, "end_ns": end, "calls": calls}
        return dict(record, watts=None if watts is None else round(watts, 6), samples=samples)

    def work(self, end_ns: int) -> int:
        """Call until then; return how often. One reading of the clock a call is all that is added to it."""
        calls = 0
        while self.clock() < end_ns:
            self.run()
            calls += 1
        return calls

    def rest(self, seconds: float) -> int:
        """Do nothing for a while."""
        time.sleep(seconds)
        return 0

    def pulse(self) -> List[int]:
        """Work and rest by the pattern's chips; return when each began, and the last one ended, ns."""
        edges = [self.clock()]
        for place, chip in enumerate(PATTERN):
            # By the beginning and not by the edge before: a long call in one chip must not move all that follow.
            end_ns = edges[0] + int((place + 1) * CHIP_S * 1e9)
            if chip == "1":
                self.work(end_ns)
            else:
                self.rest(max(0.0, (end_ns - self.clock()) / 1e9))
            edges.append(self.clock())
        return edges
