"""Measures model files on a device by the protocol that made its table, and puts the result beside what was
predicted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from harness import footprint
from harness import journal as journals
from harness.artefacts import Artefacts, File
from harness.errors import nothing_to_verify
from harness.inventory import Device
from harness.journal import Footprint, Journal
from harness.plan import Item, Plan, Reference, Rounds, RuntimeName, Way, write
from harness.reduce import Conditions, Measured, conditions, measured, sessions_of
from harness.session import OnProgress, quiet, run
from harness.stats import Estimate, over_rounds
from ofa.lut.rows import NANOSECONDS_PER_MS

KIB_PER_MIB = 1024
# Few items leave time for more bursts: they cost less than starting the process.
HOT_BURSTS = 12
# Without anchors nothing says that the device is any faster or slower than it was.
AS_IT_WAS = Estimate(value=1.0, lo=1.0, hi=1.0, rounds=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A network of the table, measured again beside the files: its file in the cache and its ns in the table."""

    file: File
    ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One model file: predicted and measured ms, their difference in percent of the measured, and the 95 % interval.

    ``measured_ms`` is at the speed the device had when the table was made (``as_timed_ms`` / ``Verification.speed``),
    and its interval holds the uncertainty of both. ``peak_rss_mib`` is the most memory that a process held which
    called the file and did nothing else, the runtime's own included.
    """

    name: str
    file: str
    size_bytes: int
    status: str
    predicted_ms: float | None
    measured_ms: float | None
    lo_ms: float | None
    hi_ms: float | None
    error_pct: float | None
    as_timed_ms: float | None
    init_ms: float | None
    first_ms: float | None
    p95_ms: float | None
    peak_rss_mib: float | None
    rounds: int
    flags: tuple[str, ...]
    session: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All verdicts of one session.

    ``speed``: how much longer the anchors took than in the table (1.03 is 3 % slower), 1 without anchors.
    ``floor_pct``: the median difference of the anchors from their table values once ``speed`` is taken out, in
    percent: what two measurements of the same network differ by, below which no error says anything; None without at
    least 3 anchors.
    """

    device: str
    runtime: str
    verdicts: tuple[Verdict, ...]
    speed: float
    floor_pct: float | None
    conditions: Conditions
    plan: str
    sessions: tuple[dict[str, Any], ...]


def measure(
    files: Mapping[str, Path],
    *,
    device: Device,
    runtime: RuntimeName,
    folder: Path,
    reference: File,
    way: Way | None = None,
    predicted_ms: Mapping[str, float] | None = None,
    anchors: Mapping[str, Anchor] | None = None,
    canaries: Mapping[str, str] | None = None,
    rounds: int = 5,
    seed: int = 0,
    soak_s: int = 0,
    before: Callable[[], None] = lambda: None,
    allow_load: bool = True,
    on_progress: OnProgress = quiet,
) -> Verification:
    """Measure model files by name, whole and hot, in ``rounds`` fresh processes; ``before``: called if any is missing.
    A round in which one of the ``canaries`` (files by name, `prepare.canaries`) moved is begun anew as for a table;
    before each the device works for ``soak_s``, where it is to be measured as hot as it then is.

    Plan and journal are kept in ``folder`` under the plan's hash: the same call resumes what was interrupted, other
    files begin anew. Without ``allow_load``, rounds wait for a device that does nothing else. A file that cannot be
    loaded gives a verdict of status failed with the reason. Raises FileInvalid, DeviceLost, MeasurementRefused.
    """
    anchors, predicted_ms, way = anchors or {}, predicted_ms or {}, way or Way()
    if not files:
        raise nothing_to_verify()
    artefacts = Artefacts(device.transport.files)
    stored = {name: artefacts.store_file(path, way.file_precision) for name, path in files.items()}
    own, beside = list(stored.values()), list(anchors.values())
    protocol = Rounds(hot_bursts=HOT_BURSTS, rounds_most=rounds, soak_s=soak_s)
    plan = _plan(device, runtime, way, reference, own, beside, canaries or {}, protocol, seed)
    with _carried_out(plan, device, folder, own, before, allow_load, on_progress) as journal:
        found = conditions(journal, max_foreign_cores=device.profile.calm.max_foreign_cores)
        values, memory = measured(journal, found), journal.footprints()
        sessions = tuple(sessions_of(journal, found))
    ratios = _ratios(values, beside)
    speed = over_rounds(ratios) if ratios else AS_IT_WAS
    return Verification(
        device=device.kind,
        runtime=runtime,
        verdicts=tuple(_verdicts(stored, values, memory, speed, predicted_ms)),
        speed=speed.value,
        floor_pct=100.0 * median(abs(ratio / speed.value - 1.0) for ratio in ratios) if len(ratios) >= 3 else None,
        conditions=found,
        plan=plan.hash,
        sessions=sessions,
    )


