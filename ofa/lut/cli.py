"""The verbs for tables that need no device: lut check | show | diff | merge | import | fill | index.

They follow `ofa.cli`'s convention: one function each, heavy imports in its body, ``--json`` for facts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]
Table = Annotated[Path, typer.Argument(metavar="PATH", help="Folder of a latency table.")]
Width = Annotated[
    float | None, typer.Option("--width", metavar="W", help="Width multiplier; the space's own if not given.")
]

app = typer.Typer(no_args_is_help=True, help="Look at latency tables, compare, merge, import and fill them.")


@app.command("check")
def check(path: Table, json: Json = False) -> None:
    """Validate the table in a folder, or every table below it; exit code 3 where one is invalid."""
    from ofa import console
    from ofa.lut import check as checks

    report = checks.check(path)
    if json:
        console.emit_json(report)
    else:
        columns = ("path", "device", "runtime", "precision", "conditions", "ops", "modelled", "rows")
        rows = [[*(table[name] for name in columns), table["monotonicity"]["unexpected"]] for table in report["tables"]]
        console.table((*columns, "unexpected"), rows)
        for line in checks.warnings(report):
            console.warn(line)
    checks.refuse(report)


@app.command("show")
def show(path: Table, json: Json = False) -> None:
    """Print what one table holds: conditions, protocol, widths of intervals, largest ops, unexpected ones, rechecks."""
    from ofa import console
    from ofa.lut import check as checks
    from ofa.lut import shelf

    facts = checks.show(path)
    console.emit_json(facts) if json else console.show(facts, title=str(path))
    for line in shelf.warnings(path):
        console.warn(line)


@app.command("diff")
def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="Folder of a latency table.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Folder of the table that came later.")],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="At most 60 lines of Markdown, for the text of a pull request.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare two tables: conditions, held-out errors, groups of ops and rows that changed beyond their noise."""
    from ofa import console
    from ofa.lut import check as checks
    from ofa.lut import diff as diffs
    from ofa.lut import pullrequest, terminal

    facts = diffs.diff(checks.checked(before), checks.checked(after), names=(str(before), str(after)))
    if json:
        console.emit_json(facts)
    elif markdown:
        typer.echo(pullrequest.compared(facts), nl=False)
    else:
        terminal.show(facts)


@app.command("merge")
def merge(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of a latency table.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Folder of another one of the same conditions.")],
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="Folder that gets the merged table.")],
    allow_unknown_reference: Annotated[
        bool, typer.Option(help="Merge where a session does not say how long the reference network took.")
    ] = False,
    other_unit: Annotated[bool, typer.Option(help="The second table was measured on another unit.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Write over a table that is there, be it A or B.")] = False,
    json: Json = False,
) -> None:
    """Combine two tables of one kind of device and equal conditions, weighted by how sure each row is."""
    from ofa import console
    from ofa.lut import check as checks
    from ofa.lut import merge as merges
    from ofa.lut import pullrequest, write

    write.refuse_occupied(out, replace=replace)
    made = merges.merge(
        checks.checked(first),
        checks.checked(second),
        names=(str(first), str(second)),
        allow_unknown_reference=allow_unknown_reference,
        other_unit=other_unit,
    )
    write.write(made.lut, out, allow_simulated=made.lut.header.simulated)
    console.emit_json(made.facts) if json else typer.echo(pullrequest.merged(made.facts), nl=False)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A YAML or CSV file, or a folder of them.")],
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="Kind of device it is of, such as note10.")],
    origin: Annotated[str, typer.Option("--origin", metavar="TEXT", help="Where it was published, and which version.")],
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="Folder that gets the table.")],
    runtime: Annotated[str, typer.Option("--runtime", help="What ran it, where the publisher says so.")] = "unknown",
    runtime_version: Annotated[str, typer.Option("--runtime-version", help="Which version of it.")] = "unknown",
    precision: Annotated[str, typer.Option("--precision", help="fp32, fp16 or int8, where known.")] = "unknown",
    space: Annotated[
        str | None,
        typer.Option(
            "--space", metavar="SPACE", help="What it was measured for; MobileNetV3 1.0 and 1.2 if not given."
        ),
    ] = None,
    width: Width = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over a table that is there.")] = False,
    json: Json = False,
) -> None:
    """Make a table of a foreign one, provenance unknown: YAML or CSV of Once-for-All, CompOFA or NSGANetV2."""
    import ofa.space as spaces
    from ofa import console
    from ofa.lut import check as checks
    from ofa.lut import importers, write

    write.refuse_occupied(out, replace=replace)
    about = importers.Origin(
        device=device,
        source=origin,
        created=f"{datetime.now(UTC):%Y-%m-%d}",
        runtime=runtime,
        runtime_version=runtime_version,
        precision=precision,
    )
    widths: dict[str, Any] = {} if width is None else {"width": width}
    declared = (spaces.load(space or "mobilenet_v3", **widths),) if space or widths else ()
    lut = importers.import_table(source, about, declared)
    write.write(lut, out)
    facts = checks.show(out)
    console.emit_json(facts) if json else console.show(facts, title=str(out))
    if unused := lut.sessions[0]["unused"]:
        console.note(f"{len(unused):,} rows of the source make no whole op; 'sessions.jsonl' lists them as unused")


@app.command("fill")
def fill(
    path: Table,
    name: Annotated[str, typer.Argument(metavar="SPACE", help="Name of a search space; see 'ofa space list'.")],
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="Folder that gets the filled table.")],
    resolution: Annotated[
        list[int] | None,
        typer.Option("--resolution", metavar="PX", min=8, max=4096, help="Only this one, may be repeated."),
    ] = None,
    width: Width = None,
    channels: Annotated[int | None, typer.Option("--channels", metavar="C", help="3 if not given.")] = None,
    classes: Annotated[int | None, typer.Option("--classes", metavar="N", help="1000 if not given.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over a table that is there.")] = False,
    json: Json = False,
) -> None:
    """Price the ops of a space that a table lacks by a model of its measured rows; new rows have status modelled."""
    import ofa.space as spaces
    from ofa import console
    from ofa.lut import check as checks
    from ofa.lut import fill as fills
    from ofa.lut import write

    write.refuse_occupied(out, replace=replace)
    lut = checks.checked(path)
    given = {"width": width, "channels": channels, "classes": classes}
    chosen: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    made = fills.fill(lut, spaces.load(name, **chosen), resolution or ())
    write.write(made, out, allow_simulated=lut.header.simulated)
    facts = checks.show(out)
    console.emit_json(facts) if json else console.show(facts, title=str(out))
    console.note(f"{len(made.rows) - len(lut.rows):,} rows were missing and are modelled now")


@app.command("index")
def index(
    root: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of all committed tables.")] = Path("luts"),
    check_only: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 3 where it is stale.")] = False,
    json: Json = False,
) -> None:
    """Write the list of all tables into the folder's README.md, between its two markers."""
    from ofa import console
    from ofa.lut import index as indexes

    found = indexes.index(root) if check_only else indexes.write(root)
    if json:
        console.emit_json(found)
    else:
        console.note(f"{len(found['tables']):,} tables in {root}")
    if check_only:
        indexes.refuse(found)
