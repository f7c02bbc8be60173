"""The verbs that fill tables: bench | lut build.

They follow `ofa.cli`'s convention: one function each, heavy imports in its body, ``--json`` for facts.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.options import (
    Again,
    AllowLoad,
    AllowTuning,
    CoresOption,
    DeviceNames,
    EnergyNetworks,
    EnergyOption,
    Fit,
    Holdout,
    KernelsOption,
    MeterAveraging,
    MeterFiles,
    MissingFrom,
    Ops,
    ProgramFile,
    Pulses,
    Regime,
    RegimeOption,
    Rounds,
    RoundsMost,
    RuntimeOption,
    Threads,
    UnitOption,
    energies_of,
    meter_of,
    tuning_of,
)
from harness.places import THIS_COMPUTER
from ofa.lut.cli import app as tables
from ofa.options import (
    TINY,
    Channels,
    Classes,
    DryRun,
    Json,
    MaybeSubnets,
    Out,
    PrecisionName,
    Replace,
    Resume,
    Seed,
    SpaceName,
    Width,
    example,
    load_space,
)

if TYPE_CHECKING:
    from harness.bench import Scope
    from harness.campaign import Task
    from harness.inventory import Device
    from harness.plan import RuntimeName
    from harness.session import OnProgress
    from harness.tuning import Tuning
    from harness.ways import Use
    from ofa.lut.format import Lut
    from ofa.space.core import SearchSpace, Subnet

Facts = dict[str, Any]
# What options say of the use of a runtime, by their names; None where one is not given.
Asked = dict[str, Any]
SOAK_S = 180
# What a table says of itself in many lines: 'ofa lut show' has them.
LONG = ("environment", "protocol", "overheads", "largest", "energies", "calibration")


app = typer.Typer()
lut = typer.Typer(
    no_args_is_help=True,
    help="Look at, build, compare, merge, fill latency tables.",
    epilog=example("ofa lut check luts"),
)
lut.add_typer(tables)
app.add_typer(lut, name="lut")


@app.command(
    "bench",
    epilog=example(
        f"ofa bench --space {TINY} \\", "  --device simulated-phone --runtime simulated --out runs/bench --dry-run"
    ),
)
def bench(
    space: SpaceName,
    out: Out,
    runtime: RuntimeOption = None,
    device: DeviceNames = None,
    resume: Resume = False,
    unit: UnitOption = None,
    precision: PrecisionName = None,
    kernels: KernelsOption = None,
    threads: Threads = None,
    cores: CoresOption = None,
    rounds: Rounds = 5,
    rounds_most: RoundsMost = 15,
    regime: RegimeOption = Regime.burst,
    fit: Fit = None,
    holdout: Holdout = None,
    again: Again = True,
    missing_from: MissingFrom = None,
    subnets: MaybeSubnets = None,
    ops: Ops = None,
    program: ProgramFile = None,
    allow_load: AllowLoad = False,
    energy: EnergyOption = False,
    pulses: Pulses = False,
    energy_networks: EnergyNetworks = None,
    allow_tuning: AllowTuning = None,
    dry_run: DryRun = False,
    seed: Seed = 0,
    width: Width = None,
    channels: Channels = None,
    classes: Classes = None,
    json: Json = False,
) -> None:
    """Measure a space's ops on a device, into a table.

    With --subnets only their ops, and they to fit to, but for --holdout of them. Ctrl-C is safe: --resume goes on.
    """
    from harness.bench import Scope

    chosen = load_space(space, width, channels, classes)
    scope = Scope(
        **_depth(rounds, rounds_most, regime, again, seed),
        **_extent(chosen, missing_from, subnets),
        energy=energies_of(energy, pulses, energy_networks),
        allow_load=allow_load,
    )
    asked = Asked(runtime=runtime, unit=unit, precision=precision, kernels=kernels, threads=threads, cores=cores)
    tasks = _tasks(device, asked, program, lambda use: _scoped(scope, chosen, use, ops, fit, holdout))
    measure = _foretold if dry_run else partial(_measured, resume=resume, tuning=tuning_of(allow_tuning))
    _told(json, *measure(chosen, tasks, out))


def use_of(device: str, asked: Asked) -> Use:
    """Return which runtime a device is measured with and how, as options and the lab's list say."""
    from harness import ways

    return ways.use_of(device, {name: getattr(said, "value", said) for name, said in asked.items()})


