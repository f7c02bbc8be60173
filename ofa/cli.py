"""The verbs that touch no device: space | estimate | export, and those of `ofa.{search,train,twins}.cli`.

A verb is one function: it reads its options, imports what it needs in its body so that ``ofa --help`` stays light,
calls the library and prints. A verb that prints facts takes ``--json``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ofa.options import (
    COUNT,
    TINY,
    Channels,
    Classes,
    DataPath,
    Json,
    LutPath,
    MaybeLut,
    Out,
    Replace,
    Seed,
    SpaceArgument,
    Subnets,
    Width,
    example,
    load_space,
)
from ofa.search.cli import app as searching
from ofa.train.cli import Part, Run, Skip, WeightsName, WhichWeights
from ofa.train.cli import app as training
from ofa.twins.cli import app as twins

if TYPE_CHECKING:
    from pathlib import Path

    from ofa.space.core import SearchSpace
    from ofa.train.handover import Latency


class FormatName(StrEnum):
    """The forms of a model file that a run is exported in."""

    onnx = "onnx"
    tflite = "tflite"


class PrecisionName(StrEnum):
    """The precisions of such a file."""

    fp32 = "fp32"
    int8 = "int8"


app = typer.Typer()
space = typer.Typer(
    no_args_is_help=True,
    help="Look at the search spaces: what may vary, samples.",
    epilog=example("ofa space list"),
)
app.add_typer(space, name="space")
app.add_typer(training)
app.add_typer(twins, name="twins")
app.add_typer(searching)


@space.command("list", epilog=example("ofa space list"))
def space_list(json: Json = False) -> None:
    """List the search spaces."""
    import ofa.space as spaces
    from ofa import console

    rows = [_summary(spaces.load(name)) for name in spaces.names()]
    if json:
        console.emit_json(rows)
    else:
        console.listing(rows)


@space.command("facts", epilog=example("ofa space facts mobilenet_v3 --width 1.2"))
def space_facts(
    name: SpaceArgument, width: Width = None, channels: Channels = None, classes: Classes = None, json: Json = False
) -> None:
    """Print parameters and MACs of the corner subnets and of the supernet."""
    import ofa.space as spaces
    from ofa import console

    facts = spaces.facts(load_space(name, width, channels, classes))
    if json:
        console.emit_json(facts)
    else:
        # A table for each quantity: a line for each corner, a column for each resolution.
        corners = facts.pop("corners")
        for quantity in ("params", "macs", "peak_activation_bytes"):
            facts[quantity] = {corner: found[quantity] for corner, found in corners.items()}
        console.show(facts, title=name)


@space.command("sample", epilog=example(f"ofa space sample {TINY} -n 20 --json > subnets.json"))
def space_sample(
    name: SpaceArgument,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=1, max=10_000, help=COUNT)] = 5,
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

    chosen = load_space(name, width, channels, classes)
    genomes = spaces.sample.random(chosen, count, np.random.default_rng(seed))
    subnets = [chosen.subnet(genome) for genome in genomes]
    if json:
        console.emit_json([{"id": subnet.id} | subnet.to_json() for subnet in subnets])
    else:
        rows = [(subnet.id, *(str(value) for value in list(subnet.to_json().values())[1:])) for subnet in subnets]
        console.table(("id", *list(subnets[0].to_json())[1:]), rows, title=chosen.id)


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


@space.command("ops", epilog=example(f"ofa space ops {TINY}"))
def space_ops(
    name: SpaceArgument, width: Width = None, channels: Channels = None, classes: Classes = None, json: Json = False
) -> None:
    """List every op of a space by its canonical key: what a latency table must price."""
    from ofa import console
    from ofa.space.index import ops_in

    found = [
        {"key": op.key, "macs": op.macs, "params": op.params}
        for op in ops_in(load_space(name, width, channels, classes))
    ]
    if json:
        console.emit_json(found)
    else:
        console.listing(found)


@app.command("estimate", epilog=example("ofa estimate --lut runs/table/lut --subnets subnets.json"))
def estimate(
    lut: LutPath,
    subnets: Subnets,
    state: Annotated[
        str | None,
        typer.Option("--rows", metavar="STATE", help="cold, hot or -; nearest to the table's networks if not given."),
    ] = None,
    measured_only: Annotated[
        bool, typer.Option("--measured-only", help="Refuse modelled rows: exit code 3 where a subnet needs one.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Also list the rows that each sum is made of.")] = False,
    json: Json = False,
) -> None:
    """Price subnets by a latency table: its rows' sum, ms."""
    from ofa import console
    from ofa import estimate as estimates
    from ofa.lut import shelf
    from ofa.space import listed

    table = shelf.one(lut)
    for line in shelf.warnings(lut):
        console.warn(line)
    networks = listed.read(subnets)
    chosen = estimates.state_of(table, networks[0].space, state)
    ms: dict[str, float] = {}
    for space_id in dict.fromkeys(network.space.id for network in networks):
        own = [network for network in networks if network.space.id == space_id]
        values_ms = estimates.price(table, own, chosen, measured_only=measured_only)
        ms |= {network.id: float(value) for network, value in zip(own, values_ms, strict=True)}
    found: list[dict[str, Any]] = [{"id": each.id, "space": each.space.id, "ms": ms[each.id]} for each in networks]
    if explain:
        for entry, network in zip(found, networks, strict=True):
            entry["rows"] = estimates.explain(table, network, chosen, measured_only=measured_only)
    if json:
        console.emit_json({"lut": str(lut), "table": table.name, "state": chosen, "subnets": found})
        return
    console.table(("id", "space", f"ms ({chosen})"), [(entry["id"], entry["space"], entry["ms"]) for entry in found])
    for entry in found if explain else ():
        console.show({f"{entry['id']} row by row": entry["rows"]})


