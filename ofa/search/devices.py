"""A device as a search knows it: a latency for every network, from one table or several that are parts of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ofa import estimate
from ofa.lut import importers, shelf
from ofa.lut.errors import ops_missing
from ofa.lut.format import Lut, read
from ofa.lut.heldout import genomes_of, learnt_of
from ofa.lut.rows import NANOSECONDS_PER_MS
from ofa.search import bound
from ofa.search.limits import Limit, Values, twin_limit
from ofa.search.part import Part
from ofa.search.sums import of_ops
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of

if TYPE_CHECKING:
    from ofa.twins.latency import LatencyTwin

FOREIGN = {".yaml", ".yml", ".csv"}
# With fewer measured networks no bound holds nine times in ten.
FEWEST_FOR_COVERAGE = 10
COVERAGE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device by name, its tables, and the resolutions of a space that they price, px.

    ``op_values_ms`` is float64[R, n_ops] for the resolutions of the space, NaN where a resolution lacks an op: several
    tables may time one op differently, and then that of the network's own resolution counts. ``twin`` takes its place
    where whole networks were measured with a single table.
    """

    name: str
    space: SearchSpace
    tables: tuple[Lut, ...]
    resolutions: tuple[int, ...]
    op_values_ms: NDArray[np.float64]
    twin: LatencyTwin | None

    def predict(self, genomes: Genomes) -> Values:
        """Return the latency on this device, ms, float64[n], of genomes uint8[n, G] at resolutions it prices."""
        return self.twin.predict(genomes) if self.twin else of_ops(self.space, self.op_values_ms).predict(genomes)

    def limit(self, part: Part, at_most_ms: float, name: str) -> Limit:
        """Limit the latency on this device; with a twin its upper bound where it rests on enough networks."""
        if self.twin is not None:
            return _of_twin(self.twin, part, at_most_ms, name=name, unit="ms")
        total = part.cut(of_ops(self.space, self.op_values_ms))
        return Limit(
            name=name,
            predict=total,
            at_most=at_most_ms,
            unit="ms",
            floor=lambda: bound.ends(part.space, total),
            below=total,
            exact=True,
        )


def tables_at(paths: Sequence[Path], space: SearchSpace) -> tuple[Lut, ...]:
    """Read the tables of one device; raises FileInvalid for a path that is none."""
    return tuple(table for path in paths for table in _tables(path, space))


def device(name: str, tables: tuple[Lut, ...], space: SearchSpace) -> Device:
    """Return a device by its tables; raises SpaceMismatch where they price no resolution of the space whole."""
    states = [estimate.state_of(table, space) for table in tables]
    known = np.stack([estimate.known_ms(table, space, state) for table, state in zip(tables, states, strict=True)])
    priced = _by_resolution(space, known)
    whole = [not np.isnan(row).all() for row in priced]
    if not any(whole):
        keys = [op.key for op in index_of(space).ops]
        lacks = np.flatnonzero(np.isnan(known).all(axis=0))
        raise ops_missing(
            tables[0].name,
            of=space.id,
            state=states[0],
            missing=len(lacks),
            needed=len(keys),
            first=keys[int(lacks[0])],
            unusable="",
            spaces=sorted({network.space for table in tables for network in table.networks}),
        )
    twin = _twin(space, tables[0], states[0], known[0]) if len(tables) == 1 and not np.isnan(known).any() else None
    return Device(
        name=name,
        space=space,
        tables=tables,
        resolutions=tuple(px for px, has in zip(space.resolutions, whole, strict=True) if has),
        op_values_ms=priced,
        twin=twin,
    )


def energy_limit(device: Device, part: Part, at_most_mj: float, name: str) -> Limit | None:
    """Limit the energy of one call on a device, mJ, as its latency is limited; None where too few networks have any.

    It is learned from networks whose energy was measured: nobody measures that of an op.
    """
    from ofa.twins import latency, tables

    for table in device.tables:
        known = {row.genome for row in learnt_of(table, device.space) if row.energy_uj}
        if len(known) >= latency.FEWEST_NETWORKS:
            twin = tables.fit(device.space, table, quantity="energy")
            return _of_twin(twin, part, at_most_mj, name=name, unit="mJ", source=", ".join(table.energy_sources))
    return None


