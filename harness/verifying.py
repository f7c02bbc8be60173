"""The verbs at the end: verify (model files measured beside what a table predicts for them) | report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.options import (
    Add,
    AllowLoad,
    CoresOption,
    DeviceName,
    KernelsOption,
    ProgramFile,
    RuntimeOption,
    Threads,
    UnitOption,
    VerifyRounds,
)
from harness.places import THIS_COMPUTER
from harness.verbs import Asked, device_for, use_of
from ofa.options import Json, MaybeDataPath, MaybeLut, MaybeSubnets, Out, PrecisionName, Resume, Seed, example

if TYPE_CHECKING:
    from harness.appraise import Appraisal
    from harness.plan import RuntimeName
    from ofa.lut.format import Lut
    from ofa.space.core import Subnet

Models = Annotated[
    list[Path] | None, typer.Option("--model", metavar="FILE", help="An ONNX or TFLite file; may be repeated.")
]

app = typer.Typer()


@app.command(
    "verify",
    epilog=example("ofa verify --model mine.onnx --runtime onnxruntime --rounds 3 --allow-load --out runs/timed"),
)
def verify(
    out: Out,
    runtime: RuntimeOption = None,
    models: Models = None,
    subnets: MaybeSubnets = None,
    device: DeviceName = THIS_COMPUTER,
    lut: MaybeLut = None,
    add: Add = False,
    data: MaybeDataPath = None,
    unit: UnitOption = None,
    precision: PrecisionName = None,
    kernels: KernelsOption = None,
    threads: Threads = None,
    cores: CoresOption = None,
    program: ProgramFile = None,
    rounds: VerifyRounds = 7,
    resume: Resume = False,
    seed: Seed = 0,
    allow_load: AllowLoad = False,
    json: Json = False,
) -> None:
    """Measure model files, anybody's, beside predictions.

    A table says which runtime is used and how, else options do; subnets get random weights. Ctrl-C is safe: it goes on.
    """
    from harness import appraise
    from harness.ledger import at_work
    from harness.phases import phases

    asked = Asked(runtime=runtime, unit=unit, precision=precision, kernels=kernels, threads=threads, cores=cores)
    use = use_of(device, asked | {"runtime": _runtime(runtime, lut, device)})
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
    _told(facts, json)


@app.command("report", epilog=example("ofa report runs/measured"))
def report(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER | compare A B", help="A run folder, or 'compare' and two to compare."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="report.html in the folder, or comparison.html here if not given."),
    ] = None,
    json: Json = False,
) -> None:
    """Write one page of what a run folder holds, or of two.

    'ofa report compare A B' writes one of two tables, two devices, or two searches side by side.
    """
    from harness import report as reports
    from harness.report.errors import compare_what
    from ofa import console

    def left_out(line: str) -> None:
        console.warn(f"left out of the page: {line}")

    if len(paths) == 1:
        path = reports.write(paths[0], out, on_broken=left_out)
    elif len(paths) == 3 and str(paths[0]) == "compare":
        path = reports.compare(paths[1], paths[2], out or Path("comparison.html"), on_broken=left_out)
    else:
        raise compare_what(paths)
    if json:
        console.emit_json({"report": str(path), "bytes": path.stat().st_size})
    else:
        console.note(f"wrote {path}")


def _sampled(path: Path | None, data: str | None, add: bool, lut: Path | None) -> list[Subnet]:
    """Return the sampled subnets; raises UsageInvalid for what could only fail once everything has been measured."""
    from harness.errors import no_data_to_test, no_table_named
    from ofa.space import listed

    subnets = [] if path is None else listed.read(path)
    if subnets and data is not None:
        raise no_data_to_test(subnets[0].id)
    if add and lut is None:
        raise no_table_named()
    return subnets


def _runtime(given: Any, lut: Path | None, device: str) -> Any:
    """Return the runtime that is asked for: where none is given, that of the table; of a folder of several tables the
    lab's list says which one is meant, where it names the device's runtime."""
    from harness.lab import read_lab
    from harness.replan import runtime_of
    from ofa.lut import shelf
    from ofa.lut.format import HEADER

    if given is not None or lut is None:
        return given
    unit = read_lab().devices.get(device)
    if unit is not None and "runtime" in unit.use and not (lut.name == HEADER or (lut / HEADER).exists()):
        return None
    return runtime_of(shelf.one(lut, device=unit.kind if unit else device))


def _table(lut: Path | None, device: str, runtime: RuntimeName) -> tuple[Path | None, Lut | None]:
    """Return the folder of the device's table, and the table; None where none is named. Tables name the kind."""
    from harness.lab import read_lab
    from ofa.lut import shelf
    from ofa.lut.check import checked

    if lut is None:
        return None, None
    unit = read_lab().devices.get(device)
    place = shelf.place(lut, device=unit.kind if unit else device, runtime=runtime)
    return place, checked(place)


def _told(facts: dict[str, Any], json: bool) -> None:
    """Print the verdicts; raises FileInvalid where no file ran."""
    from harness import appraise
    from harness.errors import none_ran
    from ofa import console

    console.emit_json(facts) if json else appraise.show(facts)
    if not any(verdict["measured_ms"] for verdict in facts["verdicts"]):
        raise none_ran(facts["verdicts"], facts["runtime"])


def _keep(found: Appraisal, facts: dict[str, Any], out: Path, table: Path | None) -> None:
    """Write the verdicts, and add the networks to a table where one is named."""
    from harness import appraise
    from ofa import console
    from ofa.files import readable_json, write_atomic

    write_atomic(out / "verify.json", readable_json(facts))
    if table is not None:
        console.note(appraise.add(found, table))
