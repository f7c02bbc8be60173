"""Reads the file of a meter beside a device, and finds in it when the device worked: by the pulses it made."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import file_invalid
from harness.protocol import Energy, Window
from harness.refusals import pulses_not_found
from ofa.files import read_capped

Floats = NDArray[np.float64]

COLUMNS = ("time_s", "watts")
MOST_BYTES = 1 << 28
LEAST_READINGS = 50
MOST_WATTS = 1e5
STEP_S = 0.02
FINE_S = 0.001
# How far apart the clocks of meter and device may have drifted between the first pulse and the last.
MOST_DRIFT_S = 0.5
# Chance and a single step (work that begins) stay well below it; a noisy meter of 5 readings a second well above.
LEAST_CORRELATION = 0.8
# Places further apart than a chip are other places: one of them must be the best by this much.
LEAST_LEAD = 0.05
MOST_PLACES = 5_000_000


class Trace:
    """What a meter read: its clock in s, watts, and the energy up to each reading."""

    __slots__ = ("energy_j", "path", "time_s")

    def __init__(self, path: Path, time_s: Floats, watts: Floats) -> None:
        """Take the readings; each holds until the next."""
        self.path = path
        self.time_s = time_s
        self.energy_j = np.concatenate([[0.0], np.cumsum(watts[:-1] * np.diff(time_s))])

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


def metered(answer: Energy, trace: Trace, averaging_s: float) -> Energy:
    """Return the windows of a device with the power that a meter beside it read, found by the pulses around them.

    ``averaging_s`` is how long a reading of the meter reaches back: twice as much is left out at the start of every
    window. Raises FileInvalid where the pulses are not in the file.
    """
    if len(answer.pulses) != 2:
        raise pulses_not_found(trace.path, "the device made no pulses, so nothing says when it worked")
    start_s = answer.pulses[0][0] * 1e-9
    edges = [np.array(pulse) * 1e-9 - start_s for pulse in answer.pulses]
    chips = np.array([1.0 if chip == "1" else -1.0 for chip in answer.pattern])
    offset_s = _offset(trace, edges, chips)
    offsets = [_refined(trace, part, chips, offset_s) for part in edges]
    middles = [float(part.mean()) for part in edges]
    windows = []
    for window in answer.windows:
        # Two clocks drift apart evenly, as far as an hour goes.
        begin_s, end_s = (
            at_s + float(np.interp(at_s, middles, offsets))
            for at_s in (window.start_ns * 1e-9 - start_s, window.end_ns * 1e-9 - start_s)
        )
        windows.append(_with_power(window, trace, begin_s + 2 * averaging_s, end_s))
    return answer.model_copy(update={"windows": windows, "source": "meter", "averaging_s": averaging_s, "reason": None})


def _with_power(window: Window, trace: Trace, begin_s: float, end_s: float) -> Window:
    """Return a window with its mean power, or without where the file does not hold it whole."""
    inside = trace.time_s[0] <= begin_s < end_s <= trace.time_s[-1]
    samples = int(np.count_nonzero((trace.time_s >= begin_s) & (trace.time_s <= end_s)))
    watts = max(0.0, float(trace.mean_w(begin_s, end_s))) if inside and samples >= 10 else None
    return window.model_copy(update={"watts": watts, "samples": samples})


def _offset(trace: Trace, edges: list[Floats], chips: Floats) -> float:
    """Return by how much the meter's clock is ahead: where both pulses together resemble the file most.

    Raises FileInvalid where nothing does, or two places do.
    """
    last_s = float(edges[1][-1])
    room_s = float(trace.time_s[-1] - trace.time_s[0]) - last_s
    if room_s < 0:
        raise pulses_not_found(trace.path, f"it is {-room_s:.1f} s shorter than the measurement")
    if room_s / STEP_S > MOST_PLACES:
        raise pulses_not_found(trace.path, "it is a day longer than the measurement")
    places = trace.time_s[0] + np.arange(0.0, room_s + STEP_S, STEP_S)
    both = np.concatenate([chips, chips])
    begins, ends = (np.concatenate([part[cut] for part in edges]) for cut in (slice(None, -1), slice(1, None)))
    found = _resemblance(trace, places, begins, ends, both)
    best = int(np.argmax(found))
    chip_s = float(edges[0][-1]) / len(chips)
    elsewhere = found[np.abs(places - places[best]) > 2 * chip_s]
    if found[best] < LEAST_CORRELATION:
        raise pulses_not_found(
            trace.path, f"nothing in it resembles the device's pulses (at best {found[best]:.2f} of 1)"
        )
    if len(elsewhere) and elsewhere.max() > found[best] - LEAST_LEAD:
        raise pulses_not_found(trace.path, "two places in it resemble the device's pulses alike")
    return float(places[best])


def _refined(trace: Trace, edges: Floats, chips: Floats, offset_s: float) -> float:
    """Return the offset of one pulse alone, to a millisecond: between the two the clocks may have drifted."""
    places = offset_s + np.arange(-MOST_DRIFT_S, MOST_DRIFT_S, FINE_S)
    found = _resemblance(trace, places, edges[:-1], edges[1:], chips)
    # A reading reaches back, so the best place is flat: its middle is meant.
    flat = places[found >= found.max() - 1e-6]
    return float(flat.mean())


def _resemblance(trace: Trace, places: Floats, begins: Floats, ends: Floats, chips: Floats) -> Floats:
    """Return, for every place, the correlation of the chips with the mean power in each; of even power, 0."""
    total = np.zeros((3, len(places)))
    for begin_s, end_s, chip in zip(begins, ends, chips, strict=True):
        power = trace.mean_w(places + begin_s, places + end_s)
        total += np.array([power, power**2, power * chip])
    count = len(chips)
    variance = total[1] / count - (total[0] / count) ** 2
    covariance = total[2] / count - total[0] / count * chips.mean()
    # What is left of rounding where the power never moves is no variance.
    floor = 1e-9 * (total[1] / count) + 1e-12
    found: Floats = np.where(variance > floor, covariance / np.sqrt(np.maximum(variance, floor) * chips.var()), 0.0)
    return found
