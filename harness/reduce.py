"""From journal to table: each round's statistic over the reference's, their median over rounds, intervals, flags."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from harness.journal import Journal, Measurement
from harness.plan import Item, Plan
from harness.stats import Estimate, over_rounds, spread
from ofa.lut.format import Header, Lut, NetworkRow, Row
from ofa.space import by_id

Basis = Literal["wall_p10_ns", "cpu_min_ns"]

# Wall and CPU time of a call that nobody disturbed agree; the p10 of both over all items may differ this much.
WALL_OVER_CPU = 1.05
NOISY_HALF_WIDTH = 0.03
DRIFT_SPREAD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One item in one state: ns with its 95 % interval, both kinds of time, and what to know about it."""

    key: str
    state: str
    status: Literal["ok", "noisy", "failed"]
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
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the rounds were measured under; ``reference_ns`` is the session's value of the reference by state."""

    basis: Basis
    foreign_cores: float | None
    stolen_cores: float | None
    wall_over_cpu: float | None
    reference_ns: dict[str, float]
    reference_spread: dict[str, float]

    @property
    def flags(self) -> tuple[str, ...]:
        """Return what every row of the table must carry: ``cpu`` (CPU time was believed), ``drift`` (rounds
        differed)."""
        found = ["cpu"] if self.basis == "cpu_min_ns" else []
        if any(value > DRIFT_SPREAD for value in self.reference_spread.values()):
            found.append("drift")
        return tuple(found)


