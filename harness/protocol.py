"""What host and agent say to each other: one JSON object a line, each answer checked before anything believes it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from harness.answers import (
    Absent,
    Answer,
    Attached,
    Ended,
    Facts,
    Forgotten,
    Lacking,
    Leased,
    Released,
    Row,
    Started,
    Text,
    Unpacked,
)
from harness.errors import answer_refused, device_lost, versions_differ
from harness.refusals import agent_refused
from harness.transport.contract import Channel
from ofa.errors import first_invalid

VERSION = 2
MAX_ANSWER_BYTES = 1 << 16
HELLO_PATIENCE_S = 60.0

Nanoseconds = Annotated[int, Field(ge=1, le=10**13)]
Kibibytes = Annotated[int, Field(ge=1, le=2**34)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Cores = Annotated[float, Field(ge=0.0, le=4096.0, allow_inf_nan=False)] | Literal["unreadable"]
# What a request belongs to: the round, how often it was begun anew because the device drifted, and the batch.
At = tuple[int, int, int]


class Clocks(Answer):
    """The clocks that timed, and what timing an empty call costs in each (already subtracted)."""

    wall_clock: Text
    wall_cost_ns: Annotated[int, Field(ge=0)]
    cpu_clock: Text
    cpu_cost_ns: Annotated[int, Field(ge=0)]


class UnitFound(Answer):
    """What a runtime computes on besides the CPU, and with which kernels; or why it cannot."""

    ready: bool
    says: Text
    kernels: Annotated[list[Text], Field(max_length=8)] = Field(default_factory=list)


class Runtime(Answer):
    """A runtime as the agent found it by running a tiny network."""

    name: Text
    version: Text | None
    ready: bool
    reason: Text | None = None
    opset: int | None = None
    ir_version: int | None = None
    units: Annotated[dict[Literal["gpu", "npu"], UnitFound], Field(max_length=2)] = Field(default_factory=dict)


class Hello(Answer):
    """What a device is."""

    id: int
    ev: Literal["hello"]
    protocol: int
    boot_id: Text
    environment: Facts
    state: Facts
    clocks: Clocks
    runtimes: list[Runtime]


class Stats(Answer):
    """Order statistics in ns of the timed calls of one item within one round, made on the device."""

    calls: Annotated[int, Field(ge=1, le=10**8)]
    wall_min_ns: Nanoseconds
    wall_p10_ns: Nanoseconds
    wall_p20_ns: Nanoseconds
    wall_median_ns: Nanoseconds
    wall_p95_ns: Nanoseconds
    cpu_min_ns: Nanoseconds | None
    cpu_p10_ns: Nanoseconds | None

    @model_validator(mode="after")
    def ordered(self) -> Stats:
        """Refuse statistics that no set of numbers can have."""
        walls = (self.wall_min_ns, self.wall_p10_ns, self.wall_p20_ns, self.wall_median_ns, self.wall_p95_ns)
        if list(walls) != sorted(walls):
            raise ValueError("the percentiles are not in order")
        if (self.cpu_min_ns is None) != (self.cpu_p10_ns is None) or (self.cpu_min_ns or 0) > (self.cpu_p10_ns or 0):
            raise ValueError("the CPU percentiles are not in order")
        return self


class Sample(Stats):
    """One item measured in one round."""

    id: int
    ev: Literal["sample"]
    item: Annotated[int, Field(ge=0)]
    load_ns: Nanoseconds
    first_ns: Nanoseconds


class Reference(Stats):
    """The reference network, timed among the items of one state."""

    id: int
    ev: Literal["reference"]
    state: Literal["hot", "cold"]


class Failed(Answer):
    """An item the runtime cannot run."""

    id: int
    ev: Literal["failed"]
    item: Annotated[int, Field(ge=0)]
    reason: Text


class Progress(Answer):
    """How far a batch is."""

    id: int
    ev: Literal["progress"]
    share: Share


class Turn(Answer):
    """One burst of a canary: its fastest call, ns."""

    wall_min_ns: Nanoseconds
    cpu_min_ns: Nanoseconds | None


class Done(Answer):
    """The end of a batch."""

    id: int
    ev: Literal["done"]
    samples: int
    failed: int
    timed_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    foreign_cores: Cores
    stolen_cores: Cores
    state: Facts
    clocks: Clocks
    canaries: Annotated[dict[Text, Annotated[list[Turn], Field(max_length=100)]], Field(max_length=8)] = Field(
        default_factory=dict
    )

    @property
    def drift(self) -> float:
        """Return how far the canary that moved most lies apart over its turns, in CPU time where there is any.

        CPU time shows a lower clock as wall time does, and not that other work took the core for a moment.
        """
        moved = [0.0]
        for turns in self.canaries.values():
            cpus = [turn.cpu_min_ns for turn in turns if turn.cpu_min_ns is not None]
            values = cpus if len(cpus) == len(turns) else [turn.wall_min_ns for turn in turns]
            moved += [max(values) / min(values) - 1.0] if values else []
        return max(moved)


class Rested(Answer):
    """The device had a rest, in which others kept so many of its cores busy."""

    id: int
    ev: Literal["rested"]
    state: Facts
    foreign_cores: Cores = "unreadable"
    stolen_cores: Cores = "unreadable"


class Footprint(Answer):
    """The most memory that a process held which called one network and did nothing else; or why nobody knows."""

    id: int
    ev: Literal["footprint"]
    peak_rss_kib: Kibibytes | None
    reason: Text | None

    @model_validator(mode="after")
    def either(self) -> Footprint:
        """Refuse an answer that says both or neither."""
        if (self.peak_rss_kib is None) != bool(self.reason):
            raise ValueError("it must hold either a peak or a reason")
        return self


class Tuned(Answer):
    """What a device says of its own settings: as read back, as they were, or why they cannot be changed."""

    id: int
    ev: Literal["tuned"]
    observed: Annotated[dict[Text, Text | int | float], Field(max_length=2000)]
    saved: Facts | None
    refused: Text | None


class Window(Answer):
    """A while of back-to-back calls, or of nothing: when on the device's clock, and the mean power where it says."""

    kind: Literal["idle", "busy"]
    start_ns: Annotated[int, Field(ge=0, lt=2**63)]
    end_ns: Annotated[int, Field(ge=1, lt=2**63)]
    calls: Annotated[int, Field(ge=0, le=10**10)]
    watts: Annotated[float, Field(ge=0.0, le=1e4, allow_inf_nan=False)] | None
    samples: Annotated[int, Field(ge=0, le=10**7)]

    @property
    def seconds(self) -> float:
        """Return how long it was."""
        return (self.end_ns - self.start_ns) * 1e-9


