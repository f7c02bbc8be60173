"""The chain of files behind a run: each by size and content hash, with the parents it names and whether they hold."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa import files

SHOWN = 400
_SKIPPED_NAMES = ("report.html",)
_SKIPPED_ENDS = (".part", "-wal", "-shm", "-journal", ".lock", ".pyc")
_SIMULATED_IN = ("transport", "source", "status", "kind", "runtime")
_MAX_JSON_BYTES = 8 * files.MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A file another was made from. ``state``: ``same``, ``changed`` since, or ``elsewhere`` (outside the run)."""

    path: str
    sha256: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFact:
    """One file of a run, by path relative to it, and whether it says that it is of the simulated device."""

    path: str
    size_bytes: int
    sha256: str
    parents: tuple[Parent, ...]
    simulated: bool


def of(folder: Path) -> tuple[tuple[FileFact, ...], int]:
    """Return the first files of a run by path, and how many more there are that are not among them.

    Links, and what is still being written, are neither.
    """
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place) / name
            if name.startswith(".") or name in _SKIPPED_NAMES or name.endswith(_SKIPPED_ENDS) or path.is_symlink():
                continue
            found[path.relative_to(folder).as_posix()] = path
    kept = dict(sorted(found.items())[:SHOWN])
    digests = {name: digest for name, path in kept.items() if (digest := _digest(path))}
    facts = tuple(
        FileFact(
            path=name,
            size_bytes=kept[name].stat().st_size,
            sha256=digest,
            parents=_parents(folder, kept[name], content, digests),
            simulated=says_simulated(content),
        )
        for name, digest in digests.items()
        for content in [_content(kept[name])]
    )
    return facts, len(found) - len(facts)


def _digest(path: Path) -> str | None:
    """Return a file's hash, or None where it cannot be read (gone, or not a plain file)."""
    try:
        return files.sha256_file(path) if path.is_file() else None
    except OSError:
        return None


def _content(path: Path) -> Any:
    """Return what a JSON file of a sane size holds; None for any other file."""
    try:
        if path.suffix != ".json" or path.stat().st_size > _MAX_JSON_BYTES:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def says_simulated(value: Any) -> bool:
    """Say whether a JSON value declares, anywhere inside, that it comes from the simulated device."""
    waiting = [value]
    # Not by recursion: a file of somebody else's may be nested deeper than Python calls itself.
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += found
        elif isinstance(found, dict):
            if found.get("simulated") or any(found.get(key) == "simulated" for key in _SIMULATED_IN):
                return True
            waiting += found.values()
    return False


def _parents(folder: Path, path: Path, named: Any, digests: dict[str, str]) -> tuple[Parent, ...]:
    """Return the parents that the content of a JSON file names, with what has become of them."""
    listed = named.get("parents") if isinstance(named, dict) else None
    entries: list[Any] = list(listed) if isinstance(listed, list) else []
    if isinstance(listed, dict):
        entries = [{"path": key, "sha256": value} for key, value in listed.items()]
    found = []
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        name, digest = str(entry.get("path", "")), str(entry.get("sha256", ""))
        found.append(Parent(path=name, sha256=digest, state=_state(folder, path, name, digest, digests)))
    return tuple(found)


def _state(folder: Path, path: Path, name: str, digest: str, digests: dict[str, str]) -> str:
    """Compare a named parent with the run's files; it may be named from the run or from the file's own folder."""
    beside = os.path.relpath(os.path.normpath(path.parent / name), folder).replace(os.sep, "/")
    here = [digests[place] for place in (os.path.normpath(name).replace(os.sep, "/"), beside) if place in digests]
    if not here:
        return "elsewhere"
    return "same" if digest in here else "changed"
