"""ReLU networks from above: no prediction exceeds the sum, and no network within a limit what is stated of it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ofa.search import Limit, proof, prove, relu, sums
from ofa.search.part import part_of
from ofa.space.core import Genomes, SearchSpace
from ofa.space.index import index_of
from tests.search.test_knapsack import cut, every_genome


def network_over(space: SearchSpace, rng: np.random.Generator, hidden: tuple[int, ...]) -> relu.Network:
    """Return a random network that reads every gene but depths, each value by an input of its own."""
    columns = np.full((len(space.genes), int(space.cardinalities.max()) + 1), -1)
    inputs = 0
    for number, gene in enumerate(space.genes):
        if not gene.name.endswith("depth"):
            columns[number, 1 : len(gene.choices) + 1] = range(inputs, inputs + len(gene.choices))
            inputs += len(gene.choices)
    columns[columns < 0] = inputs
    widths = (inputs, *hidden, 1)
    layers = tuple(
        (rng.normal(size=shape) / np.sqrt(shape[0]), rng.normal(size=shape[1]) * 0.3)
        for shape in itertools.pairwise(widths)
    )
    return relu.Network(layers=layers, columns=columns, scale=3.0)


def predicted(network: relu.Network, genomes: Genomes, kind: type = np.float32) -> np.ndarray:
    """Run a network plainly."""
    inputs = network.layers[0][0].shape[0]
    hot = np.zeros((len(genomes), inputs + 1), dtype=kind)
    for gene, row in enumerate(network.columns):
        hot[np.arange(len(genomes)), row[genomes[:, gene]]] = 1
    values = hot[:, :inputs]
    for number, (weight, bias) in enumerate(network.layers):
        values = values @ weight.astype(kind) + bias.astype(kind)
        values = np.maximum(values, 0) if number < len(network.layers) - 1 else values
    return np.asarray(values[:, 0].astype(np.float64) * network.scale)


@pytest.mark.parametrize("family", ["mbconv", "bottleneck"])
@pytest.mark.parametrize("hidden", [(), (5,), (12, 12), (16, 16, 16)])
def test_no_prediction_exceeds_the_sum(family: str, hidden: tuple[int, ...]) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        space = cut(family, rng)
        network, everything = network_over(space, rng, hidden), every_genome(space)
        above = proof.network_above(space, network)
        for kind in (np.float32, np.float64):
            values, bounds = predicted(network, everything, kind), above.base.predict(everything)
            assert (bounds >= values).all()
        # A network without a hidden layer is a sum itself.
        assert hidden or bounds == pytest.approx(values, abs=1e-4)
        cost = sums.of_ops(space, rng.random(len(index_of(space).ops)))
        at_most = float(np.quantile(cost.predict(everything), 0.3))
        limit = Limit(name="latency", predict=cost, at_most=at_most, unit="ms", below=cost, exact=True)
        bound, reason = prove.upper_bound(space, above, [limit])
        within = values[cost.predict(everything) <= at_most]
        assert bound is not None and bound >= within.max() and "hidden units" in reason
        assert len(hidden) > 1 or bound <= within.max() + 2.0 * values.std()


def test_units_that_never_change_sign_cost_nothing() -> None:
    rng = np.random.default_rng(0)
    space = cut("mbconv", rng)
    network = network_over(space, rng, (8,))
    (weight, bias), last = network.layers
    always = replace(network, layers=((weight, bias + 100.0), last))
    everything = every_genome(space)
    bounds = proof.network_above(space, always).base.predict(everything)
    assert bounds == pytest.approx(predicted(always, everything, np.float64), abs=1e-2)


def test_a_sum_over_a_part_is_the_same_over_the_whole() -> None:
    rng = np.random.default_rng(0)
    whole = cut("mbconv", rng)
    part = part_of(whole, whole.resolutions[:1])
    total = sums.of_genes(rng.random((len(whole.genes), int(whole.cardinalities.max()) + 1)), 1.0)
    own = part.cut(total)
    everything = every_genome(part.space)
    assert part.spread(own).predict(part.widened(everything)) == pytest.approx(own.predict(everything))


def test_a_bound_that_says_nothing_is_no_number() -> None:
    rng = np.random.default_rng(0)
    space = cut("mbconv", rng)
    network = replace(network_over(space, rng, (16, 16, 16)), scale=1000.0)
    bound, reason = prove.upper_bound(space, proof.network_above(space, network), [])
    assert bound is None and "no subnet exceeds" in reason
