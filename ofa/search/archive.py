"""Everything a search has scored: each distinct genome exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.search import errors
from ofa.search.limits import Limit, Predictor, Values, violations
from ofa.space.core import Genomes, SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Genomes uint8[n, G] with their accuracy float64[n], limit values float64[n, L] and violation float64[n]."""

    genomes: Genomes
    accuracy: Values
    values: Values
    violation: Values

    def __len__(self) -> int:
        """Return the number of genomes."""
        return len(self.genomes)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Scored:
        """Return some rows, in the order asked for."""
        return Scored(
            genomes=self.genomes[rows],
            accuracy=self.accuracy[rows],
            values=self.values[rows],
            violation=self.violation[rows],
        )

    def order(self) -> NDArray[np.int64]:
        """Return row numbers, best first: within all limits by accuracy, then the others by least violation."""
        # Genome columns break exact ties, so that the order does not depend on when a genome was met.
        ties = tuple(self.genomes.T[::-1])
        return np.lexsort((*ties, -self.accuracy, self.violation))


class Archive:
    """Scores genomes and remembers them; a genome met twice is not scored again."""

    def __init__(self, space: SearchSpace, accuracy: Predictor, limits: Sequence[Limit]) -> None:
        """Start empty."""
        self.space = space
        self.limits = tuple(limits)
        self._accuracy = accuracy
        self._row_of: dict[bytes, int] = {}
        self._rows = _empty(1024, len(space.genes), len(limits))

    def __len__(self) -> int:
        """Return the number of genomes scored so far."""
        return len(self._row_of)

    def fresh(self, genomes: Genomes) -> Genomes:
        """Return the distinct rows that were not scored yet, in order of appearance."""
        return genomes[self.unmet(genomes)]

    def unmet(self, genomes: Genomes) -> list[int]:
        """Return where each distinct genome that was not scored yet stands first, in order of appearance."""
        return self._unknown(_keys(genomes))

    def met(self, genomes: Genomes) -> NDArray[np.int64]:
        """Return int64[n]: where each genome stands in the archive, -1 where it was not met yet; nothing is scored."""
        row_of = self._row_of
        return np.array([row_of.get(key, -1) for key in _keys(genomes)], dtype=np.int64)

    def _unknown(self, keys: Sequence[bytes]) -> list[int]:
        """Return where each distinct key that was not met yet appears first, in order of appearance."""
        met: dict[bytes, int] = {}
        for row, key in enumerate(keys):
            if key not in self._row_of:
                met.setdefault(key, row)
        return list(met.values())

    def limit_values(self, genomes: Genomes) -> Values:
        """Return float64[n, L]: what each limit predicts."""
        columns = [_checked(limit.predict(genomes), len(genomes), limit.name) for limit in self.limits]
        return np.stack(columns, axis=1) if columns else np.zeros((len(genomes), 0))

    def violation(self, genomes: Genomes) -> Values:
        """Return float64[n]: by how much genomes miss the limits, without scoring them."""
        return violations(self.limits, self.limit_values(genomes))

    def score(self, genomes: Genomes) -> Scored:
        """Return the scores of every row; only genomes not met before are handed to the predictors."""
        return self.take(self.rows(genomes))

    def rows(self, genomes: Genomes) -> NDArray[np.int64]:
        """Return int64[n]: where each genome stands in the archive, scored first where it was not met before."""
        keys = _keys(genomes)
        unknown = self._unknown(keys)
        if unknown:
            new = genomes[unknown]
            # Nothing is kept where a predictor fails.
            self._keep(new, *self.predicted(new), [keys[row] for row in unknown])
        return np.array([self._row_of[key] for key in keys], dtype=np.int64)

    def within(self, genomes: Genomes) -> NDArray[np.int64]:
        """Return the archive's rows of those genomes that meet every limit; the others are not scored for accuracy."""
        return self.rows(genomes[self.violation(genomes) == 0] if self.limits else genomes)

    def take(self, rows: NDArray[np.int64]) -> Scored:
        """Return what was scored, by row."""
        return self._rows.take(rows)

    def leaders(self, count: int) -> NDArray[np.int64]:
        """Return the rows of up to so many of the most accurate that meet every limit, best first; where none does, of
        those that miss them least."""
        violation, accuracy = self._rows.violation[: len(self)], self._rows.accuracy[: len(self)]
        fits = np.flatnonzero(violation == 0)
        rows, rank = (fits, -accuracy[fits]) if len(fits) else (np.arange(len(self)), violation)
        if len(rows) > count:
            # All that tie with the last of them, so that the order in which they were met decides nothing.
            rows = rows[rank <= np.partition(rank, count - 1)[count - 1]]
        return np.asarray(rows[self.take(rows).order()[:count]])

    def all(self) -> Scored:
        """Return everything scored so far, in the order it was met."""
        return self._rows.take(np.arange(len(self)))

    def predicted(self, genomes: Genomes) -> tuple[Values, Values]:
        """Return accuracy float64[n] and limit values float64[n, L] of genomes, and keep nothing."""
        return _checked(self._accuracy(genomes), len(genomes), "accuracy"), self.limit_values(genomes)

    def take_over(self, other: Archive) -> None:
        """Keep what another archive of the same predictors scored and this one did not."""
        fresh = np.array([row for row, key in enumerate(other._row_of) if key not in self._row_of], dtype=np.int64)
        found = other.take(fresh)
        self.restore(found.genomes, found.accuracy, found.values)

    def restore(self, genomes: Genomes, accuracy: Values, values: Values) -> None:
        """Keep what was scored before, elsewhere."""
        self._keep(genomes, accuracy, values, _keys(genomes))

    def _keep(self, genomes: Genomes, accuracy: Values, values: Values, keys: Sequence[bytes]) -> None:
        """Put new rows behind the others, under their keys."""
        start, stop = len(self), len(self) + len(genomes)
        if stop > len(self._rows):
            larger = _empty(2 * stop, genomes.shape[1], len(self.limits))
            for name in ("genomes", "accuracy", "values", "violation"):
                getattr(larger, name)[:start] = getattr(self._rows, name)[:start]
            self._rows = larger
        self._rows.genomes[start:stop] = genomes
        self._rows.accuracy[start:stop] = accuracy
        self._rows.values[start:stop] = values
        self._rows.violation[start:stop] = violations(self.limits, values)
        self._row_of.update(zip(keys, range(start, stop), strict=True))


def _keys(genomes: Genomes) -> list[bytes]:
    """Return the bytes of each row."""
    # As plain memory, which loses no zero at the end as text would.
    rows = np.ascontiguousarray(genomes).view(np.dtype((np.void, genomes.shape[1])))
    keys: list[bytes] = rows[:, 0].tolist()
    return keys


def _empty(count: int, genes: int, limits: int) -> Scored:
    """Reserve room for ``count`` scored genomes."""
    return Scored(
        genomes=np.zeros((count, genes), dtype=np.uint8),
        accuracy=np.zeros(count),
        values=np.zeros((count, limits)),
        violation=np.zeros(count),
    )


def joined(parts: Sequence[Scored]) -> Scored:
    """Put several sets of scored genomes after one another."""
    return Scored(
        genomes=np.concatenate([part.genomes for part in parts]),
        accuracy=np.concatenate([part.accuracy for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        violation=np.concatenate([part.violation for part in parts]),
    )


def _checked(values: Values, count: int, what: str) -> Values:
    """Return predictions as float64[count]; raise OfaError where they are of another shape or not finite."""
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (count,):
        raise errors.not_one_each(what, found.shape, count)
    if not np.isfinite(found).all():
        raise errors.not_a_number(what)
    return found
