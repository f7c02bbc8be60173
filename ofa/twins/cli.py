"""The verbs for twins: twins fit | show.

They follow `ofa.cli`'s convention: one function each, heavy imports in its body, ``--json`` for facts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ofa.options import Json

app = typer.Typer(no_args_is_help=True, help="Fit models of accuracy, latency or energy, and see how far off they are.")


@app.command("fit")
def fit(
    name: Annotated[str, typer.Argument(metavar="SPACE", help="Name of a search space; see 'ofa space list'.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder of the twin; written whole or not.")],
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="LABELS.csv", help="Accuracies as 'ofa label' writes them.")
    ] = None,
    lut: Annotated[
        Path | None, typer.Option("--lut", metavar="PATH", help="Folder of a latency table, or of several.")
    ] = None,
    energy: Annotated[bool, typer.Option("--energy", help="Of a table's networks, learn the energy.")] = False,
    width: Annotated[
        float | None, typer.Option("--width", metavar="W", help="Width; the space's own if not given.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option("--channels", metavar="C", min=1, help="Channels; 3 if not given.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option("--classes", metavar="N", min=1, help="Classes; 1000 if not given.")
    ] = None,
    by_latency: Annotated[
        Path | None, typer.Option("--by-latency", metavar="LUT", help="Of labels, tell errors by a table's sums, too.")
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", min=0, max=100, help="Then label more, along its own front.")
    ] = 0,
    each: Annotated[int, typer.Option("--each", metavar="K", min=1, max=10_000, help="Labels of such a round.")] = 40,
    run: Annotated[Path | None, typer.Option("--run", metavar="RUN", help="What they are made of: a training,")] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="PATH", help="and its images.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of every random choice.")] = 0,
    json: Json = False,
) -> None:
    """Fit an accuracy twin to labels, or a latency (or energy) twin to a table and the whole networks in it.

    With --rounds the file of labels grows: a search picks where a twin errs upwards, and labels there mend that.
    """
    import ofa.space as spaces
    from ofa import console
    from ofa.twins import errors, saved

    space = spaces.load(name, width=width, channels=channels or 3, classes=classes or 1000)
    further = None
    if rounds or run is not None or data is not None:
        if not rounds or run is None or data is None or labels is None:
            raise errors.rounds_need()
        further = saved.Rounds(count=rounds, each=each, run=run, data=data)
    card = saved.fit(
        space, out, labels=labels, lut=lut, energy=energy, seed=seed, rounds=further, by_latency=by_latency
    )
    console.emit_json(card) if json else console.show(card, title=str(out))


@app.command("show")
def show(
    path: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a twin.")],
    json: Json = False,
) -> None:
    """Print the card of a twin: what it was fitted to, what was chosen and why, and how far off it is."""
    from ofa import console
    from ofa.twins import saved

    card = saved.load(path).card
    console.emit_json(card) if json else console.show(card, title=str(path))