@contextmanager
def _carried_out(
    plan: Plan,
    device: Device,
    folder: Path,
    files: Sequence[File],
    before: Callable[[], None],
    allow_load: bool,
    on_progress: OnProgress,
) -> Iterator[Journal]:
    """Yield the journal of a plan once its rounds, and the memory of the files, are all there."""
    stem = f"{plan.runtime}-{plan.hash[:12]}"
    write(plan, folder / f"{stem}.plan.json")
    with journals.resume(folder / f"{stem}.sqlite", plan) as journal:
        if len(journal.complete_rounds()) < plan.rounds:
            before()
        session = run(plan, device=device, journal=journal, allow_load=allow_load, on_progress=on_progress)
        own = [file.name for file in files]
        footprint.run(plan, device=device, journal=journal, files=own, session=session, on_progress=on_progress)
        yield journal


def _ratios(values: Mapping[tuple[str, str], Measured], anchors: Sequence[Anchor]) -> list[float]:
    """Return how much longer each anchor that could be run took than in the table."""
    now_ns = [values[f"anchor:{place}", "hot"].ns for place in range(len(anchors))]
    return [ns / anchor.ns for ns, anchor in zip(now_ns, anchors, strict=True) if ns is not None]


def _plan(
    device: Device,
    runtime: RuntimeName,
    way: Way,
    reference: File,
    files: Sequence[File],
    anchors: Sequence[Anchor],
    canaries: Mapping[str, str],
    protocol: Rounds,
    seed: int,
) -> Plan:
    """Return the plan that measures files and anchors as whole networks, hot."""
    entries = [(f"file:{place}", file) for place, file in enumerate(files)]
    entries += [(f"anchor:{place}", anchor.file) for place, anchor in enumerate(anchors)]
    return Plan(
        device=device.kind,
        runtime=runtime,
        **way.said(),
        rounds=protocol.rounds_most,
        seed=seed,
        protocol=protocol,
        reference=Reference(key="reference", file=reference.name, size_bytes=reference.size_bytes),
        canaries=dict(canaries),
        items=tuple(
            Item(key=key, kind="network", state="hot", file=file.name, size_bytes=file.size_bytes, split="verify")
            for key, file in entries
        ),
    )


def _verdicts(
    files: Mapping[str, File],
    values: Mapping[tuple[str, str], Measured],
    memory: Mapping[str, Footprint],
    speed: Estimate,
    predicted_ms: Mapping[str, float],
) -> Iterator[Verdict]:
    """Yield the verdict of each file, in their order in the plan."""
    for place, (name, file) in enumerate(files.items()):
        value = values[f"file:{place}", "hot"]
        yield _verdict(name, file, value, memory.get(file.name), speed, predicted_ms.get(name))


def _verdict(
    name: str, file: File, value: Measured, memory: Footprint | None, speed: Estimate, predicted_ms: float | None
) -> Verdict:
    """Put one measured value beside its prediction."""
    peak_rss_kib = None if memory is None else memory.peak_rss_kib

    def ms(ns: int | None, divisor: float = 1.0) -> float | None:
        return None if ns is None else ns / NANOSECONDS_PER_MS / divisor

    at_table_speed = ms(value.ns, speed.value)
    lo_ms = hi_ms = None
    if at_table_speed is not None and value.lo is not None and value.hi is not None:
        # Half intervals of independent errors add up as squares; both are made on the log scale.
        half = math.hypot(math.log(value.hi / value.lo) / 2, math.log(speed.hi / speed.lo) / 2)
        lo_ms, hi_ms = at_table_speed * math.exp(-half), at_table_speed * math.exp(half)
    error_pct = None
    if predicted_ms is not None and at_table_speed is not None:
        error_pct = 100.0 * (predicted_ms - at_table_speed) / at_table_speed
    return Verdict(
        name=name,
        file=file.name,
        size_bytes=file.size_bytes,
        status=value.status,
        predicted_ms=predicted_ms,
        measured_ms=at_table_speed,
        lo_ms=lo_ms,
        hi_ms=hi_ms,
        error_pct=error_pct,
        as_timed_ms=ms(value.ns),
        init_ms=ms(value.init_ns),
        first_ms=ms(value.first_ns),
        p95_ms=ms(value.p95_ns),
        peak_rss_mib=None if peak_rss_kib is None else peak_rss_kib / KIB_PER_MIB,
        rounds=value.rounds,
        flags=value.flags,
        session=value.session,
        reason=value.reason or ("" if memory is None else memory.reason),
    )
