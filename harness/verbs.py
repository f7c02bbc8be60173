"""The verbs that fill tables: bench | lut build, and the options they share with `harness.verifying`.

They follow `ofa.cli`'s convention: one function each, heavy imports in its body, ``--json`` for facts.
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ofa.cli import Channels, Classes, Json, Seed, Width, load_space, read_subnets
from ofa.lut.cli import app as tables

if TYPE_CHECKING:
    from harness.bench import Scope
    from harness.inventory import Device
    from harness.plan import Way
    from ofa.lut.format import Lut
    from ofa.space.core import SearchSpace, Subnet

Facts = dict[str, Any]
SOAK_S = 180


class Runtime(StrEnum):
    """The runtimes a table can be measured with, by the one word each has everywhere."""

    onnxruntime = "onnxruntime"
    litert = "litert"
    tflite_runtime = "tflite_runtime"
    torch = "torch"
    benchmark_model = "benchmark_model"
    ort_perf_test = "ort_perf_test"
    trtexec = "trtexec"
    simulated = "simulated"


class Regime(StrEnum):
    """How hot a device is while it is measured."""

    burst = "burst"
    sustained = "sustained"


class Precision(StrEnum):
    """What numbers a network computes in; fp16 is what a GPU or NPU relaxes a float32 file to."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class Unit(StrEnum):
    """What of a device computes."""

    cpu = "cpu"
    gpu = "gpu"
    npu = "npu"


class Cores(StrEnum):
    """Which of a device's cores are measured on, where it has fast and slow ones."""

    usual = "usual"
    big = "big"
    little = "little"
    all = "all"


class Kernels(StrEnum):
    """Which kernels a runtime runs: TFLite's own without XNNPACK (builtin), or a provider of onnxruntime."""

    default = "default"
    builtin = "builtin"
    cuda = "cuda"
    tensorrt = "tensorrt"
    xnnpack = "xnnpack"
    nnapi = "nnapi"
    qnn = "qnn"


SpaceNamed = Annotated[str, typer.Option("--space", metavar="NAME", help="A search space; see 'ofa space list'.")]
RuntimeOption = Annotated[Runtime, typer.Option("--runtime", help="What runs the networks.")]
DeviceName = Annotated[str, typer.Option("--device", metavar="NAME", help="Profile of the device.")]
DeviceNames = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="A device; again for each of several, which are then measured at once, each below RUN. This computer if "
        "not given.",
        show_default=False,
    ),
]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="What the networks compute in.")]
UnitOption = Annotated[Unit, typer.Option("--unit", help="What of the device computes.")]
KernelsOption = Annotated[
    Kernels, typer.Option("--kernels", help="builtin: TFLite's own without XNNPACK; else a provider of onnxruntime.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of the runtime.")]
CoresOption = Annotated[
    Cores, typer.Option("--cores", help="Where cores differ: those of the profile (big), or others.")
]
RunFolder = Annotated[Path, typer.Option("--out", metavar="RUN", help="Where plan, journal and table are kept.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the measurement that the folder holds.")]
RegimeOption = Annotated[
    Regime, typer.Option("--regime", help="Measured cool, or as hot as long work makes the device.")
]
Rounds = Annotated[int, typer.Option("--rounds", min=1, max=1000, help="Fresh processes, each in a new order.")]
RoundsMost = Annotated[
    int, typer.Option("--rounds-most", min=1, max=1000, help="Rounds of what is not known to 1 % by then.")
]
Fit = Annotated[
    int | None,
    typer.Option(
        "--fit",
        min=0,
        max=5000,
        help="Whole networks to calibrate on; 20, or none with --missing-from.",
        show_default=False,
    ),
]
Holdout = Annotated[
    int | None,
    typer.Option(
        "--holdout",
        min=0,
        max=5000,
        help="Whole networks to check with; 101 in a space of over 20 resolutions, else 12; none with --missing-from.",
        show_default=False,
    ),
]
Again = Annotated[
    bool, typer.Option("--again/--no-again", help="Measure whole networks a second time after all rounds.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be measured, how long and with how much memory; time a few ops."),
]
MissingFrom = Annotated[
    Path | None,
    typer.Option("--missing-from", metavar="PATH", help="Measure only ops without a measured row in this table."),
]

