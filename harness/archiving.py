"""The verbs that keep what results were made from, and make them again: archive | replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ofa.options import Json, MaybeOut, example

app = typer.Typer()


@app.command("archive", epilog=example("ofa archive runs/measured --out measured.tar.gz"))
def archive(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder: of bench, search --out, or demo.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.tar.gz", help="The archive to write.")],
    json: Json = False,
) -> None:
    """Put what tables and fronts were made from in a file.

    'ofa replay' makes them again from it. They are made once more to see that they are so made (exit code 7 where not).
    """
    from harness.archive.make import archive as make
    from harness.phases import phases
    from harness.verbs import files
    from ofa import console

    with phases("making again") as tell:
        facts = make(run, out, artefacts=(files(), run / ".files"), on_progress=tell)
    for name in facts["left_out"]:
        console.warn(f"left out: {name}")
    console.emit_json(facts) if json else _show(facts)


def _show(facts: dict[str, Any]) -> None:
    """Print what is in an archive, and of what is not in it why."""
    from ofa import console

    shown = {"archive": facts["archive"], "bytes": facts["bytes"], "sha256": facts["sha256"], "makes": facts["makes"]}
    # "seeds 0" would read as if there were none.
    shown["made with seed" + "s" * (len(facts["seeds"]) > 1)] = facts["seeds"]
    console.show(shown | {"files": facts["files"], "model files among them": facts["artefacts"]})
    for reason, count in facts["artefacts_left_out_for"].items():
        console.note(f"model files left out, which plans name by hash: {count:,}, {reason}")


@app.command("replay", epilog=example("ofa replay measured.tar.gz"))
def replay(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="A file that 'ofa archive' wrote.")],
    out: MaybeOut = None,
    json: Json = False,
) -> None:
    """Make an archive's tables and fronts again, and compare.

    Compared byte for byte; exit code 7 where they differ. With --out what is made is kept there.
    """
    from harness.archive import errors
    from harness.archive.replay import replay as again
    from harness.phases import phases
    from ofa import console

    with phases("making again") as tell:
        facts = again(archive, out=out, on_progress=tell)
    console.emit_json(facts) if json else console.show(facts)
    if not facts["same"]:
        raise errors.not_the_same(archive, [row["file"] for row in facts["files"] if not row["same"]])
