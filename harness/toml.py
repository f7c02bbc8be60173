"""Reads facts that people write in TOML: strictly, and with the place of what is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import fields_invalid, file_invalid
from ofa.files import MEBIBYTE, read_capped


class Part(BaseModel):
    """A part of such a file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


P = TypeVar("P", bound=Part)


# Where the keys of such files are told, by its path among the sources.
TOLD = "devices/README.md of ofa-lab"


def read(
    path: Path,
    what: str,
    kind: type[P],
    *,
    parts: Sequence[type[BaseModel]],
    instead: Mapping[str, str] | None = None,
    told: str = TOLD,
) -> P:
    """Return a file of at most 1 MiB as a ``kind``; ``parts`` are all models whose keys it may hold.

    ``instead``: keys that people look for and no such file has, and what is written in their place; ``told``: the page
    that tells every key. Raises FileInvalid where it is damaged, too large, or has a key that means nothing: then it
    names the nearest one.
    """
    raw = read_capped(path, max_bytes=MEBIBYTE, what=what)
    try:
        content = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as fault:
        raise file_invalid(what, path, f"it is not valid TOML: {fault}", "correct the line named above") from fault
    try:
        return kind.model_validate(content)
    except ValidationError as fault:
        known = {name for part in parts for name in part.model_fields} | {"schema"}
        raise fields_invalid(what, path, fault, known, instead=instead, told=told) from fault
