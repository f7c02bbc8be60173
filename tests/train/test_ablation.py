"""Variants that the ablation compares take the same compute."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["expand-kernel-depth", "slimmable"])
def test_every_variant_takes_the_same_multiply_accumulates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import supernet_ablation as ablation
    from supernet_cifar10 import passes

    recipe = ablation.recipe_of(name, seed=1)
    _, macs = passes(recipe, recipe.search_space(3, 10), 20_000)
    assert macs == pytest.approx(ablation.MACS, rel=0.01)
