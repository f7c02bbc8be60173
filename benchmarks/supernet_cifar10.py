"""The paper's claim on real images: progressive shrinking and the sandwich rule beside a supernet trained without.

Arms of equal compute, each one run and one result file: ``shrinking``, ``sandwich`` and ``plain`` (random subnets on
true labels, neither shrinking nor distillation) train a supernet; ``shrinking_frozen`` is shrinking as in the paper,
whose largest network is trained alone, half of all epochs, and then teaches frozen. The same 100 subnets are tested in
every arm, on test images that no arm trained on or chose by; batch norm is calibrated on training images. ``alone-0``
to ``alone-4`` train the architecture of one of the first five subnets by itself, for as many epochs as the sandwich
arm. ``lite`` is the sandwich arm on the lite space, for ``int8.py``. With ``--share`` an arm is trained for a part of
that compute and only its checkpoint is kept: enough to ask what int8 costs.

    python benchmarks/supernet_cifar10.py --data FOLDER --arm shrinking --seed 0
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from cifar10 import WANTED, read
from record import RESULTS, machine

import ofa.space as S
from harness.ledger import versions
from ofa.files import readable_json, write_atomic
from ofa.nn.supernet import Supernet
from ofa.space.core import SearchSpace, Subnet
from ofa.space.index import index_of
from ofa.train import data, evaluate, folder, loop, recipes, schedule
from ofa.train.recipes import Recipe
from ofa.train.sampling import SUBNETS, resolution_of, subnets_of
from ofa.train.schedule import Phase

TESTED = 100
# Of them, how many are tested on held-back training images too: what a choice between recipes may look at.
HELD_BACK = 30
ALONE = 5
# Images taken from the training file, those held back included, and the multiply-accumulates of an arm's training:
# so many epochs of so few images that a supernet can learn them, as the paper's can in 605 epochs of ImageNet.
IMAGES = 25_000
MACS = 36e12
ARMS = ("shrinking", "sandwich", "plain", "shrinking_frozen", "lite")


def main() -> None:
    """Train and test one arm with one seed, and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=WANTED)
    parser.add_argument("--arm", required=True, choices=[*ARMS, *(f"alone-{number}" for number in range(ALONE))])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/supernet_cifar10"), help="where checkpoints are kept")
    parser.add_argument("--share", type=float, help="train for this share of the compute, and test nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    run = given.runs / f"{given.arm}-{given.seed}"
    if given.share is None:
        arm(given.data, given.arm, given.seed, run)
    else:
        train(given.data, recipe_of(given.arm, given.seed, given.share), run.with_name(f"{run.name}-{given.share:g}"))


def train(images: Path, recipe: Recipe, run: Path) -> None:
    """Train by a recipe, or go on with it, and test nothing."""
    loop.train(recipe, data.divided(read(images / "cifar10_train.npz", IMAGES), recipe), run, on_step=tell)


def arm(images: Path, name: str, seed: int, run: Path) -> None:
    """Train one arm, or go on with it, then test its subnets."""
    recipe, source = recipe_of(name, seed), read(images / "cifar10_train.npz", IMAGES)
    divided = data.divided(source, recipe)
    spent = Spent(run)
    with spent:
        supernet = loop.train(recipe, divided, run, on_step=tell)
    tested = subnets(supernet.space)
    if recipe.subnet is not None:
        tested = [supernet.space.subnet(recipe.subnet)]
    steps = recipe.schedule(len(divided.train)).steps
    source = read(images / "cifar10_test_dev.npz")
    test = data.Images(source=source, indices=np.arange(len(source)), mean=divided.mean, std=divided.std)
    found: dict[str, Any] = {
        "arm": name,
        "seed": seed,
        "recipe": recipe.to_json(),
        "epochs": round(steps * recipe.batch / len(divided.train), 3),
        **work(recipe, supernet.space, len(divided.train)),
        "cpu_s": round(spent.cpu_s),
        "wall_s": round(spent.wall_s),
        "trained_on": len(divided.train),
        "held_back": len(divided.holdout),
        "test_images": len(test),
        "held_back_top1": accuracies(supernet, divided, divided.images("holdout"), tested[:HELD_BACK]),
        "top1": accuracies(supernet, divided, test, tested),
    }
    command = f"python benchmarks/supernet_cifar10.py --data FOLDER --arm {name} --seed {seed}"
    write("supernet_cifar10", f"{name}-{seed}", command, found)


def recipe_of(name: str, seed: int, share: float = 1) -> Recipe:
    """Return an arm's recipe: the same but for its phases and losses, and so long that it takes a share of ``MACS``."""
    base = dataclasses.replace(recipes.small_images(), name=name, seed=seed, batch=64, log_steps=50)
    rate = base.phases[0].learning_rate
    if name.startswith("alone-"):
        subnet = subnets(base.search_space(channels=3, classes=10))[int(name.removeprefix("alone-"))]
        epochs = recipe_of("sandwich", 0).phases[0].epochs
        return dataclasses.replace(
            recipes.finetune(base, subnet, origin="", epochs=epochs, learning_rate=rate), name=name
        )
    if name == "shrinking":
        base = dataclasses.replace(base, phases=recipes.small_images_shrinking().phases)
    elif name == "shrinking_frozen":
        base = dataclasses.replace(base, phases=frozen())
    elif name == "plain":
        phase = Phase(name=name, epochs=30, learning_rate=rate, warmup_epochs=1, random=4)
        base = dataclasses.replace(base, phases=(phase,))
    elif name == "lite":
        base = dataclasses.replace(base, space="mobilenet_v3_tiny_lite")
    return lasting(base, share * MACS, IMAGES)


def frozen() -> tuple[Phase, ...]:
    """Return the phases of the paper, shortened so that the largest network still has half of all epochs."""
    lasts = {"largest": (20, 4e-3), "kernel": (3, 2e-3), "depth-2": (3, 2e-3), "expand-2": (11, 3e-3)}
    phases = []
    for phase in schedule.progressive_shrinking():
        epochs, rate = lasts.get(phase.name, (1, 2e-3))
        warmup = min(1.0, epochs / 10)
        phases.append(dataclasses.replace(phase, epochs=epochs, learning_rate=rate, warmup_epochs=warmup))
    return tuple(phases)


def lasting(recipe: Recipe, macs: float, images: int) -> Recipe:
    """Return a recipe with phases so long that it takes so many multiply-accumulates on images, some held back."""
    _, taken = passes(recipe, recipe.search_space(channels=3, classes=10), images - recipe.holdout)
    return dataclasses.replace(recipe, phases=schedule.scaled(recipe.phases, macs / taken))


def subnets(space: SearchSpace) -> list[Subnet]:
    """Return the subnets every arm is tested on: the smallest, the largest, random ones."""
    genomes = S.sample.unique(S.sample.random(space, 2 * TESTED, np.random.default_rng(10)))[: TESTED - 2]
    drawn = [space.subnet(genome) for genome in genomes]
    return [space.corner("min"), space.corner("max"), *drawn]


def accuracies(supernet: Supernet, divided: data.Data, images: data.Images, tested: list[Subnet]) -> dict[str, float]:
    """Return the top-1 (percent) of subnets by id, each calibrated on training images."""
    calibration = divided.images("calibration")
    return {subnet.id: round(evaluate.top1(supernet, subnet, calibration, images), 3) for subnet in tested}


def work(recipe: Recipe, space: SearchSpace, images: int) -> dict[str, float]:
    """Return how many images times subnets a training sees, and the multiply-accumulates it takes (see ``passes``)."""
    seen, macs = passes(recipe, space, images)
    return {"subnet_images": seen, "training_tmacs": round(macs / 1e12, 1)}


def passes(recipe: Recipe, space: SearchSpace, images: int) -> tuple[int, float]:
    """Return how many images times subnets a training on so many images sees, and its multiply-accumulates.

    A forward and backward pass count three times a forward one; a frozen teacher's forward pass counts once.
    """
    index, plan = index_of(space), recipe.schedule(images)
    macs, seen, total = index.values(lambda op: op.macs), 0, 0.0
    for step in range(plan.steps):
        phase, resolution = plan.phases[plan.at(step)], resolution_of(space, recipe, step)
        rng = np.random.default_rng([recipe.seed, SUBNETS, step, 0])
        chosen = [subnet.array for subnet in subnets_of(space, phase, resolution, rng)]
        genomes = np.stack(chosen if recipe.subnet is None else [np.array(recipe.subnet, dtype=np.uint8)])
        total += 3 * float(index.sum(genomes, macs).sum())
        if phase.teacher == "frozen":
            total += float(index.sum(space.corner("max", resolution).array[None], macs)[0])
        seen += len(genomes)
    return seen * recipe.batch, total * recipe.batch


class Spent:
    """CPU and wall time over all sessions of a run, s."""

    def __init__(self, run: Path) -> None:
        self.path = run / "spent.txt"
        self.cpu_s, self.wall_s = 0.0, 0.0

    def __enter__(self) -> None:
        """Begin, with what earlier sessions spent."""
        if self.path.exists():
            self.cpu_s, self.wall_s = (float(word) for word in self.path.read_text().split())
        self.began = time.process_time(), time.monotonic()

    def __exit__(self, *_: object) -> None:
        """Add this session."""
        self.cpu_s += time.process_time() - self.began[0]
        self.wall_s += time.monotonic() - self.began[1]
        write_atomic(self.path, f"{self.cpu_s} {self.wall_s}\n")


def tell(found: loop.Progress) -> None:
    """Say how far it is, now and then."""
    if found.step % 100 == 0:
        sys.stderr.write(f"{found.step} of {found.steps}  {found.phase}  loss {found.loss:.3f}\n")


def write(folder_name: str, name: str, command: str, found: dict[str, Any]) -> None:
    """Write the result of one training."""
    values = list(found["top1"].values())
    content = {
        "result": found | {"min": min(values), "median": median(values), "mean": mean(values), "max": max(values)},
        "command": command,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "git": folder.git_id(),
        "machine": machine(),
        "versions": versions("torch", "numpy"),
        "threads": int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())),
    }
    write_atomic(RESULTS / folder_name / f"{name}.json", readable_json(content))


if __name__ == "__main__":
    main()
