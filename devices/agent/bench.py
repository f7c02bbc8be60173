"""Runs one batch of a round: load everything, time every item cold and hot beside a reference, stream one record per
item."""

import hashlib
import os
import re
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import cores
import frequencies
import probe
import runtimes
import timing
from runtimes.way import PRECISIONS, UNITS, Way

Send = Callable[[Dict[str, Any]], None]

FILE_NAME = re.compile(r"^[0-9a-f]{64}\Z")
MOST_ITEMS = 20000
# An item's place in its plan, of which a batch is a part.
MOST_INDEX = 200000
MOST_CANARIES = 8
MOST_CANARY_CALLS = 10000
TICK_S = 0.4
READ_BYTES = 1 << 20
PARAMETERS = {
    "warm_calls": (1, 100),
    "cold_cycles": (1, 10000),
    "hot_bursts": (1, 1000),
    "burst_least": (1, 10000),
    "burst_most": (1, 10000),
    "burst_us": (1, 10000000),
    "reference_every": (1, 10000),
    "canary_calls": (1, 10000),
    "canary_us": (0, 10000000),
    "soak_s": (0, 7200),
    "seed": (0, 2**63 - 1),
}


class RequestInvalid(Exception):  # noqa: N818
    """The request cannot be understood; the text goes back to the host."""


class Loaded(object):
    """A network that is ready to be called."""

    __slots__ = ("run", "load_ns", "first_ns")

    def __init__(self, run: timing.Run, load_ns: int, first_ns: int) -> None:
        """Take the call, and what loading and the first call took in ns."""
        self.run = run
        self.load_ns = load_ns
        self.first_ns = first_ns


def check_way(request: Dict[str, Any]) -> None:
    """Refuse a request that does not say how a network is to be run; raises RequestInvalid naming the part."""
    if request.get("runtime") not in runtimes.ADAPTERS:
        raise RequestInvalid("unknown runtime %r" % (request.get("runtime"),))
    if not whole(request.get("threads"), 1, 1024):
        raise RequestInvalid("'threads' must be a whole number from 1 to 1024")
    if not isinstance(request.get("kernels"), str):
        raise RequestInvalid("'kernels' must be a word")
    if request.get("cores") is not None and request["cores"] not in cores.CHOICES:
        raise RequestInvalid("'cores' must be one of " + ", ".join(cores.CHOICES))
    if request.get("unit", "cpu") not in UNITS:
        raise RequestInvalid("'unit' must be one of " + ", ".join(UNITS))
    if request.get("precision", "fp32") not in PRECISIONS:
        raise RequestInvalid("'precision' must be one of " + ", ".join(PRECISIONS))


def way_of(request: Dict[str, Any]) -> Way:
    """Return how a request that was checked wants a network to be run."""
    unit, precision = request.get("unit", "cpu"), request.get("precision", "fp32")
    return Way(threads=request["threads"], kernels=request["kernels"], unit=unit, precision=precision)


def check(request: Dict[str, Any]) -> None:
    """Refuse a request of the wrong form; raises RequestInvalid naming the part."""
    check_way(request)
    parameters = request.get("parameters")
    if not isinstance(parameters, dict) or set(parameters) != set(PARAMETERS):
        raise RequestInvalid("'parameters' must be exactly %s" % ", ".join(sorted(PARAMETERS)))
    for name, (least, most) in PARAMETERS.items():
        if not whole(parameters[name], least, most):
            raise RequestInvalid("parameter '%s' must be a whole number from %d to %d" % (name, least, most))
    items = request.get("items")
    if not isinstance(items, list) or not 0 < len(items) <= MOST_ITEMS:
        raise RequestInvalid("'items' must be a list of 1 to %d" % MOST_ITEMS)
    for item in items:
        if not (isinstance(item, list) and len(item) == 3 and whole(item[0], 0, MOST_INDEX)):
            raise RequestInvalid("an item must be [index, state, file]")
        if item[1] not in ("hot", "cold") or not is_file(item[2]):
            raise RequestInvalid("an item must be [index, 'hot' or 'cold', sha256 of a file]")
    if request.get("reference") is not None and not is_file(request["reference"]):
        raise RequestInvalid("'reference' must be the sha256 of a file")
    canaries = request.get("canaries", {})
    if not isinstance(canaries, dict) or len(canaries) > MOST_CANARIES or not all(map(is_file, canaries.values())):
        raise RequestInvalid("'canaries' must name at most %d files by their sha256" % MOST_CANARIES)


