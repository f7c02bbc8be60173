"""The agent beside a device that has none: it answers what the agent on a device answers, and runs a program for each
network."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from harness.native import facts, request
from harness.native.board import Board
from harness.native.errors import native_coarse, native_cold
from harness.native.lease import TTL_S, Lease, NotHeld
from harness.native.phone import Phone
from harness.native.runner import Runner
from harness.native.runs import COARSE_CANARY_NS, COARSE_NS, CannotRun, Timed, Use, Wanted, together
from harness.plan import EMPTY, Way
from harness.protocol import VERSION
from harness.ways import USES, first_way

Record = dict[str, Any]
FOOTPRINT = Wanted(warm_calls=1, warm_s=0.0, calls=3, least_s=0.0)
# A hello only has to find out whether a network runs, and what is said of it.
TRIAL = Wanted(warm_calls=1, warm_s=0.0, calls=5, least_s=0.0)
# An agent renews a lease every few seconds. While a program is timed nobody does: it is made to outlive the run.
RENEW_S = 10.0
LOOK_S = 0.5
NO_MEMORY = "the program does not say how much memory it held"
# What the programs measure by is theirs: nothing is subtracted.
CLOCKS = {"wall_clock": "the program's", "wall_cost_ns": 0, "cpu_clock": "unreadable", "cpu_cost_ns": 0}
STATISTIC = {"each": "p10", "p5": "p5", "min": "min"}


@dataclass(slots=True, kw_only=True)
class Beside:
    """One conversation. ``use`` holds what is the device's own of how a network is run, ``context`` what it runs in: a
    shell's process is scheduled otherwise than an app's. ``lease`` is that of a device which other hosts reach, too. A
    run is warmed up for ``warm_s`` and timed for ``run_s`` at least, s.
    """

    runner: Runner
    use: Use
    context: Literal["shell", "app"]
    phone: Phone | Board | None
    lease: Lease | None
    warm_s: float
    run_s: float
    files: dict[str, str] = field(default_factory=dict)
    renewed_s: float = 0.0
    held_until_s: float = 0.0

    def answer(self, line: bytes) -> Iterator[Record]:
        """Answer one request line; only DeviceLost leaves, every other fault is a record."""
        try:
            asked = request.parse(line)
        except ValueError as fault:
            yield {"id": None, "ev": "error", "reason": str(fault)[:400]}
            return
        verbs: dict[str, Callable[[Any], Iterator[Record]]] = {
            "hello": self.hello,
            "rest": self.rest,
            "lease": self.take,
            "release": self.release,
            "bench": self.bench,
            "footprint": self.footprint,
        }
        if asked.do == "stop":
            yield {"id": asked.id, "ev": "stopped"}
            return
        try:
            self._renew(asked.lease)
            self.runner.before_each = partial(self._renew, asked.lease, RENEW_S)
            for record in verbs[asked.do](asked):
                yield {"id": asked.id, **record}
        except NotHeld as fault:
            yield {"id": asked.id, "ev": "error", "kind": "not_held", "reason": str(fault)}
        except (CannotRun, OSError) as fault:
            yield {"id": asked.id, "ev": "error", "reason": str(fault)[:900]}

    def take(self, asked: request.Lease) -> Iterator[Record]:
        """Hold the device for who asks, unless another does; say who that is, or from whom it was taken over."""
        if self.lease is None:
            raise CannotRun("this device has no lease")
        taken = self.lease.take(asked.owner, asked.token, asked.ttl_s, force=asked.force)
        yield {"ev": "leased", "granted": taken.granted, "owner": taken.owner, "left_s": float(taken.left_s)}

    def release(self, asked: request.Release) -> Iterator[Record]:
        """Give the device back; nothing happens where another holds it by now."""
        yield {"ev": "released", "held": self.lease is not None and self.lease.give_back(asked.token)}

    def _renew(self, token: str | None, every_s: float = 0.0, for_s: float = 0.0) -> None:
        """Let a lease run anew, for as long as what comes may take, unless that was done just now.

        Raises NotHeld where another took it over.
        """
        now_s = time.monotonic()
        fresh = now_s - self.renewed_s < every_s and self.held_until_s >= now_s + for_s
        if self.lease is None or token is None or fresh:
            return
        ttl_s = max(TTL_S, math.ceil(for_s))
        self.lease.renew(token, ttl_s=ttl_s)
        self.renewed_s, self.held_until_s = now_s, now_s + ttl_s

    def hello(self, asked: request.Hello) -> Iterator[Record]:
        """Say what the device is, and try the program where it is asked for."""
        self.files = facts.read(self.runner.shell, facts.ENVIRONMENT)
        runtimes = [self._about(name) for name in asked.runtimes]
        may_pin = self.runner.mask is None and "taskset" in facts.tools(self.files)
        environment = {
            **facts.environment(self.files),
            **({} if self.phone is None else self.phone.environment(may_pin=may_pin)),
            **self.runner.facts(),
            "context": self.context,
            "warm_s": self.warm_s,
            "run_s": self.run_s,
        }
        for about in runtimes:
            environment |= about.pop("facts")
        yield {
            "ev": "hello",
            "protocol": VERSION,
            "boot_id": self.files.get(facts.BOOT_ID, ""),
            "environment": environment,
            "state": self._state(),
            "clocks": CLOCKS,
            "runtimes": runtimes,
        }

    def _about(self, name: str) -> Record:
        """Return what a hello says of a runtime, after running the network that does nothing."""
        if name != self.runner.runtime:
            reason = f"beside this device there is '{self.runner.runtime}' only"
            return {"name": name, "version": None, "ready": False, "reason": reason, "facts": {}}
        try:
            self.runner.prepare(self.files)
            # Whatever a network is to be relaxed to later, this one needs no more than to run.
            timed = self.runner.run(EMPTY, TRIAL, self._use(first_way(self.runner.runtime)))
        except CannotRun as fault:
            return {"name": name, "version": None, "ready": False, "reason": str(fault)[:900], "facts": {}}
        kept = {"calls": "each" if timed.known == "each" else "summary", "statistic": STATISTIC[timed.known]}
        version = self.runner.version or f"{self.runner.tool}-{self.runner.sha256[:12]}"
        known = kept | self.runner.facts()
        about = {"name": name, "version": version, "ready": True, "units": self._units(), "facts": known}
        return about if self.runner.kind.opset is None else {**about, "opset": self.runner.kind.opset}

    def _units(self) -> dict[str, Record]:
        """Return on which units other than the CPU the network that does nothing runs whole, and with which kernels."""
        found: dict[str, Record] = {}
        for unit, uses in USES[self.runner.runtime].items():
            ready, reasons = [], []
            for kernels in uses if unit != "cpu" else ():
                try:
                    self.runner.run(EMPTY, TRIAL, self._use(first_way(self.runner.runtime, unit, kernels)))
                    ready.append(kernels)
                except CannotRun as fault:
                    reasons.append(f"{kernels}: {fault}" if len(uses) > 1 else str(fault))
            # What stands here of a unit that is used is part of the environment: nothing that moves.
            says = (self.use.accelerator or "the program chooses it") if ready else "; ".join(reasons)[:900]
            found |= {} if unit == "cpu" else {unit: {"ready": bool(ready), "says": says, "kernels": ready}}
        return found

    def rest(self, asked: request.Rest) -> Iterator[Record]:
        """Do nothing for a while."""
        load = facts.load(self.runner.shell, asked.seconds)
        yield {"ev": "rested", "state": self._state(), **load}

    def footprint(self, asked: request.Footprint) -> Iterator[Record]:
        """Say the peak memory of a process that calls one network, or why nobody knows."""
        self._prepare(asked.runtime)
        if not self.runner.kind.memory:
            yield {"ev": "footprint", "peak_rss_kib": None, "reason": NO_MEMORY}
            return
        try:
            kib = self.runner.run(asked.file, FOOTPRINT, self._use(asked.way)).peak_rss_kib
            reason = None if kib is not None else NO_MEMORY
        except CannotRun as fault:
            kib, reason = None, str(fault)
        yield {"ev": "footprint", "peak_rss_kib": kib, "reason": reason}

    def bench(self, asked: request.Bench) -> Iterator[Record]:
        """Time every item once, each in a process of its own and in a new order, the reference every few of them."""
        self._prepare(asked.runtime)
        use, wanted, every = self._use(asked.way), self._wanted(asked), asked.parameters.reference_every
        cold = [index for index, state, _ in asked.asked if state == "cold"]
        yield from ({"ev": "failed", "item": index, "reason": native_cold(asked.runtime)} for index in cold)
        hot = [(index, file) for index, state, file in asked.asked if state == "hot"]
        random.Random(asked.parameters.seed).shuffle(hot)
        looks = [facts.load(self.runner.shell, LOOK_S)]
        began_s, counts = time.monotonic(), {"samples": 0, "failed": len(cold)}
        yield from self._soak(asked, use, wanted)
        canaries: dict[str, list[Record]] = {name: [] for name in sorted(asked.canaries)}
        self._turn(asked, canaries, use, wanted)
        references: list[Timed] = []
        built: dict[str, list[str]] = {}
        for place, (index, file) in enumerate(hot):
            if place % every == 0:
                references.append(self._reference(asked, use, wanted))
            yield {"ev": "progress", "share": round(place / len(hot), 4)}
            try:
                timed = self._item(file, wanted, use)
            except CannotRun as fault:
                counts["failed"] += 1
                yield {"ev": "failed", "item": index, "reason": str(fault)}
                continue
            counts["samples"] += 1
            built |= {file[:12]: list(timed.built)} if timed.built else {}
            times = {"load_ns": timed.load_ns, "first_ns": timed.first_ns}
            yield {"ev": "sample", "item": index, **timed.record(), **times}
        if references:
            references.append(self._reference(asked, use, wanted))
            yield {"ev": "reference", "state": "hot", **together(references).record()}
            self._turn(asked, canaries, use, wanted)
        timed_s = time.monotonic() - began_s
        # While a program runs nobody can tell its work from others': what is known is how it was around it.
        looks.append(facts.load(self.runner.shell, LOOK_S))
        yield {
            "ev": "done",
            **counts,
            "timed_s": round(timed_s, 3),
            **{name: between(*(look[name] for look in looks)) for name in looks[0]},
            "state": {**self._state(), "cores": self.runner.cores or facts.UNREADABLE, **_told_of(built)},
            "clocks": CLOCKS,
            "canaries": canaries,
        }

    def _item(self, file: str, wanted: Wanted, use: Use) -> Timed:
        """Time an item; raises CannotRun, also where the program tells its time too coarsely."""
        timed = self.runner.run(file, wanted, use)
        if not timed.finer_than(COARSE_NS):
            raise CannotRun(native_coarse(self.runner.runtime, COARSE_NS / 1000))
        return timed

    def _reference(self, asked: request.Bench, use: Use, wanted: Wanted) -> Timed:
        """Time the reference; raises CannotRun."""
        try:
            return self.runner.run(asked.reference, wanted, use, keep=True)
        except CannotRun as fault:
            raise CannotRun(f"the reference network cannot be run: {fault}") from fault

    def _turn(self, asked: request.Bench, canaries: dict[str, list[Record]], use: Use, wanted: Wanted) -> None:
        """Time every canary once more; one that moves by less than the program's own steps tells nothing and goes."""
        for name in list(canaries):
            try:
                timed = self.runner.run(asked.canaries[name], wanted, use, keep=True)
            except CannotRun as fault:
                raise CannotRun(f"canary '{name}' cannot be run: {fault}") from fault
            canaries[name].append({"wall_min_ns": timed.min_ns, "cpu_min_ns": None})
            if not timed.finer_than(COARSE_CANARY_NS):
                del canaries[name]

    def _soak(self, asked: request.Bench, use: Use, wanted: Wanted) -> Iterator[Record]:
        """Work the device for a while: it is then as hot as long work makes it."""
        end_s = time.monotonic() + asked.parameters.soak_s
        while time.monotonic() < end_s:
            self._reference(asked, use, wanted)
            yield {"ev": "progress", "share": 0.0}

    def _wanted(self, asked: request.Bench) -> Wanted:
        """Return how long a run lasts: at least the calls that the protocol has at least, over all its bursts."""
        calls = asked.parameters.hot_bursts * asked.parameters.burst_least
        return Wanted(warm_calls=asked.parameters.warm_calls, warm_s=self.warm_s, calls=calls, least_s=self.run_s)

    def _use(self, way: Way) -> Use:
        """Return how networks are run in a way."""
        return replace(self.use, way=way)

    def _prepare(self, runtime: str) -> None:
        """Bring the program, unless a hello did; raises CannotRun."""
        if runtime != self.runner.runtime:
            raise CannotRun(f"beside this device there is '{self.runner.runtime}' only, not '{runtime}'")
        if not self.files:
            self.files = facts.read(self.runner.shell, facts.ENVIRONMENT)
        self.runner.prepare(self.files)

    def _state(self) -> Record:
        """Return how the device is doing."""
        found = facts.state(facts.read(self.runner.shell, facts.STATE))
        return found if self.phone is None else self.phone.state(found)


def between(first: float | str, last: float | str) -> float | str:
    """Return the mean of two readings, "unreadable" where either is."""
    return facts.UNREADABLE if isinstance(first, str) or isinstance(last, str) else round((first + last) / 2, 3)


def _told_of(built: dict[str, list[str]]) -> Record:
    """Return the SHA-256 of what a program built, by the beginning of the network's own, where it built anything."""
    return {"built": built} if built else {}
