"""One table out of a folder of several: by what it is asked for, and never by guessing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ofa.lut import check, errors, validity
from ofa.lut.diff import differing
from ofa.lut.format import HEADER, Header, Lut, header_of, read

# What sets two tables apart before anything of their environments does.
IDENTITY = ("device", "runtime", "precision", "conditions")


def one(path: Path, **wanted: str | None) -> Lut:
    """Return the table in the folder that ``place`` finds."""
    return read(place(path, **wanted))


def place(path: Path, **wanted: str | None) -> Path:
    """Return the folder of the table at a path, or of the one below it whose header agrees with ``wanted`` (device,
    runtime, precision, conditions; None is anything).

    Only headers are read, so that a thousand tables may stand there. Raises FileInvalid where there is none,
    UsageInvalid naming what differs where several fit: a sum must not depend on which of two power modes or regimes
    comes first.
    """
    path = Path(path)
    if (path / HEADER).exists() or not path.is_dir():
        return path.parent if path.name == HEADER and path.is_file() else path
    asked = {name: value for name, value in wanted.items() if value is not None}
    headers = {folder: header_of(folder) for folder in check.below(path)}
    fitting = {folder: header for folder, header in headers.items() if _agrees(header, asked)}
    if len(fitting) == 1:
        return next(iter(fitting))
    if not fitting:
        raise errors.none_fits(path, asked, sorted({str(header.place) for header in headers.values()}))
    first, second = list(fitting.values())[:2]
    found = [name for name in IDENTITY if getattr(first, name) != getattr(second, name)]
    found += [entry["path"] for entry in differing(first.environment, second.environment) if entry["path"] not in found]
    names = [str(header.place) for header in fitting.values()]
    raise errors.several_fit(path, asked, names, found, next(iter(fitting)))


def warnings(path: Path) -> list[str]:
    """Return what to say of the table that ``place`` finds, where its last recheck found it stale; raises as `place`
    does."""
    path = path.parent if path.name == HEADER else path
    if not path.is_dir() or not any(path.rglob(validity.VALIDITY)):
        return []
    folder = place(path)
    said = validity.warning(read(folder), folder)
    return [] if said is None else [said]


def _agrees(header: Header, asked: Mapping[str, str]) -> bool:
    """Say whether a header has what is asked for."""
    return all(getattr(header, name) == value for name, value in asked.items())
