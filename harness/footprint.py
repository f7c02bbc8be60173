"""Measures how much memory the whole networks of a plan take, each in a process of its own, once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from secrets import token_hex

from harness import ways
from harness.discreet import public
from harness.errors import device_lost
from harness.inventory import Device
from harness.journal import Footprint, Journal
from harness.link import Link
from harness.plan import EMPTY, Plan, Way
from harness.protocol import Footprint as Answer
from harness.session import ATTEMPTS_PER_SESSION, PATIENCE_S, OnProgress, begin_session, quiet, ready_runtime
from harness.supply import supply
from ofa.errors import DeviceLost


def run(
    plan: Plan,
    *,
    device: Device,
    journal: Journal,
    files: Sequence[str] | None = None,
    session: str | None = None,
    on_progress: OnProgress = quiet,
    patience_s: float = PATIENCE_S,
) -> None:
    """Measure the peak memory of files as far as the journal lacks it: the empty network and all networks of the plan,
    or the ``files`` given.

    Memory does not scatter as time does: each is measured once, after the rounds. ``session`` is the one they were
    measured in; without one, a session is begun where anything is lacking. Raises DeviceLost, MeasurementRefused;
    whatever was measured by then stays in the journal.
    """
    wanted = lacking(plan, journal, files)
    if not wanted:
        return
    on_progress(0, len(wanted), f"memory, greeting {device.name}")
    if session is None:
        session = begin_session(plan, device, journal, *ready_runtime(device, plan.runtime))
    for done, file in enumerate(wanted, 1):
        answer = of_file(device, plan.runtime, file, plan.way, patience_s=patience_s)
        why = public(device, answer.reason or "")
        found = Footprint(session=session, peak_rss_kib=answer.peak_rss_kib, reason=why)
        journal.add_footprint(file, found)
        on_progress(done, len(wanted), "memory of whole networks")


def lacking(plan: Plan, journal: Journal, files: Sequence[str] | None = None) -> list[str]:
    """Return the files that are still to be measured, in order; what failed in the rounds has its reason and is not
    tried."""
    known, failed = journal.footprints(), journal.failures()
    networks = [item.file for index, item in enumerate(plan.items) if item.kind == "network" and index not in failed]
    if files is not None:
        wanted = [file for file in files if file in networks]
    else:
        # Without a network there is nothing whose share the runtime's own memory could be.
        wanted = [EMPTY, *networks] if networks else []
    return [file for file in dict.fromkeys(wanted) if file not in known]


def of_file(
    device: Device,
    runtime: str,
    file: str,
    way: Way | None = None,
    *,
    patience_s: float = PATIENCE_S,
) -> Answer:
    """Return the peak memory of a fresh process that loads one file of the device's folder and calls it three times.

    A process that breaks off is begun anew twice; raises DeviceLost where none of the three answers.
    """
    way = way or Way()
    request = {"runtime": runtime, **way.said(), "file": file}
    for _ in range(ATTEMPTS_PER_SESSION - 1):
        with suppress(DeviceLost):
            return _asked(device, request, ways.patience_s(way, patience_s))
    return _asked(device, request, ways.patience_s(way, patience_s))


def _asked(device: Device, request: dict[str, object], patience_s: float) -> Answer:
    """Ask one process, and end it."""
    job = token_hex(16)
    with Link(device) as link:
        supply(link, [str(request["file"])])
        found = list(link.work(job, {"do": "footprint", **request}, patience_s=patience_s))
        link.forget([job])
    if len(found) != 1 or not isinstance(found[0], Answer):
        raise device_lost(device.name, "it did not say how much memory it held")
    return found[0]
