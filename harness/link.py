"""Speaks with a device whose link may break: work goes on there without us, and is followed on where it was left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from harness.answers import Absent, Answer, Attached, Ended, Forgotten, Lacking, Row, Started
from harness.errors import RESUME_HINT, answer_refused, device_lost, worker_lost
from harness.inventory import Device
from harness.protocol import At, Conversation, Hello, Progress, checked
from harness.refusals import agent_refused
from ofa.errors import DeviceAway, DeviceBarred, DeviceLost

T = TypeVar("T")
A = TypeVar("A", bound=Answer)

# A follower is told something every few seconds; silence beyond this is a broken link.
SILENCE_S = 20.0
ANSWER_S = 20.0
# How long a broken link is tried again; with the silence before it, nobody waits a minute for nothing.
RETRY_S = 30.0
PAUSE_S = 1.0
# Connections in a row that brought no record: then it is not the link that is broken.
MOST_IDLE = 4
# No batch takes so long: a worker whose host never comes back ends by itself.
CAP_S = 6 * 3600


class Link:
    """A conversation with a device. One over a link can begin anew; one with this computer is simply held."""

    __slots__ = ("conversation", "device", "job", "retry_s")

    def __init__(self, device: Device, *, retry_s: float | None = None) -> None:
        """Start an agent on the device; raises DeviceLost."""
        self.device = device
        self.job: str | None = None
        self.retry_s = RETRY_S if retry_s is None else retry_s
        self.conversation = Conversation(device.transport.open(), device.name, device.lease)

    def __enter__(self) -> Link:
        """Measure within a with block, at whose end the agent is ended."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the agent. Where the device was lost a worker goes on: whoever comes back finds what it measured; after
        any other fault nobody wants that.
        """
        if kind is None:
            self.close()
            return
        if not issubclass(kind, DeviceLost) and self.job is not None:
            self.end(self.job)
        # One that did not come back was ended here when it was given up: nobody waits for it once more.
        if not issubclass(kind, DeviceAway):
            self.kill()

    @property
    def remote(self) -> bool:
        """Say whether there is a link that can break."""
        return self.device.transport.remote

    def greet(self, *, at: At | None = None) -> Hello:
        """Ask what the device is; raises DeviceLost."""
        return self.kept(lambda: self.conversation.greet(at=at))

    def close(self) -> None:
        """End the agent, with a little patience."""
        self.conversation.channel.close()

    def kill(self) -> None:
        """End the agent, now; a worker on the far side of a link goes on."""
        self.conversation.channel.kill()

    def work(self, job: str, request: dict[str, Any], *, patience_s: float) -> Iterator[Any]:
        """Yield the answers to a request that is measured by: from the agent itself, or over a link from its worker.

        Over a link it is the job of that name: one that runs is followed, one that is complete is not done again. The
        agent of this computer may be silent for ``patience_s``. Raises DeviceLost where the link does not come back,
        or the worker is dead.
        """
        self.job = job
        if not self.remote:
            yield from self.conversation.ask(request, patience_s=patience_s)
            return
        self.kept(lambda: self.one({"do": "start", "job": job, "work": request, "cap_s": CAP_S}, Started))
        for answer in self._followed(job):
            if isinstance(answer, Row):
                yield self._row(job, answer)
            elif isinstance(answer, Attached) and answer.state == "dead":
                raise worker_lost(self.device.name, answer.reason or "it does not say why", answer.attempt or 1)
            elif isinstance(answer, Progress):
                yield answer

    def _followed(self, job: str) -> Iterator[Row | Progress | Attached]:
        """Yield what there is of a job to its end, over as many connections as that takes."""
        offset, idle = 0, 0
        while True:
            idle += 1
            try:
                for answer in self._attached(job, offset):
                    if isinstance(answer, Row):
                        offset, idle = answer.offset, 0
                    yield answer
                    if isinstance(answer, Attached):
                        return
            except DeviceLost as fault:
                if isinstance(fault, DeviceBarred) or idle >= MOST_IDLE:
                    raise
                self._anew(fault)

    def _attached(self, job: str, offset: int) -> Iterator[Row | Progress | Attached]:
        """Yield what one connection brings of a job's journal from an offset on."""
        request = {"do": "attach", "job": job, "offset": offset}
        for answer in self.conversation.ask(request, patience_s=SILENCE_S):
            if not isinstance(answer, Row | Progress | Attached):
                raise answer_refused(self.device.name, f"'{answer.ev}' is no part of a job")
            if isinstance(answer, Row):
                if answer.offset <= offset:
                    raise answer_refused(self.device.name, "a record of a job came twice")
                offset = answer.offset
            yield answer

    def _row(self, job: str, row: Row) -> Any:
        """Return a record of a journal as the answer it is; where it is none, the job is as wrong the next time."""
        try:
            found = checked({**row.row, "id": row.id})
            if found.ev != "error":
                return found
            refused = agent_refused(self.device.name, found.kind, found.reason)
        except ValueError as fault:
            refused = answer_refused(self.device.name, str(fault))
        self.end(job)
        raise refused

    def kept(self, ask: Callable[[], T]) -> T:
        """Ask once, and once more over a new connection where the first broke."""
        try:
            return ask()
        except DeviceBarred:
            raise
        except DeviceLost as fault:
            if not self.remote:
                raise
            self._anew(fault)
            return ask()

    def _anew(self, fault: DeviceLost) -> None:
        """Start another agent in place of one that is lost; raises where the device does not come back."""
        deadline_s = time.monotonic() + self.retry_s
        with suppress(DeviceLost):
            self.kill()
        while True:
            began_s = time.monotonic()
            try:
                self.conversation = Conversation(self.device.transport.open(), self.device.name, self.device.lease)
                return
            except DeviceBarred:
                raise
            except DeviceLost as again:
                # The next try may take as long as this one.
                if 2 * time.monotonic() - began_s + PAUSE_S > deadline_s:
                    why = f"{fault.why}; then: {again.why}"
                    hints = dict.fromkeys((*again.hints, RESUME_HINT))
                    raise device_lost(self.device.name, why, *hints, kind=DeviceAway) from fault
            time.sleep(PAUSE_S)

    def one(self, request: dict[str, Any], kind: type[A]) -> A:
        """Return the one answer of a kind that a request has; raises DeviceLost."""
        found: A | None = None
        for answer in self.conversation.ask(request, patience_s=ANSWER_S):
            if not isinstance(answer, kind):
                raise answer_refused(self.device.name, f"'{answer.ev}' does not answer '{request['do']}'")
            found = answer
        if found is None:
            raise device_lost(self.device.name, f"it did not answer '{request['do']}'")
        return found

    def lacking(self, names: list[str]) -> list[str]:
        """Return those of some files that the device does not have; none where it reads this computer's folder."""
        found: list[str] = []
        if not self.remote:
            return found
        for answer in self.conversation.ask({"do": "lacking", "names": names}, patience_s=ANSWER_S):
            if not isinstance(answer, Absent | Lacking):
                raise answer_refused(self.device.name, f"'{answer.ev}' does not say which files are lacking")
            found += answer.names
        return [name for name in dict.fromkeys(found) if name in set(names)]

    def end(self, job: str) -> None:
        """Kill a job's worker and what it wrote, as far as the device can be reached: nobody wants it any more."""
        if not self.remote:
            return
        with suppress(DeviceLost):
            self.kill()
        with suppress(DeviceLost):
            self.conversation = Conversation(self.device.transport.open(), self.device.name, self.device.lease)
            self.one({"do": "end", "job": job}, Ended)
            self.forget([job])

    def forget(self, jobs: list[str]) -> None:
        """Let the device remove jobs that are in the journal here; what it keeps for now it removes in a week."""
        if self.remote and jobs:
            with suppress(DeviceLost):
                self.one({"do": "forget", "jobs": jobs}, Forgotten)
