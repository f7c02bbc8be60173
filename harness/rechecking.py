"""The verb that rechecks: whether a table is still true on its device, after an update, a month, another charger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import completing
from harness.options import AllowTuning, ProgramFile, tuning_of
from harness.verbs import device_for
from ofa import completing as ofa_completing
from ofa.options import DryRun, Json, MaybeOut, Seed, example

if TYPE_CHECKING:
    from harness.inventory import Device
    from harness.plan import RuntimeName

DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="The device; the table's kind if not given.",
        show_default=False,
        autocompletion=completing.devices,
    ),
]
# Other work makes any device slower: what then looks stale may be that.
AllowLoad = Annotated[
    bool,
    typer.Option("--allow-load", help="Measure although busy: that can find a table still true, and never stale."),
]
app = typer.Typer()


@app.command(
    "recheck", epilog=example("ofa lut recheck luts/pixel-7/litert-fp32-1t   # not run: needs the table's device")
)
def recheck(
    table: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="Folder of a latency table.", autocompletion=ofa_completing.tables),
    ],
    device: DeviceOption = None,
    out: MaybeOut = None,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", min=0.5, max=50.0, metavar="PCT", help="What a table may be off by, percent."),
    ] = 5.0,
    program: ProgramFile = None,
    allow_load: AllowLoad = False,
    allow_tuning: AllowTuning = None,
    dry_run: DryRun = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure 30 ops and 8 networks of a table again: is it still true?

    Exit code 7 where it is stale. The verdict is kept beside the table. With --out, Ctrl-C is safe: the same command
    goes on.
    """
    from harness import recheck as rechecks
    from harness.phases import phases
    from harness.replan import runtime_of
    from ofa import console
    from ofa.lut import shelf
    from ofa.lut.format import read

    place = shelf.place(table)
    lut = read(place)
    ready = device_for(device or lut.header.device, runtime_of(lut), program)
    if dry_run:
        facts = _foretold(place, ready, runtime_of(lut), seed=seed, allow_load=allow_load)
        console.emit_json(facts) if json else console.show(facts, title=f"what would be measured on {ready.name}")
        return
    with phases(f"rechecking {lut.name}") as tell:
        found = rechecks.recheck(
            place,
            device=ready,
            out=out or _fresh(lut.name),
            seed=seed,
            tolerance_pct=tolerance,
            allow_load=allow_load,
            tuning=tuning_of(allow_tuning),
            on_progress=tell,
        )
    console.emit_json(found) if json else _show(found)
    rechecks.refuse(found)


def _foretold(place: Path, device: Device, runtime: RuntimeName, *, seed: int, allow_load: bool) -> Mapping[str, Any]:
    """Return what would be measured, and warn where the device is busy; nothing is measured or written."""
    from harness import recheck as rechecks
    from harness.preview import other_work
    from ofa import console

    facts = rechecks.preview(place, device=device, seed=seed)
    if busy := other_work(device, runtime, allow_load=allow_load):
        console.warn(busy)
    return facts


def _fresh(name: str) -> Path:
    """Return a folder that no other recheck has used."""
    from datetime import UTC, datetime

    return Path("runs") / "recheck" / f"{name.replace('/', '-')}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def _show(found: Mapping[str, Any]) -> None:
    """Print a verdict: what it rests on, levels, groups, networks."""
    from ofa import console
    from ofa.lut import validity

    networks, measured = found["networks"], found["measured"]
    console.show(
        {
            "verdict": validity.said(found["verdict"], found["tolerance_pct"]),
            "measured": f"{measured['ops']} ops, {measured['networks']} networks, {measured['rounds']} rounds",
            "tolerance": f"{found['tolerance_pct']:g} %",
            "networks now": networks["pct"] if networks["pct"] is None else f"{networks['pct']:+.1f} %",
            "error of its sums now, %": networks["error_pct"],
            "error on held-out networks, %": networks["held_out_pct"],
        },
        title=found["table"],
    )
    console.show({"all ops together, %": found["level"], "groups beside them, %": found["groups"]})
    if found["environment"]:
        console.show({"the device is not as the table says": found["environment"]})
    for line in found["found"]:
        console.note(f"changed: {line}")
    if found["loaded"]:
        console.warn("the device did other work meanwhile")
    if found["recorded"]:
        console.note(f"the verdict is in {found['recorded']}")
    for command in found["next"]:
        console.note(f"next, so that the list of tables says so: {command}")