class Energy(Answer):
    """The windows of one network, idle and busy by turns, and the pulses around them; or why there are none."""

    id: int
    ev: Literal["energy"]
    source: Text | None
    averaging_s: Annotated[float, Field(ge=0.0, le=60.0, allow_inf_nan=False)] | Literal["unreadable"]
    reason: Text | None
    pattern: Annotated[str, Field(pattern="^[01]{5,64}$")]
    windows: Annotated[list[Window], Field(max_length=41)]
    pulses: Annotated[
        list[Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(max_length=65)]], Field(max_length=2)
    ]

    @model_validator(mode="after")
    def ordered(self) -> Energy:
        """Refuse windows that are not idle, busy, ... idle, one after another in time, and pulses of another length."""
        kinds = [window.kind for window in self.windows]
        if kinds != [("idle", "busy")[place % 2] for place in range(len(kinds))] or (kinds and len(kinds) % 2 == 0):
            raise ValueError("the windows are not idle and busy by turns")
        if bool(kinds) == bool(self.reason):
            raise ValueError("it must hold either windows or a reason")
        first, last = self.pulses[:1], self.pulses[1:]
        spans = [[window.start_ns, window.end_ns] for window in self.windows]
        times = [time for part in (*first, *spans, *last) for time in part]
        if times != sorted(times) or any(window.start_ns == window.end_ns for window in self.windows):
            raise ValueError("the windows do not follow one another")
        if any(len(pulse) != len(self.pattern) + 1 for pulse in self.pulses):
            raise ValueError("a pulse has another length than its pattern")
        if any((window.kind == "busy") != bool(window.calls) for window in self.windows):
            raise ValueError("a busy window has no calls, or an idle one has some")
        return self


class Stopped(Answer):
    """The agent takes its leave."""

    id: int
    ev: Literal["stopped"]


