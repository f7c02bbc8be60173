"""Reads the files of one run folder, and remembers which were missing, broken or made from the simulated device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from harness.report import calibration
from harness.report.provenance import says_simulated
from harness.report.rounds import Rounds, rounds
from ofa import files
from ofa.errors import FileInvalid
from ofa.lut.check import checked
from ofa.lut.format import HEADER, Lut
from ofa.lut.validity import Record, of_table

MAX_BYTES = 64 * files.MEBIBYTE
CARD = "card.json"

Found = TypeVar("Found")


class Reader:
    """Reads one run folder; what it could not read is in ``missing`` and ``broken``."""

    def __init__(self, folder: Path) -> None:
        """Start on a run folder."""
        self.folder = folder
        self.missing: list[str] = []
        self.broken: list[str] = []
        self.simulated = False

    def json(self, name: str, *, listed: str = "") -> dict[str, Any] | None:
        """Return a JSON object of the run, or None; a list counts as the object that has it under ``listed``."""
        path = self.folder / name
        if not path.is_file():
            self.missing.append(name)
            return None
        try:
            found = files.read_json(path, max_bytes=MAX_BYTES, what="file")
        except FileInvalid as fault:
            self.broken.append(f"{name}: {fault.why or fault.what}")
            return None
        if listed and isinstance(found, list):
            found = {listed: found}
        if not isinstance(found, dict):
            self.broken.append(f"{name}: it holds no JSON object")
            return None
        self.simulated = self.simulated or says_simulated(found)
        return found

    def text(self, name: str) -> str | None:
        """Return a text file of the run, or None."""
        path = self.folder / name
        if not path.is_file():
            self.missing.append(name)
            return None
        try:
            return files.read_capped(path, max_bytes=MAX_BYTES, what="file").decode()
        except (FileInvalid, UnicodeDecodeError) as fault:
            self.broken.append(f"{name}: {fault}")
            return None

    def first(self, names: Sequence[str]) -> str:
        """Return the first of some names that is a file, or the first name where none is."""
        return next((name for name in names if (self.folder / name).is_file()), names[0])

    def skipped(self, name: str, count: int, of: str) -> None:
        """Remember lines of a file that could not be read."""
        if count:
            self.broken.append(f"{name}: {count} {of} could not be read and {'is' if count == 1 else 'are'} left out")

    def table(self, names: Sequence[str]) -> tuple[Lut | None, tuple[Record, ...]]:
        """Return the latency table in the first of some folders that holds one, or None, and what rechecks of it said,
        oldest first."""
        name = self.first([f"{name}/{HEADER}" for name in names]).removesuffix(f"/{HEADER}")
        if not (self.folder / name / HEADER).is_file():
            self.missing.append(name)
            return None, ()
        place = self.folder / name
        found = self._read(name, lambda: _with_rechecks(place))
        if found is None:
            return None, ()
        self.simulated = self.simulated or found[0].simulated
        return found

    def networks(self, twin: str, table: Lut | None) -> tuple[calibration.Compared, ...]:
        """Return the networks of a table beside what a twin of the run, or else the table itself, says of them."""
        if table is None:
            return ()
        return self._read(twin, lambda: calibration.compare(self.folder / twin, table)) or calibration.held_out(table)

    def rounds(self, name: str) -> Rounds | None:
        """Return how far a journal came and what its rounds were off by, or None."""
        if not (self.folder / name).is_file():
            return None
        found = self._read(name, lambda: rounds(self.folder / name))
        self.simulated = self.simulated or (found is not None and found.simulated)
        return found

    def newest_rounds(self, runtime: str) -> Rounds | None:
        """Return what the rounds of the last verification with a runtime were off by, or None."""
        found = [path for path in self.folder.glob("*.sqlite") if path.name.startswith(f"{runtime}-")]
        last = max(found, key=lambda path: (path.stat().st_mtime_ns, path.name), default=None)
        return None if last is None else self.rounds(last.name)

    def beside(self, name: str, other: str) -> dict[str, Any]:
        """Return a JSON object in the folder of a file of the run, empty where there is none."""
        path = (Path(name).parent / other).as_posix()
        return (self.json(path) if (self.folder / path).is_file() else None) or {}

    def cards(self) -> dict[str, dict[str, Any]]:
        """Return the cards of twins that stand in the run or in folders of it, by folder."""
        folders = sorted(path for path in self.folder.iterdir() if path.is_dir() and not path.is_symlink())
        names = ["", *(f"{path.name}/" for path in folders)]
        found = {name: self.json(f"{name}{CARD}") for name in names if (self.folder / f"{name}{CARD}").is_file()}
        return {name: card for name, card in found.items() if card is not None}

    def _read(self, name: str, read: Callable[[], Found]) -> Found | None:
        """Return what a file holds; where it is invalid, remember why."""
        try:
            return read()
        except FileInvalid as fault:
            self.broken.append(f"{name}: {fault.what}: {fault.why}" if fault.why else f"{name}: {fault.what}")
            return None


def _with_rechecks(folder: Path) -> tuple[Lut, tuple[Record, ...]]:
    """Return the table in a folder and what rechecks of it said; raises FileInvalid."""
    lut = checked(folder)
    return lut, of_table(lut, folder)
