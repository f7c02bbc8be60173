"""Finds in a meter's file when a device worked: by the pulses it made around each network, session after session."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.refusals import pulses_not_found
from harness.trace import Floats, Trace

STEP_S = 0.02
FINE_S = 0.001
# How far apart the clocks of meter and device may have drifted between one network and the next.
MOST_DRIFT_S = 0.5
# Chance and a single step (work that begins) stay well below it; a noisy meter of 5 readings a second well above.
LEAST_CORRELATION = 0.8
# Places further apart than a chip are other places: one of them must be the best by this much.
LEAST_LEAD = 0.05
MOST_PLACES = 5_000_000
MOST_ORDERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Networks that were measured by one clock of a device: when the edges of both pulses of each were, s from the
    first edge on, and how the device worked between them (1, or -1 for resting)."""

    edges: tuple[tuple[Floats, Floats], ...]
    chips: Floats

    @property
    def length_s(self) -> float:
        """Return the time from the first edge to the last."""
        return float(self.edges[-1][1][-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Where a unit could be: by how much the meter's clock is ahead at each network, and how much the one that
    resembles the file least does, of 1."""

    offsets: tuple[float, ...]
    least: float


def find(trace: Trace, units: Sequence[Unit]) -> list[Track]:
    """Return where each unit is: where all of them together resemble the file most, one after another as they were
    measured. A network alone looks like any other; their order and their distances tell them apart.

    Raises FileInvalid where one is nowhere, or there is more than one way.
    """
    tracks = [_tracks(trace, unit) for unit in units]
    orders: list[tuple[float, list[Track]]] = []
    for order in _orders(units, tracks, -math.inf):
        orders.append((min(track.least for track in order), order))
        if len(orders) > MOST_ORDERS:
            break
    orders.sort(key=lambda one: -one[0])
    if not orders:
        raise pulses_not_found(trace.path, "its sessions are not in it one after another, as they were measured")
    if orders[0][0] < LEAST_CORRELATION:
        raise _nothing(trace, orders[0][0])
    if len(orders) > 1 and orders[1][0] > orders[0][0] - LEAST_LEAD:
        raise pulses_not_found(trace.path, "two places in it resemble the device's pulses alike")
    return orders[0][1]


def _nothing(trace: Trace, best: float) -> Exception:
    """Say that nothing in a file resembles the pulses."""
    return pulses_not_found(trace.path, f"nothing in it resembles the device's pulses (at best {best:.2f} of 1)")


def _orders(units: Sequence[Unit], tracks: Sequence[Sequence[Track]], after_s: float) -> Iterator[list[Track]]:
    """Yield the ways to place all units one after another, none before a time of the meter's clock."""
    if not units:
        yield []
        return
    for track in tracks[0]:
        if track.offsets[0] >= after_s:
            end_s = track.offsets[-1] + units[0].length_s
            for rest in _orders(units[1:], tracks[1:], end_s - MOST_DRIFT_S):
                yield [track, *rest]


def _tracks(trace: Trace, unit: Unit) -> list[Track]:
    """Return the places where a unit could be; raises FileInvalid where there is none."""
    room_s = float(trace.time_s[-1] - trace.time_s[0]) - unit.length_s
    if room_s < 0:
        raise pulses_not_found(trace.path, f"it is {-room_s:.1f} s shorter than the measurement")
    if room_s / STEP_S > MOST_PLACES:
        raise pulses_not_found(trace.path, "it is a day longer than the measurement")
    places = trace.time_s[0] + np.arange(0.0, room_s + STEP_S, STEP_S)
    first = _both(trace, places, unit, 0)
    chip_s = float(unit.edges[0][0][-1]) / len(unit.chips)
    tracks = [_followed(trace, unit, place) for place in _peaks(places, first, 2 * chip_s)]
    likely = [track for track in tracks if track.least >= LEAST_CORRELATION - LEAST_LEAD]
    if not likely:
        raise _nothing(trace, max((track.least for track in tracks), default=float(first.max())))
    return likely


def _peaks(places: Floats, found: Floats, apart_s: float) -> list[float]:
    """Return the places that could be the first network's, best first, none within ``apart_s`` of a better one."""
    peaks: list[float] = []
    left = np.where(found >= LEAST_CORRELATION - LEAST_LEAD, found, -np.inf)
    while np.isfinite(left.max()):
        peaks.append(float(places[int(np.argmax(left))]))
        left[np.abs(places - peaks[-1]) <= apart_s] = -np.inf
    return peaks


def _followed(trace: Trace, unit: Unit, place: float) -> Track:
    """Follow all networks of a unit from a place of the first one on, as the clocks drift apart."""
    least, offsets = 1.0, [place]
    for number in range(len(unit.edges)):
        near = offsets[-1] + (np.arange(-MOST_DRIFT_S, MOST_DRIFT_S, STEP_S) if number else np.zeros(1))
        found = _both(trace, near, unit, number)
        offsets.append(float(near[int(np.argmax(found))]))
        least = min(least, float(found.max()))
    return Track(offsets=tuple(offsets[1:]), least=least)


def _both(trace: Trace, places: Floats, unit: Unit, number: int) -> Floats:
    """Return how much both pulses of one network together resemble the file, at every place."""
    parts = unit.edges[number]
    begins, ends = (np.concatenate([part[cut] for part in parts]) for cut in (slice(None, -1), slice(1, None)))
    return _resemblance(trace, places, begins, ends, np.concatenate([unit.chips, unit.chips]))


def refined(trace: Trace, edges: Floats, chips: Floats, offset_s: float) -> float:
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
