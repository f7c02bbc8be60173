"""find: reaches the optimum where it can be enumerated, refuses what is impossible, repeats bit for bit."""

from __future__ import annotations

import dataclasses
import itertools
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

import ofa.search
from ofa.errors import Need, NoSubnetFits, OfaError, UsageInvalid
from ofa.search import Extremes, Generation, Limit, find, sweep
from ofa.search.bound import Factor, extremes_of
from ofa.space import sample
from ofa.space.core import Genomes, SearchSpace
from ofa.space.mobilenet_v3 import mobilenet_v3, mobilenet_v3_tiny


class Truth:
    """A made-up accuracy (additive with some interactions) and an additive latency for any space."""

    def __init__(self, space: SearchSpace, seed: int, interaction: float = 0.3) -> None:
        rng = np.random.default_rng(seed)
        cards = space.cardinalities
        self.space = space
        shape = (len(cards), int(cards.max()) + 1)
        self.gain = np.cumsum(rng.random(shape) * (np.arange(shape[1]) > 0), axis=1)
        self.gain[space.at("resolution")] *= 3.0 / max(1, cards[0] - 1)
        self.cost = np.cumsum(rng.random(shape) * (np.arange(shape[1]) > 0), axis=1)
        self.gain[:, 0] = self.cost[:, 0] = 0.0
        self.pairs = rng.permutation(len(cards))
        self.weight = rng.normal(scale=interaction, size=len(cards))

    def accuracy(self, genomes: Genomes) -> np.ndarray:
        columns = np.arange(len(self.pairs))
        terms = self.gain[columns, genomes]
        return 60.0 + terms.sum(axis=1) + (terms * terms[:, self.pairs]) @ self.weight

    def latency(self, genomes: Genomes) -> np.ndarray:
        return 2.0 + self.cost[np.arange(len(self.pairs)), genomes].sum(axis=1)

    def extremes(self) -> Extremes:
        return extremes_of(self.space, gene_factors(self.space, self.cost), 2.0)

    def limit(self, share: float) -> Limit:
        ends = self.extremes()
        at_most = ends.least + share * (ends.most - ends.least)
        return Limit(name="latency", predict=self.latency, at_most=at_most, unit="ms", floor=self.extremes)


def gene_factors(space: SearchSpace, table: np.ndarray) -> list[Factor]:
    """Turn a value per gene and choice into factors; a block's genes count only where the depth keeps the block."""
    factors = []
    for column, gene in enumerate(space.genes):
        values = table[column, 1 : len(gene.choices) + 1]
        if gene.block is None:
            factors.append(Factor(columns=(column,), table=values))
        else:
            depth = space.at(f"s{gene.stage}.depth")
            kept = np.array([choice > gene.block for choice in space.genes[depth].choices], dtype=float)
            factors.append(Factor(columns=(depth, column), table=kept[:, None] * values))
    return factors


def every_genome(space: SearchSpace) -> Genomes:
    """List a small space."""
    full = np.array(list(itertools.product(*[range(1, c + 1) for c in space.cardinalities])), dtype=np.uint8)
    return sample.unique(space.canonical(full))


@pytest.fixture(scope="module")
def small() -> SearchSpace:
    whole = mobilenet_v3_tiny(1.0, 1, 10)
    stages = tuple(dataclasses.replace(stage, kernels=(3, 5), depths=(1, 2)) for stage in whole.stages[:2])
    return dataclasses.replace(whole, resolutions=(16, 24, 32), stages=stages)


@pytest.fixture(scope="module")
def whole() -> SearchSpace:
    return mobilenet_v3(1.0, 3, 1000)


