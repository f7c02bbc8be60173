"""What `ofa lut check` and `ofa lut show` say: whether tables are valid, and what they hold."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ofa.space as spaces
from ofa.errors import FileInvalid
from ofa.lut import errors, format, heldout, monotony, noise, validity, verdicts
from ofa.lut.format import HEADER, NETWORKS, OPS, SESSIONS, Lut
from ofa.lut.header import FILLED
from ofa.lut.rows import NANOSECONDS_PER_MS, SPLITS, NetworkRow, Row
from ofa.lut.validity import STALE, VALIDITY, Record
from ofa.lut.verdicts import Watch, unwatched
from ofa.lut.write import refuse_place

MOST_SHOWN = 10
MICROJOULES_PER_MJ = 1e3
# Of errors in percent and of correlations; they are written with three digits after the point.
ROUNDING = 0.0021


def check(path: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Validate the table in a folder, or every table below it; an invalid one is listed, not raised.

    One that was found valid and has not changed is not read again (`verdicts`).

    Returns {"path", "valid", "tables": [summary...], "invalid": [{"path", "what", "why", "try"}...]}; pass it to
    `refuse` for the error. A table's "monotonicity" counts pairs of ops of which the larger one is faster beyond both
    intervals, and "unexpected" lists the worst; "noise" is how well its rows are known (`noise.facts`), and "held_out"
    its error on its own networks: `warnings`, which leave it valid. "modelled" is how many of its "ops" a model priced
    in some state. Raises FileInvalid where there is no table at all.
    """
    path = Path(path)
    tables: list[dict[str, Any]] = []
    faults: list[dict[str, Any]] = []
    folders = find(path)
    with watch(len(folders)) as on_table:
        for folder, found in verdicts.each(folders, judged):
            if isinstance(found, FileInvalid):
                faults.append({"path": str(folder), "what": found.what, "why": found.why, "try": list(found.hints)})
            else:
                tables.append(found["summary"] | {"path": str(folder), "held_out": found["held_out"]})
            on_table()
    return {"path": str(path), "valid": not faults, "tables": tables, "invalid": faults}


def judged(folder: Path) -> dict[str, Any]:
    """Validate one table and return its "summary" and its error on its own networks, "held_out"; raises FileInvalid."""
    lut = checked(folder)
    refuse_other_error(lut, folder)
    return {"summary": summary(lut, folder), "held_out": heldout.held_out(lut)}


def refuse_other_error(lut: Lut, folder: Path) -> None:
    """Raise FileInvalid where a table states another error than its own rows and networks give, computed anew.

    A table is held to the ways to price networks that it names: later versions know more of them.
    """
    stated = format.stated(folder)
    scored = (stated["calibration"] or {}).get("scored")
    found = heldout.of_table(lut, among=list(scored) if isinstance(scored, dict) else None)
    for name in ("holdout", "calibration"):
        if differs := _differing(stated[name], found[name], name):
            raise errors.error_misstated(folder / HEADER, *differs)


def _differing(stated: Any, found: Any, at: str) -> tuple[str, Any, Any] | None:
    """Return the first place where two facts differ by more than rounding, and both values; None where none does."""
    if isinstance(stated, dict) and isinstance(found, dict):
        names = sorted(stated.keys() | found.keys())
        pairs = (_differing(stated.get(name), found.get(name), f"{at}.{name}") for name in names)
        return next((pair for pair in pairs if pair is not None), None)
    numbers = isinstance(stated, float | int) and isinstance(found, float | int)
    same = math.isclose(stated, found, abs_tol=ROUNDING) if numbers else stated == found
    return None if same else (at, stated, found)


def refuse(report: dict[str, Any]) -> None:
    """Raise FileInvalid, exit code 3, where `check` found an invalid table."""
    faults = [errors.as_reported(entry) for entry in report["invalid"]]
    if faults:
        raise errors.tables_invalid(faults, len(faults) + len(report["tables"]))


