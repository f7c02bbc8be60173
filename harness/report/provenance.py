"""The chain of files behind a run: each by size and content hash, with the parents it names and whether they hold."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ofa import files
from ofa.lut.format import HEADER, SESSIONS

SHOWN = 400
_SKIPPED_NAMES = ("report.html",)
_SKIPPED_ENDS = (".part", "-wal", "-shm", "-journal", ".lock", ".pyc")
_SIMULATED_IN = ("transport", "source", "status", "kind", "runtime")
_PLAN = "plan/"
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
    contents = {name: _content(kept[name]) for name in digests}
    plans = {content["hash"]: name for name, content in contents.items() if _is_plan(content)}
    facts = tuple(
        FileFact(
            path=name,
            size_bytes=kept[name].stat().st_size,
            sha256=digest,
            parents=(*_parents(folder, kept[name], contents[name], digests), *_planned(contents[name], plans)),
            simulated=says_simulated(contents[name]),
        )
        for name, digest in digests.items()
    )
    return facts, len(found) - len(facts)


def _digest(path: Path) -> str | None:
    """Return a file's hash, or None where it cannot be read (gone, or not a plain file)."""
    try:
        return files.sha256_file(path) if path.is_file() else None
    except OSError:
        return None


def _content(path: Path) -> Any:
    """Return what a JSON file of a sane size holds, or a list of a table's sessions; None for any other file."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            return None
        if path.name == SESSIONS:
            return [json.loads(line) for line in path.read_bytes().splitlines()]
        return json.loads(path.read_bytes()) if path.suffix == ".json" else None
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


def _is_plan(content: Any) -> bool:
    """Say whether a JSON value is a plan, and is what the hash in it says."""
    if not isinstance(content, dict) or not str(content.get("schema")).startswith(_PLAN):
        return False
    rest = {name: value for name, value in content.items() if name != "hash"}
    try:
        return files.sha256_bytes(files.canonical_json(rest).encode()) == content.get("hash")
    except (ValueError, RecursionError):
        return False


def _planned(content: Any, plans: dict[str, str]) -> tuple[Parent, ...]:
    """Return the plans that a table's sessions, or a verification, followed; a plan is known by its own hash."""
    entries = content if isinstance(content, list) else [content]
    named = [entry["plan"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("plan"), str)]
    return tuple(
        Parent(path=plans.get(digest, "a plan"), sha256=digest, state="same" if digest in plans else "elsewhere")
        for digest in dict.fromkeys(named)
    )


def _parents(folder: Path, path: Path, named: Any, digests: dict[str, str]) -> tuple[Parent, ...]:
    """Return the parents that the content of a JSON file names, with what has become of them.

    Those of a table's header are the table's other files.
    """
    listed = named.get("sha256" if path.name == HEADER else "parents") if isinstance(named, dict) else None
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
