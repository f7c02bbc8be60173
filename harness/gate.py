"""Lets a device cool, and other work on it end, before it is measured: rests that grow longer, until patience ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from harness.answers import Facts
from harness.inventory import Device
from harness.native.phone import Phone
from harness.protocol import At, Conversation
from harness.refusals import too_busy, too_hot
from harness.transport.adb import Adb

FIRST_REST_S = 2.0
LONGEST_REST_S = 15.0
PATIENCE_S = 1200.0
# A first look at how busy a device is costs every round as long; one that finds load is followed by longer ones.
LOOK_S = 0.3
LOAD_PATIENCE_S = 600.0
# Once it rests, a device cools below its limit by this much: at the limit itself it would rest again after a moment.
BELOW_C = 3.0
# Cooling devices, by their number and type, that hold a clock down; fans and alerts are cooling devices, too.
CLOCKS = re.compile(r"cpufreq|devfreq|processor|powerclamp|idle|^\d+\.(cpu|gpu)-", re.IGNORECASE)


def cool(
    device: Device,
    conversation: Conversation,
    state: Facts,
    at: At,
    *,
    on_rest: Callable[[float | None], None] = lambda hottest_c: None,
) -> None:
    """Rest until the hottest sensor is below the profile's limit, where it has one, and nothing holds the device back.

    ``on_rest`` is told its reading, °C, None where none is.

    Raises MeasurementRefused where nothing can be read, or what a phone says is overridden, or after twenty minutes of
    rest; DeviceLost.
    """
    limit_c = device.profile.calm.max_temp_c
    now, below_c = seen(device, state), 0.0
    rested_s, pause_s = 0.0, FIRST_REST_S
    while _warm(now, limit_c, below_c) or held_back(now):
        found = hottest_c(now)
        if (found is None and limit_c is not None) or rested_s >= PATIENCE_S:
            raise too_hot(device.name, found, limit_c, held_back(now))
        on_rest(found)
        now, below_c = seen(device, conversation.rest(pause_s, at).state), BELOW_C
        rested_s, pause_s = rested_s + pause_s, min(LONGEST_REST_S, 2 * pause_s)


def _warm(state: Facts, limit_c: float | None, below_c: float) -> bool:
    """Say whether the hottest sensor is not below a limit, by so much; of a device that reads none nobody can say."""
    found = hottest_c(state)
    return limit_c is not None and (found is None or found > limit_c - below_c)


def quieten(
    device: Device,
    conversation: Conversation,
    at: At,
    *,
    jobs: Sequence[str] = (),
    on_rest: Callable[[float], None] = lambda cores: None,
) -> Facts:
    """Rest until other work keeps no more of the device's cores busy than its profile allows; return its state then.

    ``on_rest`` is told how many it keeps busy. What a worker of ``jobs`` does is no other work. A device that does not
    tell how busy it is passes: its batches say so, too. Raises MeasurementRefused after ten minutes; DeviceLost.
    """
    limit, own = device.profile.calm.max_foreign_cores, {"jobs": list(jobs)} if jobs else {}
    rested_s, pause_s, look_s = 0.0, FIRST_REST_S, LOOK_S
    while True:
        found = conversation.rest(look_s, at, **own)
        if isinstance(found.foreign_cores, str) or found.foreign_cores <= limit:
            return found.state
        if rested_s >= LOAD_PATIENCE_S:
            raise too_busy(device.name, found.foreign_cores, limit)
        on_rest(found.foreign_cores)
        look_s, rested_s, pause_s = pause_s, rested_s + pause_s, min(LONGEST_REST_S, 2 * pause_s)


def foreign_cores(device: Device) -> float | None:
    """Return how many of a device's cores other work keeps busy, as `quieten` sees it: by a longer look where the first
    one finds too many; None where it does not tell. Raises DeviceLost."""
    channel = device.transport.open()
    try:
        conversation = Conversation(channel, device.name, device.lease)
        conversation.greet()
        found = conversation.rest(LOOK_S).foreign_cores
        if not isinstance(found, str) and found > device.profile.calm.max_foreign_cores:
            found = conversation.rest(FIRST_REST_S).foreign_cores
    finally:
        channel.close()
    return None if isinstance(found, str) else found


def seen(device: Device, state: Facts) -> Facts:
    """Return a device's state as its agent has it, for a phone whose heat is limited with what Android says of that and
    of its battery.

    Few phones let an agent read the files of their sensors. Raises MeasurementRefused where the thermal status is
    overridden, DeviceLost.
    """
    way = device.transport
    if device.profile.calm.max_temp_c is None or not isinstance(way, Adb):
        return state
    return Phone(device=device.name, ask=way.ask).state(state)


def hottest_c(state: Facts) -> float | None:
    """Return the highest temperature in a device's state, °C; None where it reads none."""
    sensors = state.get("temperature_c")
    readings = sensors.values() if isinstance(sensors, dict) else []
    known = [float(value) for value in readings if isinstance(value, int | float)]
    return max(known, default=None)


def held_back(state: Facts) -> str:
    """Return what holds a device back for its heat, in words: Android, where its thermal status is another than 0
    (none), and cooling devices that keep a clock down; empty where nothing does."""
    status, cooling = state.get("thermal_status"), state.get("cooling")
    steps = cooling.items() if isinstance(cooling, dict) else ()
    said = [f"Android's thermal status is {status}, not 0"] if isinstance(status, int) and status > 0 else []
    said += [
        f"cooling device '{name}' is at step {step}, not 0"
        for name, step in steps
        if isinstance(step, int) and step > 0 and CLOCKS.search(str(name))
    ]
    return ", ".join(said)


def told(state: Facts, drift: float) -> str:
    """Return what a batch said of its device, in words: its hottest sensor where it reads one, and by how much the
    canary that moved most did."""
    found = hottest_c(state)
    return ("" if found is None else f"{found:.0f} °C, ") + f"canaries moved {100 * drift:.1f} %"
