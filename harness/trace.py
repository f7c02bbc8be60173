"""Reads the files of a meter beside a device: what it drew, over the meter's own clock."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import file_invalid
from ofa.files import read_capped

Floats = NDArray[np.float64]

COLUMNS = ("time_s", "watts")
MOST_BYTES = 1 << 28
LEAST_READINGS = 50
MOST_WATTS = 1e5


class Trace:
    """What a meter read: its clock in s, watts, and the energy up to each reading."""

    __slots__ = ("energy_j", "path", "time_s", "watts")

    def __init__(self, path: Path, time_s: Floats, watts: Floats) -> None:
        """Take the readings; each holds until the next."""
        self.path = path
        self.time_s = time_s
        self.watts = watts
        self.energy_j = np.concatenate([[0.0], np.cumsum(watts[:-1] * np.diff(time_s))])

    @property
    def interval_s(self) -> float:
        """Return how far readings lie apart, s."""
        return float(np.median(np.diff(self.time_s)))

    def mean_w(self, begin_s: Floats | float, end_s: Floats | float) -> Floats:
        """Return the mean power between times of the meter's clock."""
        gained = np.interp(end_s, self.time_s, self.energy_j) - np.interp(begin_s, self.time_s, self.energy_j)
        mean: Floats = np.asarray(gained / (np.asarray(end_s) - np.asarray(begin_s)), dtype=np.float64)
        return mean


def read(path: Path) -> Trace:
    """Read a CSV of two columns, ``time_s,watts``, times ascending; raises FileInvalid naming the first line that is
    wrong."""
    raw = read_capped(path, max_bytes=MOST_BYTES, what="meter's file")
    try:
        rows = list(csv.reader(io.StringIO(raw.decode("ascii"))))
    except (UnicodeDecodeError, csv.Error) as fault:
        raise file_invalid("meter's file", path, f"it is no CSV in ASCII: {fault}") from fault
    if not rows or tuple(cell.strip() for cell in rows[0]) != COLUMNS:
        raise file_invalid("meter's file", path, "its first line is not 'time_s,watts'", "name the columns so")
    if len(rows) <= LEAST_READINGS:
        raise file_invalid(
            "meter's file", path, f"it has {len(rows) - 1} readings; at least {LEAST_READINGS} are needed"
        )
    times, watts = np.empty(len(rows) - 1), np.empty(len(rows) - 1)
    for place, row in enumerate(rows[1:]):
        try:
            times[place], watts[place] = (float(cell) for cell in row)
        except ValueError as fault:
            raise file_invalid("meter's file", path, f"line {place + 2} is not two numbers") from fault
        if not math.isfinite(times[place]) or not abs(watts[place]) <= MOST_WATTS:
            raise file_invalid("meter's file", path, f"line {place + 2} says what no meter reads")
        if place and times[place] <= times[place - 1]:
            raise file_invalid("meter's file", path, f"line {place + 2} is not later than the line before")
    return Trace(path, times, watts)


def read_all(paths: Sequence[Path]) -> Trace:
    """Read files of one meter as one, in the order of their times; raises FileInvalid, also where their times overlap:
    nobody could tell which of them was first."""
    traces = sorted((read(path) for path in paths), key=lambda trace: float(trace.time_s[0]))
    for before, after in pairwise(traces):
        if after.time_s[0] <= before.time_s[-1]:
            why = f"its times are not all after those of '{before.path}'"
            raise file_invalid("meter's file", after.path, why, "give the files of one clock, or one file alone")
    times, watts = (np.concatenate([getattr(trace, name) for trace in traces]) for name in ("time_s", "watts"))
    return Trace(traces[0].path, times, watts)
