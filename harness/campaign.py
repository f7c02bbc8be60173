"""Measures one device, or many at once: each held by its lease, in a folder of its own, none stopped by another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import tables
from harness.bench import Scope, bench
from harness.discreet import discreetly
from harness.errors import devices_failed
from harness.fleet import Facts, Outcome, together
from harness.inventory import Device
from harness.lab import read_lab
from harness.lease import held
from harness.ledger import at_work
from harness.plan import RuntimeName
from harness.session import OnProgress
from harness.tuning import Tuning, prepared
from ofa import console
from ofa.lut import check as checks
from ofa.space.core import SearchSpace

# So many reasons why rows have no time are told; the run's journal has all.
MOST_REASONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is measured on one device of a campaign: with which runtime, and how much."""

    device: Device
    runtime: RuntimeName
    scope: Scope


def measured(
    space: SearchSpace,
    device: Device,
    runtime: RuntimeName,
    scope: Scope,
    out: Path,
    *,
    resume: bool,
    tuning: Tuning | None = None,
    on_progress: OnProgress,
) -> Facts:
    """Measure a device into a folder, or go on there; return what there is to say of the table.

    It is tuned meanwhile where ``tuning`` says so, and put back whatever happens. Raises what `bench.bench` raises,
    UsageInvalid where the folder is at work or holds another measurement, and MeasurementRefused where somebody else
    holds the device, or it cannot be tuned so.
    """
    with at_work(out), discreetly(device):
        tables.check_begin(out, resume=resume)
        with held(device, out) as mine, prepared(mine, tuning, runtime) as ready:
            bench(space, device=ready, runtime=runtime, folder=out, scope=scope, on_progress=on_progress)
    facts = checks.show(out / tables.TABLE)
    for said in tables.noise_of(out / tables.TABLE, facts):
        console.warn(said)
    for unknown in tables.unknown_in(out):
        console.warn(f"the energy of a network on '{device.name}' is not known: {unknown}")
    for untimed in tables.untimed_in(out)[:MOST_REASONS]:
        console.warn(f"no time is known on '{device.name}' of {untimed}")
    if scope.energy is not None and scope.energy.pulses:
        console.note(f"the pulses are kept: 'ofa lut build {out} --meter FILE.csv' finds them in what a meter read")
    return facts


def campaign(
    tasks: Sequence[Task],
    out: Path,
    work: Callable[[Task, Path, OnProgress], Facts],
) -> list[Outcome]:
    """Work on several devices at once, each in a folder of its own below ``out``; return what came of each.

    Devices of a group take turns as the lab's list says.
    """
    by_name = {task.device.name: task for task in tasks}

    def one(name: str, tell: OnProgress) -> Facts:
        return work(by_name[name], out / name, tell)

    return together(list(by_name), one, groups=groups_of(list(by_name)))


def groups_of(names: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return the group of each device that has one, and how many of it may be at work at once."""
    lab = read_lab()
    units = {name: lab.devices[name] for name in names if name in lab.devices}
    return {name: (unit.group, lab.groups[unit.group].max_parallel) for name, unit in units.items() if unit.group}


def rows(outcomes: Sequence[Outcome], out: Path) -> list[dict[str, Any]]:
    """Return what came of each device as rows of a table."""
    return [
        {
            "device": one.device,
            "result": "measured" if one.fault is None else "failed",
            "where": str(out / one.device / tables.TABLE) if one.fault is None else str(one.fault).partition("\n")[0],
        }
        for one in outcomes
    ]


def refuse_failed(outcomes: Sequence[Outcome], out: Path) -> None:
    """Raise DeviceLost with the error of each device that failed, and where the others' tables are."""
    faults = [(one.device, one.fault) for one in outcomes if one.fault is not None]
    if faults:
        raise devices_failed(faults, [str(out / one.device / tables.TABLE) for one in outcomes if one.fault is None])
