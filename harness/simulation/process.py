"""A process of a simulated device: the agent as real devices run it, its clocks, runtime and probes taken over."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.simulation import rail
from harness.simulation.machine import Machine
from harness.simulation.truth import Work, bare_work, resident_bytes, work_of
from harness.simulation.unpacked import unpacked
from harness.simulation.weather import Moment, Weather
from ofa.files import MEBIBYTE, canonical_json, read_json, write_atomic

RUNTIME = "simulated"
MOMENTS = "simulated-moments.json"
# The agent's modules that have something of the device under them.
TAKEN_OVER = ("bench", "energy", "power", "probe", "runtimes", "timing", "tuning")
At = tuple[int, int, int]
Verb = Callable[..., None]


class Simulation:
    """A process on the device: the weather it runs in, and what the agent asks of it."""

    def __init__(self, machine: Machine, files: Path) -> None:
        """Take the device and the folder its files lie in."""
        self.machine = machine
        self.files = files
        self.at: At | None = None
        self.resident_bytes = machine.runtime_bytes
        self.weather = Weather(machine, self._last(None), (0,))
        self.rail: rail.Rail | None = None

    def begin(self, request: dict[str, Any]) -> None:
        """Go to the moment a request belongs to: the first one of a process says which part of a plan is measured."""
        asked = request.get("at")
        if not isinstance(asked, list) or len(asked) != 3:
            return
        at: At = (int(asked[0]), int(asked[1]), int(asked[2]))
        if self.at is None:
            self.weather = Weather(self.machine, self._last(at), (*at, 1))
        self.at = at

    def first(self, verb: Verb, then: Callable[[], None] = lambda: None) -> Verb:
        """Return a verb of the agent that begins at the moment its request belongs to."""

        def begun(request: dict[str, Any], *rest: Any) -> None:
            self.begin(request)
            verb(request, *rest)
            then()

        return begun

    def rest(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.weather.rest(seconds)

    def end(self) -> None:
        """Keep where the device stands: the next part of the plan begins there, in whichever process."""
        if self.at is not None:
            moments = self._moments() | {self.at: self.weather.moment()}
            rows = [[*at, moment.time_s, moment.temperature_c] for at, moment in sorted(moments.items())]
            write_atomic(self.files / MOMENTS, canonical_json(rows))

    def load(self, path: str, way: object) -> Callable[[], None]:
        """Return the call of a network whose file lists its ops."""
        try:
            content = json.loads(Path(path).read_text())
        except ValueError as fault:
            raise ValueError("a simulated device runs no model files, but lists of ops") from fault
        call = self._call(Path(path).name, work_of(self.machine, content["ops"]))
        self.resident_bytes += resident_bytes(self.machine, content["ops"])
        return call

    def load_bare(self, name: str, way: object) -> Callable[[], None]:
        """Return the call of a network of one elementwise node, on few floats ("empty") or many ("io")."""
        return self._call(name, bare_work(self.machine, name))

    def now_ns(self) -> int:
        """Return the virtual wall clock."""
        return round(self.weather.time_s * 1e9)

    def cpu_ns(self) -> int:
        """Return the virtual CPU clock of the process."""
        return round(self.weather.cpu_s * 1e9)

    def environment(self) -> dict[str, Any]:
        """Return what the device says it is."""
        passing = {"seed", "die_after_calls", "foreign_cores", "foreign_until_s"}
        passing |= {"updated_factor", "updated_depthwise7_factor"}
        content = self.machine.model_dump(mode="json", exclude=passing)
        return {"machine": "simulated", "power_mode": self.machine.power_mode, "simulated": content}

    def state(self) -> dict[str, Any]:
        """Return how the device says it is doing."""
        return {
            "temperature_c": {"cores": round(self.weather.temperature_c, 2)},
            "load_1min": "unreadable",
            "energy_source": rail.SOURCE,
        }

    def cpu_seconds(self) -> dict[str, float] | None:
        """Return for how many seconds all cores were busy, where the device tells that."""
        if self.machine.foreign_cores is None:
            return None
        return {"busy": self.weather.cpu_s + self.weather.foreign_s(), "stolen": 0.0}

    def meter(self, *how: Any) -> rail.Rail:
        """Return what the device's rail reads from now on."""
        self.rail = rail.Rail(lambda: self.weather.time_s, self.machine.seed)
        return self.rail

    def peak_rss_kib(self) -> int:
        """Return the most memory the process has held: nothing that was loaded is given back."""
        return math.ceil(self.resident_bytes / 1024)

    def _call(self, name: str, work: Work) -> Callable[[], None]:
        """Return a call that lets virtual time pass."""
        self.weather.load(work)
        luck = self.weather.luck(name, self.at or (0,))
        last = self.machine.die_after_calls

        def call() -> None:
            start_s = self.weather.time_s
            self.weather.call(name, work, luck)
            if self.rail is not None:
                self.rail.call(start_s, rail.call_joules(work))
            if last is not None and self.weather.calls >= last:
                os._exit(1)

        return call

    def _moments(self) -> dict[At, Moment]:
        """Return where the device stood at the end of each part of the plan."""
        path = self.files / MOMENTS
        rows = read_json(path, max_bytes=MEBIBYTE, what="state of a simulated device") if path.exists() else []
        return {(row[0], row[1], row[2]): Moment(time_s=row[3], temperature_c=row[4]) for row in rows}

    def _last(self, at: At | None) -> Moment:
        """Return where the device stood before a part of the plan; whatever a killed process did after it is undone."""
        before = {known: moment for known, moment in self._moments().items() if at is None or known < at}
        return before[max(before)] if before else Moment(time_s=0.0, temperature_c=self.machine.ambient_c)


