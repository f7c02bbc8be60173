"""How a measurement that failed is gone on with: the line to type, where there is anything to go on with."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.errors import RESUME_HINT, resumed_by
from harness.tables import PLAN
from ofa import console
from ofa.errors import DeviceLost, MeasurementRefused, OfaError


@contextmanager
def of_run(folder: Path, *, several: bool = False) -> Iterator[None]:
    """Let an error of the block say by which line the measurement in a folder is gone on with, as Ctrl-C does; and not
    speak of resuming where nothing was begun. Of ``several`` devices one line is for all, and told with their sum.
    """
    try:
        yield
    except OfaError as fault:
        begun = (folder / PLAN).exists() and not several
        line = resumed_by(console.resume_line(sys.argv)) if begun else None
        may_resume = isinstance(fault, DeviceLost | MeasurementRefused)
        fault.hints = told(fault.hints, line if may_resume else None)
        raise


@contextmanager
def unbegun() -> Iterator[None]:
    """Let an error of the block not speak of resuming: nothing is measured in it."""
    try:
        yield
    except OfaError as fault:
        fault.hints = told(fault.hints, None)
        raise


def told(hints: Sequence[str], line: str | None) -> tuple[str, ...]:
    """Return hints with a line in the place of what is said of resuming in general, or without that."""
    beside = f" and {RESUME_HINT}"
    kept = [hint.removesuffix(beside) for hint in hints if hint != RESUME_HINT]
    return tuple(kept) if line is None else (*kept, line)