@pytest.mark.slow
def test_enumerated_space_gives_its_optimum_for_every_seed(small: SearchSpace) -> None:
    everything = every_genome(small)
    assert len(everything) > 5_000
    for seed in range(10):
        truth = Truth(small, seed)
        limit = truth.limit(0.4)
        fits = truth.latency(everything) <= limit.at_most
        best = truth.accuracy(everything)[fits].max()
        found = find(small, truth.accuracy, [limit], seed=seed, population=128, generations=15)
        assert found.best.accuracy == pytest.approx(best, abs=1e-9)
        assert found.best.values["latency"] <= limit.at_most


def test_extremes_equal_enumeration(small: SearchSpace) -> None:
    everything = every_genome(small)
    for seed in range(20):
        truth = Truth(small, seed)
        truth.cost[:, 1:] -= 0.4
        ends, latency = truth.extremes(), truth.latency(everything)
        assert (ends.least, ends.most) == pytest.approx((latency.min(), latency.max()), abs=1e-9)
        assert truth.latency(np.stack([ends.argleast, ends.argmost])) == pytest.approx([ends.least, ends.most])


@pytest.mark.slow
def test_beats_random_sampling_of_equal_budget(whole: SearchSpace) -> None:
    truth = Truth(whole, 3, interaction=0.1)
    limit = truth.limit(0.35)
    found = find(whole, truth.accuracy, [limit], seed=0)
    drawn = sample.random(whole, found.evaluated, np.random.default_rng(0))
    fits = truth.latency(drawn) <= limit.at_most
    spread = truth.accuracy(drawn).std()
    assert found.best.accuracy > truth.accuracy(drawn)[fits].max() + spread


@pytest.mark.slow
def test_additive_truth_comes_close_to_its_relaxed_bound(whole: SearchSpace) -> None:
    truth = Truth(whole, 5, interaction=0.0)
    limit = truth.limit(0.5)
    # Lagrange: for any price, max(gain - price * cost) + price * limit bounds the constrained optimum from above.
    bounds = []
    for price in np.linspace(0.0, 3.0, 31):
        ends = extremes_of(whole, gene_factors(whole, truth.gain - price * truth.cost))
        bounds.append(60.0 + ends.most + price * (limit.at_most - 2.0))
    found = find(whole, truth.accuracy, [limit], seed=1)
    assert min(bounds) - 0.4 <= found.best.accuracy <= min(bounds) + 1e-9


@pytest.mark.slow
def test_same_seed_gives_the_same_answer_and_another_seed_another_path(whole: SearchSpace) -> None:
    truth = Truth(whole, 1)
    runs = [find(whole, truth.accuracy, [truth.limit(0.3)], seed=s, generations=8) for s in (4, 4, 5)]
    assert runs[0].best == runs[1].best
    assert runs[0].front == runs[1].front
    assert runs[0].evaluated == runs[1].evaluated
    assert runs[0].front != runs[2].front


@pytest.mark.slow
def test_no_genome_is_scored_twice(whole: SearchSpace) -> None:
    truth = Truth(whole, 2)
    seen: list[bytes] = []

    def watched(genomes: Genomes) -> np.ndarray:
        whole.check(genomes)
        seen.extend(row.tobytes() for row in genomes)
        return truth.accuracy(genomes)

    found = find(whole, watched, [truth.limit(0.3)], seed=0, generations=10)
    assert len(seen) == len(set(seen)) == found.evaluated


def test_impossible_limit_is_refused_before_anything_is_scored(small: SearchSpace) -> None:
    truth = Truth(small, 0)
    ends = truth.extremes()
    limit = dataclasses.replace(truth.limit(0.5), at_most=ends.least * 0.9)

    def never(genomes: Genomes) -> np.ndarray:
        raise AssertionError("scored")

    with pytest.raises(NoSubnetFits) as refusal:
        find(small, never, [limit], seed=0)
    assert small.subnet(ends.argleast).id in refusal.value.why
    offered = float(refusal.value.hints[0].removeprefix("allow at least ").split()[0])
    assert ends.least <= offered <= ends.least * 1.002
    reached = find(small, truth.accuracy, [dataclasses.replace(limit, at_most=offered)], seed=0, generations=5)
    assert reached.best.values["latency"] <= offered


