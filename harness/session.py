"""Carries out a plan: greet, run the rounds that are not done yet, each in a fresh agent process, and journal them
whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from harness.errors import answer_refused, device_lost, environment_changed, runtime_not_ready, too_hot
from harness.inventory import Device
from harness.journal import STATS, Journal
from harness.plan import Plan
from harness.protocol import Conversation, Done, Failed, Hello, Progress, Reference, Runtime, Sample
from ofa.errors import DeviceLost
from ofa.files import canonical_json, sha256_bytes

OnProgress = Callable[[int, int, str], None]
PATIENCE_S = 60.0
ATTEMPTS_PER_SESSION = 3


@dataclass(slots=True)
class Round:
    """What one attempt at a round has given so far, as rows of the journal."""

    samples: list[tuple[Any, ...]] = field(default_factory=list)
    refs: list[tuple[Any, ...]] = field(default_factory=list)
    failures: list[tuple[Any, ...]] = field(default_factory=list)
    batches: list[tuple[Any, ...]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def take(self, answer: Sample | Failed | Reference, place: int, states: Mapping[int, str]) -> str | None:
        """Keep an answer about a batch whose items have these states; return why not, if nobody asked."""
        if isinstance(answer, Reference):
            if answer.state not in states.values() or (place, answer.state) in {row[:2] for row in self.refs}:
                return f"a reference for state '{answer.state}' was not asked for, or came twice"
            self.refs.append((place, answer.state, *stats_of(answer)))
            return None
        if answer.item not in states or answer.item in self.seen:
            return f"item {answer.item} was not asked for, or came twice"
        self.seen.add(answer.item)
        if isinstance(answer, Sample):
            self.samples.append((place, answer.item, *stats_of(answer), answer.load_ns, answer.first_ns))
        else:
            self.failures.append((answer.item, answer.reason))
        return None

    def missing(self, place: int, states: Mapping[int, str]) -> str:
        """Say what a batch lacks; empty where every item is answered and every state measured has a reference."""
        items = len(set(states) - self.seen)
        measured = {states[row[1]] for row in self.samples if row[0] == place}
        lacking = sorted(measured - {row[1] for row in self.refs if row[0] == place})
        said = [f"{items} of {len(states)} items"] if items else []
        return ", ".join(said + [f"the reference for state '{state}'" for state in lacking])

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the rows by table."""
        return {"samples": self.samples, "refs": self.refs, "failures": self.failures, "batches": self.batches}


def quiet(done: int, total: int, text: str) -> None:
    """Show nothing."""


def greet(device: Device, runtimes: tuple[str, ...] = ()) -> Hello:
    """Ask a device what it is, trying the named runtimes; raises DeviceLost."""
    channel = device.transport.open()
    try:
        return Conversation(channel, device.name).greet(runtimes)
    finally:
        channel.close()


def ready_runtime(device: Device, name: str) -> tuple[Hello, Runtime]:
    """Return the hello and the runtime in it; raises MeasurementRefused where it cannot run a network."""
    hello = greet(device, (name,))
    found = [runtime for runtime in hello.runtimes if runtime.name == name]
    if not found or not found[0].ready:
        raise runtime_not_ready(device.name, name, (found[0].reason if found else None) or "the agent does not know it")
    return hello, found[0]


def environment(plan: Plan, hello: Hello, runtime: Runtime) -> dict[str, Any]:
    """Return everything that changes latency: device, runtime and how it is used."""
    return {
        **hello.environment,
        "runtime": runtime.name,
        "runtime_version": runtime.version or "unreadable",
        "kernels": plan.kernels,
        "precision": plan.precision,
        "threads": plan.threads,
    }


def environment_id(conditions: dict[str, Any]) -> str:
    """Return the first 12 hex digits of the SHA-256 of the environment's canonical JSON."""
    return sha256_bytes(canonical_json(conditions).encode())[:12]


def run(
    plan: Plan,
    *,
    device: Device,
    journal: Journal,
    on_progress: OnProgress = quiet,
    patience_s: float = PATIENCE_S,
) -> None:
    """Measure what the journal lacks of its plan.

    A round that ended badly is begun again, up to three times a session; its samples never mix with another attempt's.
    Raises DeviceLost, MeasurementRefused; on any exception, Ctrl-C too, the agent is ended and the journal can be
    resumed.
    """
    remaining = [number for number in range(plan.rounds) if number not in journal.complete_rounds()]
    total = plan.rounds * len(plan.items)
    done = total - len(remaining) * len(plan.items)
    if not remaining:
        on_progress(total, total, "all rounds are done")
        return
    on_progress(done, total, f"greeting {device.name}")
    hello, runtime = ready_runtime(device, plan.runtime)
    session = begin_session(plan, device, journal, hello, runtime)
    for number in remaining:
        tell = partial(_tell, on_progress, done, len(plan.items), total)
        complete_round(plan, number, device, journal, session=session, patience_s=patience_s, on_share=tell)
        done += len(plan.items)
        on_progress(done, total, f"round {number + 1} of {plan.rounds}")


