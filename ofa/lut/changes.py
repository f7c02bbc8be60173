"""What changed among many times measured twice: the level all of them share, single rows, and whole groups of rows.

Rows are judged beside the level: a device that is slower as a whole moves them all, and none of them by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.errors import FileInvalid
from ofa.lut import student
from ofa.lut.student import Estimate
from ofa.space.ops import parse

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

# How often two measurements of one truth may name anything as changed.
FALSE_ALARM_RATE = 0.05
# Fewer rows than these have no level of their own: a few that changed would be most of them.
FEWEST_FOR_LEVEL = 8
FEWEST_IN_GROUP = 3
SWEEPS = 10
# Standard deviation of a median of many normal values over that of their mean.
MEDIAN_TO_MEAN = float(np.sqrt(np.pi / 2))
# So many rows at least are taken to be unchanged.
NEAREST = 1 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Rows measured twice: logs of after over before with their standard errors and degrees of freedom, float64[n].

    ``groups`` names the group that each row belongs to.
    """

    logs: Vector
    errors: Vector
    freedom: Vector
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What all rows changed by together (log, standard error), and by how many times their errors they scatter (>= 1).

    Errors describe the rounds of one session. What two sessions differ by beyond them, in every row anew, is told by
    the scatter of the rows that did not change: an empirical null (Efron 2004).
    """

    log: float = 0.0
    error: float = 0.0
    scatter: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What a group of rows changed by beside the level: the median (log), its standard error, and its p-value."""

    name: str
    rows: int
    log: float
    error: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The level, the p-value of each row beside it (float64[n]), and the groups of 3 rows and more, by name."""

    level: Level
    p: Vector
    groups: tuple[Group, ...]


def group_of(key: str) -> str:
    """Return what ops are grouped by, in words: kind and kernel; an overhead is a group of its own."""
    try:
        op = parse(key)
    except FileInvalid:
        return key
    size = f"{op.kernel}x{op.kernel}"
    return {
        "mbconv": f"mbconv with {size} depthwise kernels",
        "bottleneck": f"bottleneck with {size} kernels",
    }.get(op.kind, op.kind)


def pairs_of(before: Sequence[Estimate], after: Sequence[Estimate], groups: Sequence[str]) -> Pairs:
    """Return rows as pairs; how sure each error is, is learned from all rows of its side (`student.pooled`)."""
    a, b = student.pooled(before), student.pooled(after)
    variances = np.array([[one.error**2, other.error**2] for one, other in zip(a, b, strict=True)]).reshape(-1, 2)
    freedom = np.array([[one.freedom, other.freedom] for one, other in zip(a, b, strict=True)]).reshape(-1, 2)
    total = variances.sum(axis=1)
    return Pairs(
        logs=np.array([other.log - one.log for one, other in zip(a, b, strict=True)]),
        errors=np.sqrt(total),
        # Welch 1947.
        freedom=total**2 / (variances**2 / freedom).sum(axis=1),
        groups=tuple(groups),
    )


def changes(pairs: Pairs, *, tolerance: float = 0.0, level: Level | None = None) -> Changes:
    """Return what changed; a change of at most ``tolerance`` (log) counts as none. The rows share a ``level`` of
    others where one is given.

    P-values are of Welch's t divided by the level's scatter; with a tolerance, of being beyond it.
    """
    level = level_of(pairs) if level is None else level
    beside = pairs.logs - level.log
    reach = np.hypot(pairs.errors * level.scatter, level.error)
    p = probability(np.maximum(0.0, np.abs(beside) - tolerance) / reach, pairs.freedom)
    found = []
    for name in sorted(set(pairs.groups)):
        own = np.array([group == name for group in pairs.groups])
        if own.sum() >= FEWEST_IN_GROUP:
            found.append(_group(name, beside[own], pairs.errors[own], level, tolerance))
    return Changes(level=level, p=p, groups=tuple(found))


def level_of(pairs: Pairs) -> Level:
    """Return the level and the scatter of those rows that are not found to differ from it; none for few rows.

    It begins where rows lie densest, and so holds while the rows that changed do not agree with one another better than
    those that did not; rows that differ from it are left out, and the median of the rest is the next one.
    """
    if len(pairs.logs) < FEWEST_FOR_LEVEL:
        return Level()
    t = np.abs(pairs.logs - _mode(pairs.logs)) / pairs.errors
    # Those in the nearest third lie this near by themselves.
    scatter = max(1.0, float(np.quantile(t / _within(NEAREST, pairs.freedom), NEAREST)))
    level, before = Level(), None
    for _ in range(SWEEPS):
        kept = student.false_discoveries(probability(t / scatter, pairs.freedom)) > FALSE_ALARM_RATE
        if (before is not None and (kept == before).all()) or kept.sum() < NEAREST * len(kept):
            break
        centre, before = float(np.median(pairs.logs[kept])), kept
        t = np.abs(pairs.logs - centre) / pairs.errors
        scatter = max(1.0, float(np.median((t / _within(0.5, pairs.freedom))[kept])))
        error = MEDIAN_TO_MEAN * scatter * float(np.median(pairs.errors[kept])) / float(np.sqrt(kept.sum()))
        level = Level(log=centre, error=error, scatter=scatter)
    return level


def _mode(values: Vector) -> float:
    """Return where values lie densest: the shortest third of them, the shortest half of that, and so on.

    Source: half-sample mode (Bickel and Fruehwirth 2006), but for the first step, since only a third of the rows is
    taken to be unchanged. Of two as short, the one nearer to 0 counts.
    """
    ordered, share = np.sort(values), NEAREST
    while len(ordered) > 2:
        half, share = max(2, math.ceil(share * len(ordered))), 0.5
        starts = np.arange(len(ordered) - half + 1)
        widths = ordered[starts + half - 1] - ordered[starts]
        shortest = starts[widths <= widths.min() + 1e-12]
        middles = np.abs(ordered[shortest + half - 1] + ordered[shortest])
        first = int(shortest[np.argmin(middles)])
        ordered = ordered[first : first + half]
    return float(ordered.mean())


def probability(t: Vector | float, freedom: Vector | float) -> Vector:
    """Return the two-sided p-values of Student's t."""
    from scipy.special import stdtr

    return np.minimum(1.0, 2 * np.asarray(stdtr(freedom, -np.abs(t))))


def _within(share: float, freedom: Vector) -> Vector:
    """Return how far from 0 a share of Student's t lies."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(freedom, 0.5 + share / 2))


def called(p_values: Sequence[float] | Vector, families: int) -> tuple[Vector, Mask]:
    """Return adjusted p-values and which are called changes, where as many ``families`` share the rate of false alarms.

    Each family gets an equal part of the rate (Bonferroni) and controls false discoveries within it (Benjamini and
    Hochberg 1995): where nothing changed, all together call anything as often as the rate says, at most.
    """
    adjusted = student.false_discoveries(p_values) if len(p_values) else np.zeros(0)
    adjusted = np.minimum(1.0, adjusted * families)
    return adjusted, adjusted <= FALSE_ALARM_RATE


def _group(name: str, beside: Vector, errors: Vector, level: Level, tolerance: float) -> Group:
    """Return what one group changed by: the median, so that no single row speaks for all."""
    centre = float(np.median(beside))
    own = MEDIAN_TO_MEAN * level.scatter * float(np.median(errors)) / float(np.sqrt(len(beside)))
    error = float(np.hypot(own, level.error))
    p = float(probability(max(0.0, abs(centre) - tolerance) / error, np.inf))
    return Group(name=name, rows=len(beside), log=centre, error=error, p=p)
