"""The verbs that train and measure accuracy: train | eval | label | finetune | import-checkpoint.

They follow `ofa.cli`'s convention: one function each, heavy imports in its body, ``--json`` for facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ofa import completing
from ofa.options import COUNT, DataPath, DryRun, Json, MaybeSubnets, Out, OwnSeed, Resume, SpaceName, Width, example

if TYPE_CHECKING:
    from torch import Tensor

    from ofa.train.data import Data
    from ofa.train.ranks import Ranks
    from ofa.train.recipes import Recipe
    from ofa.train.sources.decode import Problems

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a training.")]
On = Annotated[
    str | None,
    typer.Option("--on", metavar="cpu|cuda", help="Where it computes; a GPU, if there is one, if not given."),
]
FileRuntime = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="NAME",
        help="What runs a file; by its ending if not given.",
        autocompletion=completing.runtimes,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, max=1024, help="CPU threads it computes on; torch's if not given."),
]
Skip = Annotated[bool, typer.Option("--skip-corrupt", help="Replace unreadable images and count them.")]
# Written out: to ask the recipes would load torch for every line of help.
RECIPES = "demo, small_images, small_images_shrinking, imagenet or imagenet_shrinking"
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting of the recipe (docs/training.md); may be repeated."
    ),
]


class WeightsName(StrEnum):
    """Which weights of a run are meant."""

    last = "last"
    best = "best"
    ema = "ema"


class Part(StrEnum):
    """Which images are tested on."""

    holdout = "holdout"
    test = "test"


class Schedule(StrEnum):
    """Presets that can take the place of a recipe's phases."""

    progressive_shrinking = "progressive_shrinking"
    sandwich = "sandwich"
    compound = "compound"
    slimmable = "slimmable"
    single_path = "single_path"


class Tracker(StrEnum):
    """Where numbers go beside metrics.jsonl."""

    tensorboard = "tensorboard"


Track = Annotated[Tracker | None, typer.Option("--track", help="Also log to this.")]
WhichWeights = Annotated[WeightsName, typer.Option("--weights", help="The last, the best, or their moving average.")]

app = typer.Typer()


@app.command(
    "train",
    epilog=example("ofa train --recipe demo --data images --out runs/new --dry-run"),
)
def train(
    recipe: Annotated[str, typer.Option("--recipe", metavar="NAME|module:function", help=f"{RECIPES}, or your own.")],
    data: DataPath,
    out: Out,
    resume: Resume = False,
    dry_run: DryRun = False,
    schedule: Annotated[Schedule | None, typer.Option("--schedule", help="Other phases than the recipe's.")] = None,
    epochs_scale: Annotated[
        float, typer.Option("--epochs-scale", metavar="X", min=1e-6, help="Make all phases so many times as long.")
    ] = 1.0,
    settings: Settings = None,
    seed: OwnSeed = None,
    on: On = None,
    threads: Threads = None,
    skip_corrupt: Skip = False,
    track: Track = None,
    json: Json = False,
) -> None:
    """Train a supernet from nothing.

    Start it with torchrun for many processes. Ctrl-C is safe: the same command with --resume goes on where it stopped.
    """
    from ofa import console
    from ofa.train import waiting

    waiting.load_torch()
    from ofa.train import data as datas
    from ofa.train import ranks, runs

    seeded = [] if seed is None else [f"seed={seed}"]
    chosen = runs.recipe_named(recipe, [*(settings or ()), *seeded], epochs_scale, schedule)
    with ranks.joined(on, threads) as group:
        source = runs.opened(data, "train", problems="skip" if skip_corrupt else "raise", threads=1)
        divided = datas.divided(source, chosen)
        if group.first and (fault := runs.tests_fault(data, source)):
            console.warn(fault)
        if dry_run:
            _foretell(chosen, divided, group, json)
        else:
            _train(chosen, divided, out, group, resume=resume, track=track, json=json)


