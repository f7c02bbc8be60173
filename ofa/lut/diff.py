"""What differs between two tables: conditions, rows that changed beyond noise, and the error on held-out networks."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from ofa.lut import student
from ofa.lut.format import Lut
from ofa.lut.header import FILLED
from ofa.lut.heldout import held_out
from ofa.lut.rows import MEASURED, NANOSECONDS_PER_MS, USABLE, NetworkRow, Row

IDENTITY = ("device", "runtime", "runtime_version", "precision", "conditions", "units", "simulated")
FALSE_DISCOVERY_RATE = 0.05
LEAST_FLOOR_PCT = 1.0
HOT = "hot"

AnyRow = Row | NetworkRow
Name = tuple[str, str]


def diff(a: Lut, b: Lut, *, names: tuple[str, str] = ("before", "after")) -> dict[str, Any]:
    """Compare table ``b`` with table ``a``; ratios are b over a, and any two tables can be compared.

    Returns plain facts: "a", "b" (what each is), "environment", "protocol" and "identity" (lists of {"path", "a", "b"};
    a side that lacks the path has no such key; what a protocol says of modelled rows is left out), "ops" and "networks"
    (see ``_part``), "held_out" of both, and "differs": whether anything does beyond noise.
    `ofa.lut.pullrequest.compared` renders them.
    """
    differences = {
        "identity": list(differing(identity(a), identity(b))),
        "environment": list(differing(a.header.environment, b.header.environment)),
        "protocol": list(differing(_protocol(a), _protocol(b))),
    }
    parts = {
        "ops": _part({row[:2]: row for row in a.rows}, {row[:2]: row for row in b.rows}, ("key", "state")),
        "networks": _part({row[:2]: row for row in a.networks}, {row[:2]: row for row in b.networks}, ("space", "id")),
    }
    changed = any(part[what] for part in parts.values() for what in ("slower", "faster", "added", "removed", "status"))
    return {
        "a": about(a, names[0]),
        "b": about(b, names[1]),
        **differences,
        **parts,
        "false_discovery_rate": FALSE_DISCOVERY_RATE,
        "held_out": {"a": held_out(a), "b": held_out(b)},
        "differs": changed or any(differences.values()),
    }


def identity(lut: Lut) -> dict[str, Any]:
    """Return what a header says of whose table it is, less its date."""
    return {name: getattr(lut.header, name) for name in IDENTITY}


def _protocol(lut: Lut) -> dict[str, Any]:
    """Return how a table was measured; how missing rows were modelled is no part of it."""
    return {name: value for name, value in lut.header.protocol.items() if name != FILLED}


def about(lut: Lut, name: str) -> dict[str, Any]:
    """Return what a table is, in a few facts."""
    return {
        "name": name,
        "table": lut.name,
        "environment_id": lut.header.environment_id,
        "units": lut.header.units,
        "simulated": lut.simulated,
        "created": lut.header.created,
        "rows": len(lut.rows),
        "modelled": sum(row.status == "modelled" for row in lut.rows),
        "networks": len(lut.networks),
        "sessions": sum("merged" not in session for session in lut.sessions),
    }


def differing(a: Any, b: Any, path: str = "") -> Iterator[dict[str, Any]]:
    """Yield where two JSON values differ, by dotted path: {"path", "a", "b"}, one of them absent where one side is."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys: Sequence[Any] = sorted({*a, *b})
        sides: tuple[Mapping[Any, Any], ...] = (a, b)
    elif isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str) and not isinstance(b, str):
        keys = range(max(len(a), len(b)))
        sides = (dict(enumerate(a)), dict(enumerate(b)))
    else:
        # JSON tells 1 from 1.0 and from true; Python's == does not.
        if json.dumps(a) != json.dumps(b):
            yield {"path": path, "a": a, "b": b}
        return
    for key in keys:
        step = str(key) if isinstance(key, int) or re.fullmatch(r"[\w-]+", key) else json.dumps(key)
        place = f"{path}.{step}" if path else step
        if all(key in side for side in sides):
            yield from differing(sides[0][key], sides[1][key], place)
        else:
            yield {"path": place} | {name: side[key] for name, side in zip("ab", sides, strict=True) if key in side}


