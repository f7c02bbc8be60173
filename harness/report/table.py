"""A latency table as the page shows it: operators grouped by block shape, and how wide their intervals are."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report.parse import number
from ofa import files

MAX_BYTES = 64 * files.MEBIBYTE


@dataclass(frozen=True, slots=True, kw_only=True)
class OpRow:
    """One operator of a table; times in ns."""

    key: str
    state: str
    status: str
    ns: float
    lo_ns: float
    hi_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRow:
    """One whole network measured for calibration (``fit``) or for checking (``holdout``); times in ns."""

    id: str
    genome: str
    split: str
    ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A latency table: its header as JSON, its operators and its whole networks."""

    header: dict[str, Any]
    ops: tuple[OpRow, ...]
    networks: tuple[NetworkRow, ...]
    simulated: bool

    @property
    def device(self) -> str:
        """Return the device the table names, or an empty text."""
        found = self.header.get("device")
        if isinstance(found, dict):
            found = found.get("name") or found.get("slug") or found.get("kind")
        return found if isinstance(found, str) else ""


def read(folder: Path) -> Table:
    """Read a table folder; raise FileInvalid where its header is not usable."""
    header = files.read_json(folder / "lut.json", max_bytes=MAX_BYTES, what="table")
    ops, networks, simulated = [], [], False
    for row in _rows(folder / "ops.csv"):
        ns, lo, hi = (number(row.get(name)) for name in ("ns", "lo", "hi"))
        simulated = simulated or "simulated" in (row.get("flags") or "")
        if ns is not None:
            ops.append(
                OpRow(
                    key=row.get("key") or "",
                    state=row.get("state") or "-",
                    status=row.get("status") or "",
                    ns=ns,
                    lo_ns=ns if lo is None else lo,
                    hi_ns=ns if hi is None else hi,
                )
            )
    for row in _rows(folder / "networks.csv"):
        ns = number(row.get("ns"))
        if ns is not None:
            networks.append(
                NetworkRow(id=row.get("id") or "", genome=row.get("genome") or "", split=row.get("split") or "", ns=ns)
            )
    return Table(
        header=header if isinstance(header, dict) else {}, ops=tuple(ops), networks=tuple(networks), simulated=simulated
    )


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    return list(csv.DictReader(io.StringIO(files.read_capped(path, max_bytes=MAX_BYTES, what="table").decode())))
