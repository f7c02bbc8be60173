"""Which subnets a step trains: a pure function of the recipe's seed, the step and the shard of the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

import ofa.space as S
from ofa.space.core import Gene, Genomes, SearchSpace, Subnet
from ofa.train.schedule import Phase

if TYPE_CHECKING:
    from ofa.train.recipes import Recipe

# Streams of random numbers that must not meet.
RESOLUTION, SUBNETS, ORDER, AUGMENT = range(4)


def resolution_of(space: SearchSpace, recipe: Recipe, step: int) -> int:
    """Return the resolution of a step, px: the same on every rank, so that all take equally long."""
    if recipe.subnet is not None:
        return space.subnet(recipe.subnet).resolution
    return int(np.random.default_rng([recipe.seed, RESOLUTION, step]).choice(space.resolutions))


def subnets_of(space: SearchSpace, phase: Phase, resolution: int, rng: np.random.Generator) -> list[Subnet]:
    """Return the subnets of one step at one resolution: the largest first, then the smallest, then random ones."""
    lowest = lowest_values(space, phase.choices)
    chosen = []
    if phase.largest:
        chosen.append(space.corner("max").array)
    if phase.smallest:
        chosen.append(space.canonical(lowest[None])[0])
    chosen += list(random(space, phase, rng))
    place = space.at("resolution")
    value = space.genes[place].choices.index(resolution) + 1
    for genome in chosen:
        genome[place] = value
    return [space.subnet(genome) for genome in chosen]


def random(space: SearchSpace, phase: Phase, rng: np.random.Generator) -> Genomes:
    """Draw the random subnets of a step, uint8[phase.random, G], within the phase's choices and coupling."""
    genomes = S.sample.complete(space, phase.random, rng, lowest_values(space, phase.choices))
    if phase.coupling == "slimmable":
        columns = [column for column, gene in enumerate(space.genes) if kind_of(gene) == "expand"]
        genomes[:, columns] = genomes[:, columns[:1]]
    if phase.coupling == "compound":
        _couple(space, genomes)
    return space.canonical(genomes)


def lowest_values(space: SearchSpace, choices: Mapping[str, int]) -> Genomes:
    """Return the smallest gene value, uint8[G], that is sampled where only so many of the largest choices are."""
    counts = space.cardinalities
    wanted = [choices.get(kind_of(gene), len(gene.choices)) for gene in space.genes]
    lowest: Genomes = (counts - np.minimum(counts, wanted) + 1).astype(np.uint8)
    return lowest


def kind_of(gene: Gene) -> str:
    """Return the kind of a gene: resolution, kernel, depth, expand or width (a stem's are width and depth)."""
    name = gene.name.rsplit(".", 1)[-1]
    return {"mid": "width", "out": "width", "residual": "depth"}.get(name, name)


def _couple(space: SearchSpace, genomes: Genomes) -> None:
    """Give every block of a stage the expand ratio that has the rank of the stage's depth.

    A stage of one depth has no rank to give: its blocks keep the ratios they were drawn with.
    """
    for column, gene in enumerate(space.genes):
        if kind_of(gene) != "expand":
            continue
        depth = space.at(f"s{gene.stage}.depth")
        if len(space.genes[depth].choices) > 1:
            genomes[:, column] = np.minimum(genomes[:, depth], len(gene.choices))
