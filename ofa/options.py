"""Options that several verbs share: one name, one meaning, one help text."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random choice.")]
Width = Annotated[
    float | None, typer.Option("--width", metavar="W", help="Width multiplier; the space's own if not given.")
]
Channels = Annotated[int | None, typer.Option("--channels", metavar="C", help="Channels of an image; 3 if not given.")]
Classes = Annotated[int | None, typer.Option("--classes", metavar="N", help="Number of classes; 1000 if not given.")]
