"""The verb that verifies: model files measured on a device, beside what a table predicts for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.verbs import (
    DeviceName,
    Kernels,
    KernelsOption,
    Precision,
    PrecisionOption,
    ProgramFile,
    RuntimeOption,
    Threads,
    Unit,
    UnitOption,
    device_for,
    way_of,
)
from ofa.cli import Json, Seed, read_subnets

if TYPE_CHECKING:
    from ofa.space.core import Subnet

Models = Annotated[
    list[Path] | None, typer.Option("--model", metavar="FILE", help="An ONNX or TFLite file; again for each.")
]
Sampled = Annotated[
    Path | None, typer.Option("--subnets", metavar="FILE.json", help="Sampled subnets, with random weights.")
]
Table = Annotated[
    Path | None, typer.Option("--lut", metavar="PATH", help="The device's table, to predict files of 'ofa' by.")
]
TestData = Annotated[
    str | None, typer.Option("--data", metavar="PATH", help="Test images, as for 'ofa eval': measure top-1 too.")
]

app = typer.Typer()


@app.command("verify", rich_help_panel="Devices")
def verify(
    runtime: RuntimeOption,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where plan, journal and verdicts are kept.")],
    models: Models = None,
    subnets: Sampled = None,
    device: DeviceName = "this-computer",
    lut: Table = None,
    add: Annotated[bool, typer.Option("--add", help="Add verified networks to the table.")] = False,
    data: TestData = None,
    unit: UnitOption = Unit.cpu,
    precision: PrecisionOption = Precision.fp32,
    kernels: KernelsOption = Kernels.default,
    threads: Threads = 1,
    program: ProgramFile = None,
    rounds: Annotated[int, typer.Option("--rounds", min=2, max=1000, help="Fresh processes, each in a new order.")] = 7,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure model files on a device, also such that were not made here, beside what a table predicts for them.

    A table says how the runtime is used; without one, options do. Ctrl-C is safe: the same command goes on.
    """
    from harness import appraise
    from harness.ledger import at_work
    from harness.phases import phases
    from ofa import console
    from ofa.files import readable_json, write_atomic
    from ofa.lut import shelf
    from ofa.lut.format import read

    place = None if lut is None else shelf.place(lut, device=device, runtime=runtime.value)
    with at_work(out), phases(f"verifying with {runtime.value}") as tell:
        found = appraise.appraise(
            models or [],
            subnets=_sampled(subnets, data, add, lut),
            device=device_for(device, runtime, program),
            runtime=runtime.value,
            way=way_of(runtime, unit, kernels, precision, threads),
            folder=out,
            lut=None if place is None else read(place),
            rounds=rounds,
            seed=seed,
            on_progress=tell,
        )
        facts = appraise.with_accuracy(found, models or [], data, runtime.value)
        write_atomic(out / "verify.json", readable_json(facts))
        if add:
            console.note(appraise.add(found, place))
    console.emit_json(facts) if json else appraise.show(facts)


def _sampled(path: Path | None, data: str | None, add: bool, lut: Path | None) -> list[Subnet]:
    """Return the sampled subnets; raises UsageInvalid for what could only fail once everything has been measured."""
    from harness.errors import no_data_to_test, no_table_named

    subnets = [] if path is None else read_subnets(path)
    if subnets and data is not None:
        raise no_data_to_test(subnets[0].id)
    if add and lut is None:
        raise no_table_named()
    return subnets
