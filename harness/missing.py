"""What a table lacks of a space: the rows to measure, and the company that keeps cold ops as cold as the table's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import nothing_missing, table_of_others
from harness.inventory import Device
from harness.plan import IO_KEY, SESSION_KEY, Rounds, RuntimeName, Way
from harness.prepare import Known, network_key, on_cores
from harness.reduce import clock_of
from harness.session import environment_of, ready_runtime
from ofa.lut import student
from ofa.lut.diff import differing
from ofa.lut.format import Lut
from ofa.lut.header import FILLED
from ofa.lut.merge import MAY_DIFFER
from ofa.space.core import SearchSpace, Subnet
from ofa.space.index import ops_in
from ofa.space.ops import Op

OVERHEADS = {(SESSION_KEY, "hot"), (IO_KEY, "hot")}
# Which clock is believed is only known once the rounds are there, but where the table's is that of CPU time.
LATER = ("statistic",)
PARAMETER_BYTES = {"fp32": 4, "int8": 1}


def known_of(lut: Lut, space: SearchSpace, *, networks: int, protocol: Rounds, seed: int) -> Known:
    """Return what a table has of a space, and so what is not measured to complete it.

    The company are ops whose cold rows the table has: as many as make the cold ops as many as those that shared a batch
    in a measurement of the whole space, or a multiple of it. Among few others an op finds its own data still in the
    caches. ``networks`` is how many are measured besides. Raises UsageInvalid where nothing is missing or asked for.
    """
    rows = frozenset((row.key, row.state) for row in lut.rows if student.measured(row))
    ops = ops_in(space)
    wanted = {(op.key, state) for op in ops for state in ("cold", "hot")} | OVERHEADS
    if not networks and not wanted - rows:
        raise nothing_missing(lut.name, space.id)
    others = [op for op in ops if (op.key, "cold") in rows]
    company = company_of(lut, ops, others, lacking=len(ops) - len(others), protocol=protocol, seed=seed)
    clock = clock_of(lut)
    return Known(rows=rows, company=company, clock=clock if clock == "cpu_min_ns" else None)


def company_of(
    lut: Lut, ops: Sequence[Op], others: Sequence[Op], *, lacking: int, protocol: Rounds, seed: int
) -> tuple[Op, ...]:
    """Return as many of the ``others`` as make ``lacking`` cold ops as many as share a batch where all ``ops`` are
    measured, or a multiple of it."""
    usual = -(-len(ops) // _batches(lut, ops, protocol))
    beside = min(len(others), -lacking % usual)
    chosen = sorted(np.random.default_rng([seed, 2]).permutation(len(others))[:beside].tolist())
    return tuple(others[place] for place in chosen)


def _batches(lut: Lut, ops: Sequence[Op], protocol: Rounds) -> int:
    """Return in about how many batches the ops of a space and a table's networks are measured: by files or by bytes."""
    files = len(ops) + len(lut.networks) + len(OVERHEADS)
    number_bytes = PARAMETER_BYTES.get(lut.header.precision, 4)
    size_bytes = sum(op.params for op in ops) * number_bytes + sum(row.file_bytes or 0 for row in lut.networks)
    return max(-(-files // protocol.batch_files), -(-size_bytes // protocol.batch_bytes))


def refuse_unlike(
    lut: Lut, *, device: Device, runtime: RuntimeName, way: Way, protocol: Rounds, reference: Subnet
) -> None:
    """Raise UsageInvalid where a table is not of this device, runtime, way, environment and protocol: what is measured
    now could not be merged with it. Raises DeviceLost, MeasurementRefused where the runtime cannot run a network."""
    header = lut.header
    names = {"device": device.kind, "runtime": runtime, "precision": way.precision}
    theirs: dict[str, Any] = {name: getattr(header, name) for name in names}
    if found := list(differing(theirs, names)):
        raise table_of_others(lut.name, found)
    said = {name for name in (*MAY_DIFFER, *LATER, FILLED) if name in header.protocol}
    theirs = {
        "environment": header.environment,
        "protocol": {name: value for name, value in header.protocol.items() if name not in said},
    }
    hello, about = ready_runtime(device, runtime)
    ours = {
        "environment": environment_of(hello, about, on_cores(device, hello, way), protocol.regime),
        "protocol": {**protocol.model_dump(), "reference": network_key(reference.space.id, reference.id)},
    }
    if found := list(differing(theirs, ours)):
        raise table_of_others(lut.name, found)