def test_limit_at_the_exact_minimum_is_met(whole: SearchSpace) -> None:
    truth = Truth(whole, 0)
    limit = dataclasses.replace(truth.limit(0.5), at_most=truth.extremes().least)
    found = find(whole, truth.accuracy, [limit], seed=0, population=64, generations=3)
    assert found.best.values["latency"] == pytest.approx(limit.at_most)


def test_limits_that_exclude_each_other_name_the_nearest(small: SearchSpace) -> None:
    truth = Truth(small, 0)
    slow = truth.limit(0.2)
    energy = Limit(name="energy", predict=lambda g: 100.0 - truth.latency(g), at_most=60.0, unit="mJ", source="rail")
    with pytest.raises(NoSubnetFits, match=r"no subnet was found within .* ms latency and 60 mJ energy") as refusal:
        find(small, truth.accuracy, [slow, energy], seed=0, population=64, generations=10)
    assert "not a proof" in refusal.value.why
    with pytest.raises(NoSubnetFits, match=r"no subnet was found within .* ms latency and 60 mJ energy"):
        sweep(small, truth.accuracy, slow, [energy], seed=0, points=2)
    blind = dataclasses.replace(slow, at_most=0.9 * truth.extremes().least, floor=None)
    with pytest.raises(NoSubnetFits, match=r"no subnet was found within .* ms latency"):
        sweep(small, truth.accuracy, blind, seed=0, points=2)


@pytest.mark.parametrize("unit", ["mJ", "J", "uJ"])
def test_a_limit_of_energy_that_nothing_measured_is_refused(unit: str) -> None:
    with pytest.raises(UsageInvalid, match=f"energy limit of 3 {unit} cannot be held") as refusal:
        Limit(name="energy", predict=lambda g: np.ones(len(g)), at_most=3.0, unit=unit)
    assert "has none of any network" in refusal.value.why and "with a meter beside it" in refusal.value.hints[0]


@pytest.mark.slow
def test_several_limits_hold_at_once(whole: SearchSpace) -> None:
    truth, other = Truth(whole, 0), Truth(whole, 9)
    energy = dataclasses.replace(other.limit(0.25), name="energy", unit="mJ", source="rail")
    latency = truth.limit(0.25)
    found = find(whole, truth.accuracy, [latency, energy], seed=0, generations=20)
    assert truth.latency(found.best.genome[None])[0] <= latency.at_most
    assert other.latency(found.best.genome[None])[0] <= energy.at_most
    alone = find(whole, truth.accuracy, [latency], seed=0, generations=20)
    assert found.best.accuracy < alone.best.accuracy
    assert all(candidate.values["energy"] <= energy.at_most for candidate in found.front)


@pytest.mark.slow
def test_front_rises_and_holds_the_best(whole: SearchSpace) -> None:
    truth = Truth(whole, 6)
    limit = truth.limit(0.4)
    found = find(whole, truth.accuracy, [limit], seed=0, generations=15)
    cost = [candidate.values["latency"] for candidate in found.front]
    accuracy = [candidate.accuracy for candidate in found.front]
    assert cost == sorted(cost)
    assert accuracy == sorted(set(accuracy))
    assert max(a for a, c in zip(accuracy, cost, strict=True) if c <= limit.at_most) == found.best.accuracy


def test_without_limits_the_most_accurate_network_wins(small: SearchSpace) -> None:
    truth = Truth(small, 1)
    found = find(small, truth.accuracy, seed=0, population=128, generations=15)
    assert found.best.accuracy == pytest.approx(truth.accuracy(every_genome(small)).max())
    assert len(found.front) == 1


def test_interrupt_comes_through_and_generations_are_reported(small: SearchSpace) -> None:
    truth = Truth(small, 1)
    heard: list[Generation] = []

    def stop(generation: Generation) -> None:
        heard.append(generation)
        if generation.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find(small, truth.accuracy, [truth.limit(0.5)], seed=0, on_generation=stop)
    assert [generation.number for generation in heard] == [0, 1, 2]
    assert heard[0].evaluated < heard[2].evaluated
    assert heard[0].best_accuracy is not None


