"""Variants that the ablation compares take the same compute, and each stands beside the first one of its own seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ofa.train import schedule
from ofa.train.recipes import Recipe

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
# How much of a variant's schedule is counted, step by step: of the paper's, which takes minutes, a twentieth.
COUNTED = {"expand-kernel-depth": 0.05, "slimmable": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTED)
def test_every_variant_takes_the_same_multiply_accumulates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import supernet_ablation as ablation
    from supernet_cifar10 import passes

    variant = ablation.VARIANTS[name]

    def short(base: Recipe) -> Recipe:
        return replace(variant(base), phases=schedule.scaled(variant(base).phases, COUNTED[name]))

    monkeypatch.setitem(ablation.VARIANTS, name, short)
    recipe = ablation.recipe_of(name, seed=1)
    _, macs = passes(recipe, recipe.search_space(3, 10), 20_000)
    assert macs == pytest.approx(ablation.MACS, rel=0.01)


def test_a_variant_stands_beside_the_first_one_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds are further apart than variants; where the first one of a seed is not run yet, there is nothing to say."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import supernet_table

    means = {("kernel-depth-expand", 0): 60.0, ("not-sorted", 0): 59.5, ("not-sorted", 1): 63.0, ("slimmable", 1): 58.0}
    means |= {("kernel-depth-expand", 1): 62.0, ("slimmable", 2): 61.0}
    found = {key: {"min": mean - 2, "mean": mean, "max": mean + 2} for key, mean in means.items()}
    lines = supernet_table.variants(found).splitlines()[2:]
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    assert [(row[0], row[1], row[5]) for row in cells] == [
        ("not-sorted", "1", "+1.00"),
        ("kernel-depth-expand", "1", ""),
        ("slimmable", "2", ""),
        ("kernel-depth-expand", "0", ""),
        ("not-sorted", "0", "-0.50"),
        ("slimmable", "1", "-4.00"),
    ]