@app.command(
    "finetune", epilog=example("ofa finetune runs/mine --subnet subnet.json --data images --out runs/chosen --dry-run")
)
def finetune(
    run: Run,
    subnet: Annotated[Path, typer.Option("--subnet", metavar="FILE.json", help="The subnet to train on alone.")],
    data: DataPath,
    out: Out,
    epochs: Annotated[
        float, typer.Option("--epochs", metavar="X", min=1e-6, help="25 and 75 are what was published.")
    ] = 25,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--lr",
            metavar="X",
            min=0,
            help="Rate at the recipe's batch; 5e-4 with AdamW, 0.08 for 2,048 with SGD if not given.",
        ),
    ] = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    weights: WhichWeights = WeightsName.last,
    settings: Settings = None,
    on: On = None,
    threads: Threads = None,
    skip_corrupt: Skip = False,
    track: Track = None,
    json: Json = False,
) -> None:
    """Train one subnet of a supernet on, by itself.

    What it writes is a run like any other.
    """
    from ofa.train import waiting

    waiting.load_torch()
    from ofa.train import ranks, recipes, runs

    with ranks.joined(on, threads) as group:
        problems: Problems = "skip" if skip_corrupt else "raise"
        begun = runs.trained(run, data, weights=weights.value, problems=problems, device=group.device, threads=1)
        (chosen,) = runs.subnets_in(subnet, begun, exactly=1)
        if learning_rate is None:
            learning_rate = recipes.finetune_rate(runs.changed(begun.recipe, settings or (), kept=runs.INHERITED))
        recipe = recipes.finetune(begun.recipe, chosen, origin=begun.origin, epochs=epochs, learning_rate=learning_rate)
        recipe = runs.changed(recipe, settings or (), kept=runs.INHERITED)
        if dry_run:
            _foretell(recipe, begun.data, group, json)
        else:
            start = begun.supernet.state_dict()
            _train(recipe, begun.data, out, group, resume=resume, track=track, json=json, start=start)


@app.command("eval", epilog=example("ofa eval runs/mine --data images --count 2"))
def evaluate(
    target: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="Run folder of a training, or an exported file.")],
    data: DataPath,
    subnets: MaybeSubnets = None,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=0, max=100_000, help=COUNT)] = 0,
    part: Annotated[Part, typer.Option("--split", help="Images held back from training, or test images.")] = Part.test,
    runtime: FileRuntime = None,
    weights: WhichWeights = WeightsName.last,
    seed: OwnSeed = None,
    on: On = None,
    threads: Threads = None,
    skip_corrupt: Skip = False,
    json: Json = False,
) -> None:
    """Measure top-1 of subnets of a run, or of a file.

    Of a run these are its corners, those that are named, or random ones. An exported file is run by its runtime.
    """
    from ofa import console
    from ofa.train import waiting

    waiting.load_torch()
    from ofa.train import accuracy, ranks

    problems: Problems = "skip" if skip_corrupt else "raise"
    if target.is_file():
        for_runs = {"--subnets": subnets, "--count": count, "--split": part is Part.holdout, "--on": on}
        for_runs |= {"--threads": threads, "--weights": weights is not WeightsName.last, "--seed": seed is not None}
        _refuse(for_runs, target, "an exported file")
        rows = [accuracy.of_file(target, data, runtime, problems=problems)]
    else:
        _refuse({"--runtime": runtime}, target, "a training")
        _refuse({"--count": subnets and count}, target, "a training, and --subnets says what of it is measured")
        with ranks.joined(on, threads) as group:
            ranks.tell_crowded(group)
            chosen = accuracy.Choice(subnets=subnets, random=count, seed=seed or 0)
            rows = accuracy.of_run(
                target, data, chosen, part=part.value, weights=weights.value, ranks=group, problems=problems
            )
        if not group.first:
            return
    if json:
        console.emit_json(rows)
    else:
        console.listing(rows, title=str(target))


