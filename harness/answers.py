"""What an agent says of work that outlives the link, of who holds the device, and of the files it has."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST_DEPTH = 20
MOST_NUMBER = 2**64


def kept(facts: dict[str, Any]) -> dict[str, Any]:
    """Refuse what no journal, page or sum can take: numbers beyond 64 bits, halves of characters, endless nesting."""
    waiting: list[tuple[Any, int]] = [(facts, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels")
        if isinstance(item, dict | list):
            waiting += [(part, depth + 1) for part in (item.values() if isinstance(item, dict) else item)]
            waiting += [(name, depth + 1) for name in item if isinstance(item, dict)]
        elif isinstance(item, str) and any("\ud800" <= character <= "\udfff" for character in item):
            raise ValueError("it holds half of a character")
        elif isinstance(item, int | float) and not abs(item) < MOST_NUMBER:
            raise ValueError("it holds a number that no device has")
    return facts


Text = Annotated[str, Field(max_length=1000)]
Facts = Annotated[dict[str, Any], AfterValidator(kept)]
Offset = Annotated[int, Field(ge=0, le=2**40)]
Attempt = Annotated[int, Field(ge=0, le=2**31)]
Seconds = Annotated[float, Field(ge=0.0, le=1e6, allow_inf_nan=False)]
FileName = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Names = Annotated[list[FileName], Field(max_length=500)]


class Answer(BaseModel):
    """One line from the agent."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Started(Answer):
    """A job runs, or is complete: which worker of it in which process, since which start of the device."""

    id: int
    ev: Literal["started"]
    state: Literal["running", "complete"]
    attempt: Attempt
    pid: Annotated[int, Field(ge=0)]
    boot_id: Text


class Row(Answer):
    """A record of a job's journal, and the offset of what comes after it, bytes."""

    id: int
    ev: Literal["row"]
    offset: Offset
    row: Facts


class Attached(Answer):
    """There is no more to follow: the job is complete, or its worker is dead for a reason."""

    id: int
    ev: Literal["attached"]
    state: Literal["complete", "dead"]
    offset: Offset
    reason: Text | None = None
    attempt: Attempt | None = None


class Ended(Answer):
    """A job's worker is no more; whether it was killed just now."""

    id: int
    ev: Literal["ended"]
    killed: bool


class Forgotten(Answer):
    """How many jobs were removed."""

    id: int
    ev: Literal["forgotten"]
    jobs: Annotated[int, Field(ge=0)]


class Leased(Answer):
    """Whether the device is ours; ``owner`` is who holds it instead, or from whom it was taken over."""

    id: int
    ev: Literal["leased"]
    granted: bool
    owner: Text | None
    left_s: Seconds


class Released(Answer):
    """Whether the device was still ours when it was given back."""

    id: int
    ev: Literal["released"]
    held: bool


class Absent(Answer):
    """Some of the files that are not there; more of them follow."""

    id: int
    ev: Literal["absent"]
    names: Names


class Lacking(Answer):
    """The last of the files that are not there."""

    id: int
    ev: Literal["lacking"]
    names: Names


class Unpacked(Answer):
    """How many files a pack held."""

    id: int
    ev: Literal["unpacked"]
    files: Annotated[int, Field(ge=0)]
