"""Carries out a plan: greet, run the rounds that are not done yet, each in a fresh agent process, and journal them
whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from typing import Any

from harness import waits, ways
from harness.answers import Facts
from harness.discreet import public
from harness.errors import answer_refused, device_lost
from harness.gate import cool, quieten, told
from harness.inventory import Device
from harness.journal import STATS, Journal
from harness.link import Link
from harness.plan import Plan, Way
from harness.protocol import At, Conversation, Done, Failed, Hello, Progress, Reference, Runtime, Sample
from harness.refusals import environment_changed, runtime_not_ready
from harness.stopping import next_round
from harness.supply import supply
from ofa.errors import DeviceAway, DeviceBarred, DeviceLost
from ofa.files import canonical_json, sha256_bytes
from ofa.lut.header import environment_id

OnProgress = Callable[[int, int, str], None]
PATIENCE_S = 60.0
ATTEMPTS_PER_SESSION = 3


@dataclass(slots=True)
class Round:
    """What one attempt at a round, or at a batch of it, has given so far, as rows of the journal."""

    samples: list[tuple[Any, ...]] = field(default_factory=list)
    refs: list[tuple[Any, ...]] = field(default_factory=list)
    failures: list[tuple[Any, ...]] = field(default_factory=list)
    batches: list[tuple[Any, ...]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    drift: float = 0.0

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

    def end(self, place: int, done: Done, redone: int) -> None:
        """Keep what was said of a batch as a whole, and how often it was begun anew before."""
        self.batches.append((place, canonical_json(done.model_dump(exclude={"id", "ev"}) | {"redone": redone})))
        self.drift = done.drift

    def add(self, batch: Round) -> None:
        """Add what one more batch gave."""
        for name, rows in batch.rows().items():
            getattr(self, name).extend(rows)
        self.seen |= batch.seen

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the rows by table."""
        return {"samples": self.samples, "refs": self.refs, "failures": self.failures, "batches": self.batches}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One attempt at a round: which items of which plan, on what device, and whether beside whatever else it does."""

    plan: Plan
    number: int
    items: tuple[int, ...]
    device: Device
    patience_s: float
    run: str
    allow_load: bool = True

    def job(self, place: int, redo: int, batch: Sequence[int]) -> str:
        """Return the name a batch has on the device: the same for whoever goes on with this measurement, no other."""
        facts = [self.run, self.plan.hash, *self.at(place, redo), list(batch)]
        return sha256_bytes(canonical_json(facts).encode())[:32]

    def at(self, place: int, redo: int = 0) -> At:
        """Return what a request about a batch belongs to, that was begun anew so often."""
        return (self.plan.rounds_before or 0) + self.number, redo, place


def quiet(done: int, total: int, text: str) -> None:
    """Show nothing."""


def greet(device: Device, runtimes: tuple[str, ...] = ()) -> Hello:
    """Ask a device what it is, trying the named runtimes; raises DeviceLost."""
    channel = device.transport.open()
    try:
        return Conversation(channel, device.name, device.lease).greet(runtimes)
    finally:
        channel.close()


def ready_runtime(device: Device, name: str) -> tuple[Hello, Runtime]:
    """Return the hello and the runtime in it; raises MeasurementRefused where it cannot run a network."""
    hello = greet(device, (name,))
    if device.tuned is not None:
        hello = hello.model_copy(update={"environment": {**hello.environment, "tuned": dict(device.tuned)}})
    found = [runtime for runtime in hello.runtimes if runtime.name == name]
    if not found or not found[0].ready:
        why = (found[0].reason if found else None) or "the agent does not know it"
        raise runtime_not_ready(device.name, name, why, listed=device.transport.remote)
    return hello, found[0]


def environment(plan: Plan, hello: Hello, runtime: Runtime) -> dict[str, Any]:
    """Return everything that changes latency of what a plan measures: device, runtime and how it is used."""
    return environment_of(hello, runtime, plan.way, plan.protocol.regime)


def environment_of(hello: Hello, runtime: Runtime, way: Way, regime: str) -> dict[str, Any]:
    """Return everything that changes latency: device, runtime and how it is used."""
    said = way.said()
    # The word "cores" is how many the device has.
    pinned = said.pop("cores", None)
    return {
        **hello.environment,
        "runtime": runtime.name,
        "runtime_version": runtime.version or "unreadable",
        **said,
        **({} if pinned is None else {"pinned": f"{pinned} cores"}),
        **({"accelerator": runtime.units[way.unit].says} if way.unit in runtime.units else {}),
        "regime": regime,
    }


def run(
    plan: Plan,
    *,
    device: Device,
    journal: Journal,
    like: Journal | None = None,
    allow_load: bool = True,
    on_progress: OnProgress = quiet,
    patience_s: float = PATIENCE_S,
) -> str | None:
    """Measure what the journal lacks of its plan, under the conditions of another journal where one is given.

    Returns the session's id, None where nothing was lacking. Without ``allow_load``, each round waits until the device
    does next to nothing else. A round that broke off is begun again, up to three times a session; its samples never
    mix with another attempt's. Raises DeviceLost, MeasurementRefused; on any exception, Ctrl-C too, the agent is ended
    and the journal can be resumed.
    """
    total = plan.rounds * len(plan.items)
    done = min(total, len(journal.complete_rounds()) * len(plan.items))
    following = partial(next_round, plan, journal, max_foreign_cores=device.profile.calm.max_foreign_cores)
    wanted = following()
    if wanted is None:
        on_progress(total, total, "all rounds are done")
        return None
    on_progress(done, total, f"greeting {device.name}")
    hello, runtime = ready_runtime(device, plan.runtime)
    session = begin_session(plan, device, journal, hello, runtime, like=like)
    while wanted is not None:
        number, items = wanted
        if number >= plan.rounds:
            # What these rounds hold is known only as each comes: as much in all that may come is the most.
            total = max(total, done + len(items) * (plan.rounds_most - number))
        tell = partial(_tell, on_progress, done, len(items), total)
        ask = Ask(
            plan=plan,
            number=number,
            items=tuple(items),
            device=device,
            patience_s=patience_s,
            run=run_of(journal),
            allow_load=allow_load,
        )
        complete_round(ask, journal, session=session, on_share=tell)
        done += len(items)
        on_progress(done, total, round_of(plan, number))
        wanted = following()
    if done < total:
        on_progress(done, done, "no round more is needed")
    return session


def round_of(plan: Plan, number: int) -> str:
    """Return what a round is called, and how many there are, as far as that is known."""
    if number >= plan.rounds:
        return f"round {number + 1} of at most {plan.rounds_most}"
    return f"round {number + 1} of {'at least ' if plan.rounds_most > plan.rounds else ''}{plan.rounds}"


def complete_round(
    ask: Ask,
    journal: Journal,
    *,
    session: str,
    on_share: Callable[[str, str, float], None],
) -> None:
    """Measure one round until it is whole; raises DeviceLost where it broke off three times."""
    number, broken = ask.number, 0
    while True:
        text = round_of(ask.plan, number) + (f", attempt {broken + 1}" if broken else "")
        attempt = journal.begin_attempt(number, session=session, started_utc=utc_now())
        try:
            gained = measure_round(ask, partial(on_share, text))
        except DeviceLost as fault:
            note = public(ask.device, f"{fault.what}: {fault.why}")[:400]
            journal.end_attempt(number, attempt, {}, ended_utc=utc_now(), status="lost", note=note)
            broken += 1
            if broken == ATTEMPTS_PER_SESSION or isinstance(fault, DeviceBarred | DeviceAway):
                raise
            continue
        gained.failures = [(item, public(ask.device, why)) for item, why in gained.failures]
        journal.end_attempt(number, attempt, gained.rows(), ended_utc=utc_now())
        return


def _tell(on_progress: OnProgress, done: int, items: int, total: int, text: str, note: str, share: float) -> None:
    """Turn a share of a round into items done."""
    on_progress(done + int(share * items), total, f"{text}, {note}" if note else text)


def begin_session(
    plan: Plan, device: Device, journal: Journal, hello: Hello, runtime: Runtime, *, like: Journal | None = None
) -> str:
    """Note a session in the journal and return its id; raises MeasurementRefused where the conditions changed since
    the first, or are not those of the journal it is to be ``like``."""
    conditions = environment(plan, hello, runtime)
    earlier = journal.sessions()
    known = [*([] if like is None else like.sessions()), *earlier]
    if known:
        before = known[0][1]["environment"]
        if environment_id(before) != environment_id(conditions):
            names = sorted(name for name in before | conditions if before.get(name) != conditions.get(name))
            raise environment_changed(device.name, names, journal.path)
    # Two units of one kind may begin in the same second, and their tables are to be merged: their sessions are two.
    identity = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{environment_id(conditions)[:4]}{len(earlier)}-{token_hex(2)}"
    journal.begin_session(
        identity,
        {
            "started_utc": utc_now(),
            "device": device.kind,
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


def measure_round(ask: Ask, on_share: Callable[[str, float], None]) -> Round:
    """Measure one round in a fresh process, quiet before it and cool before each batch where that is asked for.

    A batch in which the device drifted is begun anew.

    Raises DeviceLost, and MeasurementRefused where the device does not become quiet or cool.

    ``on_share`` is told how much of it is done, 0 to 1.
    """
    plan, device = ask.plan, ask.device
    gained, reached, said = Round(), 0.0, ""

    def ahead(text: str, share: float) -> None:
        """Tell how much is done, which what is begun anew does not make less."""
        nonlocal reached
        reached = max(reached, share)
        on_share(text, reached)

    batches = plan.batches(ask.number, ask.items)
    redos = range(plan.protocol.redo_most + 1)
    jobs = [ask.job(place, redo, batch) for place, batch in enumerate(batches) for redo in redos]
    with Link(device) as link:
        state = link.greet(at=ask.at(0)).state
        supply(link, _files(ask), on_bytes=partial(waits.bringing, ahead))
        if not ask.allow_load:
            working = partial(waits.working, ahead, device.profile.calm.max_foreign_cores)
            own = jobs if link.remote else ()
            state = quieten(device, link.conversation, ask.at(0), jobs=own, on_rest=working)
        for place, batch in enumerate(batches):
            for redo in redos:
                if plan.protocol.regime == "burst":
                    resting = partial(waits.resting, ahead, place / len(batches))
                    cool(device, link.conversation, state, ask.at(place, redo), on_rest=resting)
                part, share = Round(), partial(waits.part, ahead, place, len(batches), said)
                # The end of whatever was waited for: the batch's own first word may be seconds away.
                share(0.0)
                state = measure_batch(ask, place, redo, batch, link, part, on_share=share)
                said = told(state, part.drift)
                if part.drift <= plan.protocol.drift_most:
                    break
            # Drift that does not end is kept, and told by its batch.
            gained.add(part)
            ahead(said, (place + 1) / len(batches))
        link.forget(jobs)
    return gained


def _files(ask: Ask) -> list[str]:
    """Return the names of the files a round needs."""
    own = [ask.plan.items[index].file for index in ask.items]
    return [*own, ask.plan.reference.file, *ask.plan.canaries.values()]


def run_of(journal: Journal) -> str:
    """Return what tells a journal from any other, on whichever host: a measurement begun anew is another one."""
    first = journal.sessions()[0][0]
    return sha256_bytes(f"{journal.path.resolve()} {first}".encode())


def measure_batch(
    ask: Ask,
    place: int,
    redo: int,
    batch: list[int],
    link: Link,
    gained: Round,
    *,
    on_share: Callable[[float], None],
) -> Facts:
    """Measure one batch, begun anew so often, add its rows, and return the device's state after it.

    Raises DeviceLost where an item is missing, repeated or not asked for.
    """
    plan = ask.plan
    request = {
        "do": "bench",
        "at": ask.at(place, redo),
        "runtime": plan.runtime,
        **plan.way.said(),
        "parameters": plan.protocol.for_agent(rested=place + redo == 0) | {"seed": plan.batch_seed(ask.number, place)},
        "reference": plan.reference.file,
        "canaries": plan.canaries,
        "items": [[index, plan.items[index].state, plan.items[index].file] for index in batch],
    }
    states = {index: plan.items[index].state for index in batch}
    done: Done | None = None
    job, name = ask.job(place, redo, batch), ask.device.name
    for answer in link.work(job, request, patience_s=ways.patience_s(plan.way, ask.patience_s)):
        refusal = None
        if isinstance(answer, Progress):
            on_share(answer.share)
        elif isinstance(answer, Sample | Failed | Reference):
            refusal = gained.take(answer, place, states)
        elif isinstance(answer, Done):
            done = answer
        else:
            refusal = f"'{answer.ev}' does not belong to a measurement"
        if refusal:
            # What the device keeps of this job is as wrong the next time.
            link.end(job)
            raise answer_refused(name, refusal)
    missing = gained.missing(place, states)
    if done is None or missing:
        link.end(job)
        raise device_lost(name, f"not answered: {missing or 'the end of the batch'}")
    gained.end(place, done, redo)
    return done.state


def stats_of(answer: Sample | Reference) -> tuple[int | None, ...]:
    """Return the statistics in the journal's order of columns."""
    return tuple(getattr(answer, name) for name in STATS)


def utc_now() -> str:
    """Return the time as ISO 8601, whole seconds, UTC."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
