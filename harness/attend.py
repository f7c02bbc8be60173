"""The verbs that look after a lab: init | devices (list, check, trust, release) | doctor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import completing
from harness.needs import Purpose
from ofa.options import Json, example

DeviceArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A device of the lab's list, or a kind.", autocompletion=completing.devices),
]

WhatFor = Annotated[
    Purpose | None,
    typer.Argument(metavar="WHAT", help=f"Only what this needs: {', '.join(Purpose)}.", show_default=False),
]

app = typer.Typer()


@app.command("init", epilog=example("ofa init my-lab"))
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the lab; what is there is kept.")],
    json: Json = False,
) -> None:
    """Make a lab's folder: devices, tables, a CI check."""
    from harness.founding import founded
    from ofa import console

    facts = founded(folder)
    if json:
        console.emit_json(facts)
        return
    console.table(("file", ""), [(name, state) for state in ("written", "kept") for name in facts[state]])
    for step in facts["next"]:
        console.note(f"next: {step}")


devices = typer.Typer(
    invoke_without_command=True,
    help="List the lab's devices, and kinds without an address.",
    epilog=example("ofa devices"),
)
app.add_typer(devices, name="devices")


@devices.callback()
def listed(context: typer.Context, json: Json = False) -> None:
    """List the devices of the lab, and the kinds that need no address."""
    if context.invoked_subcommand is not None:
        return
    from harness.inventory import load_profile
    from harness.lab import read_lab
    from harness.places import LAB, THIS_COMPUTER, lab_folder, profile_names
    from ofa import console

    ways = {name: load_profile(name).transport for name in profile_names()}
    rows = []
    for name, unit in read_lab().devices.items():
        way, fault = _way(unit, ways)
        rows.append((name, unit.kind, way, _use(unit), unit.group, fault))
    for name, way in ways.items():
        if way in ("local", "simulated"):
            # The kinds of computer that tables were measured on are other people's as well: nothing tells from here
            # whether this one is of such a kind, only whoever runs it.
            other = way == "local" and name != THIS_COMPUTER
            said = "local, if this computer is one" if other else way
            rows.append((name, name, said, None, None, None))
    columns = ("device", "kind", "reached by", "measured with", "group", "fault")
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    if json:
        console.emit_json(found)
        return
    console.listing(found)
    console.note(f"the lab's list: {lab_folder() / LAB}")
    console.note(f"kinds that its devices can be of: {', '.join(ways)}")


def _way(unit: Any, ways: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return how a device is reached, without its address, and why it cannot be; ``ways`` are those of the kinds."""
    if unit.kind not in ways:
        return None, "there is no such kind"
    if unit.ssh or unit.adb:
        return ("ssh" if unit.ssh else "adb"), None
    way = ways[unit.kind]
    return (None, f"its address is missing: {way}") if way in ("ssh", "adb") else ("here", None)


def _use(unit: Any) -> str | None:
    """Return what the list says a device is measured with, where it does."""
    from ofa.lut.markdown import count

    said = [count(int(of), "thread") if name == "threads" else str(of) for name, of in unit.use.items()]
    return " ".join(said) or None


@devices.command("check", epilog=example("ofa devices check simulated-phone"))
def check(name: DeviceArgument, json: Json = False) -> None:
    """Say what is wrong with a device, and what to type.

    Exit code 2 or 3 where the list or profile is, 4 where it cannot be reached, 5 where it can and is not fit to be
    measured now (busy, hot, held, without a runtime), 8 where this computer lacks what SSH or ADB needs.
    """
    from harness.doctor import of_device
    from harness.inventory import device_named
    from harness.verbs import files

    _told(list(of_device(lambda: device_named(name, files()))), json, title=name)


@devices.command("trust", epilog=example("ofa devices trust nano-1   # not run: needs a board"))
def trust(
    name: DeviceArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: the fingerprint was compared before.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Trust another key than until now.")] = False,
    json: Json = False,
) -> None:
    """Show the fingerprint of a device's host key, and trust that key from now on."""
    from harness.trusting import trusted
    from ofa import console

    facts = trusted(name, yes=yes, replace=replace)
    console.emit_json(facts) if json else console.show(facts)


@devices.command("release", epilog=example("ofa devices release nano-1   # not run: needs a board"))
def release(name: DeviceArgument, json: Json = False) -> None:
    """Break whoever's lease on a device; what they measure there comes to an end."""
    from harness import resuming
    from harness.inventory import device_named
    from harness.lease import broken
    from harness.verbs import files
    from ofa import console

    with resuming.unbegun():
        facts = broken(device_named(name, files()))
    console.emit_json(facts) if json else console.show(facts)


@app.command("doctor", epilog=example("ofa doctor bench"))
def doctor(what: WhatFor = None, json: Json = False) -> None:
    """Say what this computer and each device lack.

    With WHAT only what that needs, and exit code 8 where it lacks any of it. Else the exit code is the least of those
    that 'ofa devices check' has for the devices, but for 0.
    """
    from functools import partial

    from harness.doctor import of_device, of_host, of_purpose
    from harness.inventory import device_named
    from harness.lab import read_lab
    from harness.verbs import files
    from ofa.errors import OfaError, PackageMissing

    if what is not None:
        checks = list(of_purpose(what))
        _told(checks, json)
        if not all(one.fine for one in checks):
            raise typer.Exit(PackageMissing.exit_code)
        return
    found: list[Any] = list(of_host())
    try:
        names = list(read_lab().devices)
    except OfaError:
        names = []
    for name in names:
        found += [(name, one) for one in of_device(partial(device_named, name, files()))]
    _told(found, json)


def _told(found: list[Any], json: bool, title: str = "") -> None:
    """Print checks, and leave with the exit code of the gravest fault of a device: the least, since what is wrong in
    the list comes before what cannot be reached, that before what is not fit, and a package for it comes last."""
    from ofa import console

    pairs = [one if isinstance(one, tuple) else (title or "this computer", one) for one in found]
    rows = [{"of": of, **one.row()} for of, one in pairs]
    if json:
        console.emit_json(rows)
    else:
        console.listing(rows)
    if codes := [one.exit_code for of, one in pairs if of != "this computer" and not one.fine]:
        raise typer.Exit(min(codes))