def _of_twin(
    twin: LatencyTwin, part: Part, at_most: float, *, name: str, unit: str, source: str | None = None
) -> Limit:
    """Limit what a twin predicts, over a part of its space; its upper bound where it rests on enough networks."""
    covered = COVERAGE if len(twin.ratios) >= FEWEST_FOR_COVERAGE else None
    whole = twin_limit(twin, at_most, coverage=covered, name=name, unit=unit, source=source)
    assert whole.below is not None
    below = part.cut(whole.below)
    floor = (lambda: bound.ends(part.space, below)) if whole.exact else None
    return replace(whole, predict=part.of(whole.predict), floor=floor, below=below)


def parts_at(path: Path) -> list[Path]:
    """Return the tables at a path, each a part: the folder of one of ours, a foreign file, or all those of a folder.

    Raises FileInvalid where there is none, UsageInvalid where a folder holds several of ours.
    """
    foreign = [path] if _is_foreign(path) else []
    if path.is_dir() and not any(path.rglob("lut.json")):
        foreign = sorted(file for file in path.iterdir() if file.suffix.lower() in FOREIGN)
    return foreign or [shelf.place(path)]


def _is_foreign(path: Path) -> bool:
    """Say whether a path is a file that others published."""
    return path.suffix.lower() in FOREIGN and not path.is_dir()


def _tables(path: Path, space: SearchSpace) -> list[Lut]:
    """Read the tables at a path."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return [
        importers.import_table(part, importers.Origin(device=slug(part), source=part.name, created=today), (space,))
        if _is_foreign(part)
        else read(part)
        for part in parts_at(path)
    ]


def slug(file: Path) -> str:
    """Return the name of a file as a table's header can hold it."""
    return re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("._-")[:100] or "imported"


def _by_resolution(space: SearchSpace, known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64[R, n_ops]: at each resolution the first table that prices it whole, else all together; NaN rows
    where not even these do."""
    count = known.shape[1]
    together = known[0].copy()
    for table in known[1:]:
        together = np.where(np.isnan(together), table, together)
    priced = np.full((len(space.resolutions), count), np.nan)
    for number in range(len(space.resolutions)):
        needed = _needed(space, number + 1)
        for table in (*known, together):
            if not np.isnan(table[needed]).any():
                priced[number] = np.where(np.isin(np.arange(count), needed), table, 0.0)
                break
    return priced


def _needed(space: SearchSpace, value: int) -> NDArray[np.int64]:
    """Return the ops that networks of one resolution (a gene value) can have, by row."""
    index, resolution = index_of(space), space.at("resolution")
    rows = [
        np.take(slot.rows, value, axis=slot.columns.index(resolution)) if resolution in slot.columns else slot.rows
        for slot in index.slots
    ]
    found = np.unique(np.concatenate([part.ravel() for part in rows]))
    return found[found < len(index.ops)]


def _twin(space: SearchSpace, table: Lut, state: str, values_ms: NDArray[np.float64]) -> LatencyTwin | None:
    """Return the latency twin of a table whose networks were measured, None where too few were."""
    rows = [row for row in learnt_of(table, space) if row.ns is not None]
    if not rows:
        return None
    # Here, because the library of trees takes half a second to load.
    from ofa.twins import latency

    if len(rows) < latency.FEWEST_NETWORKS:
        return None
    states = {row.state for row in table.rows if not row.key.startswith("@")}
    tables = {
        name: found for name in sorted(states) if not np.isnan(found := estimate.known_ms(table, space, name)).any()
    }
    measured_ms = np.array([row.ns for row in rows], dtype=np.float64) / NANOSECONDS_PER_MS
    return latency.fit(space, tables or {state: values_ms}, genomes_of(space, rows), measured_ms)