Subnets = Annotated[
    Path | None,
    typer.Option("--subnets", metavar="FILE.json", help="Only the ops of these subnets, and them as networks to fit."),
]
Ops = Annotated[
    bool | None,
    typer.Option(
        "--ops/--no-ops",
        help="Without: whole networks alone, 100 to fit; 'ofa lut fill' prices ops. Usual where '--program' is given.",
        show_default=False,
    ),
]
ProgramFile = Annotated[
    Path | None,
    typer.Option(
        "--program",
        metavar="FILE",
        help="The program of runtime benchmark_model, ort_perf_test or trtexec; device:PATH is one on the device.",
    ),
]

app = typer.Typer()
lut = typer.Typer(no_args_is_help=True, help="Look at latency tables; build, compare, merge, import and fill them.")
lut.add_typer(tables)
app.add_typer(lut, name="lut", rich_help_panel="Devices")


@app.command("bench", rich_help_panel="Devices")
def bench(
    name: SpaceNamed,
    runtime: RuntimeOption,
    out: RunFolder,
    device: DeviceNames = None,
    resume: Resume = False,
    unit: UnitOption = Unit.cpu,
    precision: PrecisionOption = Precision.fp32,
    kernels: KernelsOption = Kernels.default,
    threads: Threads = 1,
    cores: CoresOption = Cores.usual,
    rounds: Rounds = 5,
    rounds_most: RoundsMost = 15,
    regime: RegimeOption = Regime.burst,
    fit: Fit = None,
    holdout: Holdout = None,
    again: Again = True,
    missing_from: MissingFrom = None,
    subnets: Subnets = None,
    ops: Ops = None,
    program: ProgramFile = None,
    dry_run: DryRun = False,
    seed: Seed = 0,
    width: Width = None,
    channels: Channels = None,
    classes: Classes = None,
    json: Json = False,
) -> None:
    """Measure every op of a space on a device, and whole networks beside them, into a latency table.

    Ctrl-C is safe: the same command with --resume goes on with the rounds that are missing.
    """
    from harness.bench import Scope

    space, ops = load_space(name, width, channels, classes), _ops(ops, runtime)
    scope = Scope(
        way=way_of(runtime, unit, kernels, precision, threads, cores),
        **_counts(space, missing_from, ops, fit, holdout),
        rounds=rounds,
        rounds_most=max(rounds, rounds_most),
        soak_s=SOAK_S if regime is Regime.sustained else 0,
        seed=seed,
        again=again,
        missing_from=_table(missing_from),
        subnets=_of_space(subnets, space),
        ops=ops,
    )
    measure = _foretold if dry_run else partial(_measured, resume=resume)
    _told(json, *measure(space, _devices(device, runtime, program), runtime, scope, out))


def way_of(
    runtime: Runtime, unit: Unit, kernels: Kernels, precision: Precision, threads: int, cores: Cores = Cores.usual
) -> Way:
    """Return how a runtime is to be used, in the one form that its use has."""
    from harness.plan import Way
    from harness.ways import settled

    way = Way(unit=unit.value, kernels=kernels.value, precision=precision.value, threads=threads, cores=cores.value)
    return settled(runtime.value, way)


def _devices(names: list[str] | None, runtime: Runtime, program: Path | None) -> list[Device]:
    """Return the devices that are named, each once; this computer where none is."""
    return [device_for(name, runtime, program) for name in dict.fromkeys(names or ["this-computer"])]


def _told(json: bool, facts: Facts, title: str) -> None:
    """Print facts, as JSON where that is asked for."""
    from ofa import console

    console.emit_json(facts) if json else console.show(facts, title=title)


def files() -> Path:
    """Return the folder that keeps what was built for devices."""
    from ofa.folders import cache_folder

    return cache_folder() / "files"


def _ops(ops: bool | None, runtime: Runtime) -> bool:
    """Return whether ops are measured: where nobody says, not by programs that start a process for each."""
    from harness.plan import NATIVE

    return runtime not in NATIVE if ops is None else ops


