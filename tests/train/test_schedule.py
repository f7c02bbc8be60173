"""Phases, rates and samples: what is trained when, as a pure function of the recipe."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.space.core import SearchSpace
from ofa.train import cli, recipes, runs, sampling, schedule
from ofa.train.recipes import Recipe, from_json
from ofa.train.schedule import Phase

EVERY_SPACE = [spaces.load(name) for name in spaces.names()]


def test_the_rate_rises_then_falls_to_nothing_in_every_phase() -> None:
    phase = Phase(name="one", epochs=10, warmup_epochs=1, learning_rate=0.5, random=1)
    plan = schedule.scheduled([phase, dataclasses.replace(phase, learning_rate=0.1, warmup_epochs=0)], 10)
    rates = [plan.rate(step) for step in range(plan.steps)]
    assert rates[9] == rates[10] == 0.5 == max(rates[:100])
    assert np.all(np.diff(rates[:10]) > 0) and np.all(np.diff(rates[10:100]) < 0) and rates[99] < 0.001
    assert rates[100] == 0.1 and np.all(np.diff(rates[100:]) < 0)
    assert [plan.at(step) for step in (0, 99, 100, 199, 200)] == [0, 0, 1, 1, 1]


def test_progressive_shrinking_has_the_papers_phases() -> None:
    phases = schedule.progressive_shrinking()
    assert [phase.name for phase in phases] == ["largest", "kernel", "depth-1", "depth-2", "expand-1", "expand-2"]
    assert [phase.epochs for phase in phases] == [180, 125, 25, 125, 25, 125]
    assert [phase.learning_rate for phase in phases] == [2.6, 0.96, 0.08, 0.24, 0.08, 0.24]
    assert [phase.subnets for phase in phases] == [1, 1, 2, 2, 4, 4]
    assert [phase.teacher for phase in phases] == ["none"] + ["frozen"] * 5
    assert [phase.sort for phase in phases] == [False] * 4 + [True] * 2
    shorter = schedule.scaled(phases, 0.1)
    assert [phase.epochs for phase in shorter] == pytest.approx([18, 12.5, 2.5, 12.5, 2.5, 12.5])


@pytest.mark.parametrize("space", EVERY_SPACE, ids=lambda space: space.id)
def test_a_phase_samples_what_it_opens_and_no_more(space: SearchSpace) -> None:
    seen: dict[str, set[int]] = {}
    for phase in schedule.progressive_shrinking():
        rng = np.random.default_rng(0)
        many = sampling.random(space, dataclasses.replace(phase, random=400), rng)
        space.check(many)
        for column, gene in enumerate(space.genes):
            kind, values = sampling.kind_of(gene), set(many[:, column].tolist()) - {0}
            count = len(gene.choices)
            allowed = min(phase.choices.get(kind, count), count)
            assert values == set(range(count - allowed + 1, count + 1)), (phase.name, gene.name)
            assert seen.get(gene.name, set()) <= values
            if kind != "resolution":
                seen[gene.name] = values


def test_presets_are_as_long_and_rise_as_high_as_told() -> None:
    for name in schedule.PRESETS:
        phases = schedule.named(name, epochs=12, learning_rate=0.5, warmup_epochs=1)
        assert sum(phase.epochs for phase in phases) == pytest.approx(12)
        assert max(phase.learning_rate for phase in phases) == pytest.approx(0.5)
        assert phases[-1].choices == {} and phases[-1].coupling == schedule.PRESETS[name]
    assert list(schedule.PRESETS) == [preset.value for preset in cli.Schedule]
    recipe = runs.recipe_named("small_images", [], 0.5, "single_path")
    assert [(phase.name, phase.epochs, phase.teacher) for phase in recipe.phases] == [("single_path", 15, "none")]
    assert runs.recipe_named("small_images", [], 1, "progressive_shrinking").hard_weight == 1


def test_orders_open_the_same_in_another_order() -> None:
    phases = schedule.progressive_shrinking(("expand", "kernel", "depth"))
    assert [phase.name for phase in phases] == ["largest", "expand-1", "expand-2", "kernel", "depth-1", "depth-2"]
    assert phases[-1].choices == {} == schedule.progressive_shrinking()[-1].choices
    assert phases[1].choices == {"kernel": 1, "depth": 1, "expand": 2, "width": 2}


def test_a_sandwich_has_both_ends_at_one_resolution(space: SearchSpace) -> None:
    (phase,) = schedule.sandwich(epochs=1, learning_rate=1, warmup_epochs=0)
    for resolution in space.resolutions:
        subnets = sampling.subnets_of(space, phase, resolution, np.random.default_rng(resolution))
        assert len(subnets) == 4
        assert subnets[0] == space.corner("max", resolution) and subnets[1] == space.corner("min", resolution)
        assert {subnet.resolution for subnet in subnets} == {resolution}
        assert subnets == sampling.subnets_of(space, phase, resolution, np.random.default_rng(resolution))
    recipe = recipes.demo()
    assert {sampling.resolution_of(space, recipe, step) for step in range(40)} == set(space.resolutions)
    alone = recipes.finetune(recipe, space.corner("min", 20), origin="", epochs=1, learning_rate=1)
    assert {sampling.resolution_of(space, alone, step) for step in range(10)} == {20}


@pytest.mark.parametrize("space", EVERY_SPACE, ids=lambda space: space.id)
def test_couplings(space: SearchSpace) -> None:
    rng = np.random.default_rng(1)
    one = Phase(name="s", epochs=1, learning_rate=1, random=200, coupling="slimmable")
    expands = [column for column, gene in enumerate(space.genes) if sampling.kind_of(gene) == "expand"]
    ratios = [set(row[expands]) - {0} for row in sampling.random(space, one, rng)]
    assert all(len(found) == 1 for found in ratios) and len(set.union(*ratios)) > 1
    coupled = dataclasses.replace(one, coupling="compound")
    rows = sampling.random(space, coupled, rng)
    for number, stage in enumerate(space.stages, 1):
        own = [column for column in expands if space.genes[column].stage == number]
        for row in rows if len(stage.depths) > 1 else ():
            assert {*row[own]} - {0} == {min(row[space.at(f"s{number}.depth")], len(stage.expands))}
        drawn = {*rows[:, own].ravel()} - {0}
        ranks = len(stage.depths) if len(stage.depths) > 1 else len(stage.expands)
        assert len(drawn) == min(ranks, len(stage.expands))


def test_only_what_changes_weights_changes_a_recipes_id() -> None:
    recipe = recipes.imagenet_shrinking()
    assert from_json(recipe.to_json()) == recipe
    changed: Any = dataclasses.replace
    for name in ("log_steps", "corner_steps", "checkpoint_steps"):
        assert changed(recipe, **{name: 77}).id == recipe.id
    for name, value in (("seed", 5), ("batch", 8), ("label_smoothing", 0.2), ("width", 1.2), ("phases", ())):
        assert changed(recipe, **{name: value}).id != recipe.id


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_can_be_scheduled(name: str) -> None:
    recipe: Recipe = recipes.RECIPES[name]()
    space = recipe.search_space(channels=3, classes=10)
    plan = recipe.schedule(100_000)
    assert space.name == recipe.space and plan.steps > 0 and recipe.name == name
    assert plan.phases[-1].choices == {}, "the last phase opens the whole space"


def test_rates_scale_with_the_batch() -> None:
    recipe = recipes.imagenet_shrinking()
    small = dataclasses.replace(recipe, batch=64)
    assert small.schedule(64_000).phases[1].learning_rate == pytest.approx(0.03), "the reference's rate for one GPU"