def untuned(request: dict[str, Any], folder: str, send: Verb) -> None:
    """Answer that nothing is changed: below a simulated device lies this computer, whose settings are its own."""
    refused = None if request.get("step") == "restore" else "it is simulated: there is nothing to change"
    send({"ev": "tuned", "observed": {}, "saved": None, "refused": refused})


def agent_of(archive: Path, simulation: Simulation) -> dict[str, Any]:
    """Return the names of the agent's main module, loaded anew from its archive, with the device under it simulated."""
    packed = unpacked(archive)
    agent: dict[str, Any] = {"__name__": "agent"}
    before = set(sys.modules)
    sys.meta_path.insert(0, packed)
    try:
        exec(packed.code["__main__"], agent)
        modules: list[Any] = [import_module(name) for name in TAKEN_OVER]
    finally:
        # The agent's modules have everyday names, and the next agent of this process must be another one.
        sys.meta_path.remove(packed)
        for name in (set(sys.modules) - before) & set(packed.code):
            del sys.modules[name]
    bench, energy, power, probe, runtimes, timing, tuning = modules
    runtimes.ADAPTERS.clear()
    runtimes.ADAPTERS[RUNTIME] = runtimes.Adapter(lambda: {"version": "1"}, simulation.load, simulation.load_bare)
    clocks = timing.Clocks(simulation.now_ns, simulation.cpu_ns, "virtual", "virtual", 0, 0)
    timing.wall_clock = lambda: (simulation.now_ns, "virtual")
    timing.clocks = lambda threads, unit="cpu": clocks
    # Virtual time does not feel the collector, and all that this process holds is much to collect before each batch.
    timing.collector_off = nullcontext
    probe.environment, probe.state, probe.cpu_seconds = simulation.environment, simulation.state, simulation.cpu_seconds
    probe.own_seconds = lambda: simulation.weather.cpu_s
    probe.residency, probe.peak_rss_kib = dict, simulation.peak_rss_kib
    agent["time"] = bench.time = SimpleNamespace(monotonic=lambda: simulation.weather.time_s, sleep=simulation.rest)
    energy.time, energy.meter = agent["time"], simulation.meter
    power.source = lambda root: (rail.SOURCE, rail.AVERAGING_S, "")
    tuning.tune = untuned
    for verb in ("hello", "rest"):
        agent[verb] = simulation.first(agent[verb])
    bench.bench = simulation.first(bench.bench, simulation.end)
    energy.energy = simulation.first(energy.energy, simulation.end)
    return agent
