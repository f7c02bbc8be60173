"""How far a table is from whole networks: ways to price them, fitted on those for fitting, judged on the held-out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ofa.space as spaces
from ofa import score
from ofa.errors import FileInvalid
from ofa.lut import calibrate, physics
from ofa.lut.format import Lut
from ofa.lut.rows import NANOSECONDS_PER_MS, USABLE, NetworkRow
from ofa.lut.student import measured
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of

Vector = NDArray[np.float64]

# As many as the latency twin asks for.
FEWEST_NETWORKS = 5
# Fewer inside a resolution have no order worth a number.
FEWEST_IN_RESOLUTION = 10
FLOPS, NETWORKS = "flops", "networks"
# Stands in the name of a way beside the states that it mixes.
OPS = "ops"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The networks of one space: genomes uint8[n, G] and ms float64[n] of those for fitting and those held out."""

    space: SearchSpace
    fit: Genomes
    fit_ms: Vector
    holdout: Genomes
    rows: tuple[NetworkRow, ...]

    @property
    def holdout_ms(self) -> Vector:
        """Return what the held-out networks were measured at, ms."""
        return _ms(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Held-out networks, the (space, resolution) of each, and each way's price of them, ms, float64[n]; ``fit`` is how
    many networks the ways were fitted to.
    """

    rows: tuple[NetworkRow, ...]
    groups: tuple[tuple[str, int], ...]
    predicted_ms: dict[str, Vector]
    fit: int


def judged(lut: Lut) -> Judged:
    """Return the held-out networks of a table as every way prices them that prices those of all its spaces."""
    parts = [part for part in map(_part, *_by_space(lut)) if isinstance(part, Part)]
    ways = [_ways(lut, part) for part in parts]
    shared = [name for name in ways[0] if all(name in found for found in ways)] if ways else []
    return Judged(
        rows=tuple(row for part in parts for row in part.rows),
        groups=tuple((part.space.id, resolution) for part in parts for resolution in _resolutions(part)),
        predicted_ms={name: np.concatenate([found[name] for found in ways]) for name in shared},
        fit=sum(len(part.fit) for part in parts),
    )


def of_table(lut: Lut, *, among: Collection[str] | None = None) -> dict[str, Any]:
    """Return what `lut.json` says of a table's error: {"calibration": ..., "holdout": ...}, each None without networks.

    ``among`` are the ways that compete, all where it is not given.

    Ways to price a network: the sum of its rows in one state, or of all states mixed, each with weights of zero or more
    and a constant; the same and so much for each op ("cold+hot+ops", `calibrate.with_ops`); "networks", prices of its
    work fitted to whole networks alone (`physics`); and "flops", calibrated MACs alone, which are there to be beaten.
    All are fitted on the networks of split `fit`. "calibration" names the way "chosen" (least error on the held-out)
    and what each scored; "holdout" is the error of the chosen one, in percent and rank correlations, with the floor:
    the same networks measured again. It depends on the table alone.
    """
    found = judged(lut)
    competing = {name: values for name, values in found.predicted_ms.items() if among is None or name in among}
    if not set(competing) - {FLOPS} or FLOPS not in competing:
        return {"calibration": None, "holdout": None}
    rows, groups = found.rows, found.groups
    scores = {name: _scores(values, _ms(rows), groups) for name, values in competing.items()}
    chosen = min((name for name in scores if name != FLOPS), key=lambda name: (scores[name]["mape_pct"], name))
    again = [place for place, row in enumerate(rows) if row.again_ns is not None]
    floor: dict[str, Any] = {"mape_pct": None, "within_resolution_spearman": None}
    if len(again) > 1:
        second = np.array([rows[place].again_ns or 0 for place in again]) / NANOSECONDS_PER_MS
        floor |= _scores(second, _ms([rows[place] for place in again]), [groups[place] for place in again])
    return {
        "calibration": {"chosen": chosen, "fit": found.fit, "scored": scores},
        "holdout": {
            "networks": len(rows),
            **scores[chosen],
            "floor_mape_pct": floor["mape_pct"],
            "floor_within_resolution_spearman": floor["within_resolution_spearman"],
            "flops_only_mape_pct": scores[FLOPS]["mape_pct"],
            "flops_only_within_resolution_spearman": scores[FLOPS]["within_resolution_spearman"],
        },
    }


def held_out(lut: Lut) -> list[dict[str, Any]]:
    """Return a table's error on its own held-out networks, one entry for each space it has networks of.

    An entry has "space", "fit" and "holdout" (how many networks), and of the best way to price them (`of_table`) in
    percent "mape_pct" and "bias_pct" (the mean of predicted over measured less 1), or None and "why".
    """
    found = []
    for identity, rows in zip(*_by_space(lut), strict=True):
        counts: dict[str, Any] = {split: sum(row.split == split for row in rows) for split in ("fit", "holdout")}
        entry = {"space": identity, **counts, "mape_pct": None, "bias_pct": None}
        part = _part(identity, rows)
        if isinstance(part, str):
            found.append(entry | {"why": part})
            continue
        ways = {name: values for name, values in _ways(lut, part).items() if name != FLOPS}
        if not ways:
            found.append(entry | {"why": "its rows do not price these networks"})
            continue
        predicted_ms = min(ways.values(), key=lambda values: score.mape_pct(values, part.holdout_ms))
        bias_pct = 100 * float(np.mean(predicted_ms / part.holdout_ms - 1.0))
        mape_pct = score.mape_pct(predicted_ms, part.holdout_ms)
        found.append(entry | {"mape_pct": round(mape_pct, 3), "bias_pct": round(bias_pct, 3)})
    return found


def predicted(lut: Lut, space: SearchSpace, genomes: Genomes) -> tuple[str, Vector] | None:
    """Return what a table says networks take, ms, float64[n], and by which way: the one its header names as chosen.

    Where that does not price them, the one of most states that does. None for a table with fewer than five networks of
    the space to fit to, or without the rows that these genomes uint8[n, G] need.
    """
    rows = [row for row in lut.networks if row.space == space.id and row.split == "fit" and measured(row)]
    if len(rows) < FEWEST_NETWORKS:
        return None
    part = Part(space=space, fit=genomes_of(space, rows), fit_ms=_ms(rows), holdout=genomes, rows=())
    ways = {name: ms for name, ms in _ways(lut, part).items() if name != FLOPS}
    if not ways:
        return None
    chosen = (of_table(lut)["calibration"] or {"chosen": None})["chosen"]
    plain = [name for name in ways if OPS not in name.split("+")]
    name = chosen if chosen in ways else max(plain, key=lambda way: (way != NETWORKS, len(way)))
    return name, ways[name]


def _by_space(lut: Lut) -> tuple[list[str], list[list[NetworkRow]]]:
    """Return the ids of the spaces that a table has networks of, and the measured ones of each."""
    known = sorted({row.space for row in lut.networks})
    return known, [[row for row in lut.networks if row.space == identity and measured(row)] for identity in known]


def _part(identity: str, rows: Sequence[NetworkRow]) -> Part | str:
    """Return the networks of a space, or why they say nothing."""
    fit = [row for row in rows if row.split == "fit"]
    holdout = [row for row in rows if row.split == "holdout"]
    try:
        space = spaces.by_id(identity)
    except FileInvalid:
        return "this version does not know the space"
    if len(fit) < FEWEST_NETWORKS or not holdout:
        return f"it takes {FEWEST_NETWORKS} networks to fit and 1 held out"
    try:
        genomes = [genomes_of(space, part) for part in (fit, holdout)]
    except (FileInvalid, ValueError):
        return "a genome is none of its space"
    return Part(space=space, fit=genomes[0], fit_ms=_ms(fit), holdout=genomes[1], rows=tuple(holdout))


def genomes_of(space: SearchSpace, rows: Sequence[NetworkRow]) -> Genomes:
    """Return the genomes of rows, uint8[n, G]; raises FileInvalid or ValueError where one is none of the space."""
    genomes = np.array([list(bytes.fromhex(row.genome)) for row in rows], dtype=np.uint8)
    genomes = genomes.reshape(len(rows), len(space.genes))
    space.check(genomes)
    return genomes


def learnt_of(lut: Lut, space: SearchSpace) -> list[NetworkRow]:
    """Return the networks of a space that a table's twins are fitted to, with or without what a twin is of."""
    return [row for row in lut.networks if row.space == space.id and row.learnt]


def _ways(lut: Lut, part: Part) -> dict[str, Vector]:
    """Return the held-out networks of a space as each way prices them, ms, float64[n]."""
    index = index_of(part.space)
    priced = _priced(lut, part.space)
    columns = {state: [values] for state, values in priced.items()} | {FLOPS: [index.values(lambda op: op.macs)]}
    if len(priced) > 1:
        columns["+".join(priced)] = list(priced.values())
    if priced:
        columns["+".join([*priced, OPS])] = [*priced.values(), np.ones(len(index.ops))]
    found = {}
    for name, values in columns.items():
        sums, unseen = (
            np.stack([index.sum(genomes, one) for one in values], axis=1) for genomes in (part.fit, part.holdout)
        )
        if np.isfinite(sums).all() and np.isfinite(unseen).all():
            found[name] = calibrate.fit(sums, part.fit_ms, below_zero=True).predict(unseen)
    if len(part.fit) >= physics.FEWEST_NETWORKS:
        model = physics.fit_networks(part.space, part.fit, part.fit_ms * NANOSECONDS_PER_MS)
        found[NETWORKS] = model.predict(part.space, part.holdout) / NANOSECONDS_PER_MS
    return found


def _priced(lut: Lut, space: SearchSpace) -> dict[str, Vector]:
    """Return the ms of each op, float64[n_ops], by state; NaN where it has no usable row in it."""
    found = {}
    for state in sorted({row.state for row in lut.rows}):
        ns = {row.key: row.ns for row in lut.rows if row.state == state and row.status in USABLE}
        values = np.array([ns.get(op.key) for op in index_of(space).ops], dtype=np.float64)
        if np.isfinite(values).any():
            found[state] = values / NANOSECONDS_PER_MS
    return found


def _scores(predicted: Vector, actual: Vector, groups: Sequence[tuple[str, int]]) -> dict[str, float | None]:
    """Return errors in percent and rank correlations, over all networks and the mean of those within resolutions."""
    inside = []
    for group in sorted(set(groups)):
        chosen = np.array([one == group for one in groups])
        if chosen.sum() >= FEWEST_IN_RESOLUTION:
            inside.append(score.spearman(predicted[chosen], actual[chosen]))
    return {
        "mape_pct": _rounded(score.mape_pct(predicted, actual)),
        "within_10_pct": _rounded(score.within_pct(predicted, actual, 10)),
        "worst_pct": _rounded(100 * float(np.max(np.abs(predicted / actual - 1)))),
        "spearman": _rounded(score.spearman(predicted, actual)) if len(actual) > 1 else None,
        "within_resolution_spearman": _rounded(float(np.mean(inside))) if inside else None,
    }


def _rounded(value: float) -> float | None:
    """Return a number as a header states it: the last bits differ from one machine to another."""
    return round(value, 3) if np.isfinite(value) else None


def _resolutions(part: Part) -> list[int]:
    """Return the resolution of each held-out network, px."""
    return [part.space.subnet(genome).resolution for genome in part.holdout]


def _ms(rows: Sequence[NetworkRow]) -> Vector:
    """Return what networks were measured at, ms."""
    return np.array([row.ns or 0 for row in rows]) / NANOSECONDS_PER_MS
