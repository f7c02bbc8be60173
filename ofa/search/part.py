"""The part of a space that tables price and a predictor knows: the same genes at fewer resolutions."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np

from ofa.search.limits import Predictor, Values
from ofa.search.sums import Sum
from ofa.space.core import Genomes, SearchSpace, Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A space cut to some of its resolutions, and the whole one that its networks belong to."""

    whole: SearchSpace
    space: SearchSpace

    def widened(self, genomes: Genomes) -> Genomes:
        """Return genomes uint8[n, G] of the part as genomes of the whole space."""
        column = self.space.at("resolution")
        values = [0, *(1 + self.whole.resolutions.index(px) for px in self.space.resolutions)]
        whole = genomes.copy()
        whole[:, column] = np.array(values, dtype=np.uint8)[genomes[:, column]]
        return whole

    def narrowed(self, genomes: Genomes) -> Genomes:
        """Return genomes uint8[n, G] of the whole space, at resolutions of the part, as genomes of the part."""
        values = np.zeros(len(self.whole.resolutions) + 1, dtype=np.uint8)
        values[self._kept] = range(len(self._kept))
        column, narrow = self.space.at("resolution"), genomes.copy()
        narrow[:, column] = values[genomes[:, column]]
        return narrow

    def subnet(self, genome: Genomes) -> Subnet:
        """Return a network of the part as one of the whole space: its id does not depend on what was searched."""
        return self.whole.subnet(self.widened(genome[None])[0])

    def of(self, predict: Predictor) -> Predictor:
        """Return a predictor over the whole space as one over the part."""

        def predicted(genomes: Genomes) -> Values:
            return predict(self.widened(genomes))

        return predicted

    def cut(self, total: Sum) -> Sum:
        """Return a sum over the whole space as one over the part."""
        return self._by_resolution(total, lambda table: table[self._kept])

    def spread(self, total: Sum) -> Sum:
        """Return a sum over the part as one over the whole space, which means nothing at other resolutions."""

        def wide(table: Values) -> Values:
            found = np.zeros((len(self.whole.resolutions) + 1, *table.shape[1:]))
            found[self._kept] = table
            return found

        return self._by_resolution(total, wide)

    @property
    def _kept(self) -> list[int]:
        """Return what each value of the part's resolution, 0 first, is in the whole space."""
        return [0, *(1 + self.whole.resolutions.index(px) for px in self.space.resolutions)]

    def _by_resolution(self, total: Sum, change: Callable[[Values], Values]) -> Sum:
        """Change the tables of a sum that the resolution indexes, its axis put first."""
        column, terms = self.space.at("resolution"), []
        for term in total.terms:
            if column in term.columns:
                axis = term.columns.index(column)
                changed = np.moveaxis(change(np.moveaxis(term.table, axis, 0)), 0, axis)
                terms.append(replace(term, table=np.ascontiguousarray(changed)))
            else:
                terms.append(term)
        return Sum(constant=total.constant, terms=tuple(terms))


def part_of(space: SearchSpace, resolutions: Collection[int]) -> Part:
    """Return the part of a space at some of its resolutions, px; at least one."""
    kept = tuple(px for px in space.resolutions if px in resolutions)
    return Part(whole=space, space=space if kept == space.resolutions else replace(space, resolutions=kept))
