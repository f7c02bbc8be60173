"""The verbs that touch no device: space | train | eval | label | twins | search | export | estimate.

A verb is one function: it reads its options, imports what it needs in its body so that ``ofa --help`` stays light,
calls the library and prints. A verb that prints facts takes ``--json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ofa.space.core import SearchSpace

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random choice.")]
SpaceName = Annotated[str, typer.Argument(metavar="SPACE", help="Name of a search space; see 'ofa space list'.")]
Width = Annotated[
    float | None, typer.Option("--width", metavar="W", help="Width multiplier; the space's own if not given.")
]
Channels = Annotated[int | None, typer.Option("--channels", metavar="C", help="Channels of an image; 3 if not given.")]
Classes = Annotated[int | None, typer.Option("--classes", metavar="N", help="Number of classes; 1000 if not given.")]

app = typer.Typer()
space = typer.Typer(no_args_is_help=True, help="Look at the search spaces: what may vary, how large, samples.")
app.add_typer(space, name="space", rich_help_panel="Models")


@space.command("list")
def space_list(json: Json = False) -> None:
    """List the search spaces."""
    import ofa.space as spaces
    from ofa import console

    rows = [_summary(spaces.load(name)) for name in spaces.names()]
    if json:
        console.emit_json(rows)
    else:
        console.table(list(rows[0]), [list(row.values()) for row in rows])


@space.command("facts")
def space_facts(
    name: SpaceName, width: Width = None, channels: Channels = None, classes: Classes = None, json: Json = False
) -> None:
    """Print parameters and MACs of the corner subnets and of the supernet."""
    import ofa.space as spaces
    from ofa import console

    facts = spaces.facts(_load(name, width, channels, classes))
    if json:
        console.emit_json(facts)
    else:
        console.show(facts, title=name)


@space.command("sample")
def space_sample(
    name: SpaceName,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1_000_000, help="How many subnets.")] = 5,
    seed: Seed = 0,
    width: Width = None,
    channels: Channels = None,
    classes: Classes = None,
    json: Json = False,
) -> None:
    """Draw random subnets; the JSON is what 'ofa estimate --subnets' reads."""
    import numpy as np

    import ofa.space as spaces
    from ofa import console

    chosen = _load(name, width, channels, classes)
    genomes = spaces.sample.random(chosen, count, np.random.default_rng(seed))
    subnets = [chosen.subnet(genome) for genome in genomes]
    if json:
        console.emit_json([{"id": subnet.id} | subnet.to_json() for subnet in subnets])
    else:
        rows = [(subnet.id, *(str(value) for value in list(subnet.to_json().values())[1:])) for subnet in subnets]
        console.table(("id", *list(subnets[0].to_json())[1:]), rows, title=chosen.id)


def _load(name: str, width: float | None, channels: int | None, classes: int | None) -> SearchSpace:
    """Load a space with what the command line gave, and its own values for the rest."""
    import ofa.space as spaces

    given = {"width": width, "channels": channels, "classes": classes}
    chosen: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    return spaces.load(name, **chosen)


def _summary(chosen: SearchSpace) -> dict[str, Any]:
    """Return one line about a space."""
    return {
        "name": chosen.name,
        "id": chosen.id,
        "stages": len(chosen.stages),
        "genes": len(chosen.genes),
        "resolutions_px": f"{min(chosen.resolutions)}-{max(chosen.resolutions)}",
        "corners": " ".join(chosen.corners()),
    }
