"""What a cost model gets wrong, carried from measured ops to their neighbours: kriging of log residuals, with a spread.

Source: Rasmussen and Williams 2006, sections 2.2 (prediction), 5.4.1 (scales by marginal likelihood) and 5.4.2 (leaving
out from one inverse).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ofa.space.ops import Op

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Rows = NDArray[np.int64]

MOST_FOR_SCALES = 300
TARGETS_AT_ONCE = 256
# The length, in log map edge, over which a choice of kernel and width keeps its own residual: all sizes of a space.
FAR_SIZE = 1.5
# How far, in logs, a scale is let go from where it starts: residuals of exactly zero would draw it to zero.
FARTHEST = math.log(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """How residuals vary. The first four are standard deviations of log time, the rest lengths.

    ``cell``: of one op alone; ``size``: shared by all kernels and widths at one place and map; ``choice``: shared by
    one kernel and width over all maps; ``noise``: not shared. ``edge``, ``kernel``, ``expand``, ``channels`` are
    distances of logs at which likeness has fallen to 1/e (edge, channels) or to 0.6.
    """

    cell: float = 0.02
    size: float = 0.03
    choice: float = 0.03
    noise: float = 0.01
    edge: float = 0.4
    kernel: float = 0.6
    expand: float = 0.35
    channels: float = 0.35

    @property
    def prior(self) -> float:
        """Return the variance of the log residual of an op unlike any measured one."""
        return self.cell**2 + self.size**2 + self.choice**2 + self.noise**2


class Distances(NamedTuple):
    """Distances between two lists of ops, each float64[n, m], and 1 where the kind is the same, else 0."""

    edge: Matrix
    phase: Matrix
    kernel: Matrix
    expand: Matrix
    channels: Matrix
    others: Matrix
    same: Matrix


def distances(left: Sequence[Op], right: Sequence[Op]) -> Distances:
    """Return the distances between ops: of logs of edge, kernel, ratio, channels; of stride phase; of other parts."""
    a, b = _coordinates(left), _coordinates(right)
    gap = [np.abs(a[:, None, column] - b[None, :, column]) for column in range(6)]
    labels = [[(op.stride, op.act, op.block_act, op.se, op.residual) for op in ops] for ops in (left, right)]
    known = {label: code for code, label in enumerate(sorted({*labels[0], *labels[1]}, key=repr))}
    parts = sorted(known, key=lambda label: known[label])
    unlike = np.array(
        [[sum(x != y for x, y in zip(p, q, strict=True)) for q in parts] for p in parts], dtype=np.float64
    )
    codes = [np.array([known[label] for label in side], dtype=np.int64) for side in labels]
    kinds = [np.array([op.kind for op in ops]) for ops in (left, right)]
    return Distances(
        edge=gap[0],
        phase=gap[1],
        kernel=gap[2],
        expand=gap[3],
        channels=gap[4] + gap[5],
        others=unlike[np.ix_(codes[0], codes[1])],
        same=(kinds[0][:, None] == kinds[1][None, :]).astype(np.float64),
    )


def _coordinates(ops: Sequence[Op]) -> Matrix:
    """Return log edge, stride phase (px), and logs of kernel, ratio and channels of ops, float64[n, 6]."""
    rows = [
        (
            math.log(op.in_size),
            op.out_size * op.stride - op.in_size if op.kind != "head" else 0,
            math.log(op.kernel),
            math.log(op.mid[0] / op.in_channels) if op.mid else 0.0,
            math.log(op.in_channels),
            math.log(op.out_channels),
        )
        for op in ops
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 6)


def likeness(between: Distances, scales: Scales) -> Matrix:
    """Return the covariance of log residuals, noise left out, float64[n, m]."""
    place = between.same * np.exp(-between.channels / scales.channels - 0.5 * between.others)
    choice = np.exp(-0.5 * ((between.kernel / scales.kernel) ** 2 + (between.expand / scales.expand) ** 2))
    near = np.exp(-between.edge / scales.edge)
    found = scales.cell**2 * choice * near * np.exp(-between.phase) + scales.size**2 * near
    found += scales.choice**2 * choice * np.exp(-between.edge / FAR_SIZE)
    return np.asarray(place * found)


def fit_scales(ops: Sequence[Op], residuals: Vector, spread: Vector) -> Scales:
    """Return the scales under which log residuals float64[n] are likeliest, given each row's own ``spread``.

    A pattern search over at most 300 ops, spread evenly; a weak prior keeps few rows near the scales given here.
    """
    chosen = _evenly(len(ops), MOST_FOR_SCALES)
    some = [ops[row] for row in chosen]
    between = distances(some, some)
    start = np.log(list(asdict(Scales()).values()))

    def cost(logs: Vector) -> float:
        scales = _scales(logs)
        matrix = likeness(between, scales) + np.diag(spread[chosen] ** 2 + scales.noise**2)
        try:
            factor = np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            return math.inf
        whitened = np.linalg.solve(factor, residuals[chosen])
        likely = 0.5 * float(whitened @ whitened) + float(np.log(np.diag(factor)).sum())
        return likely + 0.5 * float(((logs - start) ** 2).sum())

    logs, best, step = start, cost(start), math.log(2.0)
    while step > 0.15:
        before = best
        for move in (*np.eye(len(start)), *-np.eye(len(start))):
            trial = logs + step * move
            value = cost(trial) if np.abs(trial - start).max() <= FARTHEST else math.inf
            if value < best:
                logs, best = trial, value
        if best > before - 0.5:
            step /= 2
    return _scales(logs)


def _scales(logs: Vector) -> Scales:
    """Return scales from their logs, in the order of the fields."""
    return Scales(**dict(zip(asdict(Scales()), np.exp(logs).tolist(), strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """Measured ops whose covariance was inverted: ``inverse`` float64[n, n]; ``spread`` is each row's own deviation."""

    ops: tuple[Op, ...]
    spread: Vector
    scales: Scales
    inverse: Matrix

    def predict(self, targets: Sequence[Op], residuals: Vector) -> tuple[Vector, Vector]:
        """Return mean and standard deviation of the log residual of each target, two float64[m]; known are float64[n].

        No deviation is below what ops do not share with any other.
        """
        across = likeness(distances(targets, self.ops), self.scales)
        explained = np.einsum("ij,ij->i", across @ self.inverse, across)
        variance = np.maximum(self.scales.prior - explained, self.scales.noise**2)
        return np.asarray(across @ (self.inverse @ residuals)), np.sqrt(variance)

    def left_out(self, rows: Rows, residuals: Vector) -> tuple[Vector, Vector]:
        """Return what ``predict`` gets wrong about some rows when they are left out, and what deviation it says.

        ``residuals`` float64[n] are those of all rows. Log time, two float64, one value a row left out.
        """
        covariance = np.linalg.inv(self.inverse[np.ix_(rows, rows)])
        error = covariance @ (self.inverse[rows] @ residuals)
        variance = np.maximum(np.diag(covariance) - self.spread[rows] ** 2, self.scales.noise**2)
        return error, np.sqrt(variance)

    def normal(self, matrix: Matrix, target: Vector, out: Rows) -> tuple[Matrix, Vector]:
        """Return gram float64[F, F] and goal float64[F] of generalised least squares (Aitken 1936), ``out`` unseen.

        ``matrix`` is float64[n, F], ``target`` float64[n]; the inverse weighs them.
        """
        both = np.column_stack([matrix, target])
        weighted = self.inverse @ both
        gram = both.T @ weighted
        gram -= weighted[out].T @ np.linalg.solve(self.inverse[np.ix_(out, out)], weighted[out])
        return gram[:-1, :-1], gram[:-1, -1]


