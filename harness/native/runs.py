"""One run of a program on a device: how the network is to be run, what was timed, or why it cannot be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.native.errors import native_partial
from harness.plan import Unit, Way
from ofa.errors import printable

# What a run tells of its calls: the time of each; a summary with percentiles; or one without.
Known = Literal["each", "p5", "min"]

MOST_REASON_CHARACTERS = 900
MOST_NS = 10**13
# Programs that summarise do so in whole µs: nothing is known of a call that takes less.
LEAST_SUMMARY_NS = 1000
# Below these a whole µs is too much: of an item's time, and of what a canary may move by.
COARSE_NS = 10_000
COARSE_CANARY_NS = 50_000
# Loading may take longer than timing: a GPU or NPU compiles the network first.
LOAD_S = 60.0
VERSION = re.compile(r"(?i)\bversion[: =]+v?([0-9]+\.[0-9]+[\w.+-]{0,40})")


class CannotRun(Exception):
    """A network cannot be run, or what was said of it cannot be believed; the text is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How a program is to run a network: the way that was asked for, and what is the device's own.

    ``accelerator`` is the name NNAPI knows an accelerator by, ``libraries`` the device's folder of vendor libraries.
    """

    way: Way = field(default_factory=Way)
    accelerator: str | None = None
    libraries: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How long is warmed up and timed: at least so many calls, and at least so many seconds, s; ``most_s`` in all.

    ``repeats`` is how often a program calls that takes a number of calls only. ``built`` is what an earlier run of the
    same network built on the device, where that is to be run again, ``ranges`` where the ranges of its integers lie.
    """

    warm_calls: int
    warm_s: float
    calls: int
    least_s: float
    most_s: float = 20.0
    repeats: int | None = None
    built: str | None = None
    ranges: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What a run said, ns.

    Where only a summary is known, ``p10_ns`` and ``p20_ns`` are lower bounds: the 5th percentile or the minimum, as
    ``known`` says; without percentiles ``median_ns`` is the mean and ``p95_ns`` the maximum. ``built`` are the SHA-256
    of what the program built of the network.
    """

    calls: int
    min_ns: int
    p10_ns: int
    p20_ns: int
    median_ns: int
    p95_ns: int
    load_ns: int
    first_ns: int
    known: Known
    peak_rss_kib: int | None = None
    built: tuple[str, ...] = ()

    def finer_than(self, least_ns: int) -> bool:
        """Say whether the time is told in steps that are small beside it."""
        return self.known == "each" or self.p10_ns >= least_ns

    def record(self) -> dict[str, int | None]:
        """Return the statistics as the protocol has them; no program tells CPU time."""
        walls = {name: getattr(self, f"{name}_ns") for name in ("min", "p10", "p20", "median", "p95")}
        return {
            "calls": self.calls,
            **{f"wall_{name}_ns": value for name, value in walls.items()},
            "cpu_min_ns": None,
            "cpu_p10_ns": None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a program says of its calls without telling each, µs; the percentiles are None in older ones."""

    count: int
    min_us: float
    max_us: float
    avg_us: float
    p5_us: float | None = None
    median_us: float | None = None
    p95_us: float | None = None

    def timed(self, *, load_us: float, first_us: float, peak_rss_kib: int | None = None) -> Timed:
        """Return it as statistics; raises CannotRun where no calls can have such a summary."""
        percentiles = (self.p5_us, self.median_us, self.p95_us)
        if None in percentiles:
            walls = [self.min_us, self.min_us, self.min_us, self.avg_us, self.max_us]
        else:
            p5_us, median_us, p95_us = (value for value in percentiles if value is not None)
            walls = [self.min_us, p5_us, p5_us, median_us, p95_us]
        if self.count < 1 or walls != sorted(walls) or walls[-1] > self.max_us or not self.min_us <= self.avg_us:
            raise CannotRun("its summary contradicts itself")
        low, p10, p20, median, p95 = (nanoseconds(value, LEAST_SUMMARY_NS) for value in walls)
        return Timed(
            calls=self.count,
            min_ns=low,
            p10_ns=p10,
            p20_ns=p20,
            median_ns=median,
            p95_ns=p95,
            load_ns=nanoseconds(load_us, LEAST_SUMMARY_NS),
            first_ns=nanoseconds(first_us, LEAST_SUMMARY_NS),
            known="min" if None in percentiles else "p5",
            peak_rss_kib=peak_rss_kib,
        )