def complete_round(
    plan: Plan,
    number: int,
    device: Device,
    journal: Journal,
    *,
    session: str,
    patience_s: float,
    on_share: Callable[[str, float], None],
) -> None:
    """Measure one round until it is whole, at most three times; raises DeviceLost after the last."""
    for attempt_here in range(1, ATTEMPTS_PER_SESSION + 1):
        text = f"round {number + 1} of {plan.rounds}" + (f", attempt {attempt_here}" if attempt_here > 1 else "")
        attempt = journal.begin_attempt(number, session=session, started_utc=utc_now())
        try:
            gained = measure_round(plan, number, device, patience_s=patience_s, on_share=partial(on_share, text))
        except DeviceLost as fault:
            note = f"{fault.what}: {fault.why}"[:400]
            journal.end_attempt(number, attempt, {}, ended_utc=utc_now(), status="lost", note=note)
            if attempt_here == ATTEMPTS_PER_SESSION:
                raise
            continue
        journal.end_attempt(number, attempt, gained.rows(), ended_utc=utc_now())
        return


def _tell(on_progress: OnProgress, done: int, items: int, total: int, text: str, share: float) -> None:
    """Turn a share of a round into items done."""
    on_progress(done + int(share * items), total, text)


def begin_session(plan: Plan, device: Device, journal: Journal, hello: Hello, runtime: Runtime) -> str:
    """Note a session in the journal and return its id; raises MeasurementRefused where the conditions changed since
    the first."""
    conditions = environment(plan, hello, runtime)
    earlier = journal.sessions()
    if earlier:
        before = earlier[0][1]["environment"]
        if environment_id(before) != environment_id(conditions):
            names = sorted(name for name in before | conditions if before.get(name) != conditions.get(name))
            raise environment_changed(device.name, names, journal.path)
    identity = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{environment_id(conditions)[:4]}{len(earlier)}"
    journal.begin_session(
        identity,
        {
            "started_utc": utc_now(),
            "device": device.name,
            "environment": conditions,
            "environment_id": environment_id(conditions),
            "state": hello.state,
            "clocks": hello.clocks.model_dump(),
            "agent": device.transport.agent.name,
            "host_python": "{}.{}.{}".format(*sys.version_info[:3]),
            "plan": plan.hash,
        },
    )
    return identity


def check_heat(device: Device, hello: Hello) -> None:
    """Raise MeasurementRefused where the hottest sensor is above the profile's limit, or nothing can be read."""
    limit_c = device.profile.calm.max_temp_c
    if limit_c is None:
        return
    sensors = hello.state.get("temperature_c")
    readings = sensors.values() if isinstance(sensors, dict) else []
    known = [float(value) for value in readings if isinstance(value, int | float)]
    if not known or max(known) > limit_c:
        raise too_hot(device.name, max(known) if known else None, limit_c)


def measure_round(
    plan: Plan, number: int, device: Device, *, patience_s: float, on_share: Callable[[float], None]
) -> Round:
    """Measure one round in a fresh process; raises DeviceLost. ``on_share`` is told how much of it is done, 0 to 1."""
    gained = Round()
    batches = plan.batches(number)
    channel = device.transport.open()
    try:
        conversation = Conversation(channel, device.name)
        check_heat(device, conversation.greet())
        for place, batch in enumerate(batches):
            part = partial(_part, on_share, place, len(batches))
            measure_batch(plan, number, place, batch, conversation, gained, patience_s=patience_s, on_share=part)
        channel.close()
    except BaseException:
        channel.kill()
        raise
    return gained


def _part(on_share: Callable[[float], None], place: int, batches: int, share: float) -> None:
    """Turn a share of a batch into a share of its round."""
    on_share((place + share) / batches)


def measure_batch(
    plan: Plan,
    number: int,
    place: int,
    batch: list[int],
    conversation: Conversation,
    gained: Round,
    *,
    patience_s: float,
    on_share: Callable[[float], None],
) -> None:
    """Measure one batch and add its rows; raises DeviceLost where an item is missing, repeated or not asked for."""
    request = {
        "do": "bench",
        "runtime": plan.runtime,
        "kernels": plan.kernels,
        "threads": plan.threads,
        "parameters": {**plan.protocol.for_agent(), "seed": plan.batch_seed(number, place)},
        "reference": plan.reference.file,
        "items": [[index, plan.items[index].state, plan.items[index].file] for index in batch],
    }
    states = {index: plan.items[index].state for index in batch}
    done: Done | None = None
    for answer in conversation.ask(request, patience_s=patience_s):
        if isinstance(answer, Progress):
            on_share(answer.share)
        elif isinstance(answer, Sample | Failed | Reference):
            refusal = gained.take(answer, place, states)
            if refusal:
                raise answer_refused(conversation.device, refusal)
        elif isinstance(answer, Done):
            done = answer
        else:
            raise answer_refused(conversation.device, f"'{answer.ev}' does not belong to a measurement")
    missing = gained.missing(place, states)
    if done is None or missing:
        raise device_lost(conversation.device, f"not answered: {missing or 'the end of the batch'}")
    gained.batches.append((place, canonical_json(done.model_dump(exclude={"id", "ev"}))))


def stats_of(answer: Sample | Reference) -> tuple[int | None, ...]:
    """Return the statistics in the journal's order of columns."""
    return tuple(getattr(answer, name) for name in STATS)


def utc_now() -> str:
    """Return the time as ISO 8601, whole seconds, UTC."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
