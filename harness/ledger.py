"""A run's own record, `run.json`: what it is, on which machine, with what, and how long each stage took so far."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.errors import file_invalid, no_place_for_run
from ofa import console
from ofa.files import MEBIBYTE, read_json, readable_json, write_atomic
from ofa.lock import alone
from ofa.lut.write import under_luts

RUN = "run.json"
LONGEST_S = 1e9


class Ledger:
    """The record of one run folder; every session of the run adds to it."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Begin or continue the record; raises FileInvalid where the folder holds a run of another kind or seed."""
        self.path = folder / RUN
        self.facts: dict[str, Any] = {"date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S+00:00}", "stages_s": {}}
        if self.path.exists():
            self.facts = _read(self.path, facts)
        self.facts |= facts
        # Another session may have other versions, or another machine: each is told beside the stages it was there for.
        told = {name: facts[name] for name in ("machine", "versions") if name in facts}
        sessions = self.facts.setdefault("sessions", [])
        if not sessions or any(sessions[-1].get(name) != value for name, value in told.items()):
            sessions.append({**told, "stages_done_before": sorted(self.facts["stages_s"])})
        self.save()

    @property
    def wall_s(self) -> float:
        """Return how long the run took, over all its sessions, s."""
        return round(sum(float(value) for value in self.facts["stages_s"].values()), 3)

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        """Say what begins, and add the time it takes to the record, also where it is interrupted."""
        console.note(text)
        before_s, began_s = float(self.facts["stages_s"].get(name, 0.0)), time.monotonic()
        try:
            yield
        finally:
            self.facts["stages_s"][name] = round(before_s + time.monotonic() - began_s, 3)
            self.save()

    def save(self) -> None:
        """Write the record."""
        write_atomic(self.path, readable_json(self.facts))


def _read(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Read an earlier session's record; raises FileInvalid where it is not one of this run."""
    found = read_json(path, max_bytes=MEBIBYTE, what="run file")
    if not isinstance(found, dict) or not _times(found.get("stages_s")) or not _records(found.get("sessions", [])):
        raise file_invalid(
            "run file", path, "it is no record of a run", f"remove '{path}' alone: the other files are kept"
        )
    for name in ("seed", "space"):
        if found.get(name) != facts.get(name):
            why = f"its {name} is {found.get(name)!r}, that of this run is {facts.get(name)!r}"
            raise file_invalid("run file", path, why, "choose another folder")
    return found


def _times(value: Any) -> bool:
    """Say whether a value maps stages to seconds."""
    return isinstance(value, dict) and all(
        isinstance(item, int | float) and not isinstance(item, bool) and 0 <= item <= LONGEST_S
        for item in value.values()
    )


def _records(value: Any) -> bool:
    """Say whether a value is a list of JSON objects."""
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Keep a run folder to one process at a time; raises UsageInvalid where another one is at work in it, and for a
    folder under `luts`, where the run's table could not stand.
    """
    if under_luts(folder):
        raise no_place_for_run(folder)
    with alone(folder):
        yield


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python, of ofa-lab and of the packages named that are installed."""
    found = {"python": platform.python_version()}
    for package in ("ofa-lab", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
