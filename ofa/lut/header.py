"""What a table says about itself: identities, conditions and protocol; `lut.json` adds counts and hashes to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ofa.files import canonical_json, readable_json, sha256_bytes
from ofa.lut import errors

SCHEMA = "lut/1"
# Under this name a protocol says what modelled rows rest on; it goes with them.
FILLED = "fill"


def _day(text: str) -> str:
    """Refuse days that no calendar has."""
    date.fromisoformat(text)
    return text


def _kept(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse what no JSON file keeps: NaN, infinity, halves of characters."""
    readable_json(value).encode()
    return value


Slug = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_day)]
Facts = Annotated[dict[str, JsonValue], AfterValidator(_kept)]
Count = Annotated[int, Field(ge=0)]
# "unknown" is for imported tables only: whoever published them did not say.
RuntimeName = Literal[
    "onnxruntime",
    "litert",
    "tflite_runtime",
    "torch",
    "benchmark_model",
    "ort_perf_test",
    "trtexec",
    "simulated",
    "unknown",
]
Precision = Literal["fp32", "fp16", "int8", "unknown"]


def environment_id(environment: Mapping[str, Any]) -> str:
    """Return the first 12 hex digits of the SHA-256 of an environment's canonical JSON: what names it everywhere."""
    return sha256_bytes(canonical_json(environment).encode())[:12]


class Header(BaseModel):
    """Whose table this is. ``environment`` holds everything that changes latency; another environment is another table.

    ``device`` is a kind of device, never a unit; ``units`` is how many units the values rest on. ``conditions`` is the
    short name of what differs between tables of one device, runtime and precision. ``created`` is a date, YYYY-MM-DD.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    device: Slug
    runtime: RuntimeName
    runtime_version: Annotated[str, Field(min_length=1, max_length=200)]
    precision: Precision
    conditions: Slug
    environment: Annotated[Facts, Field(min_length=1)]
    protocol: Facts
    units: Annotated[int, Field(ge=1)] = 1
    simulated: bool
    created: Day

    @property
    def environment_id(self) -> str:
        """Return what names the environment, 12 hex digits."""
        return environment_id(self.environment)

    @property
    def place(self) -> PurePosixPath:
        """Return where the table belongs under `luts`: device, then runtime, precision and conditions."""
        return PurePosixPath(self.device, f"{self.runtime}-{self.precision}-{self.conditions}")


class Counts(BaseModel):
    """How many rows and lines the other files hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    ops: Count
    networks: Count
    sessions: Count


class Digests(BaseModel):
    """The SHA-256 of the other files."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    ops: Digest = Field(alias="ops.csv")
    networks: Digest = Field(alias="networks.csv")
    sessions: Digest = Field(alias="sessions.jsonl")


class Seal(BaseModel):
    """What `lut.json` says besides the header: made by the writer, compared by the reader.

    ``calibration`` and ``holdout`` are the table's error on its own networks (`ofa.lut.heldout.of_table`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    schema_name: Literal["lut/1"] = Field(default="lut/1", alias="schema")
    environment_id: str
    counts: Counts
    sha256: Digests
    calibration: Facts | None = None
    holdout: Facts | None = None


SEALED = frozenset(field.alias or name for name, field in Seal.model_fields.items())


def to_json(header: Header, seal: Seal) -> dict[str, Any]:
    """Return what `lut.json` holds."""
    return header.model_dump(mode="json") | seal.model_dump(mode="json", by_alias=True)


def from_json(content: Any, path: Path) -> tuple[Header, Seal]:
    """Validate what `lut.json` holds; raises FileInvalid naming the first field that is wrong."""
    if not isinstance(content, dict):
        raise errors.file_invalid(path, "it holds no JSON object")
    if content.get("schema") != SCHEMA:
        raise errors.schema_unknown(path, content.get("schema"), SCHEMA)
    try:
        seal = Seal.model_validate({key: value for key, value in content.items() if key in SEALED})
        header = Header.model_validate({key: value for key, value in content.items() if key not in SEALED})
    except ValidationError as fault:
        raise errors.fields_invalid(path, fault, {*SEALED, *Header.model_fields}) from fault
    if seal.environment_id != header.environment_id:
        raise errors.file_invalid(
            path,
            f"environment_id {errors.quoted(seal.environment_id)} does not belong to its environment, whose id is "
            f"'{header.environment_id}'",
        )
    _agree(header, path)
    return header, seal


def _agree(header: Header, path: Path) -> None:
    """Raise FileInvalid where a header says otherwise than its environment, or than its conditions by their name."""
    known = header.environment
    told = {name: getattr(header, name) for name in ("runtime", "runtime_version", "precision")}
    if threads := re.search(r"(?:^|-)([0-9]{1,6})t(?:-|$)", header.conditions):
        told["threads"] = int(threads[1])
    for name, value in told.items():
        if value != "unknown" and known.get(name, value) != value:
            raise errors.contradicted(path, name, value, known[name])
