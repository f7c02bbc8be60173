"""Genomes: equal networks are equal rows, and whatever draws, changes or mixes them gives such rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ofa.space as spaces
from ofa.errors import SpaceMismatch
from ofa.space import sample
from ofa.space.core import Genomes, SearchSpace

SEEDS = st.integers(0, 2**32 - 1)
MOBILE = spaces.load("mobilenet_v3")
examples = settings(max_examples=20, deadline=None)


def filled(space: SearchSpace, count: int, rng: np.random.Generator) -> Genomes:
    """Return genomes that have every gene set, in use or not."""
    return rng.integers(1, space.cardinalities + 1, size=(count, len(space.genes))).astype(np.uint8)


def in_use(space: SearchSpace, genome: Genomes) -> list[bool]:
    """Say gene by gene what the depth genes leave in use."""
    depth = {
        gene.stage: gene.choices[genome[column] - 1]
        for column, gene in enumerate(space.genes)
        if gene.name.endswith(".depth")
    }
    return [gene.block is None or gene.block < depth[gene.stage] for gene in space.genes]


@given(seed=SEEDS)
@examples
def test_exactly_the_genes_of_absent_blocks_are_not_in_use(space: SearchSpace, seed: int) -> None:
    genomes = filled(space, 8, np.random.default_rng(seed))
    expected = [in_use(space, genome) for genome in genomes]
    np.testing.assert_array_equal(space.active(genomes), expected)
    np.testing.assert_array_equal(space.canonical(genomes), np.where(expected, genomes, 0))


@given(seed=SEEDS)
@examples
def test_canonical_form_is_reached_at_once(space: SearchSpace, seed: int) -> None:
    found = space.canonical(filled(space, 8, np.random.default_rng(seed)))
    space.check(found)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(space.canonical(found), found)


@given(seed=SEEDS)
@examples
def test_genes_of_absent_blocks_make_no_difference(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    genomes = space.canonical(filled(space, 8, rng))
    noisy = np.where(genomes > 0, genomes, filled(space, 8, rng))
    np.testing.assert_array_equal(space.canonical(noisy), genomes)


def test_every_choice_of_a_gene_is_another_one(space: SearchSpace) -> None:
    """Or one network would have two genomes, and its JSON could not say which."""
    for gene in space.genes:
        assert len(set(gene.choices)) == len(gene.choices), gene


@pytest.mark.parametrize("width", [0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.3, 4.0])
@pytest.mark.parametrize("name", spaces.names())
def test_every_width_has_distinct_choices(name: str, width: float) -> None:
    test_every_choice_of_a_gene_is_another_one(spaces.load(name, width=width))


@pytest.mark.parametrize("genomes", [np.zeros(46, np.uint8), np.zeros((1, 45), np.uint8), np.ones((2, 46), np.int64)])
def test_arrays_of_another_form_are_refused(genomes: Genomes) -> None:
    with pytest.raises(SpaceMismatch) as caught:
        MOBILE.check(genomes)
    assert str(genomes.shape) in caught.value.what and str(genomes.dtype) in caught.value.what
    assert "46 uint8" in caught.value.why and caught.value.hints


@pytest.mark.parametrize(
    ("gene", "value"),
    [
        ("resolution", 0),
        ("resolution", 26),
        ("s1.depth", 0),
        ("s3.depth", 4),
        ("s1.b2.kernel", 0),
        ("s1.b3.kernel", 1),
        ("s5.b4.expand", 255),
    ],
)
def test_what_is_not_canonical_is_named(gene: str, value: int) -> None:
    genomes = np.stack([MOBILE.corner("min").array] * 3)
    MOBILE.check(genomes)
    genomes[1, MOBILE.at(gene)] = value
    with pytest.raises(SpaceMismatch, match="genome 1 ") as caught:
        MOBILE.check(genomes)
    # A wrong depth shows in the first gene that does not fit it.
    if not gene.endswith("depth"):
        assert caught.value.why == f"gene '{gene}' has value {value}"
    assert caught.value.hints


@pytest.mark.parametrize(
    "genome", [[], [1] * 45, [300] * 46, [-1] * 46, [1.5] * 46, "garbage", None, [[1] * 46] * 2, ["1"] * 46]
)
def test_a_subnet_is_made_of_small_integers_only(genome: object) -> None:
    with pytest.raises(SpaceMismatch):
        MOBILE.subnet(genome)


def test_a_large_integer_does_not_wrap_to_another_network() -> None:
    genome = MOBILE.corner("max").array.astype(np.int64)
    assert MOBILE.subnet(genome) == MOBILE.corner("max") == MOBILE.subnet(genome.tolist())
    genome[0] += 256
    with pytest.raises(SpaceMismatch):
        MOBILE.subnet(genome)


@given(seed=SEEDS, count=st.integers(0, 30))
@examples
def test_random_genomes_are_canonical(space: SearchSpace, seed: int, count: int) -> None:
    found = sample.random(space, count, np.random.default_rng(seed))
    assert found.shape == (count, len(space.genes))
    space.check(found)
    np.testing.assert_array_equal(found, sample.random(space, count, np.random.default_rng(seed)))


def test_random_genes_are_uniform_over_their_choices(space: SearchSpace) -> None:
    found = sample.random(space, 20_000, np.random.default_rng(0))
    for column, gene in enumerate(space.genes):
        drawn = found[found[:, column] > 0, column]
        counts = np.bincount(drawn, minlength=len(gene.choices) + 1)[1:]
        expected = len(drawn) / len(gene.choices)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected), gene.name


@given(seed=SEEDS, rate=st.floats(0, 1))
@examples
def test_mutants_are_canonical(space: SearchSpace, seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    parents = sample.random(space, 20, rng)
    kept = parents.copy()
    found = sample.mutate(space, parents, rng, rate)
    assert found.shape == parents.shape
    space.check(found)
    np.testing.assert_array_equal(parents, kept)


@given(seed=SEEDS)
@examples
def test_mutation_at_rate_zero_changes_nothing(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parents = sample.random(space, 20, rng)
    np.testing.assert_array_equal(sample.mutate(space, parents, rng, 0.0), parents)


def test_mutation_redraws_at_its_rate(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    parents = sample.random(space, 20_000, rng)
    column = space.at("resolution")
    for rate in (0.1, 0.5, 1.0):
        found = sample.mutate(space, parents, rng, rate)
        changed = np.mean(found[:, column] != parents[:, column])
        # A redrawn gene may be drawn as it was.
        assert changed == pytest.approx(rate * (1 - 1 / len(space.resolutions)), abs=0.02)


@given(seed=SEEDS)
@examples
def test_children_have_genes_of_their_parents(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mothers, fathers = sample.random(space, 20, rng), sample.random(space, 20, rng)
    children = sample.cross(space, mothers, fathers, rng)
    space.check(children)
    # Whatever is in use in a child is so in the parent its depth is from: nothing is left to chance.
    assert np.all((children == 0) | (children == mothers) | (children == fathers))


def test_children_take_from_both_parents_alike(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    mothers, fathers = sample.random(space, 5_000, rng), sample.random(space, 5_000, rng)
    children = sample.cross(space, mothers, fathers, rng)
    differ = (mothers != fathers) & (mothers > 0) & (fathers > 0) & (children > 0)
    assert np.mean(children[differ] == mothers[differ]) == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(sample.cross(space, mothers, mothers, rng), mothers)


@given(seed=SEEDS, count=st.integers(0, 12))
@examples
def test_unique_keeps_the_first_of_each(space: SearchSpace, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    pool = sample.random(space, 4, rng)
    genomes = pool[rng.integers(0, 4, size=count)]
    expected = list(dict.fromkeys(tuple(genome) for genome in genomes.tolist()))
    found = sample.unique(genomes)
    space.check(found)
    assert [tuple(genome) for genome in found.tolist()] == expected
