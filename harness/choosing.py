"""The verb that chooses: the best of a search, labelled and measured for real."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import completing
from harness.options import Add, AllowLoad, ProgramFile, VerifyRounds
from harness.places import THIS_COMPUTER
from harness.verbs import device_for
from ofa.options import DataPath, Json, MaybeLut, MaybeOut, Resume, Seed, example

if TYPE_CHECKING:
    from harness.settle import Facts, Place
    from ofa.search.asked import Asked, AskedTarget

Search = Annotated[Path, typer.Argument(metavar="SEARCH", help="Folder of 'ofa search --top N --out FOLDER'.")]
OfRun = Annotated[Path, typer.Option("--run", metavar="RUN", help="The training that is labelled.")]
Labels = Annotated[
    Path | None, typer.Option("--labels", metavar="LABELS.csv", help="Accuracies as 'ofa label' writes them.")
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where it is measured: this computer, or of several targets each on its own, if not given.",
        show_default=False,
        autocompletion=completing.devices,
    ),
]

app = typer.Typer()


@app.command(
    "choose",
    epilog=example("ofa choose runs/best --run runs/mine --data images   # not run: needs the table's device"),
)
def choose(
    search: Search,
    run: OfRun,
    data: DataPath,
    labels: Labels = None,
    device: DeviceOption = None,
    lut: MaybeLut = None,
    add: Add = False,
    out: MaybeOut = None,
    program: ProgramFile = None,
    rounds: VerifyRounds = 7,
    resume: Resume = False,
    seed: Seed = 0,
    allow_load: AllowLoad = False,
    json: Json = False,
) -> None:
    """Choose among a search's best by what is measured.

    Labels go to labels.csv of RUN, or another file of labels, and with --add times to the table: the next twins learn
    from both. Exit code 6 where none fits. Ctrl-C is safe: it goes on.
    """
    from harness.errors import no_table_named
    from harness.ledger import at_work
    from harness.phases import phases
    from harness.settle import Supernet
    from harness.settle import choose as chosen_of
    from ofa import console
    from ofa.search.errors import as_typed
    from ofa.search.kept import read

    if add and lut is None:
        raise no_table_named()
    folder = out or search
    asked = read(search)
    places = {target.name: _place(search, target, name, lut, add, program) for target, name in _devices(asked, device)}
    supernet = Supernet(run=run, data=data, labels=labels or run / "labels.csv")
    with as_typed(), at_work(folder), phases("choosing") as tell:
        facts = chosen_of(
            search,
            supernet,
            places,
            out=folder,
            rounds=rounds,
            seed=seed,
            allow_load=allow_load,
            on_progress=tell,
        )
    console.emit_json(facts) if json else _show(facts, supernet.labels, folder)


def _devices(asked: Asked, named: str | None) -> list[tuple[AskedTarget, str]]:
    """Return each target of a search with the name of its device; raises UsageInvalid for one name of several."""
    from harness.refusals import one_device_for

    targets = list(asked.targets)
    if len(targets) == 1:
        return [(targets[0], named or THIS_COMPUTER)]
    if named is not None:
        raise one_device_for([target.name for target in targets])
    return [(target, target.name) for target in targets]


def _place(search: Path, target: AskedTarget, name: str, lut: Path | None, add: bool, program: Path | None) -> Place:
    """Return where a target is measured, by its table: the one named, or the copy that the search was made from."""
    from harness.refusals import choice_in_fp32, choice_needs_files, choice_needs_table
    from harness.settle import Place
    from ofa.graphs.forms import FORMATS, SUFFIX
    from ofa.lut import shelf
    from ofa.lut.format import read

    if lut is None and len(target.paths) > 1:
        raise choice_needs_table(target.name, len(target.paths))
    place = shelf.place(search / target.paths[0]) if lut is None else shelf.place(lut)
    table = read(place)
    if table.header.precision != "fp32":
        raise choice_in_fp32(table.name, table.header.precision)
    runtime: Any = table.header.runtime
    if FORMATS.get(runtime) not in SUFFIX:
        raise choice_needs_files(name, runtime)
    return Place(device=device_for(name, runtime, program), runtime=runtime, table=table, folder=place if add else None)


def _show(facts: Facts, labels: Path, folder: Path) -> None:
    """Print every network that was tried, the chosen one first, and where the new points are."""
    from harness.report.trial import CHOICE
    from ofa import console
    from ofa.score import standard_error_points

    rows = []
    for network in facts["networks"]:
        predicted, measured = network["predicted"], network["measured"]
        row = {"subnet": network["id"], "predicted %": predicted["top1"], "measured %": measured["top1"]}
        if facts["images"]:
            row["±"] = standard_error_points(measured["top1"] / 100, facts["images"])
        for name, most in facts["at_most"].items():
            reading = measured["limits"].get(name)
            limit = f"{name} ≤ {console.cell(most)} {facts['units'][name]}".rstrip()
            row[limit] = predicted["limits"].get(name) if reading is None else reading["value"]
        rows.append(row | {"exceeds": ", ".join(network["over"]) or "nothing"})
    console.listing(rows, title="tried, the choice first; limits as measured where something measures them")
    if facts["images"]:
        console.note(f"±: the standard error of what {facts['images']:,} images say; smaller differences say little")
    console.note(f"the choice is {facts['chosen']}; predicted best was {facts['predicted_best']}")
    console.note(f"wrote {folder / CHOICE}; labels are in {labels}")
