"""One search from its seeds to its best network, step by step, so that it can be written down and taken up again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ofa.search import state as states
from ofa.search import surrogate
from ofa.search.archive import Archive, Scored, joined
from ofa.search.evolve import Generation, Watcher, breed, first
from ofa.search.exchange import Elite, exchange
from ofa.search.polish import polish, settle
from ofa.search.worth import Worth
from ofa.space.core import Genomes

# How often a long search is written down, and how often its exchange reports like a generation does.
SAVE_EVERY = 10
REPORT_EVERY = 10
POLISHED = 4
TOP = 16
TOP_APART = 4
# So many of the most accurate are looked through for those that differ: the elite of a priced search passes limits.
LEADERS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much a search does; ``islands`` count the searches it begins from, 1 where it begins from none.

    A lone search is ``priced`` (see `Worth`), since it then ends in fewer places. Islands, and the searches of a front,
    are not: of those that end in many places one ends in the best.
    """

    seed: tuple[int, ...]
    population: int
    generations: int
    rounds: int
    islands: int = 1
    priced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a search came to: its best network (a Scored of length 1), the best that differ, and its elite's genomes."""

    best: Scored
    top: Scored
    elite: Genomes


class Run:
    """A search under way: an archive, the population or the elite, and the generator they draw from."""

    def __init__(
        self,
        archive: Archive,
        plan: Plan,
        *,
        on_generation: Watcher | None = None,
        state: Path | None = None,
        seeds: Genomes | None = None,
    ) -> None:
        """Begin, or take up what ``state`` holds of the same search; ``seeds`` are tried beside the space's corners."""
        self.archive, self.plan = archive, plan
        self.rng = np.random.default_rng(list(plan.seed))
        self.history: list[Generation] = []
        self._on_generation, self._state = on_generation, state
        self._began_s = time.perf_counter()
        self._elite = Elite.empty(archive, Worth.of(archive))
        self._alive = np.zeros(0, dtype=np.int64)
        self._generation = self._round = 0
        if state is not None and state.exists():
            self._take_up(states.read(state, archive, plan))
        else:
            self._alive = archive.rows(first(archive, self._seeds(seeds), plan.population, self.rng))

    def finish(self) -> Ended:
        """Do what is left and return what came of it."""
        while self._generation < self.plan.generations:
            self._alive = breed(self.archive, self._alive, self.plan.population, self.rng)
            self._generation += 1
            self._stand()
            self._save(self._generation)
        if not len(self._elite.rows):
            planned, price = surrogate.optima(self.archive)
            begun = np.concatenate([self._alive, self.archive.within(planned)])
            worth = Worth.of(self.archive, price if self.plan.priced else None)
            self._elite = Elite.empty(self.archive, worth).joined(self.archive, begun)
        while self._round < self.plan.rounds and len(self._elite.rows):
            fair = self._round < self.plan.rounds / 2
            self._elite = exchange(self.archive, self._elite, self.rng, fair=fair)
            self._round += 1
            if self._round % REPORT_EVERY == 0:
                self._stand()
            self._save(self._round)
        # What polishing finds is not written down: it would be polished further where the file is taken up.
        if self._state is not None:
            self._write()
        best = self._polished()
        elite = self._elite.joined(self.archive, self.archive.rows(best.genomes)).rows
        others = self.archive.take(np.union1d(elite, self.archive.leaders(LEADERS)))
        return Ended(best=best, top=_apart(best, others), elite=self.archive.take(elite).genomes)

    def _seeds(self, given: Genomes | None) -> Genomes:
        """Return the corners of the space, the ends of every limit whose ends are known, and what was given."""
        space = self.archive.space
        known = [limit.floor() for limit in self.archive.limits if limit.floor]
        ends = [row for each in known for row in (each.argleast, each.argmost)]
        return np.stack(
            [*(space.corner(name).array for name in space.corners()), *ends, *(() if given is None else given)]
        )

    def _polished(self) -> Scored:
        """Polish the best networks and those of most worth, and the best of all until no change of two genes improves
        it."""
        archive = self.archive
        starts = np.union1d(archive.leaders(POLISHED), self._elite.best(archive, POLISHED))
        best = joined([polish(archive, archive.take(starts[at : at + 1])) for at in range(len(starts))])
        return settle(archive, best.take(best.order()[:1]))

    def _stand(self) -> None:
        """Note how the search stands, and tell whoever watches."""
        best = self.archive.take(self.archive.leaders(1))
        fits = best.violation[0] == 0
        generation = Generation(
            number=len(self.history),
            best_accuracy=float(best.accuracy[0]) if fits else None,
            least_violation=float(best.violation[0]),
            evaluated=len(self.archive),
            wall_s=time.perf_counter() - self._began_s,
        )
        self.history.append(generation)
        if self._on_generation is not None:
            self._on_generation(generation)

    def _save(self, number: int) -> None:
        """Write the search down now and then."""
        if self._state is not None and number % SAVE_EVERY == 0:
            self._write()

    def _write(self) -> None:
        """Write the search down."""
        assert self._state is not None
        held = states.Held(
            generation=self._generation, round=self._round, alive=self._alive, elite=self._elite, rng=self.rng
        )
        states.write(self._state, self.archive, self.plan, held, self.history)

    def _take_up(self, found: tuple[states.Held, list[Generation]]) -> None:
        """Go on from what was written down."""
        held, self.history = found
        self._generation, self._round = held.generation, held.round
        self._alive, self._elite, self.rng = held.alive, held.elite, held.rng


def _apart(best: Scored, others: Scored) -> Scored:
    """Return the best network (a Scored of length 1), and the best of others that differ from each other in several
    genes, best first; none where it misses a limit."""
    scored = joined([best, others])
    chosen: list[int] = [] if best.violation[0] > 0 else [0]
    for row in scored.order():
        if scored.violation[row] > 0 or not chosen or len(chosen) == TOP:
            break
        if all((scored.genomes[row] != scored.genomes[other]).sum() >= TOP_APART for other in chosen):
            chosen.append(int(row))
    return scored.take(np.array(chosen, dtype=np.int64))
