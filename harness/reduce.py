"""From journal to table: each round's statistic over the reference's, their median over rounds, intervals, flags."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import numpy as np

from harness.energy import Energy, NoSource
from harness.header import header_of
from harness.journal import Footprint, Journal, Measurement
from harness.levels import levelled
from harness.plan import EMPTY, Item
from harness.soundness import batch_of
from harness.stats import Estimate, apart, over_rounds, spread_of
from ofa.lut.format import Lut, NetworkRow, Row
from ofa.lut.noise import NOISY_HALF_WIDTH
from ofa.space import by_id

Basis = Literal["wall_p10_ns", "cpu_min_ns"]
# What stands in the column of a basis where a program tells only a summary of its calls, by its environment's word.
SUMMARIES = {"p5": "wall_p5_ns", "min": "wall_min_ns"}
UNSUPPORTED = "unsupported:"
Pair = tuple[Measurement, Measurement]
BASES: tuple[Basis, ...] = ("wall_p10_ns", "cpu_min_ns")

# Wall and CPU time of a call that nobody disturbed agree; the p10 of both over all items may differ this much.
WALL_OVER_CPU = 1.05
DRIFT_SPREAD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One item in one state: ns with its 95 % interval, both kinds of time, and what to know about it."""

    key: str
    state: str
    status: Literal["ok", "noisy", "failed", "unsupported"]
    ns: int | None
    lo: int | None
    hi: int | None
    cpu_ns: int | None
    wall_ns: int | None
    rounds: int
    flags: tuple[str, ...]
    session: str
    init_ns: int | None = None
    first_ns: int | None = None
    p95_ns: int | None = None
    reason: str = ""
    half_width: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the rounds were measured under; ``reference_ns`` is the session's value of the reference by state.

    ``summary`` names the statistic that stands for the 10th percentile where single calls are not told.
    """

    basis: Basis
    foreign_cores: float | None
    stolen_cores: float | None
    wall_over_cpu: float | None
    reference_ns: dict[str, float]
    reference_spread: dict[str, float]
    loaded: bool = False
    summary: str | None = None

    @property
    def statistic(self) -> str:
        """Return what every value of the table is the median over rounds of."""
        return self.basis if self.summary is None else SUMMARIES.get(self.summary, self.basis)

    @property
    def flags(self) -> tuple[str, ...]:
        """Return what every row of the table must carry: ``cpu`` (CPU time was believed), ``loaded`` (the device did
        other work beside it), ``drift`` (rounds differed), ``summary`` (no single call is known)."""
        found = ["cpu"] if self.basis == "cpu_min_ns" else []
        found += ["loaded"] if self.loaded else []
        if any(value > DRIFT_SPREAD for value in self.reference_spread.values()):
            found.append("drift")
        if self.summary is not None:
            found.append("summary")
        return tuple(found)


def clock_of(lut: Lut) -> Basis:
    """Return the clock that a table's values are of."""
    return "cpu_min_ns" if lut.header.protocol.get("statistic") == "cpu_min_ns" else "wall_p10_ns"


