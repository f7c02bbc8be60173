"""The verbs for twins: twins fit | show.

They follow `ofa.cli`'s convention: one function each, heavy imports in its body, ``--json`` for facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ofa import completing
from ofa.options import (
    TINY,
    BareSpace,
    Channels,
    Classes,
    Json,
    MaybeDataPath,
    MaybeLut,
    MaybeSpace,
    Out,
    Seed,
    Width,
    example,
    load_space,
    space_named,
)

EXAMPLE = (f"ofa twins fit --space {TINY} \\", "  --labels runs/mine/labels.csv --out runs/mine/accuracy")

app = typer.Typer(
    no_args_is_help=True,
    help="Fit and look at models of accuracy, latency, energy.",
    epilog=example(*EXAMPLE),
)


@app.command("fit", epilog=example(*EXAMPLE))
def fit(
    out: Out,
    bare: BareSpace = None,
    space: MaybeSpace = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="LABELS.csv", help="Accuracies as 'ofa label' writes them.")
    ] = None,
    lut: MaybeLut = None,
    energy: Annotated[bool, typer.Option("--energy", help="Of a table's networks, learn the energy.")] = False,
    width: Width = None,
    channels: Channels = None,
    classes: Classes = None,
    by_latency: Annotated[
        Path | None,
        typer.Option(
            "--by-latency",
            metavar="PATH",
            help="Of labels, tell errors by a table's sums, too.",
            autocompletion=completing.tables,
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", min=0, max=100, help="Then label more, along its own fronts.")
    ] = 0,
    each: Annotated[int, typer.Option("--each", metavar="K", min=1, max=10_000, help="Labels of such a round.")] = 40,
    run: Annotated[Path | None, typer.Option("--run", metavar="RUN", help="The training that is labelled.")] = None,
    data: MaybeDataPath = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Fit an accuracy twin to labels, or a latency or energy twin to a table.

    With --rounds the file of labels grows: a search picks where a twin errs upwards, and labels there mend that.
    """
    from ofa import console
    from ofa.twins import errors, saved

    chosen = load_space(space_named(bare, space), width, channels, classes)
    further = None
    if rounds or run is not None or data is not None:
        if not rounds or run is None or data is None or labels is None:
            raise errors.rounds_need()
        further = saved.Rounds(count=rounds, each=each, run=run, data=data)
    card = saved.fit(
        chosen, out, labels=labels, lut=lut, energy=energy, seed=seed, rounds=further, by_latency=by_latency
    )
    _doubt(card)
    console.emit_json(card) if json else console.show(card, title=str(out))


@app.command("show", epilog=example("ofa twins show runs/mine/accuracy"))
def show(
    path: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a twin.")],
    json: Json = False,
) -> None:
    """Print a twin's card: its data, what was chosen and why, how far off it is."""
    from ofa import console
    from ofa.twins import saved

    card = saved.load(path).card
    _doubt(card)
    console.emit_json(card) if json else console.show(card, title=str(path))


def _doubt(card: Mapping[str, Any]) -> None:
    """Warn where an accuracy twin's own cross-validation says that it learned nothing, or too little to choose by."""
    from ofa import console
    from ofa.twins import card as cards

    if str(card["schema"]).startswith("accuracy-twin/") and (told := cards.doubt(card)):
        console.warn(told)
