"""What a damaged input must not do: raise what nobody documents, hang, be unpickled; and the count of what it did."""

from __future__ import annotations

import _pickle
import contextlib
import pickle
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

MOST_S = 60.0
MOST_FAULTS = 20


class Hang(BaseException):
    """An input took too long; no handler of the code under test may take it for a fault of its own."""


@dataclass(slots=True)
class Poison:
    """How often somebody tried to unpickle."""

    calls: int = 0

    def __call__(self, *_: object, **__: object) -> Any:
        """Count, and refuse."""
        self.calls += 1
        raise AssertionError("something was to be unpickled")


@dataclass(slots=True)
class Tally:
    """What came of some inputs: how many of each outcome, the faults with their input, the slowest one."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    seconds: float = 0.0
    pickles: int = 0

    def count(self, outcome: str) -> None:
        """Note how an input ended."""
        self.outcomes[outcome] += 1

    def facts(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        counts = {name: self.outcomes[name] for name in ("accepted", "refused", "crashed", "hung")}
        return {
            "inputs": sum(self.outcomes.values()),
            **counts,
            "unpickled": self.pickles,
            "slowest_s": round(self.slowest_s, 3),
            "seconds": round(self.seconds, 1),
            "faults": self.faults,
        }


@contextlib.contextmanager
def poisoned() -> Iterator[Poison]:
    """Let every way to unpickle raise and be counted."""
    poison = Poison()
    before = [(module, name, getattr(module, name)) for module in (pickle, _pickle) for name in ("load", "loads")]
    before += [(module, "Unpickler", module.Unpickler) for module in (pickle, _pickle)]
    for module, name, _ in before:
        setattr(module, name, poison)
    try:
        yield poison
    finally:
        for module, name, was in before:
            setattr(module, name, was)


@contextlib.contextmanager
def alone_within(tally: Tally, given: object, most_s: float = MOST_S) -> Iterator[None]:
    """Run one input: whatever leaves the block is a crash, whatever takes longer a hang; both are kept with it."""

    def ring(_: int, __: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, most_s)
    began = time.perf_counter()
    try:
        yield
    except Hang:
        _keep(tally, "hung", given, f"longer than {most_s:g} s")
    except (Exception, SystemExit):
        _keep(tally, "crashed", given, traceback.format_exc(limit=-3))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        took_s = time.perf_counter() - began
        tally.seconds += took_s
        tally.slowest_s = max(tally.slowest_s, took_s)


def _keep(tally: Tally, outcome: str, given: object, why: str) -> None:
    """Note what must not be, with as much of the input as a person can look at."""
    tally.count(outcome)
    if len(tally.faults) < MOST_FAULTS:
        tally.faults.append(f"{repr(given)[:1500]}\n{why}")
