"""Subnets as files hold them: one, a list of them, what a search printed, or a front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ofa.space as spaces
from ofa.errors import FileInvalid
from ofa.files import MEBIBYTE, read_json
from ofa.space import errors
from ofa.space.core import SearchSpace, Subnet, from_json

MOST_BYTES = 64 * MEBIBYTE
# Where an answer keeps networks, each with its subnet: those that differ, a front, what was chosen of one, and what
# 'ofa choose' tried.
_LISTS = ("top", "chosen", "points", "networks")


def read(path: Path, *, space: SearchSpace | None = None, every: bool = False) -> list[Subnet]:
    """Return the subnets of a JSON file, one at least, in any form of `entries`, which also says what ``every`` is.

    Each is of the space it names or, where one is given, of that ``space``. Raises FileInvalid for an empty list, or
    naming the first that is wrong; SpaceMismatch where it does not belong to its space.
    """
    return _subnets(path, entries(_content(path), every=every), space)


def picked(path: Path, identity: str | None, *, space: SearchSpace | None = None) -> list[Subnet]:
    """Return the subnets of a JSON file that may be meant where one is wanted, each once: those called ``identity``;
    without one the choice that the file names (of a search, or of 'ofa choose'), else all.

    Raises what `read` does.
    """
    content = _content(path)
    chosen = _chosen(content) if identity is None else []
    found = _subnets(path, chosen or entries(content, every=identity is not None), space)
    return list({subnet.id: subnet for subnet in found if identity in (None, subnet.id)}.values())


def _content(path: Path) -> Any:
    """Return what a file of subnets holds."""
    return read_json(path, max_bytes=MOST_BYTES, what="file of subnets")


def _chosen(content: Any) -> list[Any]:
    """Return the JSON of the one subnet that an answer names as its choice; nothing where there is none, or several."""
    chosen = content.get("chosen") if isinstance(content, dict) else None
    named = _listed(content.get("networks")) if isinstance(chosen, str) else _listed(chosen)
    fitting = [
        one for one in named if isinstance(one, dict) and (not isinstance(chosen, str) or one.get("id") == chosen)
    ]
    return [one["subnet"] for one in fitting if "subnet" in one] if len(fitting) == 1 else []


def _subnets(path: Path, found: list[Any], space: SearchSpace | None) -> list[Subnet]:
    """Return the subnets that the entries of a file are; raises what `read` does."""
    if not found:
        raise errors.no_subnet_in(path)
    subnets = []
    for number, entry in enumerate(found, 1):
        name = entry.get("space") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise errors.entry_no_subnet(path, number)
        try:
            subnets.append(from_json(space or spaces.by_id(name), entry))
        except FileInvalid as fault:
            raise errors.entry_invalid(path, number, fault) from fault
    return subnets


def entries(content: Any, *, every: bool = False) -> list[Any]:
    """Return the JSON of each subnet that a file's content holds, unchecked.

    Of what 'ofa search --json' prints that is its best network; with ``every`` also the others. Of a front all.
    """
    if isinstance(content, list):
        # A list of subnets, or the networks of a front.
        return [one["subnet"] if isinstance(one, dict) and "subnet" in one else one for one in content]
    if not isinstance(content, dict) or "space" in content:
        return [content]
    answer = [content["best"]] if "best" in content else []
    if not answer or every:
        answer += [point for name in _LISTS for point in _listed(content.get(name))]
    found = [one["subnet"] for one in answer if isinstance(one, dict) and "subnet" in one]
    return [one for place, one in enumerate(found) if one not in found[:place]] or [content]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
