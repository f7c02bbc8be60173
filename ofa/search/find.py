"""The public entry of the search: feasibility first, then evolution, polish, and the front of everything seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ofa.search import errors, front
from ofa.search.archive import Archive, Scored, joined
from ofa.search.evolve import Generation, Watcher, evolve
from ofa.search.limits import ROUNDING, Limit, Predictor, violations
from ofa.search.polish import kick, polish
from ofa.space.core import Genomes, SearchSpace, Subnet

POLISHED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A network a search scored: its predicted accuracy, percent, and the value of each limit by name."""

    subnet: Subnet
    accuracy: float
    values: dict[str, float]

    @property
    def genome(self) -> Genomes:
        """Return the genome as uint8[G]."""
        return self.subnet.array


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search gives: the best network within all limits, and the front of (accuracy, first limit).

    ``front`` rises in cost and accuracy; it holds every network scored that meets the limits but the first, so it
    also shows what a little more of the first limit would buy. ``evaluated`` counts distinct networks scored.
    """

    best: Candidate
    front: tuple[Candidate, ...]
    evaluated: int
    generations: tuple[Generation, ...]


def find(
    space: SearchSpace,
    accuracy: Predictor,
    limits: Sequence[Limit] = (),
    *,
    seed: int,
    population: int = 512,
    generations: int = 60,
    on_generation: Watcher | None = None,
) -> Found:
    """Find the most accurate network of a space that meets every limit.

    Predictors take canonical genomes uint8[n, G] and return float64[n]; accuracy is percent. Equal arguments give
    equal answers, bit for bit. Raises NoSubnetFits, before anything is searched, where a limit is below the exact
    minimum of the space; and after the search where none of the networks met all limits.
    """
    extremes = [limit.floor() if limit.floor else None for limit in limits]
    for limit, known in zip(limits, extremes, strict=True):
        if known is not None and known.least > limit.at_most * (1 + ROUNDING):
            raise errors.below_floor(
                limit.name,
                at_most=limit.at_most,
                floor=known.least,
                unit=limit.unit,
                subnet=space.subnet(known.argleast).id,
            )
    archive = Archive(space, accuracy, limits)
    corners = [space.corner(name).array for name in space.corners()]
    ends = [row for known in extremes if known is not None for row in (known.argleast, known.argmost)]
    rng = np.random.default_rng(seed)
    alive, history = evolve(
        archive,
        np.stack([*corners, *ends]),
        rng=rng,
        population=population,
        generations=generations,
        on_generation=on_generation,
    )
    polished = joined([polish(archive, start) for start in _starts(space, alive)])
    best = kick(archive, polished, rng=rng, kicks=generations)
    if best.violation[0] > 0:
        raise _nothing_found(space, limits, best)
    return Found(
        best=_candidate(space, limits, best, 0),
        front=_front(space, limits, archive.all()),
        evaluated=len(archive),
        generations=tuple(history),
    )


def _starts(space: SearchSpace, alive: Scored) -> list[Scored]:
    """Pick where to polish from: the best of the population, then the best of each other resolution."""
    resolutions = alive.genomes[:, space.at("resolution")]
    _, first = np.unique(resolutions, return_index=True)
    rows = [0, *(row for row in np.sort(first) if row != 0), *range(1, len(alive))]
    distinct = list(dict.fromkeys(int(row) for row in rows))[:POLISHED]
    return [alive.take(np.array([row])) for row in distinct]


def _front(space: SearchSpace, limits: Sequence[Limit], scored: Scored) -> tuple[Candidate, ...]:
    """Return the front over accuracy and the first limit among networks that meet the others."""
    if not limits:
        return (_candidate(space, limits, scored, int(scored.order()[0])),)
    scored = scored.take(violations(limits[1:], scored.values[:, 1:]) == 0)
    rows = front.pareto(scored.accuracy, scored.values[:, 0])
    return tuple(_candidate(space, limits, scored, int(row)) for row in rows)


def _candidate(space: SearchSpace, limits: Sequence[Limit], scored: Scored, row: int) -> Candidate:
    """Name one scored row."""
    values = {limit.name: float(value) for limit, value in zip(limits, scored.values[row], strict=True)}
    return Candidate(subnet=space.subnet(scored.genomes[row]), accuracy=float(scored.accuracy[row]), values=values)


def _nothing_found(space: SearchSpace, limits: Sequence[Limit], nearest: Scored) -> Exception:
    """Build the refusal for limits that no scored network met together."""
    missed = " and ".join(f"{limit.at_most:g} {limit.unit} {limit.name}" for limit in limits)
    has = ", ".join(
        f"{limit.name} {errors.ceiled(float(value))} {limit.unit}"
        for limit, value in zip(limits, nearest.values[0], strict=True)
    )
    return errors.nothing_found(missed, has, space.subnet(nearest.genomes[0]).id)