def conditions(journal: Journal, *, max_foreign_cores: float = 0.25, clock: Basis | None = None) -> Conditions:
    """Judge how quiet the device was, and so which clock to believe; or believe a given ``clock`` or that of the plan,
    where there is one.

    Quiet is: other work kept at most ``max_foreign_cores`` busy in the median batch, and the p10 of wall and CPU time
    agree within 5 % for the median item. Then the p10 of wall time is used, else the minimum of CPU time; never both
    in one table.
    """
    records = [record for _, _, record in journal.batches()]
    foreign = [float(record["foreign_cores"]) for record in records if record["foreign_cores"] != "unreadable"]
    stolen = [float(record["stolen_cores"]) for record in records if record["stolen_cores"] != "unreadable"]
    agreement = [row.wall_p10_ns / row.cpu_p10_ns for row in journal.samples() if row.cpu_p10_ns]
    wall_over_cpu = median(agreement) if agreement else None
    busy = bool(foreign) and median(foreign) > max_foreign_cores
    disturbed = wall_over_cpu is not None and wall_over_cpu > WALL_OVER_CPU
    # CPU time of a process whose threads wait for one another is no latency.
    usable = wall_over_cpu is not None and journal.plan.threads == 1
    basis: Basis = "cpu_min_ns" if usable and (busy or disturbed) else "wall_p10_ns"
    if clock := clock or journal.plan.clock:
        basis = clock if wall_over_cpu is not None else "wall_p10_ns"
    by_state: dict[str, list[float]] = defaultdict(list)
    for row in journal.references():
        value = getattr(row, basis)
        if value is not None and row.state is not None:
            by_state[row.state].append(float(value))
    environment: dict[str, Any] = next((record["environment"] for _, record in journal.sessions()), {})
    return Conditions(
        basis=basis,
        loaded=busy,
        summary=str(environment.get("statistic")) if environment.get("calls") == "summary" else None,
        foreign_cores=median(foreign) if foreign else None,
        stolen_cores=median(stolen) if stolen else None,
        wall_over_cpu=wall_over_cpu,
        reference_ns={state: median(values) for state, values in by_state.items()},
        reference_spread={state: apart(values) for state, values in by_state.items()},
    )


def measured(journal: Journal, found: Conditions | None = None) -> dict[tuple[str, str], Measured]:
    """Return every item of the plan that was measured or failed, by (key, state).

    The value is median over rounds of (item / reference of the same round, batch and state) x the session's reference,
    so that a process or an hour in which everything is slower cancels; what a batch of many items is still off by as a
    whole is taken off them. Failed items have no value and say why.
    """
    found = found or conditions(journal)
    references = {(row.round, row.batch, row.state): row for row in journal.references()}
    states = [item.state for item in journal.plan.items]
    pairs: dict[int, list[Pair]] = defaultdict(list)
    for row in journal.samples():
        assert row.item is not None
        pairs[row.item].append((row, references[row.round, row.batch, states[row.item]]))
    estimates = {basis: _estimates(pairs, states, basis) for basis in BASES}
    sessions, failures, drifted = journal.session_of_rounds(), journal.failures(), drifts(journal)
    result: dict[tuple[str, str], Measured] = {}
    for index, item in enumerate(journal.plan.items):
        if index in failures:
            result[item.key, item.state] = Measured(
                key=item.key, state=item.state, status=_why_none(failures[index]), ns=None, lo=None, hi=None,
                cpu_ns=None, wall_ns=None, rounds=0, flags=(), session=max(sessions.values(), default=""),
                reason=failures[index],
            )  # fmt: skip
        elif pairs[index]:
            own = {basis: estimates[basis].get(index) for basis in BASES}
            flags = list(found.flags)
            flags += ["moved"] if any((row.round, row.batch) in drifted for row, _ in pairs[index]) else []
            result[item.key, item.state] = _measured(
                item, pairs[index], own, found, flags, max(sessions[row.round] for row, _ in pairs[index])
            )
    return result


def _why_none(reason: str) -> Literal["failed", "unsupported"]:
    """Return the status of an item without a time: the agent's reason begins with a word where its unit left parts."""
    return "unsupported" if reason.startswith(UNSUPPORTED) else "failed"


def drifts(journal: Journal) -> set[tuple[int, int]]:
    """Return the batches (round, batch) in which a canary moved by more than the protocol allows."""
    most = journal.plan.protocol.drift_most
    return {(number, batch) for number, batch, record in journal.batches() if batch_of(record).drift > most}


def _estimates(pairs: dict[int, list[Pair]], states: Sequence[str], basis: Basis) -> dict[int, Estimate]:
    """Return the estimate of item over reference for every item; none where the device has no such clock.

    What the items of a state together say of a batch, and of the spread of one over rounds, is in them.
    """
    found: dict[int, Estimate] = {}
    for state in sorted(set(states)):
        rows = [(index, *pair) for index, own in pairs.items() if states[index] == state for pair in own]
        if not rows or any(getattr(row, basis) is None for _, *pair in rows for row in pair):
            continue
        indices = np.array([index for index, _, _ in rows])
        logs = np.log([getattr(item, basis) / getattr(reference, basis) for _, item, reference in rows])
        rounds, batches = (np.array([getattr(item, name) for _, item, _ in rows]) for name in ("round", "batch"))
        levels, shared = levelled(indices, rounds, batches, logs)
        ratios: dict[int, list[float]] = defaultdict(list)
        for index, value in zip(indices.tolist(), np.exp(levels).tolist(), strict=True):
            ratios[index].append(value)
        spread = spread_of(list(ratios.values()))
        found |= {index: over_rounds(values, spread, shared) for index, values in ratios.items()}
    return found


