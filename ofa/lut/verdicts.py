"""What a table was found to be, remembered by content: of a thousand tables only those that changed are read anew.

Kept in the cache folder. Lost, damaged, or made by another version of the rules, it costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import ofa
from ofa import files
from ofa.errors import FileInvalid
from ofa.folders import cache_folder
from ofa.lut.format import MOST_BYTES
from ofa.lut.validity import MOST_BYTES as MOST_BYTES_OF_RECORDS
from ofa.lut.validity import VALIDITY

PARTS = {**MOST_BYTES, VALIDITY: MOST_BYTES_OF_RECORDS}
# A verdict takes about 2 KB.
MOST_KEPT = 10_000
MOST_BYTES_KEPT = 256 * files.MEBIBYTE

Look = Callable[[Path], dict[str, Any]]
# Is told how many tables there are; what it yields is called after each.
Watch = Callable[[int], contextlib.AbstractContextManager[Callable[[], object]]]
Facts = dict[str, Any]


@contextlib.contextmanager
def unwatched(tables: int) -> Iterator[Callable[[], object]]:
    """Show nothing."""
    yield lambda: None


def each(folders: Sequence[Path], look: Look) -> Iterator[tuple[Path, Facts | FileInvalid]]:
    """Yield for each folder of a table what ``look`` finds of it, or the FileInvalid that it raises.

    What it found of the same bytes in the same place is not looked for again; what it refused, always is. It is kept
    once all are done, or this is left early.
    """
    kept = _read()
    found: dict[str, Facts] = {}
    try:
        for folder in folders:
            key = _key(folder)
            try:
                facts = kept.get(key) or json.loads(files.canonical_json(look(folder)))
            except FileInvalid as fault:
                yield folder, fault
                continue
            found[key] = facts
            yield folder, facts
    finally:
        if found.keys() - kept.keys():
            _write({**{key: facts for key, facts in kept.items() if key not in found}, **found})


def _key(folder: Path) -> str:
    """Return what a verdict rests on, as a hash: the bytes of the table and of its records, its place, the rules."""
    digests: dict[str, str | None] = {}
    for name, most_bytes in PARTS.items():
        try:
            raw = files.read_capped(folder / name, max_bytes=most_bytes, what="table file")
        except FileInvalid:
            # Whatever it is, it is refused in so many words when the table is read.
            digests[name] = None
        else:
            digests[name] = files.sha256_bytes(raw)
    places = [str(folder.absolute()), str(folder.resolve())]
    return files.sha256_bytes(files.canonical_json([_rules(), places, digests]).encode())


@cache
def _rules() -> str:
    """Return the hash of the code that judges a table, and of numpy's version, by which errors are worked out."""
    root = Path(ofa.__file__).parent
    code = sorted([*root.glob("*.py"), *(root / "lut").rglob("*.py"), *(root / "space").rglob("*.py")])
    return files.sha256_bytes("".join([np.__version__, *map(files.sha256_file, code)]).encode())


def _path() -> Path:
    """Return where verdicts are kept."""
    return cache_folder() / "tables.json"


def _read() -> dict[str, Facts]:
    """Return the verdicts that are kept; none where they cannot be read."""
    try:
        kept = files.read_json(_path(), max_bytes=MOST_BYTES_KEPT, what="list of verdicts")
    except FileInvalid:
        return {}
    return kept if isinstance(kept, dict) and all(isinstance(facts, dict) for facts in kept.values()) else {}


def _write(verdicts: dict[str, Facts]) -> None:
    """Keep the latest verdicts; a cache that cannot be written is no fault of the tables."""
    latest = dict(list(verdicts.items())[-MOST_KEPT:])
    with contextlib.suppress(FileInvalid, OSError):
        files.write_atomic(_path(), json.dumps(latest, allow_nan=False))