def _tasks(names: list[str] | None, asked: Asked, program: Path | None, scope_of: Callable[[Use], Scope]) -> list[Task]:
    """Return what is measured on each device that is named, each once; on this computer where none is."""
    from harness.campaign import Task

    uses = {name: use_of(name, asked) for name in names or [THIS_COMPUTER]}
    return [
        Task(device=device_for(name, use.runtime, program), runtime=use.runtime, scope=scope_of(use))
        for name, use in uses.items()
    ]


def _depth(rounds: int, rounds_most: int, regime: Regime, again: bool, seed: int) -> dict[str, Any]:
    """Return how often everything is measured, in which order, and for how long the device is worked before."""
    soak_s = SOAK_S if regime is Regime.sustained else 0
    return {"rounds": rounds, "rounds_most": max(rounds, rounds_most), "soak_s": soak_s, "again": again, "seed": seed}


def _extent(space: SearchSpace, missing_from: Path | None, subnets: Path | None) -> dict[str, Any]:
    """Return what is measured where not everything is."""
    return {"missing_from": _table(missing_from), "subnets": _of_space(subnets, space)}


def _scoped(
    scope: Scope, space: SearchSpace, use: Use, ops: bool | None, fit: int | None, holdout: int | None
) -> Scope:
    """Return how much is measured with one runtime: what is said, or what is usual for it.

    Where nobody says, ops are not measured by programs that start a process for each. Raises UsageInvalid where
    networks to fit to are counted and named.
    """
    from harness.networks import FIT, FIT_ALONE, holdout_of
    from harness.plan import NATIVE
    from harness.refusals import fit_of_named

    if scope.subnets and fit:
        raise fit_of_named()

    ops = use.runtime not in NATIVE if ops is None else ops
    named = scope.missing_from is not None or scope.subnets
    usual = (0, 0) if named else (FIT if ops else FIT_ALONE, holdout_of(space))
    fit, holdout = usual[0] if fit is None else fit, usual[1] if holdout is None else holdout
    return replace(scope, way=use.way, ops=ops, fit=fit, holdout=holdout)


def _told(json: bool, facts: Facts, title: str, runs: Sequence[Path] = ()) -> None:
    """Print facts, as JSON where that is asked for; of what was measured the short ones, and how to go on."""
    from ofa import console

    shown = {name: fact for name, fact in facts.items() if name not in LONG} if runs else facts
    console.emit_json(facts) if json else console.show(shown, title=title)
    for run in runs:
        name = shlex.quote(str(run))
        place = f"ofa lut build {name}{_into_the_labs()}"
        console.note(f"all of it: ofa lut show {name}/lut; to its place among other tables: {place}")


def _into_the_labs() -> str:
    """Return the option that puts a table among the lab's, '' where they are in this folder, or the lab keeps none."""
    from harness.places import lab_folder

    tables = lab_folder() / "luts"
    elsewhere = tables.is_dir() and tables.resolve() != Path("luts").resolve()
    return f" --into {shlex.quote(str(tables))}" if elsewhere else ""


def files() -> Path:
    """Return the folder that keeps what was built for devices."""
    from ofa.folders import cache_folder

    return cache_folder() / "files"


def device_for(name: str, runtime: RuntimeName, program: Path | None) -> Device:
    """Return the device, reached as its runtime needs."""
    from harness.native.devices import reached

    return reached(name, files(), runtime=runtime, program=program)


def _table(missing_from: Path | None) -> Lut | None:
    """Return the table that is to be completed, if any."""
    from ofa.lut import shelf

    return None if missing_from is None else shelf.one(missing_from)


