"""The verbs for tables that need no device: lut check | show | diff | merge | import | fill | index.

They follow `ofa.cli`'s convention: one function each, heavy imports in its body, ``--json`` for facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
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
    MaybeSpace,
    Out,
    Precision,
    Replace,
    Width,
    example,
    load_space,
    space_named,
)

Table = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="Folder of a latency table, or of a run with one.", autocompletion=completing.tables
    ),
]
Tables = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="Folder of latency tables, or of one.", autocompletion=completing.tables),
]

# From so many tables on, whoever waits is told how far it has come.
MANY = 20

app = typer.Typer(no_args_is_help=True, help="Look at latency tables, compare, merge, import and fill them.")


@app.command("check", epilog=example("ofa lut check luts"))
def check(path: Tables, json: Json = False) -> None:
    """Validate a table, or every table below a folder; exit code 3 if one is not."""
    from ofa import console
    from ofa.lut import check as checks

    report = checks.check(path, _watched)
    if json:
        console.emit_json(report)
    else:
        if rows := [_line(table) for table in report["tables"]]:
            console.table(("path", "table", "ops", "modelled", "rows", "unexpected"), rows)
        # The error that ends this is about the first one, and all of it where there is no other.
        if len(wrong := report["invalid"]) > 1:
            rows = [[entry["what"], entry["why"], " or ".join(entry["try"])] for entry in wrong]
            console.table(("invalid", "why", "try"), rows)
        for line in checks.warnings(report):
            console.warn(line)
    checks.refuse(report)


def _line(table: Mapping[str, Any]) -> list[Any]:
    """Return a checked table as one line of a listing; what it is of is one word, for which a terminal has room."""
    name = "{device}/{runtime}-{precision}-{conditions}".format(**table)
    counts = (table[count] for count in ("ops", "modelled", "rows"))
    return [table["path"], name, *counts, table["monotonicity"]["unexpected"]]


@app.command("show", epilog=example("ofa lut show runs/table/lut"))
def show(
    path: Table,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also the held-out networks that its sums are farthest off, row by row."),
    ] = False,
    json: Json = False,
) -> None:
    """Print what one table holds: conditions, protocol, intervals, largest ops, rechecks."""
    from ofa import console
    from ofa.lut import check as checks
    from ofa.lut import explain as explains
    from ofa.lut import shelf

    path = shelf.place(path)
    facts = checks.show(path)
    worst = explains.farthest_off(checks.checked(path)) if explain else []
    if json:
        console.emit_json(facts | ({"farthest_off": worst} if explain else {}))
    else:
        console.show(facts, title=str(path))
        if explain:
            heads = [{name: value for name, value in entry.items() if name != "rows"} for entry in worst]
            console.show({"held-out networks that its sums are farthest off": heads})
        for entry in worst:
            console.show({f"{entry['id']} row by row": entry["rows"]})
    for line in shelf.warnings(path):
        console.warn(line)


@app.command("diff", epilog=example("ofa lut diff runs/table/lut runs/later/lut"))
def diff(
    before: Annotated[
        Path,
        typer.Argument(
            metavar="BEFORE", help="Folder of a latency table, or of a run with one.", autocompletion=completing.tables
        ),
    ],
    after: Annotated[
        Path,
        typer.Argument(
            metavar="AFTER", help="Folder of a latency table, or of a run with one.", autocompletion=completing.tables
        ),
    ],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="At most 60 lines of Markdown, for the text of a pull request.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare two tables: conditions, held-out errors, groups of ops, rows that changed.

    Groups and rows count as changed where they did beyond noise.
    """
    from ofa import console
    from ofa.lut import check as checks
    from ofa.lut import diff as diffs
    from ofa.lut import pullrequest, shelf, terminal

    tables = [checks.checked(shelf.place(path)) for path in (before, after)]
    facts = diffs.diff(tables[0], tables[1], names=(str(before), str(after)))
    if json:
        console.emit_json(facts)
    elif markdown:
        typer.echo(pullrequest.compared(facts), nl=False)
    else:
        terminal.show(facts)


