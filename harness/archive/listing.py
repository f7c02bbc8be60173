"""What an archive says of itself, `archive.json`: its files by hash, how they are made again, and with what."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.archive import errors
from ofa import files
from ofa.errors import first_invalid

LISTING, LOCK, ARTEFACTS = "archive.json", "lock.txt", "artefacts"
SCHEMA = "archive/1"
MOST_LISTING_BYTES = 16 * files.MEBIBYTE
MOST_BYTES = 512 * files.MEBIBYTE
MOST_FILES = 30_000
SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}"
NAME = re.compile(rf"{SEGMENT}(/{SEGMENT}){{0,9}}")
MOST_NAME = 200

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$", max_length=MOST_NAME)]
Kind = Literal["table", "search", "choice"]
# What a part of each kind makes, below its folder.
MAKES: dict[Kind, tuple[str, ...]] = {
    "table": ("lut/lut.json", "lut/networks.csv", "lut/ops.csv", "lut/sessions.jsonl"),
    "search": ("front.json",),
    "choice": ("front.json",),
}


class Entry(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Held(Entry):
    """A file of the archive."""

    path: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0, le=MOST_BYTES)]


def made_by(kind: Kind, folder: str) -> tuple[str, ...]:
    """Return the names of what a part makes."""
    return tuple(f"{folder}/{name}" if folder else name for name in MAKES[kind])


class Part(Entry):
    """Files that are made again together, from what stands in a folder of the archive ("": the archive itself).

    A table is of a device that was ``max_foreign_cores`` busy at most where it counts as quiet; a search is one of
    'ofa search', a choice one of 'ofa demo'.
    """

    kind: Kind
    folder: Name | Literal[""]
    seed: Annotated[int, Field(ge=0)]
    device: Annotated[str, Field(max_length=100)] | None = None
    max_foreign_cores: Annotated[float, Field(ge=0, le=1024, allow_inf_nan=False)] | None = None
    makes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=10, strict=False)]

    @model_validator(mode="after")
    def possible(self) -> Self:
        """Refuse a table without what it is judged by, a choice of no runtime, and what no part of its kind makes."""
        if self.kind == "table" and self.max_foreign_cores is None:
            raise ValueError("a table says no max_foreign_cores")
        if self.kind == "choice" and not self.folder:
            raise ValueError("a choice names no folder")
        if self.makes != made_by(self.kind, self.folder):
            raise ValueError(f"a {self.kind} makes {', '.join(made_by(self.kind, self.folder))}")
        return self

    def within(self, folder: Path) -> Path:
        """Return where the part stands below a folder."""
        return folder / self.folder if self.folder else folder


class MadeWith(Entry):
    """What made the archive: ``git`` is the commit of a checkout, ``changed`` that files of it were not committed."""

    ofa_lab: Annotated[str, Field(max_length=100)]
    python: Annotated[str, Field(max_length=100)]
    git: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")] | None
    changed: bool | None


class Listing(Entry):
    """The whole file. ``artefacts_left_out`` counts model files of the plans that are named by hash there alone."""

    schema_name: Literal["archive/1"] = Field(default="archive/1", alias="schema")
    made_with: MadeWith
    parts: Annotated[tuple[Part, ...], Field(min_length=1, max_length=1000, strict=False)]
    artefacts_left_out: Annotated[int, Field(ge=0)]
    files: Annotated[tuple[Held, ...], Field(min_length=1, max_length=MOST_FILES, strict=False)]

    @model_validator(mode="after")
    def whole(self) -> Self:
        """Refuse a listing whose files are not in order, are too large together, or lack what it claims to make."""
        paths = [held.path for held in self.files]
        if paths != sorted(set(paths)) or LISTING in paths or LOCK not in paths:
            raise ValueError(f"its files are not each once, in order, with {LOCK} and without {LISTING}")
        if sum(held.size_bytes for held in self.files) > MOST_BYTES:
            raise ValueError(f"its files have more than {MOST_BYTES:,} bytes")
        if lacking := {made for part in self.parts for made in part.makes} - set(paths):
            raise ValueError(f"it claims to make '{min(lacking)}', which it does not hold")
        return self

    def content(self) -> dict[str, Any]:
        """Return it as the file holds it."""
        return self.model_dump(mode="json", by_alias=True)


def parsed(data: bytes, archive: Path) -> Listing:
    """Return the listing in an archive; raises FileInvalid."""
    try:
        return Listing.model_validate(json.loads(data))
    except ValidationError as fault:
        where, said = first_invalid(fault, "it")
        raise errors.broken(archive, f"its {LISTING}: {where}: {said[:200]}") from fault
    except (ValueError, RecursionError) as fault:
        raise errors.broken(archive, f"its {LISTING} is not valid JSON: {str(fault)[:200]}") from fault