def _measured(
    item: Item,
    pairs: Sequence[Pair],
    own: dict[Basis, Estimate | None],
    found: Conditions,
    flags: list[str],
    session: str,
) -> Measured:
    """Reduce the rounds of one item; each pair is the item's and the reference's statistics of one round."""
    estimate = own[found.basis]
    assert estimate is not None
    noisy = estimate.half_width > NOISY_HALF_WIDTH or estimate.rounds < 2
    scale = found.reference_ns[item.state]
    beside = {
        basis: None if value is None else max(1, round(value.value * median(_values(pairs, basis, 1))))
        for basis, value in own.items()
    }
    return Measured(
        key=item.key,
        state=item.state,
        status="noisy" if noisy else "ok",
        ns=max(1, round(estimate.value * scale)),
        lo=max(1, round(estimate.lo * scale)),
        hi=max(1, round(estimate.hi * scale)),
        cpu_ns=beside["cpu_min_ns"],
        wall_ns=beside["wall_p10_ns"],
        rounds=estimate.rounds,
        flags=tuple(flags),
        session=session,
        init_ns=round(median(row.load_ns or 0 for row, _ in pairs)),
        first_ns=round(median(row.first_ns or 0 for row, _ in pairs)),
        p95_ns=round(median(row.wall_p95_ns for row, _ in pairs)),
        half_width=estimate.half_width,
    )


def _values(pairs: Sequence[Pair], basis: Basis, part: int) -> list[float]:
    """Return one statistic of the item (part 0) or the reference (part 1) over rounds."""
    return [float(getattr(pair[part], basis)) for pair in pairs]


def table(
    journal: Journal,
    found: Conditions | None = None,
    again: Journal | None = None,
    energies: Mapping[str, Energy | NoSource] | None = None,
) -> Lut:
    """Return the table that a journal amounts to: ops and overheads by state, whole networks, and its sessions.

    ``energies`` are those of networks by file, or why they are not known. ``again`` is the journal of the networks'
    second measurement: its ratios to the reference are those of its own rounds, and its times are at the speed of the
    first one's reference. Raises FileInvalid where a network of the plan is none of its space.
    """
    found = found or conditions(journal)
    values = measured(journal, found)
    footprints = journal.footprints()
    drawn = energies or {}
    pairs = [(item, values[item.key, item.state]) for item in journal.plan.items if (item.key, item.state) in values]
    later = {} if again is None else {key: value.ns for (key, _), value in measured(again, found).items()}
    return Lut(
        header=header_of(journal.plan, found.statistic, journal.sessions()[0][1]),
        rows=tuple(_row(value) for item, value in pairs if item.kind in ("op", "overhead")),
        networks=tuple(
            _network_row(item, value, later.get(item.key), footprints.get(item.file), drawn.get(item.file))
            for item, value in pairs
            if item.kind == "network"
        ),
        sessions=(*sessions_of(journal, found), *([] if again is None else map(_again, sessions_of(again, found)))),
    ).sorted()


def _common(value: Measured) -> dict[str, Any]:
    """Return what the rows of ops and of networks both hold."""
    names = ("status", "ns", "lo", "hi", "cpu_ns", "wall_ns", "rounds", "flags", "session")
    return {name: getattr(value, name) for name in names}


def _row(value: Measured) -> Row:
    """Return the row of an op or overhead."""
    return Row(key=value.key, state=value.state, **_common(value))