def _of_space(path: Path | None, space: SearchSpace) -> tuple[Subnet, ...]:
    """Return the subnets in a file, each once, as files put together may name one twice; raises UsageInvalid where one
    is of another space."""
    from harness.errors import subnet_of_others
    from ofa.space import listed

    subnets = () if path is None else tuple(listed.read(path))
    for subnet in subnets:
        if subnet.space.id != space.id:
            raise subnet_of_others(subnet.id, subnet.space.id, space.id)
    # Measured twice, one could even be fitted to and held out at once.
    return tuple({subnet.id: subnet for subnet in subnets}.values())


def _measured(
    space: SearchSpace, tasks: list[Task], out: Path, *, resume: bool, tuning: Tuning | None
) -> tuple[Facts, str, list[Path]]:
    """Measure, or go on; return what there is to say of the table, where it is, and the run, or the same of each."""
    from harness import campaign, resuming, tables
    from harness.phases import phases
    from ofa import console

    def work(task: Task, own: Path, tell: OnProgress) -> Facts:
        how: Any = {"resume": resume, "tuning": tuning, "on_progress": tell}
        with resuming.of_run(own, several=len(tasks) > 1):
            return campaign.measured(space, task.device, task.runtime, task.scope, own, **how)

    with console.resumable("measuring interrupted; every complete round is safe"):
        if len(tasks) == 1:
            with phases(f"measuring with {tasks[0].runtime}") as tell:
                return work(tasks[0], out, tell), str(out / tables.TABLE), [out]
        found = campaign.campaign(tasks, out, work)
    campaign.refuse_failed(found, out)
    return {"devices": campaign.rows(found, out)}, str(out), [out / task.device.name for task in tasks]


def _foretold(space: SearchSpace, tasks: list[Task], out: Path) -> tuple[Facts, str]:
    """Return what would be measured, on one device after the other; nothing is written into ``out``."""
    from harness import resuming
    from harness.phases import phases
    from harness.preview import other_work, preview
    from ofa import console

    found = {}
    for task in tasks:
        device, runtime = task.device, task.runtime
        with resuming.unbegun():
            with phases(f"probing {device.name} with {runtime}") as tell:
                found[device.name] = preview(space, device=device, runtime=runtime, scope=task.scope, on_progress=tell)
            # After the probes: they would count as other work.
            if busy := other_work(device, runtime, allow_load=task.scope.allow_load):
                console.warn(busy)
    return found[tasks[0].device.name] if len(tasks) == 1 else found, f"what would be measured into {out}"


@lut.command("build", epilog=example("ofa lut build runs/measured --into runs/tables --allow-simulated"))
def lut_build(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of 'ofa bench', finished or not.")],
    into: Annotated[Path, typer.Option("--into", metavar="FOLDER", help="Folder of tables that gets it.")] = Path(
        "luts"
    ),
    replace: Replace = False,
    allow_simulated: Annotated[
        bool, typer.Option("--allow-simulated", help="Write a simulated table, too; never under 'luts'.")
    ] = False,
    meter: MeterFiles = None,
    meter_averaging: MeterAveraging = None,
    json: Json = False,
) -> None:
    """Write the table of a run to its place among others.

    That is a folder for the device, and in it one for runtime, precision and conditions.
    """
    from harness import campaign
    from harness.tables import build
    from ofa import console

    metered = meter_of(meter, meter_averaging)
    facts = build(run, into, replace=replace, allow_simulated=allow_simulated, meter=metered)
    if json:
        console.emit_json(facts)
        return
    console.show({name: value for name, value in facts.items() if not isinstance(value, list) and name != "table"})
    for missing in facts["missing"]:
        console.warn(f"the run is not finished: it lacks {missing}")
    for unknown in facts["energy_unknown"]:
        console.warn(f"the energy of a network is not known: {unknown}")
    for untimed in facts["untimed"][: campaign.MOST_REASONS]:
        console.warn(f"no time is known of {untimed}")
    for warning in facts["warnings"]:
        console.warn(warning)
    if facts["rows_lost"]:
        console.warn(f"{facts['rows_lost']:,} rows of the table that was there are in this one no more")
    console.note(f"wrote {facts['table']}")
    for command in facts["next"]:
        console.note(f"next, so that the list of tables says so: {command}")
