"""How long measuring takes on a device: a few ops and a network timed in one short round, and the sum over a plan."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex

import numpy as np
from numpy.typing import NDArray

from harness.artefacts import Artefacts
from harness.inventory import Device
from harness.journal import STATS
from harness.networks import middle
from harness.plan import EMPTY, IO, IO_KEY, SESSION_KEY, Plan, Rounds, RuntimeName, State, Way
from harness.prepare import bench_plan
from harness.session import PATIENCE_S, Ask, OnProgress, Round, greet, measure_round, quiet
from harness.stats import spread
from ofa.lut.format import Lut
from ofa.space.core import SearchSpace, Subnet
from ofa.space.facts import macs
from ofa.space.index import ops_in
from ofa.space.ops import Op, ops_of, parse

PROBES = 10
# One short round: minutes are wanted, not intervals.
QUICK = Rounds(
    cold_cycles=6, hot_bursts=2, burst_least=2, burst_most=4, canary_calls=3, canary_us=0, redo_most=0, rounds_most=1
)
# About what a process takes to start, where nobody tries.
START_S = 1.0
# Canaries are timed before, between and after the two states.
TURNS = 3
Ops = Mapping[str, Sequence[Op]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What probes took, ns: of ops by rising MACs, of the middle network, of the bare networks and of the canaries by
    name; and how long a process took to start.

    ``rss_mib`` is what the process of the probes held, MiB.
    """

    op_macs: NDArray[np.float64]
    op_ns: Mapping[State, NDArray[np.float64]]
    op_load_ns: NDArray[np.float64]
    network_macs: float
    network_ns: Mapping[State, float]
    network_load_ns: float
    bare_ns: Mapping[str, float]
    canary_ns: Mapping[str, float]
    start_s: float
    rss_mib: float

    def call_ns(self, ops: Sequence[Op], state: State) -> float:
        """Return what a call takes: of an op on a line between probes on log scales, of a network by its MACs."""
        return self._at(ops, self.op_ns[state], self.network_ns[state])

    def load_ns(self, ops: Sequence[Op]) -> float:
        """Return what loading takes."""
        return self._at(ops, self.op_load_ns, self.network_load_ns)

    def _at(self, ops: Sequence[Op], probes: NDArray[np.float64], network: float) -> float:
        work = float(sum(op.macs for op in ops))
        if len(ops) > 1:
            return network * work / self.network_macs
        return float(np.exp(np.interp(np.log(work), np.log(self.op_macs), np.log(probes))))


def pace_of(
    space: SearchSpace,
    *,
    device: Device,
    runtime: RuntimeName,
    way: Way,
    on_progress: OnProgress = quiet,
) -> Pace:
    """Return how fast a device is at a space: ops spread over MACs and the middle network, built, kept and timed.

    Raises what `prepare.bench_plan` raises, DeviceLost, and MeasurementRefused where the device does not cool.
    """
    ranked = sorted(ops_in(space), key=lambda op: (op.macs, op.key))
    ops, network = [ranked[place] for place in spread(len(ranked), PROBES)], middle(space)
    plan = bench_plan(
        device,
        runtime,
        Artefacts(device.transport.files),
        ops=ops,
        networks=[(network, "fit")],
        reference=network,
        way=way,
        seed=0,
        rounds=1,
        protocol=QUICK,
        on_progress=on_progress,
    )
    began_s = time.monotonic()
    greet(device)
    start_s = time.monotonic() - began_s
    everything = tuple(range(len(plan.items)))
    ask = Ask(plan=plan, number=0, items=everything, device=device, patience_s=PATIENCE_S, run=token_hex())
    found = measure_round(ask, lambda text, share: on_progress(round(100 * share), 100, "timing probes"))
    return _pace(plan, ops, macs(network), found, start_s)


def _pace(plan: Plan, ops: Sequence[Op], network_macs: float, found: Round, start_s: float) -> Pace:
    """Return what the one round of the probes says; an op that failed says nothing."""
    at = 2 + STATS.index("wall_median_ns")
    rows = {(plan.items[row[1]].key, plan.items[row[1]].state): row for row in found.samples}
    usable = [op for op in ops if (op.key, "hot") in rows and (op.key, "cold") in rows]
    states: tuple[State, ...] = ("hot", "cold")
    network = next(row for row in found.samples if plan.items[row[1]].kind == "network")
    said = json.loads(found.batches[-1][1])
    birds = {name: min(turn["wall_min_ns"] for turn in turns) for name, turns in said["canaries"].items()}
    return Pace(
        op_macs=np.array([max(1, op.macs) for op in usable], dtype=np.float64),
        op_ns={state: np.array([rows[op.key, state][at] for op in usable], dtype=np.float64) for state in states},
        op_load_ns=np.array([rows[op.key, "cold"][-2] for op in usable], dtype=np.float64),
        network_macs=network_macs,
        network_ns={row[1]: float(row[at]) for row in found.refs},
        network_load_ns=float(network[-2]),
        bare_ns={item.file: float(rows[item.key, "hot"][at]) for item in plan.items if item.kind == "overhead"},
        canary_ns={name: float(ns) for name, ns in birds.items()},
        start_s=start_s,
        rss_mib=float(said["state"].get("peak_rss_mib", 0)),
    )