def solve(ops: Sequence[Op], spread: Vector, scales: Scales) -> Solved:
    """Return the inverse for measured ops, each with its own ``spread``, a standard deviation of log time."""
    covariance = likeness(distances(ops, ops), scales) + np.diag(spread**2 + scales.noise**2)
    inverse = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
    return Solved(ops=tuple(ops), spread=spread, scales=scales, inverse=inverse)


def nearest(ops: Sequence[Op], targets: Sequence[Op], most: int) -> Rows:
    """Return which of some ops, at most ``most``, are like any target the most; rising."""
    alike = np.zeros(len(ops))
    for start in range(0, len(targets), TARGETS_AT_ONCE):
        part = likeness(distances(targets[start : start + TARGETS_AT_ONCE], ops), Scales())
        alike = np.maximum(alike, part.max(axis=0))
    return np.sort(np.argsort(-alike, kind="stable")[:most])


def _evenly(count: int, most: int) -> Rows:
    """Return at most ``most`` of ``count`` rows, rising: multiples of the golden ratio, so no period is met."""
    return np.sort(np.argsort(np.arange(count) * 0.6180339887 % 1.0)[:most])


def family(op: Op) -> Op:
    """Return what an op shares with itself at other map sizes."""
    return replace(op, in_size=1)


def place(op: Op) -> Op:
    """Return what an op shares with other kernels, inner widths and maps at the same place of a network."""
    return replace(op, in_size=1, kernel=1, mid=op.mid[:0])
