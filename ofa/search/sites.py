"""Sites: where one decision of a network is made. The genes of a block are one site, every other gene is its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ofa.space.core import Genomes, SearchSpace

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """A space as sites: code 0 of a site means that it is not in use, code c >= 1 is its c-th option.

    Site arrays are parallel: ``options`` int64[S] counts options, ``depth`` int64[S] is the site of the depth that
    keeps a block (-1: always in use), ``kept`` bool[S, O + 1] says at which codes of that depth. Gene arrays are
    parallel to the space's genes: ``site`` and ``stride`` int64[G] say where a gene's value stands in a code.
    """

    options: Codes
    depth: Codes
    kept: NDArray[np.bool_]
    site: Codes
    stride: Codes
    values: Genomes

    @property
    def count(self) -> int:
        """Return the number of sites."""
        return len(self.options)

    def codes(self, genomes: Genomes) -> Codes:
        """Return the codes int64[n, S] of canonical genomes uint8[n, G]."""
        total = np.zeros((len(genomes), self.count), dtype=np.int64)
        wide = genomes.astype(np.int64)
        for column, (site, stride) in enumerate(zip(self.site, self.stride, strict=True)):
            total[:, site] += np.maximum(wide[:, column] - 1, 0) * stride
        first = np.unique(self.site, return_index=True)[1]
        return np.where(wide[:, first] > 0, total + 1, 0)

    def genomes(self, codes: Codes) -> Genomes:
        """Return the genomes uint8[n, G] of codes int64[n, S]."""
        return self.values[np.arange(len(self.site)), codes[:, self.site]]

    def in_use(self, codes: Codes) -> NDArray[np.bool_]:
        """Return bool[n, S]: which sites the depths of these codes keep."""
        depths = codes[:, np.maximum(self.depth, 0)]
        return np.asarray(self.kept[np.arange(self.count), depths])

    def settled(self, codes: Codes, spare: Codes) -> Codes:
        """Return codes whose sites not in use are 0, and whose sites that came into use have those of ``spare``."""
        return np.where(self.in_use(codes), np.where(codes > 0, codes, spare), 0)


@lru_cache(maxsize=32)
def sites_of(space: SearchSpace) -> Sites:
    """Return the sites of a space, in the order of their first genes; made once."""
    owners = [gene.name if gene.block is None else (gene.stage, gene.block) for gene in space.genes]
    numbered = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    site = np.array([numbered[owner] for owner in owners], dtype=np.int64)
    options = np.ones(len(numbered), dtype=np.int64)
    stride = np.ones(len(owners), dtype=np.int64)
    for column, count in enumerate(space.cardinalities):
        stride[column] = options[site[column]]
        options[site[column]] *= count
    longest = int(options.max())
    codes = np.arange(longest)
    values = np.zeros((len(owners), longest + 1), dtype=np.uint8)
    values[:, 1:] = codes[None] // stride[:, None] % space.cardinalities[:, None] + 1
    values[:, 1:] *= codes[None] < options[site][:, None]
    depth = np.full(len(numbered), -1, dtype=np.int64)
    kept = np.ones((len(numbered), longest + 1), dtype=np.bool_)
    for gene, owner in zip(space.genes, owners, strict=True):
        if gene.block is None:
            continue
        by = space.genes[space.at(f"s{gene.stage}.depth")]
        depth[numbered[owner]] = numbered[by.name]
        kept[numbered[owner]] = False
        kept[numbered[owner], 1 : len(by.choices) + 1] = np.array(by.choices) > gene.block
    for table in (options, depth, kept, site, stride, values):
        table.setflags(write=False)
    return Sites(options=options, depth=depth, kept=kept, site=site, stride=stride, values=values)