class Error(Answer):
    """The agent could not do what was asked; ``kind`` is what a person has to change before it can."""

    id: int | None
    ev: Literal["error"]
    reason: Text
    kind: Literal["no_room", "not_held"] | None = None


AnyAnswer = Annotated[
    Hello
    | Sample
    | Reference
    | Failed
    | Progress
    | Done
    | Rested
    | Footprint
    | Tuned
    | Energy
    | Stopped
    | Error
    | Started
    | Row
    | Attached
    | Ended
    | Forgotten
    | Leased
    | Released
    | Absent
    | Lacking
    | Unpacked,
    Field(discriminator="ev"),
]
ANSWERS: TypeAdapter[Any] = TypeAdapter(AnyAnswer)
LAST = {
    *("hello", "done", "rested", "footprint", "tuned", "energy", "stopped", "error"),
    *("started", "attached", "ended", "forgotten", "leased", "released", "lacking", "unpacked"),
}


def parse(line: bytes) -> Any:
    """Return a checked answer; raises ValueError with a short reason for anything that is not the protocol."""
    if len(line) > MAX_ANSWER_BYTES:
        raise ValueError(f"a line of more than {MAX_ANSWER_BYTES:,} bytes")

    def refuse(constant: str) -> Any:
        raise ValueError(f"'{constant}' where a number belongs")

    try:
        value = json.loads(line.decode("utf-8"), parse_constant=refuse)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as fault:
        raise ValueError(f"a line that is not JSON: {line[:60]!r}") from fault
    return checked(value)


def checked(value: Any) -> Any:
    """Return what a record says; raises ValueError with a short reason for anything that is not the protocol."""
    try:
        return ANSWERS.validate_python(value)
    except ValidationError as fault:
        raise ValueError(": ".join(first_invalid(fault, "record"))) from fault


class Conversation:
    """One agent process spoken to: requests numbered, answers checked, every wait bounded."""

    __slots__ = ("channel", "device", "lease", "number")

    def __init__(self, channel: Channel, device: str, lease: str | None = None) -> None:
        """Speak over an open channel to a device of that name, held by a lease that every request renews."""
        self.channel = channel
        self.device = device
        self.lease = lease
        self.number = 0

    def ask(self, request: dict[str, Any], *, patience_s: float) -> Iterator[Any]:
        """Send a request and yield its answers up to the last one.

        ``patience_s`` is how long one line may be waited for, and how long writing the request may take.
        Raises DeviceLost where the agent ends, is silent, or says what the protocol does not allow.
        """
        self.number += 1
        held = {} if self.lease is None else {"lease": self.lease}
        line = (
            json.dumps({"id": self.number, **held, **request}, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        )
        self.channel.send(line, timeout_s=patience_s)
        while True:
            raw = self.channel.receive(timeout_s=patience_s, max_bytes=MAX_ANSWER_BYTES)
            try:
                answer = parse(raw)
            except ValueError as fault:
                raise answer_refused(self.device, str(fault)) from fault
            if answer.ev == "error":
                raise agent_refused(self.device, answer.kind, answer.reason)
            if answer.id != self.number:
                raise answer_refused(self.device, f"an answer to request {answer.id} while {self.number} is open")
            yield answer
            if answer.ev in LAST:
                return

    def rest(self, seconds: float, at: At | None = None, **more: Any) -> Rested:
        """Let the device do nothing for a while, and return how it is then; raises DeviceLost."""
        request = {"do": "rest", "seconds": seconds, "at": at, **more}
        for answer in self.ask(request, patience_s=seconds + HELLO_PATIENCE_S):
            if isinstance(answer, Rested):
                return answer
        raise device_lost(self.device, "it did not come back from a rest")

    def greet(
        self, runtimes: tuple[str, ...] = (), *, at: At | None = None, patience_s: float = HELLO_PATIENCE_S
    ) -> Hello:
        """Ask what the device is, trying the named runtimes; raises DeviceLost where the protocol versions differ."""
        deadline_s = time.monotonic() + patience_s
        request = {"do": "hello", "runtimes": list(runtimes), "at": at}
        for answer in self.ask(request, patience_s=patience_s):
            if isinstance(answer, Hello):
                if answer.protocol != VERSION:
                    raise versions_differ(self.device, answer.protocol, VERSION)
                return answer
            if time.monotonic() > deadline_s:
                break
        raise device_lost(self.device, "it did not greet")
