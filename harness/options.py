"""Options of `ofa bench` that ask for more than latency as the device is, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.meter import Meter
    from harness.tuning import Tuning
    from harness.windows import Energies

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