def test_predictor_without_numbers_is_an_error(small: SearchSpace) -> None:
    with pytest.raises(OfaError, match=r"predictor of accuracy returned an array of shape \(\d+, 1\) for \d+ genomes"):
        find(small, lambda genomes: np.ones((len(genomes), 1)), seed=0)
    with pytest.raises(OfaError, match="predictor of accuracy"):
        find(small, lambda genomes: np.full(len(genomes), np.nan), seed=0)


@pytest.mark.parametrize("at_most", [0.0, -1.0, float("nan"), float("inf")])
def test_senseless_limit_is_refused(at_most: float) -> None:
    with pytest.raises(UsageInvalid):
        Limit(name="latency", predict=lambda genomes: np.zeros(len(genomes)), at_most=at_most, unit="ms")


def test_no_change_of_two_genes_improves_what_is_found() -> None:
    space = mobilenet_v3_tiny(1.0, 1, 10)
    truth = Truth(space, 3, interaction=1.0)
    limit = truth.limit(0.4)
    found = find(space, truth.accuracy, [limit], seed=0, population=32, generations=1, rounds=1)
    base = found.best.subnet.array
    active = [column for column in range(len(base)) if base[column]]
    rows = []
    for one, other in itertools.combinations(active, 2):
        for values in itertools.product(*(range(1, int(space.cardinalities[c]) + 1) for c in (one, other))):
            row = base.copy()
            row[[one, other]] = values
            rows.append(row)
    near = space.canonical(np.array(rows, dtype=np.uint8))
    # A block that comes into use has genes of its own to choose: these are not changes of two genes.
    near = near[((near > 0) == (base > 0)).all(axis=1)]
    assert len(near) > 1000
    within = near[truth.latency(near) <= limit.at_most]
    assert truth.accuracy(within).max() <= found.best.accuracy + 1e-9


def test_no_module_hides_what_the_room_offers() -> None:
    """Whoever imports a submodule sets it on the package: one called 'find' was then found in place of the function."""
    modules = {module.name for module in pkgutil.iter_modules(ofa.search.__path__)}
    assert not modules & set(ofa.search.__all__) and {"finding", "sweeps"} <= modules
    assert all(callable(getattr(ofa.search, name)) for name in ofa.search.__all__)


def test_the_public_names_are_listed_before_they_are_loaded() -> None:
    line = "import sys, ofa.search, ofa.twins; print(*dir(ofa.search), *dir(ofa.twins), 'numpy' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout.split()
    assert {"find", "sweep", "Limit", "fit_accuracy", "__all__"} <= set(said) and said[-1] == "False"


def test_of_limits_that_nothing_meets_those_are_to_be_raised_that_the_nearest_misses() -> None:
    """The value can be pasted and read as data; of options nothing is said to who calls a function."""
    space = mobilenet_v3_tiny(width=1.0, channels=1, classes=10)
    limits = [
        Limit(name="latency", predict=lambda genomes: np.full(len(genomes), 0.25), at_most=0.4, unit="ms"),
        Limit(
            name="resident memory", predict=lambda genomes: np.full(len(genomes), 69544029.0), at_most=36e6, unit="B"
        ),
    ]
    with pytest.raises(NoSubnetFits, match=r"within 0\.4 ms latency and 36 MB resident memory") as refusal:
        find(space, lambda genomes: np.zeros(len(genomes)), limits, seed=0, population=16, generations=1, rounds=1)
    assert "resident memory 69.55 MB" in refusal.value.why
    assert refusal.value.hints == ("allow at least 69.55 MB of resident memory",)
    assert refusal.value.needs == (Need(name="resident memory", value=69544029.0, unit="B"),)
