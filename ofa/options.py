"""Options that several verbs share: one name, one kind of value, one sentence, one short form."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ofa import completing

if TYPE_CHECKING:
    from ofa.space.core import SearchSpace

# Plain help: no boxes, so that every verb's fits a screen.
WIDTH_CHARACTERS = 100
PLAIN = {"max_content_width": WIDTH_CHARACTERS}
# The space of the examples.
TINY = "mobilenet_v3_tiny --channels 1 --classes 10"


class Precision(StrEnum):
    """What numbers a network computes in; fp16 is what a GPU or NPU relaxes a float32 file to."""

    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


def example(*lines: str) -> str:
    """Return what the help of a verb ends with: lines that can be typed as they stand."""
    # The mark of a paragraph whose lines are not folded.
    return "\n".join(("\b", "Example:", *(f"  {line}" for line in lines)))


Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]

SEED = typer.Option("--seed", metavar="N", min=0, help="Seed of every random choice.")
Seed = Annotated[int, SEED]
# Where something that is read has a seed of its own.
OwnSeed = Annotated[int | None, SEED]

SPACE = "A search space; see 'ofa space list'."
SpaceArgument = Annotated[str, typer.Argument(metavar="SPACE", help=SPACE, autocompletion=completing.spaces)]
SPACE_OPTION = typer.Option("--space", metavar="SPACE", help=SPACE, autocompletion=completing.spaces)
SpaceName = Annotated[str, SPACE_OPTION]
# For verbs that took the space without the option's name before: they take either.
BareSpace = Annotated[
    str | None,
    typer.Argument(metavar="SPACE", help="The same as --space.", show_default=False, autocompletion=completing.spaces),
]
MaybeSpace = Annotated[str | None, SPACE_OPTION]
Width = Annotated[
    float | None, typer.Option("--width", metavar="W", help="Width multiplier; the space's own if not given.")
]
Channels = Annotated[int | None, typer.Option("--channels", metavar="C", help="Channels of an image; 3 if not given.")]
Classes = Annotated[int | None, typer.Option("--classes", metavar="N", help="Number of classes; 1000 if not given.")]

COUNT = "How many random subnets."
SUBNETS = typer.Option("--subnets", metavar="FILE.json", help="Subnets as 'ofa space sample --json' prints them.")
Subnets = Annotated[Path, SUBNETS]
MaybeSubnets = Annotated[Path | None, SUBNETS]

DATA = typer.Option("--data", metavar="PATH", help="Images: an .npz file, a folder (docs/training.md), or 'digits'.")
DataPath = Annotated[str, DATA]
MaybeDataPath = Annotated[str | None, DATA]

LUT = typer.Option(
    "--lut",
    metavar="PATH",
    help="Folder of a latency table, or one with a single table that fits.",
    autocompletion=completing.tables,
)
LutPath = Annotated[Path, LUT]
MaybeLut = Annotated[Path | None, LUT]

OUT = "Folder that everything is written into."
Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help=OUT)]
MaybeOut = Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help=OUT, show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what that folder holds.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, how long, in what memory.")]
Replace = Annotated[bool, typer.Option("--replace", help="Write over what is there.")]
PrecisionName = Annotated[
    Precision | None,
    typer.Option(
        "--precision", metavar="NAME", help="Computed in fp32 (if not given), fp16 or int8.", show_default=False
    ),
]


def load_space(name: str, width: float | None, channels: int | None, classes: int | None) -> SearchSpace:
    """Load a space with what the command line gave, and its own values for the rest; raises UsageInvalid."""
    import ofa.space as spaces

    given = {"width": width, "channels": channels, "classes": classes}
    chosen: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    return spaces.load(name, **chosen)


def space_named(bare: str | None, option: str | None) -> str:
    """Return the space that a verb was given, by either way; raises UsageInvalid for none, or for two that differ."""
    from ofa.errors import no_space, two_spaces

    named = {name for name in (bare, option) if name is not None}
    if not named:
        raise no_space()
    if len(named) == 2:
        raise two_spaces(str(bare), str(option))
    return named.pop()