def _network_row(
    item: Item,
    value: Measured,
    again_ns: int | None,
    footprint: Footprint | None,
    drawn: Energy | NoSource | None,
) -> NetworkRow:
    """Return the row of a whole network; one that failed has no second measurement either."""
    space = by_id(item.space or "")
    subnet = space.subnet(bytes.fromhex(item.genome or ""))
    return NetworkRow(
        space=space.id,
        id=subnet.id,
        genome=item.genome or "",
        split=item.split or "fit",
        **_common(value),
        init_ns=value.init_ns,
        first_ns=value.first_ns,
        p95_ns=value.p95_ns,
        again_ns=None if value.ns is None else again_ns,
        peak_rss_kib=None if footprint is None else footprint.peak_rss_kib,
        file_bytes=item.size_bytes or None,
        **(_energy_columns(drawn) if isinstance(drawn, Energy) else {}),
    )


def _energy_columns(drawn: Energy) -> dict[str, Any]:
    """Return the energy of a network as its row holds it; rails are called what the board likes."""
    value, low, high = drawn.microjoules
    averaging_s = drawn.averaging_s
    return {
        "energy_uj": value,
        "energy_lo": low,
        "energy_hi": high,
        "energy_source": re.sub(r"[^A-Za-z0-9._:+-]", "_", drawn.source)[:200],
        "energy_averaging_ms": None if averaging_s is None else round(averaging_s * 1000),
    }


def sessions_of(journal: Journal, found: Conditions) -> list[dict[str, Any]]:
    """Return one record for each session that measured anything: when, with what, how quiet the device was, the
    reference's own time. One that ended before its first round was complete is none.

    The session that measured the empty network's memory holds it: the share of the runtime, not of any network. Where
    it is known on which cores the session ran, it is said.
    """
    rounds, footprints = journal.session_of_rounds(), journal.footprints()
    empty = footprints.get(EMPTY)
    measured_in = {
        *rounds.values(),
        *(one.session for one in footprints.values()),
        *(one.session for one in journal.windows().values()),
    }
    records = []
    for identity, record in journal.sessions():
        if identity not in measured_in:
            continue
        own = sorted(number for number, session in rounds.items() if session == identity)
        begun = sum(journal.attempts_of(number) for number in own)
        batches = [facts for number, _, facts in journal.batches() if number in own]
        kept = {name: value for name, value in record.items() if name not in ("environment", "device")}
        quiet = {
            name: round(median(values), 3) if (values := _readings(batches, name)) else "unreadable"
            for name in ("foreign_cores", "stolen_cores")
        }
        if empty is not None and empty.session == identity:
            quiet["empty_rss_kib"] = empty.peak_rss_kib or "unreadable"
        on = sorted(
            {
                str(facts["state"]["cores"])
                for facts in batches
                if facts["state"].get("cores", "unreadable") != "unreadable"
            }
        )
        quiet |= {"on_cores": " / ".join(on)} if on else {}
        temperatures = [facts["state"].get("temperature_c", "unreadable") for facts in batches[-1:]]
        records.append(
            {
                **kept,
                **quiet,
                "id": identity,
                "rounds": [number + 1 for number in own],
                "begun_anew": begun - len(own),
                "batches_redone": sum(int(facts["redone"]) for facts in batches),
                "reference_ns": reference_of(journal, found, own),
                "temperature_c": temperatures[0] if temperatures else "unreadable",
            }
        )
    return records


def _again(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a session that measured networks again: the table's values are not at its reference's speed,
    and nothing that compares tables by their sessions may take it for theirs."""
    kept = {name: value for name, value in record.items() if name != "reference_ns"}
    return {**kept, "id": f"{record['id']}-again", "again": True, "again_reference_ns": record["reference_ns"]}


def reference_of(journal: Journal, found: Conditions, rounds: Sequence[int]) -> dict[str, int]:
    """Return the reference's median in some rounds, ns by state."""
    by_state: dict[str, list[float]] = defaultdict(list)
    for row in journal.references():
        value = getattr(row, found.basis)
        if row.round in rounds and row.state is not None and value is not None:
            by_state[row.state].append(float(value))
    return {state: round(median(values)) for state, values in sorted(by_state.items())}


def _readings(batches: Sequence[dict[str, Any]], name: str) -> list[float]:
    """Return the readings of some batches that could be read."""
    return [float(facts[name]) for facts in batches if facts[name] != "unreadable"]