def device_for(name: str, runtime: Runtime, program: Path | None) -> Device:
    """Return the device, reached as its runtime needs."""
    from harness.native.devices import reached

    return reached(name, files(), runtime=runtime.value, program=program)


def _counts(
    space: SearchSpace, missing_from: Path | None, ops: bool, fit: int | None, holdout: int | None
) -> dict[str, Any]:
    """Return how many networks are measured to fit to and to hold out: what is said, or what is usual."""
    from harness.networks import FIT, FIT_ALONE, holdout_of

    usual = (0, 0) if missing_from is not None else (FIT if ops else FIT_ALONE, holdout_of(space))
    return {"fit": usual[0] if fit is None else fit, "holdout": usual[1] if holdout is None else holdout}


def _table(missing_from: Path | None) -> Lut | None:
    """Return the table that is to be completed, if any."""
    from ofa.lut import shelf

    return None if missing_from is None else shelf.one(missing_from)


def _of_space(path: Path | None, space: SearchSpace) -> tuple[Subnet, ...]:
    """Return the subnets in a file; raises UsageInvalid where one is of another space."""
    from harness.errors import subnet_of_others

    subnets = () if path is None else tuple(read_subnets(path))
    for subnet in subnets:
        if subnet.space.id != space.id:
            raise subnet_of_others(subnet.id, subnet.space.id, space.id)
    return subnets


def _measured(
    space: SearchSpace, devices: list[Device], runtime: Runtime, scope: Scope, out: Path, *, resume: bool
) -> tuple[Facts, str]:
    """Measure, or go on; return what there is to say of the table, and where it is, or what came of each device."""
    from harness import campaign, tables
    from harness.phases import phases
    from ofa import console

    work = partial(campaign.measured, space, runtime=runtime.value, scope=scope, resume=resume)
    with console.resumable("measuring interrupted; every complete round is safe"):
        if len(devices) == 1:
            with phases(f"measuring with {runtime.value}") as tell:
                return work(devices[0], out=out, on_progress=tell), str(out / tables.TABLE)
        found = campaign.campaign(devices, out, lambda device, own, tell: work(device, out=own, on_progress=tell))
    campaign.refuse_failed(found, out)
    return {"devices": campaign.rows(found, out)}, str(out)


def _foretold(
    space: SearchSpace, devices: list[Device], runtime: Runtime, scope: Scope, out: Path
) -> tuple[Facts, str]:
    """Return what would be measured, on one device after the other; nothing is written into ``out``."""
    from harness.phases import phases
    from harness.preview import preview

    found = {}
    for device in devices:
        with phases(f"probing {device.name} with {runtime.value}") as tell:
            found[device.name] = preview(space, device=device, runtime=runtime.value, scope=scope, on_progress=tell)
    facts = found[devices[0].name] if len(devices) == 1 else found
    return facts, f"what would be measured into {out}"


@lut.command("build")
def lut_build(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a measurement, finished or not.")],
    into: Annotated[Path, typer.Option("--into", metavar="FOLDER", help="Folder of tables that gets it.")] = Path(
        "luts"
    ),
    replace: Annotated[bool, typer.Option("--replace", help="Write over a table of the same environment.")] = False,
    allow_simulated: Annotated[
        bool, typer.Option("--allow-simulated", help="Write a simulated table, too; never under 'luts'.")
    ] = False,
    json: Json = False,
) -> None:
    """Write the table of a run to its place among others: device, then runtime, precision and conditions."""
    from harness.tables import build
    from ofa import console

    facts = build(run, into, replace=replace, allow_simulated=allow_simulated)
    if json:
        console.emit_json(facts)
        return
    console.show({name: value for name, value in facts.items() if name not in ("table", "missing")})
    for missing in facts["missing"]:
        console.warn(f"the run is not finished: it lacks {missing}")
    if facts["rows_lost"]:
        console.warn(f"{facts['rows_lost']:,} rows of the table that was there are in this one no more")
    console.note(f"wrote {facts['table']}")
