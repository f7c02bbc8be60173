"""How well the measured rows of a table are known, and what disturbed them: whoever sums rows must hear it first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import quantiles
from typing import Any

from ofa.lut import errors, student
from ofa.lut.format import Lut
from ofa.lut.rows import NetworkRow, Row

# A row is noisy where half its interval is wider, as a share of its value.
NOISY_HALF_WIDTH = 0.03
# What flags say of the device meanwhile, in words.
DISTURBANCES = {
    "loaded": "the device did other work",
    "drift": "speed drifted between rounds",
    "moved": "speed moved within batches",
}

Facts = Mapping[str, Any]


def facts(lut: Lut) -> dict[str, Any]:
    """Return of how many rows that were measured the noise is known: "measured", how many are "noisy", their
    "half_width_pct", and how many carry each of the "flags" that tell of a disturbance.

    They are rows of ops and overheads; of whole networks where a table has no op.
    """
    ops = any(not row.key.startswith("@") for row in lut.rows)
    rows: Sequence[Row | NetworkRow] = lut.rows if ops else lut.networks
    known = [row for row in rows if student.measured(row)]
    return {
        "measured": len(known),
        "noisy": sum(row.status == "noisy" for row in known),
        "half_width_pct": half_widths_pct(known),
        "flags": {flag: sum(flag in row.flags for row in known) for flag in DISTURBANCES},
    }


def half_widths_pct(rows: Sequence[Row | NetworkRow]) -> dict[str, float] | None:
    """Return the median and 95th percentile of half the interval over the value, percent; None below two rows that
    have one: a single round has none."""
    widths = [
        100.0 * (row.hi - row.lo) / 2 / row.ns
        for row in rows
        if row.ns and row.lo is not None and row.hi is not None and (row.rounds > 1 or row.hi > row.lo)
    ]
    if len(widths) < 2:
        return None
    cuts = quantiles(widths, n=20, method="inclusive")
    return {"median": round(cuts[9], 3), "p95": round(cuts[18], 3)}


def mostly_noisy(found: Facts) -> bool:
    """Say whether more than half of the measured rows are noisy."""
    return bool(2 * found["noisy"] > found["measured"])


def disturbed(found: Facts) -> list[str]:
    """Return the flags of disturbances that more than half of the measured rows carry."""
    return [flag for flag in DISTURBANCES if 2 * found["flags"].get(flag, 0) > found["measured"]]


def share(found: Facts) -> str:
    """Return how many of the measured rows are noisy, in words: "all 110 rows are noisy (± 27.6 % in the median)"."""
    noisy, measured, widths = found["noisy"], found["measured"], found["half_width_pct"]
    which = f"all {measured:,}" if noisy == measured else f"{noisy:,} of {measured:,}"
    return f"{which} rows are noisy" + (f" (± {widths['median']:.1f} % in the median)" if widths else "")


def told(found: Facts) -> str:
    """Return in words whether most rows are noisy, and why, or were measured beside other work; else nothing."""
    causes = [DISTURBANCES[flag] for flag in disturbed(found)]
    if mostly_noisy(found):
        return share(found) + (f": {', '.join(causes)}" if causes else "")
    return DISTURBANCES["loaded"] if "loaded" in disturbed(found) else ""


def warning(name: str, found: Facts, error_pct: float | None) -> str | None:
    """Return what to say of a table most of whose rows are noisy; None for any other.

    Nothing is said where its sums are known to be no worse than a row that is not noisy: ``error_pct`` is its error on
    its own held-out networks, None where it has none. Noise of single rows averages out in a sum.
    """
    if not mostly_noisy(found) or (error_pct is not None and error_pct <= 100 * NOISY_HALF_WIDTH):
        return None
    return errors.mostly_noisy(name, told(found), error_pct)
