"""The part of a space that tables price and a predictor knows: the same genes at fewer resolutions."""

from __future__ import annotations

from collections.abc import Collection
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
        column = self.space.at("resolution")
        kept = [0, *(1 + self.whole.resolutions.index(px) for px in self.space.resolutions)]
        terms = tuple(
            replace(term, table=np.take(term.table, kept, axis=term.columns.index(column)))
            if column in term.columns
            else term
            for term in total.terms
        )
        return Sum(constant=total.constant, terms=terms)


def part_of(space: SearchSpace, resolutions: Collection[int]) -> Part:
    """Return the part of a space at some of its resolutions, px; at least one."""
    kept = tuple(px for px in space.resolutions if px in resolutions)
    return Part(whole=space, space=space if kept == space.resolutions else replace(space, resolutions=kept))