def conditions(journal: Journal, *, max_foreign_cores: float = 0.25) -> Conditions:
    """Judge how quiet the device was, and so which clock to believe.

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
    by_state: dict[str, list[float]] = defaultdict(list)
    for row in journal.references():
        value = getattr(row, basis)
        if value is not None and row.state is not None:
            by_state[row.state].append(float(value))
    return Conditions(
        basis=basis,
        foreign_cores=median(foreign) if foreign else None,
        stolen_cores=median(stolen) if stolen else None,
        wall_over_cpu=wall_over_cpu,
        reference_ns={state: median(values) for state, values in by_state.items()},
        reference_spread={state: spread(values) for state, values in by_state.items()},
    )


def measured(journal: Journal, found: Conditions | None = None) -> dict[tuple[str, str], Measured]:
    """Return every item of the plan that was measured or failed, by (key, state).

    The value is median over rounds of (item / reference of the same round, batch and state) x the session's reference,
    so that a process or an hour in which everything is slower cancels. Failed items have no value and say why.
    """
    found = found or conditions(journal)
    references = {(row.round, row.batch, row.state): row for row in journal.references()}
    rows: dict[int, list[Measurement]] = defaultdict(list)
    for row in journal.samples():
        rows[row.item if row.item is not None else 0].append(row)
    sessions = journal.session_of_rounds()
    failures = journal.failures()
    result: dict[tuple[str, str], Measured] = {}
    for index, item in enumerate(journal.plan.items):
        if index in failures:
            result[item.key, item.state] = Measured(
                key=item.key, state=item.state, status="failed", ns=None, lo=None, hi=None, cpu_ns=None, wall_ns=None,
                rounds=0, flags=(), session=max(sessions.values(), default=""), reason=failures[index],
            )  # fmt: skip
        elif rows[index]:
            pairs = [(row, references[row.round, row.batch, item.state]) for row in rows[index]]
            result[item.key, item.state] = _measured(item.key, item.state, pairs, found, sessions)
    return result


def _measured(
    key: str,
    state: str,
    pairs: Sequence[tuple[Measurement, Measurement]],
    found: Conditions,
    sessions: dict[int, str],
) -> Measured:
    """Reduce the rounds of one item; each pair is the item's and the reference's statistics of one round."""
    estimate = _scaled(pairs, found.basis, state)
    assert estimate is not None
    wall, cpu = _scaled(pairs, "wall_p10_ns", state), _scaled(pairs, "cpu_min_ns", state)
    flags = list(found.flags)
    if any(row.attempt > 1 for row, _ in pairs):
        flags.append("attempt")
    noisy = estimate.half_width > NOISY_HALF_WIDTH or estimate.rounds < 2
    scale = found.reference_ns[state]
    return Measured(
        key=key,
        state=state,
        status="noisy" if noisy else "ok",
        ns=max(1, round(estimate.value * scale)),
        lo=max(1, round(estimate.lo * scale)),
        hi=max(1, round(estimate.hi * scale)),
        cpu_ns=None if cpu is None else max(1, round(cpu.value * median(_values(pairs, "cpu_min_ns", 1)))),
        wall_ns=None if wall is None else max(1, round(wall.value * median(_values(pairs, "wall_p10_ns", 1)))),
        rounds=estimate.rounds,
        flags=tuple(flags),
        session=max(sessions[row.round] for row, _ in pairs),
        init_ns=round(median(row.load_ns or 0 for row, _ in pairs)),
        first_ns=round(median(row.first_ns or 0 for row, _ in pairs)),
    )


def _values(pairs: Sequence[tuple[Measurement, Measurement]], basis: Basis, part: int) -> list[float]:
    """Return one statistic of the item (part 0) or the reference (part 1) over rounds."""
    return [float(getattr(pair[part], basis)) for pair in pairs]


def _scaled(pairs: Sequence[tuple[Measurement, Measurement]], basis: Basis, state: str) -> Estimate | None:
    """Return the estimate of item over reference, or None where the device has no such clock."""
    if any(getattr(row, basis) is None for pair in pairs for row in pair):
        return None
    items, references = _values(pairs, basis, 0), _values(pairs, basis, 1)
    return over_rounds([item / reference for item, reference in zip(items, references, strict=True)])


def table(journal: Journal, found: Conditions | None = None) -> Lut:
    """Return the table that a journal amounts to: ops and overheads by state, whole networks, and its sessions.

    Raises FileInvalid where a network of the plan is none of its space.
    """
    found = found or conditions(journal)
    values = measured(journal, found)
    pairs = [(item, values[item.key, item.state]) for item in journal.plan.items if (item.key, item.state) in values]
    return Lut(
        header=_header(journal.plan, found, journal.sessions()[0][1]),
        rows=tuple(_row(value) for item, value in pairs if item.kind != "network"),
        networks=tuple(_network_row(item, value) for item, value in pairs if item.kind == "network"),
        sessions=tuple(_sessions(journal, found)),
    ).sorted()


def conditions_slug(runtime: str, kernels: str, threads: int) -> str:
    """Return the short name of what differs between tables of one device, runtime and precision ("xnnpack-1t")."""
    usual = "xnnpack" if runtime in ("litert", "tflite_runtime") else "cpu"
    return f"{usual if kernels == 'default' else kernels}-{threads}t"


def _header(plan: Plan, found: Conditions, first: dict[str, Any]) -> Header:
    """Return what a table says about itself; ``first`` is the record of its first session."""
    return Header(
        device=plan.device,
        runtime=plan.runtime,
        runtime_version=str(first["environment"]["runtime_version"]),
        precision=plan.precision,
        conditions=conditions_slug(plan.runtime, plan.kernels, plan.threads),
        environment=first["environment"],
        protocol={
            **plan.protocol.model_dump(),
            "rounds": plan.rounds,
            "seed": plan.seed,
            "statistic": found.basis,
            "reference": plan.reference.key,
        },
        simulated=False,
        created=str(first["started_utc"])[:10],
    )


def _common(value: Measured) -> dict[str, Any]:
    """Return what the rows of ops and of networks both hold."""
    names = ("status", "ns", "lo", "hi", "cpu_ns", "wall_ns", "rounds", "flags", "session")
    return {name: getattr(value, name) for name in names}


def _row(value: Measured) -> Row:
    """Return the row of an op or overhead."""
    return Row(key=value.key, state=value.state, **_common(value))


def _network_row(item: Item, value: Measured) -> NetworkRow:
    """Return the row of a whole network."""
    space = by_id(item.space or "")
    subnet = space.subnet(list(bytes.fromhex(item.genome or "")))
    return NetworkRow(
        space=space.id,
        id=subnet.id,
        genome=item.genome or "",
        split=item.split or "fit",
        **_common(value),
        init_ns=value.init_ns,
        first_ns=value.first_ns,
        file_bytes=item.size_bytes or None,
    )


def _sessions(journal: Journal, found: Conditions) -> list[dict[str, Any]]:
    """Return one record for each session: when, with what, how quiet the device was, the reference's own time."""
    rounds = journal.session_of_rounds()
    records = []
    for identity, record in journal.sessions():
        own = sorted(number for number, session in rounds.items() if session == identity)
        batches = [facts for number, _, facts in journal.batches() if number in own]
        kept = {name: value for name, value in record.items() if name not in ("environment", "device")}
        quiet = {
            name: round(median(values), 3) if (values := _readings(batches, name)) else "unreadable"
            for name in ("foreign_cores", "stolen_cores")
        }
        temperatures = [facts["state"].get("temperature_c", "unreadable") for facts in batches[-1:]]
        records.append(
            {
                **kept,
                **quiet,
                "id": identity,
                "rounds": [number + 1 for number in own],
                "reference_ns": reference_of(journal, found, own),
                "temperature_c": temperatures[0] if temperatures else "unreadable",
            }
        )
    return records


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