def _part(a: Mapping[Name, AnyRow], b: Mapping[Name, AnyRow], columns: tuple[str, str]) -> dict[str, Any]:
    """Compare the ops or the networks of two tables.

    "rows" holds every pair with a time on both sides, with "p" adjusted for how many are tested. "floor_pct" is the
    smallest change that counts in each state: the larger of the two tables' median half interval, at least 1 %.
    "shift" is the median ratio, with the 5th and 95th percentile. "status" has what can be summed on one side only, or
    cannot for another reason; noisy or not is no such change and only counted.
    """
    both = sorted(a.keys() & b.keys())
    timed = [name for name in both if a[name].ns and b[name].ns]
    floor_pct = _floors_pct(a, b, timed)
    rows = [dict(zip(columns, name, strict=True)) | _compared(a[name], b[name]) for name in timed]
    tested = [row for row in rows if row["p"] is not None]
    for row, p in zip(tested, student.false_discoveries([row["p"] for row in tested]), strict=True):
        row["p"] = float(f"{p:.3g}")
        beyond = abs(math.log(row["ratio"])) > math.log1p(floor_pct[row.get("state", HOT)] / 100)
        row["significant"] = bool(p <= FALSE_DISCOVERY_RATE and beyond and not row["lo"] <= 1 <= row["hi"])
    found = [row for row in rows if row["significant"]]
    return {
        "compared": len(rows),
        "untested": _counts(row["untested"] for row in rows if row["p"] is None),
        "floor_pct": {state: round(value, 3) for state, value in floor_pct.items()},
        "slower": sum(row["ratio"] > 1 for row in found),
        "faster": sum(row["ratio"] < 1 for row in found),
        "shift": _shift([row["ratio"] for row in rows if row["untested"] in ("", "one round")]),
        "added": [list(name) for name in sorted(b.keys() - a.keys())],
        "removed": [list(name) for name in sorted(a.keys() - b.keys())],
        "status": [
            dict(zip(columns, name, strict=True)) | {"a": a[name].status, "b": b[name].status}
            for name in both
            if a[name].status != b[name].status and not {a[name].status, b[name].status} <= MEASURED & USABLE
        ],
        "noisy": {side: sum(row.status == "noisy" for row in rows.values()) for side, rows in (("a", a), ("b", b))},
        "rows": rows,
    }


def _compared(a: AnyRow, b: AnyRow) -> dict[str, Any]:
    """Return the ratio of two rows with its 95 % interval and p-value; None where a side has no interval.

    The interval takes each side's own limits, so it may be lopsided: the method of variance estimates recovery (Zou and
    Donner 2008) on the log scale. The p-value is Welch's.
    """
    before_ns, after_ns = a.ns or 1, b.ns or 1
    facts = {
        "a_ms": before_ns / NANOSECONDS_PER_MS,
        "b_ms": after_ns / NANOSECONDS_PER_MS,
        "ratio": after_ns / before_ns,
        "lo": None,
        "hi": None,
        "p": None,
        "significant": False,
        "untested": "",
    }
    if not (student.measured(a) and student.measured(b)):
        return facts | {"untested": "modelled" if "modelled" in (a.status, b.status) else "thermal"}
    first, second = student.of_row(a), student.of_row(b)
    if first is None or second is None:
        return facts | {"untested": "one round"}
    centre = second.log - first.log
    return facts | {
        "lo": math.exp(centre - math.hypot(second.below, first.above)),
        "hi": math.exp(centre + math.hypot(second.above, first.below)),
        "p": student.welch(first, second),
    }


def _floors_pct(a: Mapping[Name, AnyRow], b: Mapping[Name, AnyRow], names: Sequence[Name]) -> dict[str, float]:
    """Return the noise floor by state, percent; a cold op is known far less well than a hot one, networks are hot."""
    floors: dict[str, float] = {}
    for state in sorted({_state(a[name]) for name in names}):
        floors[state] = LEAST_FLOOR_PCT
        for side in (a, b):
            rows = (side[name] for name in names if _state(side[name]) == state)
            found = [estimate.half_width for row in rows if (estimate := student.of_row(row)) is not None]
            floors[state] = max(floors[state], 100 * math.expm1(median(found)) if found else 0.0)
    return floors


def _state(row: AnyRow) -> str:
    """Return the state a row was measured in."""
    return row.state if isinstance(row, Row) else HOT


def _shift(ratios: Sequence[float]) -> dict[str, float] | None:
    """Return the median of ratios, and the 5th and 95th percentile."""
    if not ratios:
        return None
    low, centre, high = np.exp(np.percentile(np.log(ratios), [5, 50, 95]))
    return {"ratio": round(float(centre), 6), "p5": round(float(low), 6), "p95": round(float(high), 6)}


def _counts(values: Iterator[str]) -> dict[str, int]:
    """Count values, by name."""
    return dict(sorted(Counter(values).items()))
