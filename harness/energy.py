"""Energy per inference: from windows that a device metered itself, or a meter beside it; idle subtracted, an interval
kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex

from harness import ways
from harness.errors import answer_refused
from harness.inventory import Device
from harness.link import Link
from harness.plan import Way
from harness.protocol import At, Progress
from harness.protocol import Energy as Answer
from harness.refusals import draw_untold, energy_too_small
from harness.stats import Estimate, Spread, over_rounds, spread_of
from harness.supply import supply
from ofa.errors import MeasurementRefused

WINDOWS = 5
WINDOW_S = 10
IDLE_S = 5
# Beside the longest window: loading a network, and the pulses.
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What one inference of a network takes, J, with its 95 % interval over windows, and what says so.

    ``averaging_s`` is how long a reading of the source reaches back, None where nobody knows.
    """

    joules: Estimate
    source: str
    averaging_s: float | None

    @property
    def microjoules(self) -> tuple[int, int, int]:
        """Return value, low and high end as a table's columns hold them."""
        return round(self.joules.value * 1e6), math.floor(self.joules.lo * 1e6), math.ceil(self.joules.hi * 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSource:
    """Why the energy of a network is not known: an answer, and no zero."""

    reason: str


def ask(
    device: Device,
    runtime: str,
    file: str,
    *,
    way: Way | None = None,
    windows: int = WINDOWS,
    window_s: int = WINDOW_S,
    idle_s: int = IDLE_S,
    pulses: bool = False,
    at: At | None = None,
    job: str | None = None,
    before: Callable[[Link], None] = lambda link: None,
    on_share: Callable[[float], None] = lambda share: None,
) -> Answer:
    """Let a fresh process of a device call one file in windows, idle ones around them, and return them.

    With ``pulses`` it works and rests in a known pattern before and after, for a meter beside the device. Takes
    windows · (window_s + idle_s) + idle_s seconds, and 11 more with pulses. ``at`` is what it belongs to. Over a link
    it is done by the ``job`` of that name; ``before`` is called first, once the process is there. Raises DeviceLost.
    """
    way, job = way or Way(), job or token_hex(16)
    request = {
        "do": "energy", "runtime": runtime, **way.said(), "file": file,
        "windows": windows, "window_s": window_s, "idle_s": idle_s, "pulses": pulses, "at": at,
    }  # fmt: skip
    found: Answer | None = None
    with Link(device) as link:
        before(link)
        supply(link, [file])
        for answer in link.work(job, request, patience_s=ways.patience_s(way, window_s + idle_s + PATIENCE_S)):
            if isinstance(answer, Progress):
                on_share(answer.share)
            elif isinstance(answer, Answer):
                found = answer
        if found is None:
            link.end(job)
            raise answer_refused(device.name, "its windows of energy were not among its answers")
        link.forget([job])
    return found


def of_networks(device: str, answers: Mapping[str, Answer]) -> dict[str, Energy | NoSource]:
    """Return the energy of each network whose windows are given; the spread of windows is learned from all of them.

    Each has its value, or the reason why it has none; work that cannot be told from idling is such a reason.
    """
    windows: dict[str, list[float]] = {}
    found: dict[str, Energy | NoSource] = {}
    for name, answer in answers.items():
        try:
            windows[name] = joules_of(device, answer)
        except MeasurementRefused as fault:
            found[name] = NoSource(reason=fault.why)
    spread = spread_of(list(windows.values())) if len(windows) > 1 else None
    for name, values in windows.items():
        found[name] = _energy(answers[name], values, spread)
    return {name: found[name] for name in answers}


def _energy(answer: Answer, values: Sequence[float], spread: Spread | None) -> Energy:
    """Return the estimate over windows."""
    averaging_s = None if answer.averaging_s == "unreadable" else answer.averaging_s
    return Energy(joules=over_rounds(values, spread), source=answer.source or "", averaging_s=averaging_s)


def joules_of(device: str, answer: Answer) -> list[float]:
    """Return the energy of a call in J, window by window: mean power less the idle power around it, times its length,
    by its calls. Raises MeasurementRefused where there are no windows, or work draws no more than idling."""
    if answer.reason or not answer.source:
        raise draw_untold(device, answer.reason or "it names no source of energy")
    found: list[float] = []
    for place in range(1, len(answer.windows), 2):
        before, busy, after = answer.windows[place - 1 : place + 2]
        if before.watts is None or busy.watts is None or after.watts is None:
            least = min(one.samples for one in (before, busy, after) if one.watts is None)
            said = f"gave {least} readings, too few," if least else "could not be read"
            why = f"source '{answer.source}' {said} in or beside window {place} of {len(answer.windows)}"
            raise draw_untold(device, why)
        idle_w = (before.watts + after.watts) / 2
        if busy.watts <= idle_w:
            raise energy_too_small(device, answer.source, busy.watts, idle_w)
        found.append((busy.watts - idle_w) * busy.seconds / busy.calls)
    return found


def ratio(one: Estimate, other: Estimate) -> Estimate:
    """Return how often one energy is another's: on the log scale, where the half widths of both add up squared.

    What a rail reads too much or too little of everything cancels.
    """
    value = one.value / other.value
    half = math.hypot(math.log1p(one.half_width), math.log1p(other.half_width))
    return Estimate(
        value=value, lo=value * math.exp(-half), hi=value * math.exp(half), rounds=min(one.rounds, other.rounds)
    )
