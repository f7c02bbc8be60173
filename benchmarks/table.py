"""Loading, checking and writing a table of 20,000 rows, beside a plain pass of `csv` over the same bytes."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
from record import cpu_s, record

import ofa.space as spaces
from ofa.lut.format import Header, Lut, Row, read
from ofa.lut.write import write
from ofa.space.index import ops_in

ROWS = 20_000


def table() -> Lut:
    """Make a table of made-up times for the ops of several spaces."""
    keys = sorted(
        {op.key for name in spaces.names() for w in (1.0, 1.2, 1.3) for op in ops_in(spaces.load(name, width=w))}
    )
    rng = np.random.default_rng(0)
    rows = []
    for key in keys[: ROWS // 2]:
        for state in ("cold", "hot"):
            ns = int(rng.integers(10_000, 1_000_000))
            rows.append(Row(key, state, "ok", ns, ns - 9, ns + 9, ns, ns, 5, ("simulated",), "s1"))
    header = Header(
        device="made-up", runtime="litert", runtime_version="0", precision="fp32", conditions="made-up",
        environment={"made": "up"}, protocol={}, simulated=True, created="2026-01-01",
    )  # fmt: skip
    return Lut(header=header, rows=tuple(rows), sessions=({"id": "s1"},))


def main() -> None:
    """Measure, and write the result."""
    lut = table()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "table"
        write(lut, folder, allow_simulated=True)
        text = (folder / "ops.csv").read_text()
        read_s, plain_s = cpu_s(lambda: read(folder)), cpu_s(lambda: list(csv.reader(io.StringIO(text))))
        write_s = cpu_s(lambda: write(lut, folder, allow_simulated=True), 3)
    found = {
        "rows": len(lut.rows),
        "bytes": len(text),
        "read_cpu_s": round(read_s, 3),
        "write_cpu_s": round(write_s, 3),
        "csv_cpu_s": round(plain_s, 3),
        "read_ratio": round(read_s / plain_s, 1),
    }
    record("table", "a table read and validated, beside a plain csv pass over its bytes", found)


if __name__ == "__main__":
    main()
