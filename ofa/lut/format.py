"""A whole table `lut/1` and its four files: `lut.json`, `ops.csv`, `networks.csv`, `sessions.jsonl`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ofa import files
from ofa.lut import errors, header, rows
from ofa.lut.header import Counts, Digests, Header, Seal
from ofa.lut.rows import NetworkRow, Row

__all__ = ["Header", "Lut", "NetworkRow", "Row", "read", "render"]

HEADER, OPS, NETWORKS, SESSIONS = "lut.json", "ops.csv", "networks.csv", "sessions.jsonl"
MOST_BYTES = {
    HEADER: files.MEBIBYTE,
    OPS: 64 * files.MEBIBYTE,
    NETWORKS: 64 * files.MEBIBYTE,
    SESSIONS: 64 * files.MEBIBYTE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lut:
    """A table: header, op rows, whole networks, and one record for each measuring session, by ``id``."""

    header: Header
    rows: tuple[Row, ...]
    networks: tuple[NetworkRow, ...] = ()
    sessions: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Return what messages call this table."""
        return str(self.header.place)

    @property
    def simulated(self) -> bool:
        """Say whether the header, any row or any session admits to the simulated device."""
        return (
            self.header.simulated
            or _says_simulated(self.header.environment)
            or any("simulated" in row.flags for row in self.rows)
            or any("simulated" in row.flags for row in self.networks)
            or any(_says_simulated(session) for session in self.sessions)
        )

    @property
    def energy_sources(self) -> tuple[str, ...]:
        """Return what measured the energy of whole networks, sorted; empty where nobody did."""
        return tuple(sorted({row.energy_source for row in self.networks if row.energy_source is not None}))

    def sorted(self) -> Lut:
        """Return the same table in the order its files have: bytewise by key and state, space and id, session id."""
        return replace(
            self,
            rows=tuple(sorted((row._replace(flags=_words(row.flags)) for row in self.rows), key=lambda row: row[:2])),
            networks=tuple(
                sorted((row._replace(flags=_words(row.flags)) for row in self.networks), key=lambda row: row[:2])
            ),
            sessions=tuple(sorted(self.sessions, key=lambda session: str(session.get("id")))),
        )


