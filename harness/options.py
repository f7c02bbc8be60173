"""Options of the verbs that measure, the words they take, and what they come to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
RuntimeOption = Annotated[
    Runtime | None,
    typer.Option(
        "--runtime",
        help="What runs the networks; what the lab's list says of a device if not given.",
        show_default=False,
    ),
]
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
PrecisionOption = Annotated[
    Precision | None,
    typer.Option("--precision", help="What the networks compute in; fp32 if not given.", show_default=False),
]
UnitOption = Annotated[
    Unit | None, typer.Option("--unit", help="What of the device computes; cpu if not given.", show_default=False)
]
KernelsOption = Annotated[
    Kernels | None,
    typer.Option(
        "--kernels",
        help="builtin: TFLite's own without XNNPACK; else a provider of onnxruntime.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, max=1024, help="Threads of the runtime; 1 if not given.", show_default=False),
]
CoresOption = Annotated[
    Cores | None,
    typer.Option("--cores", help="Where cores differ: those of the profile (big), or others.", show_default=False),
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
AllowLoad = Annotated[
    bool,
    typer.Option("--allow-load", help="Measure although the device does other work; the table says 'loaded'."),
]
ProgramFile = Annotated[
    Path | None,
    typer.Option(
        "--program",
        metavar="FILE",
        help="The program of runtime benchmark_model, ort_perf_test or trtexec; device:PATH is one on the device.",
    ),
]
EnergyOption = Annotated[
    bool, typer.Option("--energy", help="Measure the energy of some whole networks too, where the device can say it.")
]
Pulses = Annotated[
    bool,
    typer.Option(
        "--pulses",
        help="The same for a meter beside the device: work in a pattern it shows; then 'ofa lut build RUN --meter'.",
    ),
]
EnergyNetworks = Annotated[
    int | None,
    typer.Option(
        "--energy-networks",
        min=1,
        max=1000,
        help="Of how many networks, spread over all; 12, since each takes 80 s and more.",
        show_default=False,
    ),
]
MeterFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--meter",
        metavar="FILE.csv",
        help="What a meter beside the device read (time_s,watts) during a run with --pulses; again for each file.",
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
        help="Change the device while it is measured, and put it back: performance, lock, jetson-clocks, "
        "fixed-performance or power-mode=NAME; again for each of several. Nothing is changed if not given.",
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
