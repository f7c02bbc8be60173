"""What was asked of a search as a file, `request.json`: everything that decides its answer, the inputs by hash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ofa import files
from ofa.errors import first_invalid
from ofa.search import errors
from ofa.search.answer import How
from ofa.search.request import Target

SCHEMA = "search-request/1"
MAX_BYTES = files.MEBIBYTE
# Further limits with the unit that each is held in, in the order in which a search holds them.
LIMITS = {"energy": "mJ", "activation": "B", "resident memory": "B", "parameters": "", "MACs": "", "size": "B"}

Inside = Annotated[str, Field(pattern=r"^inputs(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$", max_length=300)]
LimitName = Annotated[str, Field(pattern=f"^({'|'.join(LIMITS)})$")]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Entry(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Parent(Entry):
    """An input by its place in the run folder and its content."""

    path: Inside
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class AskedTarget(Entry):
    """A device, its tables inside the run folder, and the most that a network may take on it, ms."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    paths: Annotated[tuple[Inside, ...], Field(min_length=1, max_length=200, strict=False)]
    at_most_ms: Positive | None


class Asked(Entry):
    """A request; ``published`` says that ``accuracy`` is the file of the published predictor, not a twin's folder.

    ``limits`` hold further ones by name, each in the unit limits are held in.
    """

    schema_name: Literal["search-request/1"] = Field(default="search-request/1", alias="schema")
    space: Annotated[str, Field(max_length=100)]
    accuracy: Inside
    published: bool
    targets: Annotated[tuple[AskedTarget, ...], Field(min_length=1, max_length=100, strict=False)]
    limits: dict[LimitName, Positive]
    seed: Annotated[int, Field(ge=0)]
    points: Annotated[int, Field(ge=1, le=200)] | None
    top: Annotated[int, Field(ge=1, le=16)]
    thorough: bool
    parents: Annotated[tuple[Parent, ...], Field(min_length=1, max_length=2000, strict=False)]

    @property
    def how(self) -> How:
        """Return how it is searched."""
        return How(seed=self.seed, points=self.points, top=self.top, thorough=self.thorough)

    @property
    def further(self) -> dict[str, float]:
        """Return the further limits in the order in which a search holds them."""
        return {name: self.limits[name] for name in LIMITS if name in self.limits}

    def within(self, folder: Path) -> tuple[str, list[Target]]:
        """Return the predictor's SPEC and the devices, their paths inside a run folder."""
        from ofa.search.request import PUBLISHED

        spec = f"{PUBLISHED if self.published else ''}{folder / self.accuracy}"
        targets = [
            Target(name=each.name, paths=tuple(folder / path for path in each.paths), at_most_ms=each.at_most_ms)
            for each in self.targets
        ]
        return spec, targets

    def content(self) -> dict[str, Any]:
        """Return it as the file holds it."""
        return self.model_dump(mode="json", by_alias=True)


def read(path: Path) -> Asked:
    """Read a request; raises FileInvalid where it is damaged or of another schema."""
    content = files.read_json(path, max_bytes=MAX_BYTES, what="request")
    try:
        return Asked.model_validate(content)
    except ValidationError as fault:
        where, said = first_invalid(fault, "the file")
        raise errors.request_broken(path, f"{where}: {said[:1].lower()}{said[1:]}") from fault
