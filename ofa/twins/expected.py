"""The latency to expect of one network on the device of a table: as measured there, by its twin, or as a sum."""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ofa import console, estimate
from ofa.errors import SpaceMismatch
from ofa.files import sha256_file
from ofa.graphs.forms import FORMATS
from ofa.lut import shelf
from ofa.lut.format import HEADER, Lut, read
from ofa.lut.rows import NANOSECONDS_PER_MS
from ofa.space.core import Subnet
from ofa.twins import errors
from ofa.twins.precision import agreed

UNKNOWN = "unknown"
COVERAGE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A latency, ms, with an interval where there is one, and how sure that is.

    ``source`` says where it comes from: "measured" (this very network, with a 95 % interval of the measurement), "twin"
    (an interval that a new measurement is meant to fall into with ``coverage``), or "sum" of rows, whose interval is
    that of its parts and no promise about the whole.
    """

    ms: float
    lo_ms: float | None
    hi_ms: float | None
    source: Literal["measured", "twin", "sum"]
    coverage: float | None


def expected(path: Path, subnet: Subnet, *, format: str, precision: str) -> dict[str, Any]:
    """Return what the table at a path says of a subnet's file: the latency, whose, in which environment.

    ``path`` is a table's folder, or one above the only table of a runtime that takes the ``format`` in the precision.
    Warns of a table that its last recheck found stale. Raises UsageInvalid where the table is of a runtime that takes
    other files, or of another precision; SpaceMismatch where it does not price the subnet; what reading a table raises.
    """
    folder = shelf.place(path, precision=precision)
    table = read(folder)
    for line in shelf.warnings(folder):
        console.warn(line)
    header = table.header
    taken = FORMATS.get(str(header.runtime))
    if taken not in (format, "keys", None):
        raise errors.other_format(table.name, str(header.runtime), taken, format)
    said: dict[str, str | None] = {
        "the file": precision,
        f"table '{table.name}'": None if header.precision == UNKNOWN else header.precision,
    }
    return {
        **asdict(latency(table, subnet)),
        "device": header.device,
        "runtime": f"{header.runtime} {header.runtime_version}",
        "conditions": header.conditions,
        "precision_assumed": bool(agreed(said)[1]),
        "table": table.name,
        "table_sha256": sha256_file(folder / HEADER),
        "environment": header.environment,
        "environment_id": header.environment_id,
        "simulated": table.simulated,
    }


def latency(table: Lut, subnet: Subnet) -> Latency:
    """Return what a table says of a subnet's latency; raises SpaceMismatch where it does not price it."""
    for row in table.networks:
        if (row.space, row.id) == (subnet.space.id, subnet.id) and row.ns is not None:
            lo_ms, hi_ms = (None if ns is None else ns / NANOSECONDS_PER_MS for ns in (row.lo, row.hi))
            return Latency(ms=row.ns / NANOSECONDS_PER_MS, lo_ms=lo_ms, hi_ms=hi_ms, source="measured", coverage=0.95)
    if any(row.space == subnet.space.id and row.ns is not None for row in table.networks):
        # Here, because the library of trees takes half a second to load, and not every host has it.
        tables = importlib.import_module("ofa.twins.tables")
        try:
            twin = tables.fit(subnet.space, table)
        except SpaceMismatch:
            return _sum(table, subnet)
        if twin.card["calibrated"]:
            return _predicted(twin, subnet)
    return _sum(table, subnet)


def _predicted(twin: Any, subnet: Subnet) -> Latency:
    """Return a calibrated twin's prediction, with the ratios to it that networks left out had on both sides."""
    ms = float(twin.predict(subnet.array[None])[0])
    ratios = sorted(twin.ratios.tolist())
    # Of n ratios a new one lies between the k-th from both ends with n + 1 - 2k of n + 1 chances.
    least = max(1, int((1 - COVERAGE) / 2 * (len(ratios) + 1) + 1e-9))
    coverage = 1 - 2 * least / (len(ratios) + 1)
    return Latency(
        ms=ms, lo_ms=ms * ratios[least - 1], hi_ms=ms * ratios[-least], source="twin", coverage=round(coverage, 4)
    )


def _sum(table: Lut, subnet: Subnet) -> Latency:
    """Return the sum of a subnet's rows."""
    rows = estimate.explain(table, subnet)
    ms, lo_ms, hi_ms = (float(sum(row[name] for row in rows)) for name in ("ms", "lo_ms", "hi_ms"))
    return Latency(ms=ms, lo_ms=lo_ms or None, hi_ms=hi_ms or None, source="sum", coverage=None)
