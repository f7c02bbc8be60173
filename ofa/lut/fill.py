"""Missing cells of a table priced from the measured ones: a cost model of the work in an op, corrected by neighbours.

A filled row has status `modelled` and a flag that says what was missing; no row that is there is touched.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ofa.lut import errors, physics, residuals, student, whole
from ofa.lut.format import Lut, Row
from ofa.lut.header import FILLED
from ofa.lut.physics import CostModel
from ofa.lut.residuals import Rows, Solved
from ofa.lut.student import NORMAL_95
from ofa.space import ops
from ofa.space.core import SearchSpace
from ofa.space.index import ops_in
from ofa.space.ops import Op

Vector = NDArray[np.float64]
# What was missing, from the least to the most: a map between measured ones of the same op; a map beyond them; the
# kernel or inner width at this place of the network; the place (its channels).
How = Literal["size", "beyond", "choice", "width"]

FEWEST_ROWS = 8
# One inverse of this many rows takes seconds and about a GiB; of more, those most like what is missing are learnt from.
MOST_ROWS = 3000
# Which rows are left out together to learn how far a price may be off, by what was missing. A map beyond the measured
# ones is judged as an op without any: no row can be left out as far beyond as a fill may go.
LEFT_OUT: dict[How, Callable[[Op], Op]] = {
    "size": lambda op: op,
    "choice": residuals.family,
    "width": residuals.place,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricer:
    """Prices for ops that were not measured, and how far they may be off.

    ``values`` float64[n] are the log residuals of the measured ops of ``solved``. ``factors`` of at least 1 widen the
    expected deviation, by what was missing; ``left_out_pct`` is the mean error, percent, of measured ops priced
    without themselves or their like.
    """

    model: CostModel
    solved: Solved
    values: Vector
    factors: dict[How, float]
    left_out_pct: dict[How, float]

    def price(self, targets: Sequence[Op]) -> tuple[Vector, Vector, list[How]]:
        """Return ns, the standard deviation of its log, and what was missing, for each op."""
        mean, deviation = self.solved.predict(targets, self.values)
        hows = self._missing(targets)
        wide = np.array([self.factors[how] for how in hows])
        return self.model.predict(targets) * np.exp(mean), deviation * wide, hows

    def _missing(self, targets: Sequence[Op]) -> list[How]:
        """Return what of each op was missing."""
        sizes: dict[Op, list[int]] = defaultdict(list)
        for op in self.solved.ops:
            sizes[residuals.family(op)].append(op.in_size)
        places = {residuals.place(op) for op in self.solved.ops}
        hows: list[How] = []
        for op in targets:
            known = sizes.get(residuals.family(op))
            if known:
                hows.append("size" if min(known) <= op.in_size <= max(known) else "beyond")
            else:
                hows.append("choice" if residuals.place(op) in places else "width")
        return hows


def fill(lut: Lut, space: SearchSpace, resolutions: Sequence[int] = ()) -> Lut:
    """Return the table with a row for every op of ``space`` (px in ``resolutions`` in place of its own) in each state.

    Rows that are there stay as they are, failed and unsupported ones too. A new row has status `modelled`, flag
    `filled-size`, `-beyond`, `-choice` or `-width` (see ``How``), and a 95 % interval from leaving measured rows out.
    A table of whole networks without any op is priced by what its networks say (`ofa.lut.whole`).
    The header's protocol says under `fill` what was done. Raises SpaceMismatch where fewer than 8 rows of a state are
    measured, or none has some part of a missing op.
    """
    of_networks = space
    if resolutions:
        space = replace(space, resolutions=tuple(sorted(set(resolutions))))
    wanted = {op.key: op for op in ops_in(space)}
    if whole.is_whole(lut):
        return whole.priced(lut, of_networks, list(wanted.values()))
    rows, facts = list(lut.rows), []
    for state in sorted({row.state for row in lut.rows if not row.key.startswith("@")}):
        there = {row.key for row in lut.rows if row.state == state}
        missing = [op for key, op in wanted.items() if key not in there]
        if not missing:
            continue
        pricer = learn(lut, state, missing)
        filled = _rows(pricer, missing, state)
        rows += filled
        facts.append(_facts(pricer, filled, state, space))
    if not facts:
        return lut
    before = lut.header.protocol.get(FILLED)
    protocol = {**lut.header.protocol, FILLED: [*(before if isinstance(before, list) else []), *facts]}
    return replace(lut, header=lut.header.model_copy(update={"protocol": protocol}), rows=tuple(rows)).sorted()


def learn(lut: Lut, state: str, missing: Sequence[Op]) -> Pricer:
    """Return what the measured rows of one state say about ops that are not.

    Prices are fitted by relative error, then once more by generalised least squares in log time: rows that are alike
    say the same thing, and what they share is no evidence for a price (universal kriging: Cressie 1993, section 3.4).
    Raises SpaceMismatch where fewer than 8 rows are measured, or none has the kind, or some work, of a missing op.
    """
    known = sorted(
        (
            (op, float(row.ns), (row.hi - row.lo) / 2 / NORMAL_95 / row.ns)
            for row in lut.rows
            if row.state == state and student.measured(row) and not row.key.startswith("@")
            for op in (ops.parse(row.key),)
            if op.batch == 1 and row.ns and row.lo is not None and row.hi is not None
        ),
        key=lambda entry: entry[0].key,
    )
    if len(known) < FEWEST_ROWS:
        why = f"{len(known)} ops are measured in state '{state}'; {FEWEST_ROWS} are the fewest to learn from"
        raise errors.nothing_to_learn(lut.name, why)
    if len(known) > MOST_ROWS:
        known = [known[row] for row in residuals.nearest([op for op, _, _ in known], missing, MOST_ROWS)]
    measured = tuple(op for op, _, _ in known)
    ns, spread = (np.array([entry[column] for entry in known]) for column in (1, 2))
    model = physics.fit(measured, ns)
    _refuse_unlike(lut, model, measured, missing)
    scales = residuals.fit_scales(measured, model.residuals(measured, ns), spread)
    solved = residuals.solve(measured, spread, scales)
    model = _repriced(model, solved, ns)
    factors, left_out_pct = _calibrate(model, solved, ns)
    return Pricer(
        model=model,
        solved=solved,
        values=model.residuals(measured, ns),
        factors=factors,
        left_out_pct=left_out_pct,
    )


def _repriced(model: CostModel, solved: Solved, ns: Vector, out: Rows | None = None) -> CostModel:
    """Return the model with prices by generalised least squares in log time, one Gauss-Newton step; ``out`` unseen."""
    values = model.residuals(solved.ops, ns)
    matrix = physics.design(solved.ops, model.tile_px, tuple(model.prices)) / (ns * np.exp(-values))[:, None]
    gram, goal = solved.normal(matrix, 1 + values, np.array([], dtype=np.int64) if out is None else out)
    prices = physics.non_negative(gram, goal)
    return replace(model, prices=dict(zip(model.prices, prices.tolist(), strict=True)))


def _calibrate(model: CostModel, solved: Solved, ns: Vector) -> tuple[dict[How, float], dict[How, float]]:
    """Return factors on expected deviations and mean errors in percent, from measured rows left out, by what is out.

    The model learns its prices anew only where a whole place is out: a smaller part moves them little.
    """
    values = model.residuals(solved.ops, ns)
    factors: dict[How, float] = {}
    left_out_pct: dict[How, float] = {}
    widest = 1.0
    for how, like in LEFT_OUT.items():
        groups: dict[Op, list[int]] = defaultdict(list)
        for row, op in enumerate(solved.ops):
            groups[like(op)].append(row)
        found = []
        for members in groups.values():
            rows = np.array(members, dtype=np.int64)
            if how != "width":
                found.append(solved.left_out(rows, values))
            elif _learnable(model, solved.ops, members):
                anew = _repriced(model, solved, ns, rows)
                found.append(solved.left_out(rows, anew.residuals(solved.ops, ns)))
        if found:
            error, deviation = (np.concatenate(parts) for parts in zip(*found, strict=True))
            widest = max(1.0, float(np.quantile(np.abs(error) / deviation, 0.95)) / NORMAL_95)
            left_out_pct[how] = round(100 * float(np.abs(np.expm1(error)).mean()), 3)
        # Where nothing could be left out, the factor of the smaller part stands for it.
        factors[how] = widest
    return {**factors, "beyond": factors["choice"]}, left_out_pct


def _learnable(model: CostModel, measured: Sequence[Op], out: Collection[int]) -> bool:
    """Say whether rows that are left out have only kinds and work that others have, too."""
    gone = set(out)
    rest = [op for row, op in enumerate(measured) if row not in gone]
    kinds, priced = {op.kind for op in rest}, {name for op in rest for name in physics.work(op, model.tile_px)}
    return all(
        measured[row].kind in kinds and priced.issuperset(physics.work(measured[row], model.tile_px)) for row in out
    )


def _refuse_unlike(lut: Lut, model: CostModel, measured: Sequence[Op], missing: Sequence[Op]) -> None:
    """Raise SpaceMismatch where missing ops have a kind, or work, that no measured op has."""
    kinds = {op.kind for op in measured}
    found = {op.key: model.unpriced(op) if op.kind in kinds else f"kind '{op.kind}'" for op in missing}
    unlike = {key: part for key, part in found.items() if part}
    if unlike:
        first = min(unlike)
        raise errors.unlike_measured(lut.name, missing=len(unlike), first=first, part=unlike[first])


def _rows(pricer: Pricer, missing: Sequence[Op], state: str) -> list[Row]:
    """Return the rows of ops that were not measured."""
    values, deviations, hows = pricer.price(missing)
    rows = []
    for op, value, deviation, how in zip(missing, values.tolist(), deviations.tolist(), hows, strict=True):
        factor, ns = math.exp(NORMAL_95 * deviation), max(1, round(value))
        lo, hi = min(ns, math.floor(value / factor)), max(ns, math.ceil(value * factor))
        rows.append(Row(op.key, state, "modelled", ns, lo, hi, None, None, 0, (f"filled-{how}",), ""))
    return rows


def _facts(pricer: Pricer, filled: Sequence[Row], state: str, space: SearchSpace) -> dict[str, Any]:
    """Return what the header says about a fill."""
    hows = [row.flags[0] for row in filled]
    return {
        "space": space.id,
        "resolutions": list(space.resolutions),
        "state": state,
        "rows": {how: hows.count(how) for how in sorted(set(hows))},
        "measured": len(pricer.solved.ops),
        "method": "non-negative prices of work and kriged log residuals, by generalised least squares",
        "tile_px": pricer.model.tile_px,
        "prices_ns": {name: float(f"{price:.6g}") for name, price in pricer.model.prices.items()},
        "scales": {name: round(value, 5) for name, value in asdict(pricer.solved.scales).items()},
        "left_out_pct": {str(how): value for how, value in pricer.left_out_pct.items()},
        "interval_widened_by": {str(how): round(value, 3) for how, value in sorted(pricer.factors.items())},
    }
