"""Many devices at once, each in a thread: those that heat each other take turns, and none stops the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from harness.session import OnProgress
from ofa import console
from ofa.errors import OfaError

Facts = dict[str, Any]
Work = Callable[[str, OnProgress], Facts]
LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one device: facts, or the error it ended with."""

    device: str
    facts: Facts | None = None
    fault: BaseException | None = None


@dataclass(slots=True)
class Place:
    """How far one device is, as its line of the table says."""

    share: float = 0.0
    text: str = "waits"


def together(names: Sequence[str], work: Work, *, groups: Mapping[str, tuple[str, int]] | None = None) -> list[Outcome]:
    """Do the same work on several devices at once and return what came of each, in their order.

    ``work`` gets a device's name and what it tells its progress to; it runs in a thread of its own. ``groups`` maps a
    device to its group and how many of that may be at work at once. A device that fails is an outcome; Ctrl-C stops
    all at their next sign of life, and is raised again.
    """
    turns = {group: threading.BoundedSemaphore(most) for group, most in (groups or {}).values()}
    places = {name: Place() for name in names}
    stop = threading.Event()

    def tell(name: str, done: int, total: int, text: str) -> None:
        places[name].share, places[name].text = done / total if total else 0.0, text
        if stop.is_set():
            raise KeyboardInterrupt

    def one(name: str) -> Facts:
        group = (groups or {}).get(name)
        with nullcontext() if group is None else turns[group[0]]:
            # What waited for its turn meanwhile must not begin: its first sign of life may be minutes away.
            if stop.is_set():
                raise KeyboardInterrupt
            found = work(name, lambda done, total, text: tell(name, done, total, text))
        places[name].share, places[name].text = 1.0, "done"
        return found

    with ThreadPoolExecutor(max(1, len(names)), thread_name_prefix="device") as pool:
        futures = {name: pool.submit(one, name) for name in names}
        try:
            _watch(list(futures.values()), places)
        except KeyboardInterrupt:
            stop.set()
            raise
    return [_outcome(name, futures[name]) for name in names]


def _watch(futures: list[Future[Facts]], places: Mapping[str, Place]) -> None:
    """Show one table of all devices until each has come to an end.

    What is counted are devices that have: the work of one has several phases, each of which begins at nothing again.
    """
    waiting = set(futures)
    with console.progress("devices", len(places)) as advance:
        while waiting:
            ended, waiting = wait(waiting, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            rows = {name: f"{100 * place.share:3.0f} %  {place.text}" for name, place in places.items()}
            said = " · ".join(f"{name} {100 * place.share:.0f} % {place.text}" for name, place in places.items())
            advance(len(ended), note=said, rows=rows)


def _outcome(name: str, future: Future[Facts]) -> Outcome:
    """Return what a thread came to; an error that no user can meet is raised: it is a fault of ours."""
    fault = future.exception()
    if fault is None:
        return Outcome(device=name, facts=future.result())
    if not isinstance(fault, OfaError):
        raise fault
    return Outcome(device=name, fault=fault)
