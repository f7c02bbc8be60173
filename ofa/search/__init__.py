"""Search: the most accurate network of a space within hard limits; the public entry is ``find``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ofa.search.bound import Extremes, extremes
    from ofa.search.evolve import Generation
    from ofa.search.finding import Candidate, Found, find
    from ofa.search.limits import Limit, latency_limit
    from ofa.search.measured import Reading, Tried, settle
    from ofa.search.sweeps import Front, sweep

__all__ = [
    "Candidate",
    "Extremes",
    "Found",
    "Front",
    "Generation",
    "Limit",
    "Reading",
    "Tried",
    "extremes",
    "find",
    "latency_limit",
    "settle",
    "sweep",
]

# Where each name stands; no module is called like one, since whoever imported it first would hide what it holds.
# Loaded when asked for: the verb of this room must not load numpy for a line of help.
_ROOMS = {
    "Candidate": "finding",
    "Extremes": "bound",
    "Found": "finding",
    "Front": "sweeps",
    "Generation": "evolve",
    "Limit": "limits",
    "Reading": "measured",
    "Tried": "measured",
    "extremes": "bound",
    "find": "finding",
    "latency_limit": "limits",
    "settle": "measured",
    "sweep": "sweeps",
}


def __getattr__(name: str) -> Any:
    """Return a public name, its module loaded now."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names beside what is loaded already: those not asked for yet, too."""
    return sorted({*globals(), *__all__})