@app.command("label", epilog=example("ofa label runs/mine --data images --out runs/mine/labels.csv -n 40"))
def label(
    run: Run,
    data: DataPath,
    out: Annotated[Path, typer.Option("--out", metavar="LABELS.csv", help="File of labels; rows in it are kept.")],
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=1, max=1_000_000, help=COUNT)] = 1000,
    subnets: MaybeSubnets = None,
    resume: Resume = False,
    weights: WhichWeights = WeightsName.last,
    seed: OwnSeed = None,
    on: On = None,
    threads: Threads = None,
    skip_corrupt: Skip = False,
    json: Json = False,
) -> None:
    """Measure the accuracy of many subnets, for a twin.

    An accuracy twin learns from them. They are tested on images held back from training. Ctrl-C is safe: the same
    command, with or without --resume, goes on with the rows that are missing.
    """
    from ofa import console
    from ofa.train import waiting

    waiting.load_torch()
    from ofa.train import accuracy, ranks

    with ranks.joined(on, threads) as group:
        ranks.tell_crowded(group)
        chosen = accuracy.Choice(subnets=subnets, random=count, seed=seed or 0)
        problems: Problems = "skip" if skip_corrupt else "raise"
        facts = accuracy.label_run(run, data, chosen, out, weights=weights.value, ranks=group, problems=problems)
        if group.first:
            console.emit_json(facts) if json else console.show(facts, title=str(out))


@app.command(
    "import-checkpoint",
    epilog=example("ofa import-checkpoint ofa_mbv3_d234_e346_k357_w1.0 --space mobilenet_v3 --out runs/ofa"),
)
def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A published checkpoint (a state dict).")],
    space: SpaceName,
    out: Out,
    width: Width = None,
    holdout: Annotated[
        int, typer.Option("--holdout", metavar="N", min=0, help="Training images held back for labels.")
    ] = 10_000,
    json: Json = False,
) -> None:
    """Turn a published checkpoint into a run.

    eval, label and finetune read it.
    """
    import ofa.space as spaces
    from ofa import console
    from ofa.train import imported

    facts = imported.import_checkpoint(file, spaces.load(space, width=width), out, holdout=holdout)
    console.emit_json(facts) if json else console.show(facts, title=str(out))


def _refuse(given: Mapping[str, object], path: Path, kind: str) -> None:
    """Refuse the options that were given, of those that change nothing of what a path holds."""
    from ofa.train import errors

    if unused := [name for name, value in given.items() if value]:
        raise errors.not_for(path, kind, unused)


def _foretell(recipe: Recipe, data: Data, ranks: Ranks, json: bool) -> None:
    """Say what a training would take."""
    from ofa import console
    from ofa.train.preview import preview, trials
    from ofa.train.ranks import tell_crowded

    tell_crowded(ranks)
    with console.progress("trying steps", trials(recipe, data)) if ranks.first else nullcontext(console.silent) as told:
        facts = preview(recipe, data, ranks, told)
    if ranks.first:
        console.emit_json(facts) if json else console.show(facts, title=recipe.name)


def _train(
    recipe: Recipe,
    data: Data,
    out: Path,
    ranks: Ranks,
    *,
    resume: bool,
    track: Tracker | None,
    json: bool,
    start: Mapping[str, Tensor] | None = None,
) -> None:
    """Train by a recipe, or go on; show and log how it goes, and say what it left."""
    from ofa.train import loop, showing
    from ofa.train.ranks import tell_crowded

    _check_begin(out, recipe, resume, ranks.first)
    tell_crowded(ranks)
    steps, watch = recipe.schedule(len(data.train)).steps, data.watch(ranks.device)
    with (
        showing.watching(recipe.name, steps, recipe.batch, ranks.first) as tell,
        showing.tracked(track is not None, out, ranks.first) as log,
    ):
        loop.train(recipe, data, out, ranks=ranks, start=start, watch=watch, on_step=tell, on_log=log)
    if ranks.first:
        _ended(out, json)


def _check_begin(out: Path, recipe: Recipe, resume: bool, first: bool) -> None:
    """Refuse a folder whose training is not the one meant; warn where there is none to go on with."""
    from ofa import console
    from ofa.train import folder, runs

    folder.check_begin(out, resume=resume)
    if resume and first and not runs.resumes(out, recipe):
        console.warn(f"'{out}' holds no training to go on with: a new one begins")


def _ended(out: Path, json: bool) -> None:
    """Print what a finished training left."""
    from ofa import console
    from ofa.train import folder

    facts = folder.summary(out)
    console.emit_json(facts) if json else console.show(folder.in_words(facts), title=str(out))
