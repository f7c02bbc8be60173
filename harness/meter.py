"""Puts beside the windows of networks what a meter beside the device read meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.journal import Windows
from harness.protocol import Energy, Window
from harness.pulses import Track, Unit, find, refined
from harness.refusals import pulses_not_found
from harness.trace import Floats, Trace, read_all

LEAST_READINGS = 10
# A meter may miss a few readings. Where it missed more, or one file ended and the next began, nobody knows what was
# drawn.
MOST_GAP_S, MOST_MISSED = 1.0, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """What a meter beside a device has left: one file or several, and how long a reading reaches back, s (None: to the
    one before)."""

    paths: tuple[Path, ...]
    averaging_s: float | None = None


def all_metered(found: Mapping[str, Windows], meter: Meter) -> dict[str, Energy]:
    """Return the windows of networks, in the order they were measured in, with the power that a meter read.

    What made no pulses is left out. Raises FileInvalid where the files do not hold the pulses of all others.
    """
    trace = read_all(meter.paths)
    averaging_s = trace.interval_s if meter.averaging_s is None else meter.averaging_s
    groups = _by_clock(found)
    answers = [[found[name].answer for name in group] for group in groups]
    metered = metered_together(answers, trace, averaging_s)
    return {name: one for group, own in zip(groups, metered, strict=True) for name, one in zip(group, own, strict=True)}


def _by_clock(found: Mapping[str, Windows]) -> list[list[str]]:
    """Return the networks that made pulses, those together whose times are of one clock: of a session, and rising."""
    groups: list[list[str]] = []
    session, end_ns = "", 0
    for name, one in found.items():
        if not one.answer.pulses:
            continue
        if not groups or one.session != session or one.answer.pulses[0][0] < end_ns:
            groups.append([])
        groups[-1].append(name)
        session, end_ns = one.session, one.answer.pulses[-1][-1]
    return groups


def metered(answer: Energy, trace: Trace, averaging_s: float) -> Energy:
    """Return the windows of one network as `metered_together`."""
    return metered_together([[answer]], trace, averaging_s)[0][0]


def metered_together(groups: Sequence[Sequence[Energy]], trace: Trace, averaging_s: float) -> list[list[Energy]]:
    """Return the windows of networks with the power that a meter read, found by the pulses around them; those of a
    group were measured by one clock of a device, the groups one after another.

    ``averaging_s`` is how long a reading of the meter reaches back: twice as much is left out at the start of every
    window. Raises FileInvalid where the pulses are not in the file.
    """
    if any(len(answer.pulses) != 2 for group in groups for answer in group):
        raise pulses_not_found(trace.path, "the device made no pulses, so nothing says when it worked")
    units = [_unit(group) for group in groups]
    return [
        _of_unit(trace, averaging_s, group, unit, track)
        for group, unit, track in zip(groups, units, find(trace, units), strict=True)
    ]


def _unit(group: Sequence[Energy]) -> Unit:
    """Return the pulses of a group."""
    start_s = group[0].pulses[0][0] * 1e-9
    edges = [[np.array(pulse) * 1e-9 - start_s for pulse in answer.pulses] for answer in group]
    chips = np.array([1.0 if chip == "1" else -1.0 for chip in group[0].pattern])
    return Unit(edges=tuple((first, last) for first, last in edges), chips=chips)


def _of_unit(trace: Trace, averaging_s: float, group: Sequence[Energy], unit: Unit, track: Track) -> list[Energy]:
    """Return the windows of a group that was found."""
    start_s = group[0].pulses[0][0] * 1e-9
    result = []
    for answer, parts, at in zip(group, unit.edges, track.offsets, strict=True):
        offsets = [refined(trace, part, unit.chips, at) for part in parts]
        result.append(_with_powers(answer, trace, averaging_s, start_s, parts, offsets))
    return result


def _with_powers(
    answer: Energy, trace: Trace, averaging_s: float, start_s: float, edges: Sequence[Floats], offsets: Sequence[float]
) -> Energy:
    """Return one network's windows with their power; ``offsets`` are by how much the meter is ahead at each pulse."""
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
    times = trace.time_s[(trace.time_s >= begin_s) & (trace.time_s <= end_s)]
    whole = inside and len(times) >= LEAST_READINGS
    if whole:
        gap_s = float(np.diff(np.concatenate([[begin_s], times, [end_s]])).max())
        whole = gap_s <= max(MOST_GAP_S, MOST_MISSED * trace.interval_s)
    watts = max(0.0, float(trace.mean_w(begin_s, end_s))) if whole else None
    return window.model_copy(update={"watts": watts, "samples": len(times)})
