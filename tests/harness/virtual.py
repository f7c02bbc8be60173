"""A simulated device for tests: what is measured on it, and what is true of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ofa.space as spaces
from harness import journal as journals
from harness.artefacts import Artefacts
from harness.inventory import Device, simulated
from harness.networks import middle
from harness.plan import Plan, Rounds
from harness.prepare import bench_plan
from harness.reduce import table
from harness.session import run
from harness.simulation.machine import Machine
from harness.simulation.truth import bare_work, truth_ns
from harness.simulation.weather import Moment
from harness.transport.simulated import Simulated
from ofa.lut.format import Lut, Row
from ofa.space.index import ops_in
from ofa.space.ops import Op

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
OPS = ops_in(SPACE)[::6]
BARE = {"@session": "empty", "@io": "io"}
COOL = Moment(time_s=0.0, temperature_c=25.0)
# What a simulated device does when nothing disturbs it.
STILL: dict[str, Any] = {
    "call_noise": 0.0, "tail_share": 0.0, "round_noise": 0.0, "slow_process_share": 0.0, "heating_c_per_s": 0.0,
    "cache_bytes": 1e5,
}  # fmt: skip


def phone(folder: Path, *, own_process: bool = False, **parts: Any) -> Device:
    return simulated(folder / "files", machine=Machine(**parts), own_process=own_process)


def plan_of(device: Device, ops: Sequence[Op] = OPS, *, rounds: int = 2, **protocol: Any) -> Plan:
    return bench_plan(
        device, "simulated", Artefacts(device.transport.files), ops=ops, networks=(), reference=middle(SPACE),
        seed=3, rounds=rounds, protocol=Rounds(**{"rounds_most": rounds, **protocol}),
    )  # fmt: skip


def measure(device: Device, plan: Plan, folder: Path) -> Lut:
    with journals.resume(folder / "journal.sqlite", plan) as journal:
        run(plan, device=device, journal=journal)
        return table(journal)


def true_ns(machine: Machine, row: Row) -> float:
    """Return what a row should say, ns."""
    if row.key in BARE:
        return bare_work(machine, BARE[row.key]).at_ns(machine.power_speed, 0.0)
    return truth_ns(machine, [row.key], row.state)


def machine_of(device: Device) -> Machine:
    assert isinstance(device.transport, Simulated)
    return device.transport.machine


def values(lut: Lut) -> list[object]:
    """Return a table's rows without the sessions they came from."""
    return [row._replace(session="") for row in lut.rows] + [row._replace(session="") for row in lut.networks]
