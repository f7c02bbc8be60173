"""Networks that were added to a run's own table, kept beside its journal: whatever makes the table again has them, too.

They were verified in a session of their own, which the run's journal knows nothing of.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.points import SPLIT
from ofa import files
from ofa.errors import FileInvalid
from ofa.lut import format as formats
from ofa.lut import rows
from ofa.lut.format import Lut

NETWORKS, SESSIONS = "added.csv", "added.jsonl"
FILES = (SESSIONS, NETWORKS)


def kept(lut: Lut, run: Path) -> Lut:
    """Keep the networks that were added to a run's own table in the run folder; return the table with all kept there.

    Raises FileInvalid where those kept before are damaged: then nothing is written.
    """
    ordered = with_added(lut, run).sorted()
    networks = tuple(row for row in ordered.networks if row.split == SPLIT)
    named = {row.session for row in networks}
    own = replace(ordered, networks=networks, sessions=tuple(line for line in ordered.sessions if line["id"] in named))
    contents = formats.render(own)
    # Rows name sessions: those come first, so that a process killed between the two leaves nothing that is refused.
    for name, part in ((SESSIONS, formats.SESSIONS), (NETWORKS, formats.NETWORKS)):
        files.write_atomic(run / name, contents[part])
    return ordered


def found_in(table: Path, run: Path) -> None:
    """Keep what an earlier version added to a run's own table, which is about to be made again without it."""
    try:
        lut = formats.read(table)
    except FileInvalid:
        # None yet, or one that a killed process left: that one is made again whole.
        return
    if any(row.split == SPLIT for row in lut.networks):
        kept(lut, run)


def with_added(lut: Lut, run: Path) -> Lut:
    """Return a table made of a run's journal with the networks kept beside it; what the journal has itself stands.

    Raises FileInvalid where they are damaged, or of another environment than the table.
    """
    if not (run / NETWORKS).exists():
        return lut
    most = formats.MOST_BYTES
    read = {
        name: files.read_capped(run / name, max_bytes=most[part], what="networks added to a table")
        for name, part in ((NETWORKS, formats.NETWORKS), (SESSIONS, formats.SESSIONS))
    }
    sessions = formats.parse_sessions(read[SESSIONS], run / SESSIONS, lut.header)
    networks = rows.parse_networks(read[NETWORKS], run / NETWORKS)
    there = {(row.space, row.id) for row in lut.networks}
    known = {session["id"] for session in lut.sessions}
    fresh = tuple(row for row in networks if (row.space, row.id) not in there)
    named = {row.session for row in fresh}
    made = replace(
        lut,
        networks=(*lut.networks, *fresh),
        sessions=(*lut.sessions, *(one for one in sessions if one["id"] in named - known)),
    )
    formats.check_sessions(made, run)
    return made