@app.command("export", epilog=example("ofa export runs/mine --subnet max --data images --out handed/max --bundle"))
def export(
    run: Run,
    data: DataPath,
    out: Out,
    subnet: Annotated[
        str | None,
        typer.Option("--subnet", metavar="FILE.json|CORNER", help="Which one; not needed where one was fine-tuned."),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="ID", help="Of a file with several subnets, the one with this id, not its choice."
        ),
    ] = None,
    format: Annotated[FormatName, typer.Option("--format", help="Which runtimes take it.")] = FormatName.onnx,
    precision: Annotated[
        PrecisionName, typer.Option("--precision", help="int8 takes its ranges from training images.")
    ] = PrecisionName.fp32,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="Also write what its user must know of it, and a check of all that.")
    ] = False,
    lut: MaybeLut = None,
    part: Annotated[Part | None, typer.Option("--split", help="Measure the file's top-1 on these images, too.")] = None,
    weights: WhichWeights = WeightsName.last,
    replace: Replace = False,
    skip_corrupt: Skip = False,
    json: Json = False,
) -> None:
    """Write a subnet as a model file, or as a bundle.

    A file that computes something else than the network is not written: exit code 7. With --bundle and --lut the table
    says what latency to expect.
    """
    from ofa import console
    from ofa.train import named

    named.refuse_early(subnet, identity)
    from ofa.train import handover, runs

    wanted = handover.Wanted(
        format=format.value,
        precision=precision.value,
        bundle=bundle,
        split=part.value if part else None,
        latency=None if lut is None else _latency(lut, format, precision),
        replace=replace,
    )
    trained = runs.trained(run, data, weights=weights.value, problems="skip" if skip_corrupt else "raise")
    facts = handover.hand_over(run, data, trained, runs.subnet_named(subnet, identity, trained), out, wanted)
    console.emit_json(facts) if json else console.show(facts, title=str(out))


def _latency(lut: Path, format: FormatName, precision: PrecisionName) -> Latency:
    """Return what says of a subnet which latency a table expects of it."""
    from functools import partial

    from ofa.twins.expected import expected

    return partial(expected, lut, format=format.value, precision=precision.value)