def whole(value: Any, least: int, most: int) -> bool:
    """Say whether a value is an integer within limits (True is not an integer here)."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_file(value: Any) -> bool:
    """Say whether a value names a file: a content hash, so that no path can leave the folder; or a bare network."""
    return is_hash(value) or (isinstance(value, str) and value in runtimes.BARE)


def is_hash(value: Any) -> bool:
    """Say whether a value is the SHA-256 of a file."""
    return isinstance(value, str) and FILE_NAME.match(value) is not None


def opener(request: Dict[str, Any], name: str, folder: str) -> Callable[[], timing.Run]:
    """Return what loads a file, once its content is found to be what its name says; it gives the file's call.

    The file is read in small parts: all of it at once would be part of the memory that a footprint measures.
    """
    adapter, way = runtimes.ADAPTERS[request["runtime"]], way_of(request)
    if name in runtimes.BARE:
        return lambda: adapter.load_bare(name, way)
    path = os.path.join(folder, name)
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        part = stream.read(READ_BYTES)
        while part:
            digest.update(part)
            part = stream.read(READ_BYTES)
    if digest.hexdigest() != name:
        raise ValueError("the content of file %s does not match its name" % name[:12])
    return lambda: adapter.load(path, way)


def load(request: Dict[str, Any], name: str, folder: str) -> Loaded:
    """Load one file, check its content against its name, and warm it up."""
    clock, _ = timing.wall_clock()
    opened = opener(request, name, folder)
    start = clock()
    run = opened()
    loaded = clock()
    run()
    first = clock()
    timing.warm(run, request["parameters"]["warm_calls"], clock)
    return Loaded(run, loaded - start, first - loaded)


def bench(request: Dict[str, Any], folder: str, send: Send) -> None:
    """Answer one bench request: progress, failed, sample and reference records, then done; raises RequestInvalid."""
    check(request)
    on_cores = cores.pin(request)
    report = Progress(send)
    loaded, failures = load_all(request, folder, report)
    for index, reason in failures:
        send({"ev": "failed", "item": index, "reason": reason})
    clocks = timing.clocks(request["threads"], way_of(request).unit)
    if request.get("reference") is not None:
        timing.soak(loaded[request["reference"]].run, request["parameters"]["soak_s"], clocks.wall, report.tell)
    birds = {name: loaded[file].run for name, file in sorted(request.get("canaries", {}).items())}
    canaries: Dict[str, List[Dict[str, Any]]] = {name: [] for name in birds}
    before, resided, started = probe.cpu_seconds(), probe.residency(), time.monotonic()
    own_before = probe.own_seconds()
    samples = 0
    turn(birds, canaries, request, clocks)
    steps = (("cold", timing.cold, 0.3, 0.6), ("hot", timing.hot, 0.6, 1.0))
    for state, measure, begin, end in steps:
        items = [
            timing.Item(index, loaded[name].run, timing.Timed(clocks))
            for index, item_state, name in request["items"]
            if item_state == state and name in loaded
        ]
        if not items:
            continue
        reference: Optional[timing.Item] = None
        if request.get("reference") is not None:
            reference = timing.Item(0, loaded[request["reference"]].run, timing.Timed(clocks))
        tick = report.part(begin, end)
        with timing.collector_off():
            measure(items, reference, request["parameters"], tick)
        files = {index: name for index, _, name in request["items"]}
        for item in items:
            network = loaded[files[item.index]]
            record = dict(item.timed.summary(), ev="sample", item=item.index)
            send(dict(record, load_ns=network.load_ns, first_ns=network.first_ns))
        if reference is not None:
            send(dict(reference.timed.summary(), ev="reference", state=state))
        samples += len(items)
        turn(birds, canaries, request, clocks)
    took_s = max(1e-3, time.monotonic() - started)
    load_record = foreign(before, probe.cpu_seconds(), probe.own_seconds() - own_before, took_s)
    done: Dict[str, Any] = {"ev": "done", "samples": samples, "failed": len(failures), "timed_s": round(took_s, 3)}
    done["canaries"] = canaries
    at_khz = probe.known(frequencies.shares(resided, probe.residency()))
    state_then = dict(probe.state(), at_khz=at_khz, peak_rss_mib=peak_rss_mib())
    state_then.update({} if on_cores is None else {"cores": on_cores})
    send(dict(done, state=state_then, clocks=clocks.record(), **load_record))


def turn(
    birds: Dict[str, timing.Run],
    canaries: Dict[str, List[Dict[str, Any]]],
    request: Dict[str, Any],
    clocks: timing.Clocks,
) -> None:
    """Time every canary once more: what they differ by from turn to turn, the device has drifted.

    The fastest of a few calls differs by a tenth from turn to turn where nothing has drifted for longer than a moment:
    a canary is called until its turn took a while.
    """
    least, fill_ns = request["parameters"]["canary_calls"], request["parameters"]["canary_us"] * 1000
    for name, run in birds.items():
        timed = timing.Timed(clocks)
        timing.warm(run, request["parameters"]["warm_calls"], clocks.wall)
        calls, taken_ns = 0, 0
        while calls < least or (taken_ns < fill_ns and calls < MOST_CANARY_CALLS):
            taken_ns += timed.call(run)
            calls += 1
        summary = timed.summary()
        canaries[name].append({kind: summary[kind] for kind in ("wall_min_ns", "cpu_min_ns")})


class Progress(object):
    """Tells the host how far the batch is, at most a few times a second and never inside a timed call."""

    def __init__(self, send: Send) -> None:
        """Take where records go."""
        self.send = send
        self.last_s = time.monotonic()

    def tell(self, share: float) -> None:
        """Send a share of the batch, 0 to 1."""
        now_s = time.monotonic()
        if now_s - self.last_s >= TICK_S:
            self.last_s = now_s
            self.send({"ev": "progress", "share": round(share, 4)})

    def part(self, begin: float, end: float) -> timing.Tick:
        """Return a teller whose 0 to 1 lies between two shares of the batch."""
        return lambda share: self.tell(begin + (end - begin) * share)


def load_all(request: Dict[str, Any], folder: str, report: Progress) -> Tuple[Dict[str, Loaded], List[Tuple[int, str]]]:
    """Load every file once; return the loaded by name and (item, reason) of those that cannot be run.

    Items come last: whatever is loaded first also waits for the runtime to start.
    """
    names: List[str] = []
    others = [request.get("reference")] + sorted(request.get("canaries", {}).values())
    for name in others + [item[2] for item in request["items"]]:
        if name is not None and name not in names:
            names.append(name)
    loaded: Dict[str, Loaded] = {}
    reasons: Dict[str, str] = {}
    for place, name in enumerate(names):
        try:
            loaded[name] = load(request, name, folder)
        # A runtime may refuse a network in any way of its own; that is a result about the network, not a fault of the
        # agent.
        except Exception as fault:
            reasons[name] = runtimes.describe(fault)
        report.tell(0.3 * (place + 1) / len(names))
    for name in others:
        if name in reasons:
            raise RequestInvalid("the reference network or a canary cannot be run: " + reasons[name])
    return loaded, [(item[0], reasons[item[2]]) for item in request["items"] if item[2] in reasons]


def peak_rss_mib() -> probe.Reading:
    """Return the most memory this process has held so far, in MiB."""
    peak = probe.peak_rss_kib()
    return probe.UNREADABLE if peak is None else peak // 1024


def foreign(
    before: Optional[Dict[str, float]], after: Optional[Dict[str, float]], own_s: float, took_s: float
) -> Dict[str, Any]:
    """Return how many cores others kept busy, and how many were stolen, in a while of ``took_s`` seconds."""
    if before is None or after is None:
        return {"foreign_cores": probe.UNREADABLE, "stolen_cores": probe.UNREADABLE}
    busy = (after["busy"] - before["busy"] - own_s) / took_s
    stolen = (after["stolen"] - before["stolen"]) / took_s
    return {"foreign_cores": round(max(0.0, busy), 3), "stolen_cores": round(max(0.0, stolen), 3)}