def warnings(report: dict[str, Any]) -> list[str]:
    """Return a line for each table that its last recheck found stale, for each of which most rows are noisy and whose
    sums are not known to be good all the same, and for each in which more work takes less time: how often, and the
    worst pair of ops."""
    stale = [
        errors.stale(table["path"], table["rechecked"]["date"], table["rechecked"]["found"])
        for table in report["tables"]
        if table["rechecked"] and table["rechecked"]["verdict"] == STALE
    ]
    noisy = [
        said
        for table in report["tables"]
        if (said := noise.warning(table["path"], table["noise"], _error_pct(table["held_out"]))) is not None
    ]
    return [*stale, *noisy] + [
        f"{table['path']}: in {table['monotonicity']['unexpected']:,} of {table['monotonicity']['pairs']:,} pairs of "
        f"ops more work takes less time; the worst: {worst['smaller']} takes {worst['over_pct']:g} % longer than "
        f"{worst['larger']} ({worst['state']}); 'ofa lut show' lists more"
        for table in report["tables"]
        for worst in table["unexpected"][:1]
    ]


def _error_pct(held_out: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the largest error of a table on the held-out networks of a space, percent; None where it has none."""
    return max((entry["mape_pct"] for entry in held_out if entry["mape_pct"] is not None), default=None)


def show(path: Path) -> dict[str, Any]:
    """Return what one table holds: header, counts, widths of measured intervals, largest ops; raises FileInvalid.

    "calibration" and "holdout" are its error on its own held-out networks, and what sums of its rows come nearest to
    whole networks (`heldout.of_table`).

    "energy" says of how many networks it is known and by what, None where nobody measured any; "energies" are those
    that take most.

    "rechecks" are those of this very table, oldest first.

    "filled" says of each time that missing rows were modelled how many of each kind, and the model's own error.
    """
    folder = Path(path)
    lut = checked(folder)
    usable = [row for row in lut.rows if row.ns is not None]
    known = [row for row in lut.networks if row.energy_uj is not None]
    known.sort(key=lambda row: (-(row.energy_uj or 0), row[:2]))
    largest = sorted(usable, key=lambda row: (-(row.ns or 0), row.key, row.state))[:MOST_SHOWN]
    return summary(lut, folder) | {
        "runtime_version": lut.header.runtime_version,
        "environment": lut.header.environment,
        "protocol": {name: value for name, value in lut.header.protocol.items() if name != FILLED},
        **format.stated(folder),
        "rechecks": [_recheck(record) for record in validity.of_table(lut, folder)],
        "filled": _fills(lut.header.protocol.get(FILLED)),
        "half_width_pct": noise.half_widths_pct([row for row in usable if row.status != "modelled"]),
        "energy": _energy(lut, known),
        "overheads": [_line(row) for row in usable if row.key.startswith("@")],
        "largest": [_line(row) for row in largest],
        "energies": [_joules(row) for row in known[:MOST_SHOWN]],
        "without_time": [
            {"key": row.key, "state": row.state, "status": row.status} for row in lut.rows if row.ns is None
        ][:MOST_SHOWN],
    }


def find(path: Path) -> list[Path]:
    """Return the folders at or below ``path`` that hold any file of a table, sorted; raises FileInvalid for none."""
    found = [path.parent] if path.name == HEADER and path.is_file() else below(path)
    if not found:
        raise errors.not_a_table(path, f"neither it nor a folder below it has a '{HEADER}'")
    return found


def below(path: Path) -> list[Path]:
    """Return the folders at or below a folder that hold any file of a table, sorted; hidden ones are not looked at."""
    if not path.is_dir():
        raise errors.not_a_table(path, "it is no folder" if path.exists() else "there is no such folder")
    found = []
    for place, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if {HEADER, OPS, NETWORKS, SESSIONS} & set(names):
            found.append(Path(place))
    return sorted(found)


def checked(folder: Path) -> Lut:
    """Read a table and check what reading alone does not: its place under `luts`, that its networks are subnets, and
    the records of rechecks beside it."""
    lut = format.read(folder)
    refuse_place(lut, folder, allow_simulated=True)
    _refuse_others_records(lut, folder)
    known: dict[str, spaces.SearchSpace | None] = {}
    for line, row in enumerate(lut.networks, 2):
        if row.space not in known:
            known[row.space] = _space(row.space)
        space = known[row.space]
        if space is None:
            continue
        try:
            subnet = space.subnet(bytes.fromhex(row.genome))
        except FileInvalid as fault:
            raise errors.line_invalid(folder / NETWORKS, line, f"{fault.what}: {fault.why}") from fault
        if subnet.id != row.id:
            why = f"id is '{row.id}', and its genome is that of '{subnet.id}'"
            raise errors.line_invalid(folder / NETWORKS, line, why)
    return lut


def _refuse_others_records(lut: Lut, folder: Path) -> None:
    """Raise FileInvalid where a record beside a table is damaged, or a measured table's is of a simulated device."""
    for line, record in enumerate(validity.records(folder), 1):
        if record.simulated and not lut.simulated:
            raise errors.line_invalid(
                folder / VALIDITY, line, "it is of a simulated device, and the table is of a real one"
            )


def _space(identity: str) -> spaces.SearchSpace | None:
    """Return a search space, or None for one this version does not know."""
    try:
        return spaces.by_id(identity)
    except FileInvalid:
        return None


def summary(lut: Lut, folder: Path) -> dict[str, Any]:
    """Return what a table holds in one line of a listing."""
    header = lut.header
    monotonicity, unexpected = monotony.unexpected(lut.rows)
    return {
        "path": str(folder),
        "device": header.device,
        "runtime": header.runtime,
        "precision": header.precision,
        "conditions": header.conditions,
        "environment_id": header.environment_id,
        "units": header.units,
        "simulated": header.simulated,
        "created": header.created,
        "ops": len({row.key for row in lut.rows if not row.key.startswith("@")}),
        "modelled": len({row.key for row in lut.rows if row.status == "modelled"}),
        "rows": len(lut.rows),
        "states": _counts(row.state for row in lut.rows),
        "statuses": _counts(row.status for row in lut.rows),
        "networks": {split: sum(row.split == split for row in lut.networks) for split in SPLITS},
        "spaces": sorted({row.space for row in lut.networks}),
        "sessions": len(lut.sessions),
        "monotonicity": monotonicity,
        "unexpected": unexpected,
        "noise": noise.facts(lut),
        "rechecked": _rechecked(validity.of_table(lut, folder)),
    }


def _recheck(record: Record) -> dict[str, Any]:
    """Return what one recheck says, without what only names it as a record of this table."""
    return {name: value for name, value in record.content().items() if name not in ("schema", "table", "simulated")}


def _rechecked(found: Sequence[Record]) -> dict[str, Any] | None:
    """Return the recheck of a table that counts, None where nobody did any."""
    last = validity.standing(found)
    names = ("date", "verdict", "tolerance_pct", "environment_id", "found")
    return None if last is None else {name: getattr(last, name) for name in names}


def _counts(values: Iterable[str]) -> dict[str, int]:
    """Count values, by name."""
    return dict(sorted(Counter(values).items()))


def _energy(lut: Lut, known: list[NetworkRow]) -> dict[str, Any] | None:
    """Return of how many networks the energy is known, and by what; None where nobody measured any."""
    if not known:
        return None
    averaging = sorted({row.energy_averaging_ms for row in known if row.energy_averaging_ms is not None})
    return {
        "networks": len(known),
        "source": list(lut.energy_sources),
        "averaging_ms": averaging or "unknown",
    }


def _joules(row: NetworkRow) -> dict[str, Any]:
    """Return the energy of a network in mJ a call."""
    assert row.energy_uj is not None and row.energy_lo is not None and row.energy_hi is not None
    return {
        "id": row.id,
        "split": row.split,
        "mj": row.energy_uj / MICROJOULES_PER_MJ,
        "lo_mj": row.energy_lo / MICROJOULES_PER_MJ,
        "hi_mj": row.energy_hi / MICROJOULES_PER_MJ,
        "source": row.energy_source,
    }


def _fills(said: Any) -> list[dict[str, Any]]:
    """Return what a header says of each time that missing rows were modelled, without the model itself."""
    entries = [entry for entry in said if isinstance(entry, dict)] if isinstance(said, list) else []
    found: list[dict[str, Any]] = []
    for entry in entries:
        rows, wrong = (entry.get(name) for name in ("rows", "left_out_pct"))
        found.append({"space": entry.get("space"), "state": entry.get("state")})
        found[-1] |= rows if isinstance(rows, dict) else {}
        found[-1] |= {f"{how}_left_out_pct": value for how, value in wrong.items()} if isinstance(wrong, dict) else {}
    return found


def _line(row: Row) -> dict[str, Any]:
    """Return a row with times in ms."""
    assert row.ns is not None and row.lo is not None and row.hi is not None
    return {
        "key": row.key,
        "state": row.state,
        "status": row.status,
        "ms": row.ns / NANOSECONDS_PER_MS,
        "lo_ms": row.lo / NANOSECONDS_PER_MS,
        "hi_ms": row.hi / NANOSECONDS_PER_MS,
        "rounds": row.rounds,
    }
