"""Options of the verbs that measure, the words they take, and what they come to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import completing
from ofa import completing as ofa_completing

if TYPE_CHECKING:
    from harness.meter import Meter
    from harness.tuning import Tuning
    from harness.windows import Energies


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


RuntimeOption = Annotated[
    Runtime | None,
    typer.Option(
        "--runtime",
        metavar="NAME",
        help=f"What runs the networks; by the lab's list if not given: {', '.join(Runtime)}.",
        show_default=False,
    ),
]
DEVICE = "A device of the lab's list, or a kind that needs no address"
DeviceName = Annotated[
    str, typer.Option("--device", metavar="NAME", help=f"{DEVICE}.", autocompletion=completing.devices)
]
DeviceNames = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help=f"{DEVICE}; this computer if not given. Repeated, they are measured at once.",
        autocompletion=completing.devices,
        show_default=False,
    ),
]
UnitOption = Annotated[
    Unit | None,
    typer.Option("--unit", metavar="NAME", help="What computes: cpu (if not given), gpu or npu.", show_default=False),
]
KernelsOption = Annotated[
    Kernels | None,
    typer.Option(
        "--kernels",
        metavar="NAME",
        help="TFLite's own without XNNPACK (builtin), or a provider of onnxruntime: "
        f"{', '.join(name for name in Kernels if name not in ('default', 'builtin'))}.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", min=1, max=1024, help="Threads of the runtime; 1 if not given.", show_default=False
    ),
]
CoresOption = Annotated[
    Cores | None,
    typer.Option(
        "--cores",
        metavar="NAME",
        help="Where they differ: usual (big), big, little or all.",
        show_default=False,
    ),
]
RegimeOption = Annotated[
    Regime,
    typer.Option("--regime", metavar="NAME", help="burst (cool, if not given) or sustained (hot).", show_default=False),
]
ROUNDS = "Fresh processes, each in a new order."
Rounds = Annotated[int, typer.Option("--rounds", metavar="N", min=1, max=1000, help=ROUNDS)]
VerifyRounds = Annotated[int, typer.Option("--rounds", metavar="N", min=2, max=1000, help=ROUNDS)]
RoundsMost = Annotated[
    int, typer.Option("--rounds-most", metavar="N", min=1, max=1000, help="Of what is not known to 1 % by then.")
]
Fit = Annotated[
    int | None,
    typer.Option(
        "--fit",
        metavar="N",
        min=0,
        max=5000,
        help="Networks to calibrate on; 20 by itself.",
        show_default=False,
    ),
]
Holdout = Annotated[
    int | None,
    typer.Option(
        "--holdout",
        metavar="N",
        min=0,
        max=5000,
        help="Whole networks to check with: 101 or 12, of --subnets none by itself.",
        show_default=False,
    ),
]
Again = Annotated[
    bool, typer.Option("--again/--no-again", help="Measure networks a second time, as is usual.", show_default=False)
]
MissingFrom = Annotated[
    Path | None,
    typer.Option(
        "--missing-from",
        metavar="PATH",
        help="Measure only ops without a measured row in this table.",
        autocompletion=ofa_completing.tables,
    ),
]
Ops = Annotated[
    bool | None,
    typer.Option(
        "--ops/--no-ops",
        help="Ops, or whole networks alone: docs/reading-a-lut.md.",
        show_default=False,
    ),
]
AllowLoad = Annotated[
    bool,
    typer.Option("--allow-load", help="Measure although busy; the table says 'loaded'."),
]
Add = Annotated[bool, typer.Option("--add", help="Add verified networks to the table.")]
ProgramFile = Annotated[
    Path | None,
    typer.Option(
        "--program",
        metavar="FILE",
        help="The runtime's program, or device:PATH on the device.",
    ),
]
EnergyOption = Annotated[bool, typer.Option("--energy", help="Measure energy, where the device can say it.")]
Pulses = Annotated[
    bool,
    typer.Option(
        "--pulses",
        help="For a meter beside it; then 'ofa lut build --meter'.",
    ),
]
EnergyNetworks = Annotated[
    int | None,
    typer.Option(
        "--energy-networks",
        metavar="N",
        min=1,
        max=1000,
        help="Energy of so many networks; 12 by itself.",
        show_default=False,
    ),
]
MeterFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--meter",
        metavar="FILE.csv",
        help="What a meter read (time_s,watts) during a run with --pulses; may be repeated.",
        show_default=False,
    ),
]
MeterAveraging = Annotated[
    float | None,
    typer.Option(
        "--meter-averaging",
        metavar="SECONDS",
        min=0.0,
        max=5.0,
        help="How long one of its readings reaches back; to the one before if not given.",
        show_default=False,
    ),
]
AllowTuning = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-tuning",
        metavar="WHAT",
        help="Change the device meanwhile and put it back: performance, lock, jetson-clocks, "
        "fixed-performance or power-mode=NAME; may be repeated.",
        show_default=False,
    ),
]


def meter_of(files: list[Path] | None, averaging_s: float | None) -> Meter | None:
    """Return what a meter has left, None where there was none."""
    from harness.meter import Meter

    return Meter(paths=tuple(files), averaging_s=averaging_s) if files else None


def tuning_of(words: list[str] | None) -> Tuning | None:
    """Return what is to be changed on a device, None for nothing; raises UsageInvalid."""
    from harness.tuning import of_words

    return of_words(words or [])


def energies_of(energy: bool, pulses: bool, networks: int | None) -> Energies | None:
    """Return what is to be measured of energy, None where nobody asks; raises UsageInvalid for networks alone."""
    from harness.refusals import energy_not_asked
    from harness.windows import NETWORKS, Energies

    if not energy and not pulses:
        if networks is not None:
            raise energy_not_asked()
        return None
    return Energies(networks=NETWORKS if networks is None else networks, pulses=pulses)
