"""The verb that verifies: model files measured on a device, beside what a table predicts for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.options import (
    AllowLoad,
    CoresOption,
    DeviceName,
    KernelsOption,
    PrecisionOption,
    ProgramFile,
    RuntimeOption,
    Threads,
    UnitOption,
)
from harness.verbs import Asked, device_for, use_of
from ofa.cli import read_subnets
from ofa.options import Json, Seed

if TYPE_CHECKING:
    from harness.appraise import Appraisal
    from harness.plan import RuntimeName
    from ofa.lut.format import Lut
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
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where plan, journal and verdicts are kept.")],
    runtime: RuntimeOption = None,
    models: Models = None,
    subnets: Sampled = None,
    device: DeviceName = "this-computer",
    lut: Table = None,
    add: Annotated[bool, typer.Option("--add", help="Add verified networks to the table.")] = False,
    data: TestData = None,
    unit: UnitOption = None,
    precision: PrecisionOption = None,
    kernels: KernelsOption = None,
    threads: Threads = None,
    cores: CoresOption = None,
    program: ProgramFile = None,
    rounds: Annotated[int, typer.Option("--rounds", min=2, max=1000, help="Fresh processes, each in a new order.")] = 7,
    seed: Seed = 0,
    allow_load: AllowLoad = False,
    json: Json = False,
) -> None:
    """Measure model files on a device, also such that were not made here, beside what a table predicts for them.

    A table says how the runtime is used; without one, options do. Ctrl-C is safe: the same command goes on.
    """
    from harness import appraise
    from harness.ledger import at_work
    from harness.phases import phases
    from ofa import console

    asked = Asked(runtime=runtime, unit=unit, precision=precision, kernels=kernels, threads=threads, cores=cores)
    use = use_of(device, asked)
    place, table = _table(lut, device, use.runtime)
    with at_work(out), phases(f"verifying with {use.runtime}") as tell:
        found = appraise.appraise(
            models or [],
            subnets=_sampled(subnets, data, add, lut),
            device=device_for(device, use.runtime, program),
            runtime=use.runtime,
            way=use.way,
            folder=out,
            lut=table,
            rounds=rounds,
            seed=seed,
            allow_load=allow_load,
            on_progress=tell,
        )
        facts = appraise.with_accuracy(found, models or [], data, use.runtime)
        _keep(found, facts, out, place if add else None)
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


def _table(lut: Path | None, device: str, runtime: RuntimeName) -> tuple[Path | None, Lut | None]:
    """Return the folder of the device's table, and the table; None where none is named."""
    from ofa.lut import shelf
    from ofa.lut.format import read

    if lut is None:
        return None, None
    place = shelf.place(lut, device=device, runtime=runtime)
    return place, read(place)


def _keep(found: Appraisal, facts: dict[str, Any], out: Path, table: Path | None) -> None:
    """Write the verdicts, and add the networks to a table where one is named."""
    from harness import appraise
    from ofa import console
    from ofa.files import readable_json, write_atomic

    write_atomic(out / "verify.json", readable_json(facts))
    if table is not None:
        console.note(appraise.add(found, table))
