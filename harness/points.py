"""Verified networks as rows of a table: points that the next calibration and the next twin may learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.errors import nothing_to_add, verified_elsewhere
from harness.verify import KIB_PER_MIB, Verdict, Verification
from ofa.lut.format import Lut, NetworkRow
from ofa.lut.rows import NANOSECONDS_PER_MS, USABLE
from ofa.space.core import Subnet

SPLIT = "verify"


def with_points(lut: Lut, found: Verification, subnets: Mapping[str, Subnet]) -> tuple[Lut, int]:
    """Return a table with the verified networks that it does not have yet, split `verify`, and how many these are.

    ``subnets`` names those verdicts whose network is known. Values are at the table's speed. Raises UsageInvalid where
    no anchor of the table says what that is, or the verification ran in another environment than the table.
    """
    if found.floor_pct is None:
        raise nothing_to_add(lut.name)
    if strange := {str(session.get("environment_id")) for session in found.sessions} - {lut.header.environment_id}:
        raise verified_elsewhere(lut.name, lut.header.environment_id, sorted(strange))
    there = {(row.space, row.id) for row in lut.networks}
    rows = {}
    for verdict in found.verdicts:
        subnet = subnets.get(verdict.name)
        if subnet is not None and (subnet.space.id, subnet.id) not in there and verdict.status in USABLE:
            rows[subnet.space.id, subnet.id] = _row(verdict, subnet)
    named = {row.session for row in rows.values()}
    sessions = [_record(session) for session in found.sessions if session["id"] in named]
    known = {session["id"] for session in lut.sessions}
    added = [session for session in sessions if session["id"] not in known]
    made = replace(lut, networks=(*lut.networks, *rows.values()), sessions=(*lut.sessions, *added))
    return made.sorted(), len(rows)


def _row(verdict: Verdict, subnet: Subnet) -> NetworkRow:
    """Return the row of a verified network."""

    def ns(ms: float | None) -> int | None:
        return None if ms is None else max(1, round(ms * NANOSECONDS_PER_MS))

    rss_mib = verdict.peak_rss_mib
    return NetworkRow(
        space=subnet.space.id,
        id=subnet.id,
        genome=bytes(subnet.array).hex(),
        split=SPLIT,
        status=verdict.status,
        ns=ns(verdict.measured_ms),
        lo=ns(verdict.lo_ms),
        hi=ns(verdict.hi_ms),
        cpu_ns=None,
        wall_ns=None,
        rounds=verdict.rounds,
        flags=verdict.flags,
        session=verdict.session,
        init_ns=ns(verdict.init_ms),
        first_ns=ns(verdict.first_ms),
        p95_ns=ns(verdict.p95_ms),
        peak_rss_kib=None if rss_mib is None else round(rss_mib * KIB_PER_MIB),
        file_bytes=verdict.size_bytes or None,
    )


def _record(session: Mapping[str, Any]) -> dict[str, Any]:
    """Return a session's record without its reference: it is another network than the table's, and says nothing of the
    speed of the table's values."""
    return {name: value for name, value in session.items() if name != "reference_ns"} | {"verified": True}
