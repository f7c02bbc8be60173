"""The public entry of the search: what is possible, then the searches, then what is proven of the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ofa.search import errors, front, prove
from ofa.search.archive import Archive, Scored
from ofa.search.evolve import Generation, Watcher
from ofa.search.limits import Limit, Predictor, violations
from ofa.search.proof import Above, above_of
from ofa.search.run import Ended, Plan, Run
from ofa.search.sums import Sum
from ofa.space.core import Genomes, SearchSpace, Subnet
from ofa.threads import on_one_thread

Namer = Callable[[Genomes], Subnet]

# So many rounds of exchange cost a few times as much as a generation of so many networks.
ROUNDS_PER_GENERATION = 7


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
    also shows what a little more of the first limit would buy. ``top`` holds the best networks that differ from each
    other in several genes, best first. ``evaluated`` counts distinct networks scored. No network of the space within
    the limits is predicted above ``upper_bound``, percent; None where that cannot be said, and ``bound_reason`` says
    on what it rests, or why there is none.
    """

    best: Candidate
    front: tuple[Candidate, ...]
    top: tuple[Candidate, ...]
    evaluated: int
    generations: tuple[Generation, ...]
    upper_bound: float | None
    bound_reason: str


@on_one_thread
def find(
    space: SearchSpace,
    accuracy: Predictor,
    limits: Sequence[Limit] = (),
    *,
    seed: int,
    population: int = 256,
    generations: int = 10,
    rounds: int | None = None,
    islands: int = 1,
    on_generation: Watcher | None = None,
    above: Sum | Above | None = None,
    state: Path | None = None,
    named: Namer | None = None,
) -> Found:
    """Find the most accurate network of a space that meets every limit.

    Predictors take canonical genomes uint8[n, G] and return float64[n]; accuracy is percent. With ``above``, which no
    prediction exceeds (made of a twin by `ofa.search.proof`; where accuracy is one, by this), there is an upper bound.
    ``rounds`` of exchange follow the generations, by default 7 for each; ``islands`` above 1 are so many searches that
    know nothing of each other, and one more from all that they found, unpriced all (see `Plan`). With ``state`` the
    search is written to that file as it goes (islands beside it), and a search of equal arguments goes on from it.
    ``named`` says which subnet a genome is, where the space is a part of another. Equal arguments give equal answers,
    bit for bit, interrupted or not. Raises NoSubnetFits, before anything is searched, where a limit is below the exact
    minimum of the space or two limits are proven to exclude each other; after it, where nothing met all limits.
    """
    naming = named or space.subnet
    prove.possible(limits, naming)
    prove.together(space, limits)
    plan = Plan(
        seed=(seed,),
        population=population,
        generations=generations,
        rounds=ROUNDS_PER_GENERATION * generations if rounds is None else rounds,
        islands=islands,
        priced=islands == 1,
    )
    run, ended = _searched(space, accuracy, limits, plan, on_generation, state)
    if ended.best.violation[0] > 0:
        raise nothing_found(naming, limits, ended.best)
    bound, reason = prove.upper_bound(space, above or above_of(accuracy), limits)
    return Found(
        best=candidate(naming, limits, ended.best, 0),
        front=_front(naming, limits, run.archive.all()),
        top=tuple(candidate(naming, limits, ended.top, row) for row in range(len(ended.top))),
        evaluated=len(run.archive),
        generations=tuple(run.history),
        upper_bound=bound,
        bound_reason=reason,
    )


def _searched(
    space: SearchSpace,
    accuracy: Predictor,
    limits: Sequence[Limit],
    plan: Plan,
    on_generation: Watcher | None,
    state: Path | None,
) -> tuple[Run, Ended]:
    """Search on every island and then from all that they found; return the last search, whose archive holds all."""
    archive = Archive(space, accuracy, limits)
    elites: list[Genomes] = []
    # The last search holds all that the islands found: where it began, they are done.
    begun = state is not None and state.exists()
    for island in range(0 if begun or plan.islands == 1 else plan.islands):
        own = Archive(space, accuracy, limits)
        place = state and state.with_name(f"{state.stem}-{island}{state.suffix}")
        run = Run(own, replace(plan, seed=(*plan.seed, island), islands=1), on_generation=on_generation, state=place)
        elites.append(run.finish().elite)
        archive.take_over(own)
    seeds = np.concatenate(elites) if elites else None
    run = Run(archive, plan, on_generation=on_generation, state=state, seeds=seeds)
    return run, run.finish()


def _front(naming: Namer, limits: Sequence[Limit], scored: Scored) -> tuple[Candidate, ...]:
    """Return the front over accuracy and the first limit among networks that meet the others."""
    if not limits:
        return (candidate(naming, limits, scored, int(scored.order()[0])),)
    scored = scored.take(violations(limits[1:], scored.values[:, 1:]) == 0)
    rows = front.pareto(scored.accuracy, scored.values[:, 0])
    return tuple(candidate(naming, limits, scored, int(row)) for row in rows)


def candidate(naming: Namer, limits: Sequence[Limit], scored: Scored, row: int) -> Candidate:
    """Name one scored row."""
    values = {limit.name: float(value) for limit, value in zip(limits, scored.values[row], strict=True)}
    return Candidate(subnet=naming(scored.genomes[row]), accuracy=float(scored.accuracy[row]), values=values)


def nothing_found(naming: Namer, limits: Sequence[Limit], nearest: Scored) -> Exception:
    """Return the refusal for limits that no scored network met together; ``nearest`` is a Scored of length 1."""
    held = [
        (limit.name, limit.at_most, limit.unit, float(value))
        for limit, value in zip(limits, nearest.values[0], strict=True)
    ]
    return errors.nothing_found(held, naming(nearest.genomes[0]).id)
