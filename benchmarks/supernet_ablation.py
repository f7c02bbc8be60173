"""Two questions that the method's readers leave open, at a fifth of the size of ``supernet_cifar10.py``.

Does the order in which kernel, depth and width open matter, and how channels are sorted before widths open? Beside
them: single-path sampling (one random subnet a step on true labels) and a slimmable network (one expand ratio for all
blocks, sandwich rule). Every variant takes the same multiply-accumulates (its phases are as long as that makes them)
on the same images, and is tested on the same 50 subnets.

    python benchmarks/supernet_ablation.py --data FOLDER --variant kernel-depth-expand --seed 0
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from cifar10 import WANTED, read
from supernet_cifar10 import IMAGES, Spent, lasting, subnets, tell, work, write

from ofa.train import data, evaluate, loop, recipes, schedule
from ofa.train.recipes import Recipe
from ofa.train.schedule import Kind

TESTED = 50
# Of every variant's training: a fifth of what an arm of ``supernet_cifar10.py`` takes.
MACS = 7.2e12
# Every second test image: they are sorted by class in part, so a prefix would not do.
STRIDE = 2


def main() -> None:
    """Train and test one variant with one seed, and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=WANTED)
    parser.add_argument("--variant", required=True, choices=VARIANTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/supernet_ablation"), help="where checkpoints are kept")
    given = parser.parse_args()
    torch.set_num_threads(1)
    variant(given.data, given.variant, given.seed, given.runs / f"{given.variant}-{given.seed}")


def variant(images: Path, name: str, seed: int, run: Path) -> None:
    """Train one variant, or go on with it, then test its subnets."""
    source = read(images / "cifar10_train.npz", IMAGES)
    recipe = recipe_of(name, seed)
    divided = data.divided(source, recipe)
    spent = Spent(run)
    with spent:
        supernet = loop.train(recipe, divided, run, on_step=tell)
    source = read(images / "cifar10_test_dev.npz")
    shown = data.Images(source=source, indices=np.arange(0, len(source), STRIDE), mean=divided.mean, std=divided.std)
    calibration = divided.images("calibration")
    tested = subnets(supernet.space)[:TESTED]
    found = {
        "variant": name,
        "seed": seed,
        "recipe": recipe.to_json(),
        **work(recipe, supernet.space, len(divided.train)),
        "cpu_s": round(spent.cpu_s),
        "wall_s": round(spent.wall_s),
        "trained_on": len(divided.train),
        "test_images": len(shown),
        "top1": {one.id: round(evaluate.top1(supernet, one, calibration, shown), 3) for one in tested},
    }
    command = f"python benchmarks/supernet_ablation.py --data FOLDER --variant {name} --seed {seed}"
    write("supernet_ablation", f"{name}-{seed}", command, found)


def recipe_of(name: str, seed: int) -> Recipe:
    """Return a variant's recipe, its phases so long that it takes ``MACS``."""
    base = dataclasses.replace(recipes.small_images(), name=name, seed=seed, batch=64, log_steps=50)
    return lasting(VARIANTS[name](base), MACS, IMAGES)


def shrinking(order: tuple[Kind, ...] = schedule.ORDER, importance: str = "input") -> Callable[[Recipe], Recipe]:
    """Return what makes the recipe of progressive shrinking in an order, with channels sorted in one way.

    Phases are in the paper's proportions, for those of ``small_images_shrinking`` favour one order.
    """

    def made(base: Recipe) -> Recipe:
        highest = base.phases[0].learning_rate
        phases = [
            dataclasses.replace(phase, learning_rate=highest if phase.name == "largest" else highest * 0.75)
            for phase in schedule.progressive_shrinking(order)
        ]
        return dataclasses.replace(base, phases=tuple(phases), importance=importance)  # type: ignore[arg-type]

    return made


def single_path(base: Recipe) -> Recipe:
    """Return one random subnet a step on true labels."""
    rate = base.phases[0].learning_rate
    return dataclasses.replace(base, phases=schedule.single_path(epochs=30, learning_rate=rate, warmup_epochs=1))


def slimmable(base: Recipe) -> Recipe:
    """Return the sandwich rule with one expand ratio for the whole network."""
    rate = base.phases[0].learning_rate
    return dataclasses.replace(base, phases=schedule.named("slimmable", epochs=30, learning_rate=rate, warmup_epochs=1))


VARIANTS: Mapping[str, Callable[[Recipe], Recipe]] = {
    "kernel-depth-expand": shrinking(),
    "depth-expand-kernel": shrinking(("depth", "expand", "kernel")),
    "expand-kernel-depth": shrinking(("expand", "kernel", "depth")),
    "sorted-by-output": shrinking(importance="output"),
    "not-sorted": shrinking(importance="none"),
    "single-path": single_path,
    "slimmable": slimmable,
}

if __name__ == "__main__":
    main()