@app.command("merge", epilog=example("ofa lut merge runs/table/lut runs/later/lut --out runs/both"))
def merge(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="Folder of a latency table.", autocompletion=completing.tables)
    ],
    second: Annotated[
        Path,
        typer.Argument(
            metavar="B", help="Folder of another one of the same conditions.", autocompletion=completing.tables
        ),
    ],
    out: Out,
    allow_unknown_reference: Annotated[
        bool,
        typer.Option(
            "--allow-unknown-reference",
            help="Merge where a session does not say how long the reference network took.",
        ),
    ] = False,
    other_unit: Annotated[
        bool, typer.Option("--other-unit", help="The second table is of another device of that kind.")
    ] = False,
    replace: Replace = False,
    json: Json = False,
) -> None:
    """Combine two tables of one kind of device and equal conditions.

    Rows are weighted by how sure each is. --replace may name A or B itself.
    """
    from ofa import console
    from ofa.lut import check as checks
    from ofa.lut import merge as merges
    from ofa.lut import pullrequest, shelf, write

    write.refuse_occupied(out, replace=replace)
    made = merges.merge(
        checks.checked(shelf.place(first)),
        checks.checked(shelf.place(second)),
        names=(str(first), str(second)),
        allow_unknown_reference=allow_unknown_reference,
        other_unit=other_unit,
    )
    write.write(made.lut, out, allow_simulated=made.lut.header.simulated)
    console.emit_json(made.facts) if json else typer.echo(pullrequest.merged(made.facts), nl=False)


@app.command(
    "import",
    epilog=example('ofa lut import lookup_tables --device note10 --origin "who, when" --out runs/note10'),
)
def import_(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A YAML or CSV file, or a folder of them.")],
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="Kind of device it is of, such as note10.")],
    origin: Annotated[str, typer.Option("--origin", metavar="TEXT", help="Where it was published, and which version.")],
    out: Out,
    runtime: Annotated[
        str, typer.Option("--runtime", metavar="NAME", help="What ran it, where the publisher says so.")
    ] = "unknown",
    runtime_version: Annotated[
        str, typer.Option("--runtime-version", metavar="TEXT", help="Which version of it.")
    ] = "unknown",
    precision: Annotated[
        Precision | None,
        typer.Option("--precision", help="What the networks computed in; unknown if not given.", show_default=False),
    ] = None,
    space: MaybeSpace = None,
    width: Width = None,
    replace: Replace = False,
    json: Json = False,
) -> None:
    """Make a table of a foreign one: YAML or CSV of Once-for-All, CompOFA, NSGANetV2.

    Its provenance is unknown. Without --space it is taken to be of MobileNetV3 at widths 1.0 and 1.2.
    """
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
        precision=precision.value if precision else importers.UNKNOWN,
    )
    asked = space is not None or width is not None
    declared = (load_space(space or "mobilenet_v3", width, None, None),) if asked else ()
    lut = importers.import_table(source, about, declared)
    write.write(lut, out)
    facts = checks.show(out)
    console.emit_json(facts) if json else console.show(facts, title=str(out))
    if unused := lut.sessions[0]["unused"]:
        console.note(f"{len(unused):,} rows of the source make no whole op; 'sessions.jsonl' lists them as unused")


@app.command("fill", epilog=example(f"ofa lut fill runs/table/lut --space {TINY} \\", "  --width 1.2 --out runs/wide"))
def fill(
    path: Table,
    out: Out,
    bare: BareSpace = None,
    space: MaybeSpace = None,
    resolution: Annotated[
        list[int] | None,
        typer.Option("--resolution", metavar="PX", min=8, max=4096, help="Only this one, may be repeated."),
    ] = None,
    width: Width = None,
    channels: Channels = None,
    classes: Classes = None,
    replace: Replace = False,
    json: Json = False,
) -> None:
    """Price the ops of a space that a table lacks, by a model of its measured rows.

    New rows have status modelled.
    """
    from ofa import console
    from ofa.lut import check as checks
    from ofa.lut import fill as fills
    from ofa.lut import shelf, write

    write.refuse_occupied(out, replace=replace)
    lut = checks.checked(shelf.place(path))
    made = fills.fill(lut, load_space(space_named(bare, space), width, channels, classes), resolution or ())
    write.write(made, out, allow_simulated=lut.header.simulated)
    facts = checks.show(out)
    console.emit_json(facts) if json else console.show(facts, title=str(out))
    console.note(f"{len(made.rows) - len(lut.rows):,} rows were missing and are modelled now")


@app.command("index", epilog=example("ofa lut index luts"))
def index(
    root: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of all committed tables.")] = Path("luts"),
    check_only: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 3 where it is stale.")] = False,
    json: Json = False,
) -> None:
    """Write the list of all tables into the folder's README.md, between two marks."""
    from ofa import console
    from ofa.lut import index as indexes
    from ofa.lut.markdown import count

    found = (indexes.index if check_only else indexes.write)(root, _watched)
    if json:
        console.emit_json(found)
    else:
        console.note(f"{count(len(found['tables']), 'table')} in {root}")
    if check_only:
        indexes.refuse(found)


@contextmanager
def _watched(tables: int) -> Iterator[Callable[[], object]]:
    """Yield what is called after each table; where they are many, it shows how far it has come."""
    from ofa import console

    if tables < MANY:
        yield lambda: None
    else:
        with console.progress("reading tables", tables) as advance:
            yield advance