def of_calls(samples_ns: Sequence[int], *, load_ns: int, first_ns: int, peak_rss_kib: int | None = None) -> Timed:
    """Return the statistics of single calls: order statistics at or below each percentile, as the agent has them."""
    ordered = sorted(samples_ns)
    low, p10, p20, median, p95 = (ordered[(len(ordered) - 1) * percent // 100] for percent in (0, 10, 20, 50, 95))
    return Timed(
        calls=len(ordered),
        min_ns=low,
        p10_ns=p10,
        p20_ns=p20,
        median_ns=median,
        p95_ns=p95,
        load_ns=load_ns,
        first_ns=first_ns,
        known="each",
        peak_rss_kib=peak_rss_kib,
    )


def together(runs: Sequence[Timed]) -> Timed:
    """Return several runs of one network as one: the median run of each statistic, the least minimum, all calls."""

    def middle(name: str) -> int:
        values: list[int] = sorted(getattr(run, name) for run in runs)
        return values[(len(values) - 1) // 2]

    return Timed(
        calls=sum(run.calls for run in runs),
        min_ns=min(run.min_ns for run in runs),
        p10_ns=middle("p10_ns"),
        p20_ns=middle("p20_ns"),
        median_ns=middle("median_ns"),
        p95_ns=middle("p95_ns"),
        load_ns=middle("load_ns"),
        first_ns=middle("first_ns"),
        known=runs[0].known,
    )


def nanoseconds(value_us: float, least_ns: int = 1) -> int:
    """Return µs as whole ns; raises CannotRun for what is no time."""
    if not math.isfinite(value_us) or not 0 <= value_us * 1000 <= MOST_NS:
        raise CannotRun(f"it says a time of {value_us:g} µs")
    return max(least_ns, round(value_us * 1000))


def told(what: str, text: str) -> CannotRun:
    """Return a reason with the end of what the program said, which is kept as far as there is room."""
    what = what[: MOST_REASON_CHARACTERS // 2]
    raw = printable(" | ".join(line.strip() for line in text.splitlines() if line.strip()))
    room = MOST_REASON_CHARACTERS - len(what) - 12
    return CannotRun(f"{what}; it said: {raw[-room:]}" if raw else f"{what}; it said nothing")


def partial(unit: Unit, ops: Sequence[str], text: str) -> CannotRun:
    """Return the reason where a unit takes a part of a network only, naming the ops it does not take."""
    return told(native_partial(unit, ops), text)


def version_said(text: str) -> str | None:
    """Return the version that a help text names, None where it names none."""
    found = VERSION.search(text)
    return None if found is None else found[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A kind of program: the format of file it takes, and how it is told from others, started, and read.

    ``tool_of`` returns the variant by the text of its help, None for another program. ``argv`` gets that variant, the
    flags its help names, the paths of network and result, and how to run. ``read`` gets what it said and what is in
    the result. ``again`` returns how many calls are needed where one run had too few.

    ``version`` reads the help, too. Loading takes ``load_s`` at most. ``builds`` are the endings of the files that a
    run leaves beside its result, the first of which can be run again. ``memory`` says whether it tells its peak,
    ``opset`` the newest that all its releases read. ``apart`` is given an int8 file and the version, and returns the
    two that are brought instead: one in float32, and the ranges of its integers; None for one that stays as it is.
    """

    suffix: str
    help: tuple[str, ...]
    tool_of: Callable[[str], str | None]
    argv: Callable[[str, frozenset[str], str, str, Wanted, Use], list[str]]
    read: Callable[[str, bytes, Wanted, Use], Timed]
    again: Callable[[Timed, Wanted], int | None]
    version: Callable[[str], str | None] = version_said
    load_s: float = LOAD_S
    builds: tuple[str, ...] = ()
    memory: bool = True
    opset: int | None = None
    apart: Callable[[bytes, str | None], tuple[bytes, bytes] | None] | None = None
