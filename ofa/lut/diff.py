"""What differs between two tables: conditions, rows that changed beyond noise, and the error on held-out networks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ofa.lut import noise
from ofa.lut.changes import FALSE_ALARM_RATE
from ofa.lut.format import Lut
from ofa.lut.header import FILLED
from ofa.lut.heldout import held_out
from ofa.lut.sides import compared

IDENTITY = ("device", "runtime", "runtime_version", "precision", "conditions", "units", "simulated")


def diff(a: Lut, b: Lut, *, names: tuple[str, str] = ("before", "after")) -> dict[str, Any]:
    """Compare table ``b`` with table ``a``; ratios are b over a, and any two tables can be compared.

    Returns plain facts: "a", "b" (what each is), "environment", "protocol" and "identity" (lists of {"path", "a", "b"};
    a side that lacks the path has no such key; what a protocol says of modelled rows is left out, and of an environment
    what the identity says already), "ops" and "networks"
    (see `ofa.lut.sides.compared`), "held_out" of both, and "differs": whether anything does beyond noise.
    `ofa.lut.pullrequest.compared` renders them.
    """
    identities = list(differing(identity(a), identity(b)))
    environments = differing(a.header.environment, b.header.environment)
    differences = {
        "identity": identities,
        # An environment says the runtime's version again.
        "environment": [entry for entry in environments if entry not in identities],
        "protocol": list(differing(_protocol(a), _protocol(b))),
    }
    parts = {
        "ops": compared({row[:2]: row for row in a.rows}, {row[:2]: row for row in b.rows}, ("key", "state")),
        "networks": compared(
            {row[:2]: row for row in a.networks}, {row[:2]: row for row in b.networks}, ("space", "id")
        ),
    }
    told = ("slower", "faster", "groups", "moved", "added", "removed", "status")
    changed = any(part[what] for part in parts.values() for what in told)
    return {
        "a": about(a, names[0]),
        "b": about(b, names[1]),
        **differences,
        **parts,
        "false_alarm_rate": FALSE_ALARM_RATE,
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
        "noise": noise.facts(lut),
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