def render(lut: Lut, errors_of_networks: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """Return the bytes of the four files of a sorted table and of its error; equal tables give equal bytes."""
    contents = {
        OPS: rows.render(_with_energy(rows.OPS_COLUMNS, rows.ENERGY_COLUMNS, lut.rows), lut.rows),
        NETWORKS: rows.render(
            _with_energy(rows.NETWORK_COLUMNS, rows.NETWORK_ENERGY_COLUMNS, lut.networks), lut.networks
        ),
        SESSIONS: "".join(files.canonical_json(session) + "\n" for session in lut.sessions).encode(),
    }
    seal = Seal(
        environment_id=lut.header.environment_id,
        counts=Counts(ops=len(lut.rows), networks=len(lut.networks), sessions=len(lut.sessions)),
        sha256=Digests.model_validate({name: files.sha256_bytes(data) for name, data in contents.items()}),
        **(errors_of_networks or {}),
    )
    return contents | {HEADER: files.readable_json(header.to_json(lut.header, seal)).encode()}


def _with_energy(
    columns: tuple[str, ...], energy: tuple[str, ...], lines: Sequence[tuple[Any, ...]]
) -> tuple[str, ...]:
    """Return the columns that rows need: those of energy only where one of them has any."""
    has = any(value is not None for line in lines for value in line[len(columns) :])
    return columns + (energy if has else ())


def read(path: Path) -> Lut:
    """Read and validate the table in a folder (or its `lut.json`); raises FileInvalid naming file, line and value."""
    folder = Path(path)
    if folder.name == HEADER and not folder.is_dir():
        folder = folder.parent
    if not folder.is_dir():
        raise errors.not_a_table(folder, "it is no folder" if folder.exists() else "there is no such folder")
    present = {name for name in MOST_BYTES if (folder / name).exists()}
    if not present:
        raise errors.not_a_table(folder, "it has none of the files of a table")
    contents = {}
    for name, most_bytes in MOST_BYTES.items():
        if name not in present:
            raise errors.part_missing(folder / name)
        contents[name] = files.read_capped(folder / name, max_bytes=most_bytes, what="table file")
    return parse(contents, folder)


def header_of(folder: Path) -> Header:
    """Read and validate only what the table in a folder says of itself; raises FileInvalid."""
    return _about(folder)[0]


def stated(folder: Path) -> dict[str, Any]:
    """Return what the table in a folder says of its own error: "calibration" and "holdout"; raises FileInvalid."""
    seal = _about(folder)[1]
    return {"calibration": seal.calibration, "holdout": seal.holdout}


def _about(folder: Path) -> tuple[Header, Seal]:
    """Read `lut.json` alone."""
    path = Path(folder) / HEADER
    if path.parent.is_dir() and not path.exists():
        raise errors.part_missing(path)
    data = files.read_capped(path, max_bytes=MOST_BYTES[HEADER], what="table file")
    return header.from_json(_json(data, path), path)


def parse(contents: Mapping[str, bytes], folder: Path) -> Lut:
    """Validate the bytes of the four files; ``folder`` only names them in messages. Raises FileInvalid."""
    about, seal = header.from_json(_json(contents[HEADER], folder / HEADER), folder / HEADER)
    lut = Lut(
        header=about,
        rows=rows.parse_ops(contents[OPS], folder / OPS),
        networks=rows.parse_networks(contents[NETWORKS], folder / NETWORKS),
        sessions=parse_sessions(contents[SESSIONS], folder / SESSIONS, about),
    )
    found = {"ops": len(lut.rows), "networks": len(lut.networks), "sessions": len(lut.sessions)}
    for name, (part, count) in zip((OPS, NETWORKS, SESSIONS), found.items(), strict=True):
        expected = getattr(seal.counts, part)
        if count != expected:
            raise errors.file_invalid(
                folder / name, f"it has {count:,} rows, 'lut.json' names {expected:,}: it was cut short or changed"
            )
        digest = files.sha256_bytes(contents[name])
        if digest != getattr(seal.sha256, part):
            raise errors.mixture(folder / name, named=getattr(seal.sha256, part), found=digest)
    check_sessions(lut, folder)
    if lut.simulated != about.simulated:
        raise errors.file_invalid(folder / HEADER, "simulated is 'False', and the table holds values that are")
    return lut


def check_sessions(lut: Lut, folder: Path) -> None:
    """Raise FileInvalid where a row names a session that is not there."""
    known = {session["id"] for session in lut.sessions} | {""}
    named = {OPS: [row.session for row in lut.rows], NETWORKS: [row.session for row in lut.networks]}
    for name, sessions in named.items():
        if set(sessions) <= known:
            continue
        line, session = next((line, session) for line, session in enumerate(sessions, 2) if session not in known)
        raise errors.line_invalid(folder / name, line, f"session {errors.quoted(session)} is not in '{SESSIONS}'")


def parse_sessions(raw: bytes, path: Path, about: Header) -> tuple[dict[str, Any], ...]:
    """Read `sessions.jsonl`: canonical JSON, one object a line, by rising ``id``."""
    sessions: list[dict[str, Any]] = []
    if raw and not raw.endswith(b"\n"):
        raise errors.line_invalid(path, raw.count(b"\n") + 1, "it has no end: the file was cut short")
    for number, line in enumerate(raw.split(b"\n")[:-1], 1):
        try:
            session = json.loads(line.decode("ascii"))
            canonical = files.canonical_json(session).encode() == line
        except (ValueError, RecursionError) as fault:
            raise errors.line_invalid(path, number, f"it is not valid JSON: {fault}") from fault
        identity = session.get("id") if isinstance(session, dict) else None
        if not isinstance(identity, str) or not rows.is_session(identity):
            raise errors.line_invalid(
                path, number, f"id is {errors.quoted(identity)}; it must be {rows.COLUMNS['session'][1]}"
            )
        if not canonical:
            raise errors.line_invalid(path, number, "it is not in canonical form: sorted keys, no spaces, LF")
        if sessions and identity <= sessions[-1]["id"]:
            raise errors.line_invalid(
                path, number, f"id '{identity}' comes after '{sessions[-1]['id']}': ids rise, each once"
            )
        if session.get("environment_id", about.environment_id) != about.environment_id:
            raise errors.line_invalid(
                path,
                number,
                f"it was measured in environment {errors.quoted(session['environment_id'])}, the table is of "
                f"'{about.environment_id}'",
                "keep another environment in a table of its own",
            )
        sessions.append(session)
    return tuple(sessions)


def _json(raw: bytes, path: Path) -> Any:
    """Parse JSON; raises FileInvalid for what is not, NaN and a key given twice included."""

    def refuse(constant: str) -> Any:
        raise ValueError(f"'{constant}' is not a number JSON knows")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(
                f"key {errors.quoted(Counter(name for name, _ in pairs).most_common(1)[0][0])} stands twice"
            )
        return found

    try:
        return json.loads(raw.decode(), parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, RecursionError) as fault:
        raise errors.file_invalid(path, f"it is not valid JSON: {fault}") from fault


def _words(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Return flags sorted, each once."""
    return flags if len(flags) < 2 else tuple(sorted(set(flags)))


def _says_simulated(value: Any) -> bool:
    """Say whether a JSON value declares, anywhere inside, that it comes from the simulated device."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if item.get("simulated") or item.get("transport") == "simulated":
                return True
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return False