def seconds_of(plan: Plan, pace: Pace, ops: Ops, rounds: int) -> float:
    """Return how long so many rounds of all items of a plan take; ``ops`` is what each file holds."""
    batches = plan.batches(0)
    return rounds * (pace.start_s + sum(_batch_s(plan, pace, ops, place, own) for place, own in enumerate(batches)))


def _batch_s(plan: Plan, pace: Pace, ops: Ops, place: int, batch: Sequence[int]) -> float:
    """Return how long one batch takes: loading, the two states with the reference among them, canaries, soaking."""
    way, items = plan.protocol, [plan.items[index] for index in batch]

    # Canaries are larger than many a space's ops: no line between probes says what they take.
    known = {
        **pace.bare_ns,
        **{plan.canaries[name]: ns for name, ns in pace.canary_ns.items() if name in plan.canaries},
    }

    def call_ns(file: str, state: State) -> float:
        return known[file] if file in known else pace.call_ns(ops[file], state)

    def burst_ns(one_ns: float) -> float:
        calls = max(way.burst_least, min(way.burst_most, way.burst_us * 1000 / one_ns))
        return (way.warm_calls + calls) * one_ns

    files = {item.file for item in items} | {plan.reference.file, *plan.canaries.values()}
    loading = sum(0.0 if file in (EMPTY, IO) else pace.load_ns(ops[file]) for file in files)
    warming = sum((1 + way.warm_calls) * call_ns(file, "hot") for file in files)
    cold = [call_ns(item.file, "cold") for item in items if item.state == "cold"]
    hot = [burst_ns(call_ns(item.file, "hot")) for item in items if item.state == "hot"]
    beside = {state: -(-len(times) // way.reference_every) for state, times in (("cold", cold), ("hot", hot))}
    cycles = way.cold_cycles * (sum(cold) + beside["cold"] * call_ns(plan.reference.file, "cold"))
    bursts = way.hot_bursts * (sum(hot) + beside["hot"] * burst_ns(call_ns(plan.reference.file, "hot")))
    birds = [call_ns(file, "hot") for file in plan.canaries.values()]
    turns = TURNS * sum(way.warm_calls * one + max(way.canary_calls * one, way.canary_us * 1e3) for one in birds)
    return way.for_agent(rested=place == 0)["soak_s"] + 1e-9 * (loading + warming + cycles + bursts + turns)


def pace_of_table(lut: Lut, reference: Subnet) -> Pace | None:
    """Return how fast a device is by a table of it, where that has ops in both states, networks and the reference's
    times; else None.

    The table does not say what loading an op takes: its networks' is divided among their ops. A bare network that it
    has no time of is taken for its quickest op.
    """
    ns = {(row.key, row.state): float(row.ns) for row in lut.rows if row.ns is not None}
    ops = [parse(key) for key, state in ns if state == "hot" and (key, "cold") in ns and not key.startswith("@")]
    ops.sort(key=lambda op: (op.macs, op.key))
    said = _reference_ns(lut)
    if not ops or said is None or not lut.networks:
        return None
    loads = float(np.median([row.init_ns or 0 for row in lut.networks]))
    op_ns = {state: np.array([ns[op.key, state] for op in ops]) for state in said}
    quickest = float(op_ns["hot"].min())
    return Pace(
        op_macs=np.array([max(1, op.macs) for op in ops], dtype=np.float64),
        op_ns=op_ns,
        op_load_ns=np.full(len(ops), loads / len(ops_of(reference))),
        network_macs=macs(reference),
        network_ns=said,
        network_load_ns=loads,
        bare_ns={file: ns.get((key, "hot"), quickest) for file, key in ((EMPTY, SESSION_KEY), (IO, IO_KEY))},
        canary_ns={},
        start_s=START_S,
        rss_mib=0.0,
    )


def _reference_ns(lut: Lut) -> dict[State, float] | None:
    """Return what the reference took in each state, by the first session that says both; None where none does.

    A session that was broken off before its first round was whole says nothing of it; tables made earlier hold such.
    """
    states: tuple[State, ...] = ("hot", "cold")
    for session in lut.sessions:
        told = session.get("reference_ns")
        if isinstance(told, dict) and all(isinstance(told.get(state), int | float) for state in states):
            found: dict[State, float] = {state: float(told[state]) for state in states}
            if min(found.values()) > 0:
                return found
    return None
