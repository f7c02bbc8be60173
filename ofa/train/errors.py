"""What can be wrong with the files of a training run."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from ofa.errors import FileInvalid, OfaError, SpaceMismatch, UsageInvalid, VerificationFailed


def checkpoint_broken(path: Path, why: str) -> FileInvalid:
    """Say that a checkpoint cannot be used."""
    return FileInvalid(
        f"checkpoint '{path}' cannot be used",
        why=why,
        hint=("go on from the one before it, where there is one: ofa train --resume", "or delete it and train again"),
    )


def other_run(path: Path, found: str, expected: str) -> FileInvalid:
    """Say that a folder holds the training of another recipe."""
    return FileInvalid(
        f"checkpoint '{path}' is of another recipe",
        why=f"it was made by recipe '{found}'; this one is '{expected}'",
        hint="train into an empty folder, or delete this one",
    )


def other_settings(run: Path, differing: Sequence[str]) -> FileInvalid:
    """Say in what a recipe is not that of the training to go on with."""
    return FileInvalid(
        f"'{run}' holds the training of another recipe",
        why="; ".join(differing),
        hint=("repeat the options it was begun with, and add --resume", "or train into an empty folder"),
    )


def other_space(path: Path, found: str, expected: str) -> SpaceMismatch:
    """Say that a checkpoint holds the weights of another space."""
    return SpaceMismatch(
        f"checkpoint '{path}' does not hold a supernet of '{expected}'",
        why=f"it is one of '{found}'",
        hint="use the space it was trained for",
    )


def not_labels(path: Path, why: str) -> FileInvalid:
    """Say that a file of labels cannot be continued."""
    return FileInvalid(f"labels '{path}' cannot be used", why=why, hint="delete the file; labelling then starts anew")


def other_labels(path: Path, line: int, space: str) -> FileInvalid:
    """Say that a row of labels names a subnet that a space does not have."""
    return FileInvalid(
        f"labels '{path}' cannot be used",
        why=f"line {line} does not describe a subnet of '{space}'",
        hint=(
            "name the space of the training they are of: --space, --width, --channels, --classes",
            "or, where the file is damaged, delete it; labelling then starts anew",
        ),
    )


def tests_unlike(fault: OfaError) -> str:
    """Warn that the test images beside training images will not serve."""
    return f"the test images there cannot be used: {fault.what}" + (f", {fault.why}" if fault.why else "")


def no_tests(path: str) -> str:
    """Warn that there are no test images beside training images."""
    return (
        f"there are no test images beside those to train on in '{path}': "
        "after the training 'ofa eval' will need --split holdout, and its numbers flatter what was chosen by them"
    )


def crowded(share: float, threads: int) -> str:
    """Warn that threads will wait for each other."""
    return (
        f"other work keeps {100 * share:.0f} % of the cores busy: {threads} threads then wait for each other at every "
        "layer, and --threads 1 may be several times as fast"
    )


def other_threads(before: int, now: int) -> str:
    """Warn that a training goes on with another number of threads."""
    return (
        f"this training computed on {before} threads and goes on with {now}: its weights will be those of an "
        f"uninterrupted one to rounding, not bit for bit (--threads {before})"
    )


def too_few_images(images: int, holdout: int, batch: int) -> UsageInvalid:
    """Say that a training set does not fill one batch."""
    fewer = images // 5
    # Some steps an epoch: a batch of all images would be one.
    smaller = min(batch, 2 ** max(0, ((images - fewer) // 4).bit_length() - 1))
    return UsageInvalid(
        f"{images:,} images are too few to train on",
        why=f"{holdout:,} are held back, and a step takes {batch:,}",
        hint=f"hold back fewer, in smaller batches: --set holdout={fewer} --set batch={smaller} "
        f"(of a published checkpoint: import-checkpoint --holdout {fewer})",
    )


def moments_apart(name: str, found: int, channels: int) -> UsageInvalid:
    """Say that a mean or deviation is not one number a channel."""
    return UsageInvalid(
        f"'{name}' has {found} numbers",
        why=f"these images have {channels} channels: it takes one number for each, or one for all",
        hint=f"--set {name}=null measures it on the training images",
    )


def shards_too_few(shards: int, processes: int) -> UsageInvalid:
    """Say that some processes would have nothing to compute."""
    return UsageInvalid(
        f"{shards} shards of a batch are too few for {processes} processes",
        why="each process computes one or more of them; which ones does not change the result",
        hint=f"start {shards} processes or fewer, or begin a new run with --set shards={processes}",
    )


def no_gpu(wanted: int, found: int) -> UsageInvalid:
    """Say that there is no GPU for this process."""
    return UsageInvalid(
        f"there is no GPU number {wanted}",
        why=f"torch sees {found}",
        hint="start one process for each GPU (torchrun --nproc-per-node), or use --on cpu",
    )


def gpu_full(why: str) -> UsageInvalid:
    """Say that a GPU has too little memory."""
    return UsageInvalid(
        "the memory of the GPU is full",
        why=why,
        hint=(
            "train with smaller parts: more shards (--set shards=…) or a smaller batch (--set batch=…)",
            "hold fewer images at a time for batch-norm statistics: --set calibration=…",
        ),
    )


def no_device(name: str) -> UsageInvalid:
    """Say that a device's name is none we know."""
    return UsageInvalid(
        f"nothing is computed on '{name}'", why="training and testing run on cpu or cuda", hint="--on cpu"
    )


def other_data(path: Path, found: str, expected: str) -> FileInvalid:
    """Say that a checkpoint was trained on other images."""
    return FileInvalid(
        f"checkpoint '{path}' was trained on other images",
        why=f"its data has the fingerprint '{found[:12]}'; these have '{expected[:12]}'",
        hint="give the data it was begun with, or train into an empty folder",
    )


def diverged(folder: Path, steps: int) -> VerificationFailed:
    """Say that a training's loss is broken and stays so."""
    return VerificationFailed(
        f"the training in '{folder}' has lost its way",
        why=f"the loss or its gradient was broken {steps} steps in a row, and going back did not help",
        hint="see the events in its log; train anew with a lower learning rate, --set clip_norm=1 or another --seed",
    )


def no_teacher(path: Path) -> FileInvalid:
    """Say that the frozen teacher is missing."""
    return FileInvalid(
        f"there is no teacher '{path}'",
        why="a phase learns from the network that the first phase trained, and its file is gone",
        hint="put the file back, or train into an empty folder",
    )


def no_recipe(name: str, known: Sequence[str]) -> UsageInvalid:
    """Say that there is no recipe of this name."""
    return UsageInvalid(
        f"there is no recipe '{name}'",
        why=f"there are {', '.join(known)}",
        hint="give one of them, or a function of your own as module:function",
    )


def recipe_broken(name: str, why: str) -> UsageInvalid:
    """Say that a recipe cannot be used."""
    return UsageInvalid(
        f"recipe '{name}' cannot be used",
        why=why,
        hint="a recipe is a function without arguments that returns an ofa.train.recipes.Recipe",
    )


def recipe_impossible(name: str, why: str) -> UsageInvalid:
    """Say that nothing can be trained by a recipe as it is."""
    return UsageInvalid(f"recipe '{name}' cannot be trained", why=why, hint="change it: --set KEY=VALUE")


def no_setting(key: str, known: Sequence[str]) -> UsageInvalid:
    """Say that a recipe has no such setting."""
    near = difflib.get_close_matches(key, known, n=1)
    return UsageInvalid(
        f"a recipe has no setting '{key}'",
        why=f"there are {', '.join(known)}",
        hint=f"did you mean '{near[0]}'?" if near else "--set key=value",
    )


def setting_unfit(key: str, text: str, kind: str) -> UsageInvalid:
    """Say that a setting cannot have this value."""
    return UsageInvalid(f"setting '{key}' cannot be '{text}'", why=f"it must be {kind}", hint=f"--set {key}=VALUE")


def setting_inherited(key: str) -> UsageInvalid:
    """Say that fine-tuning cannot change what the supernet was trained with."""
    return UsageInvalid(
        f"fine-tuning cannot change '{key}'",
        why="network and images are the supernet's: images it was trained on must not count as held back",
        hint="train a supernet anew with this setting",
    )


def recipe_unreadable(path: Path, why: str) -> FileInvalid:
    """Say that a run's recipe cannot be used."""
    return FileInvalid(f"recipe '{path}' cannot be used", why=why, hint="put back the file that the training wrote")


def no_run(run: Path, file: str) -> FileInvalid:
    """Say that a folder holds no training."""
    below = next((path.parent for path in sorted(run.glob(f"*/{file}"))), None)
    return FileInvalid(
        f"'{run}' holds no training",
        why=f"it has no file '{file}'",
        hint="give the folder that 'ofa train --out' or 'ofa import-checkpoint --out' wrote"
        + (f", such as '{below}'" if below else ""),
    )


def run_begun(run: Path) -> UsageInvalid:
    """Say that a folder holds a training already."""
    return UsageInvalid(
        f"'{run}' holds a training already",
        why="a new one there would mix with it",
        hint=("add --resume to go on with it", "or give another folder with --out"),
    )


def not_ours(folder: Path, names: Sequence[str]) -> UsageInvalid:
    """Say that a folder holds files that a training would write over."""
    return UsageInvalid(
        f"'{folder}' holds files that are no training's",
        why=f"a training would replace {', '.join(names)}",
        hint="give another folder with --out, or move them away",
    )


def no_best(run: Path) -> FileInvalid:
    """Say that a training kept no best weights."""
    return FileInvalid(
        f"the training in '{run}' has kept no best weights",
        why="they are chosen on images held back from training, once a phase has ended or --set corner_steps is due",
        hint="evaluate --weights last, or train with --set holdout=N",
    )


def no_average(path: Path) -> FileInvalid:
    """Say that a checkpoint has no averaged weights."""
    return FileInvalid(
        f"checkpoint '{path}' has no averaged weights",
        why="its recipe has no ema_decay",
        hint="evaluate --weights last, or train with --set ema_decay=0.9999",
    )


def nothing_held_back(run: Path) -> UsageInvalid:
    """Say that a training kept no images back."""
    return UsageInvalid(
        f"the training in '{run}' held no images back",
        why="labels and choices need images that it was not trained on",
        hint="train with --set holdout=N; 'ofa eval' tells accuracies on test images, too (--split test)",
    )


def one_subnet_only(run: Path) -> UsageInvalid:
    """Say that a run has no subnets to label."""
    return UsageInvalid(
        f"the training in '{run}' is of one subnet",
        why="the others of its space were not trained with it, and their accuracy there tells nothing",
        hint="label the supernet's own run, or measure the one subnet: ofa eval RUN --split holdout",
    )


def not_for(path: Path, kind: str, options: Sequence[str]) -> UsageInvalid:
    """Say that options were given that change nothing of what a path holds."""
    return UsageInvalid(
        f"{', '.join(options)} cannot be used with '{path}'",
        why=f"it is {kind}",
        hint=f"leave out {', '.join(options)}",
    )


def sidecar_lacking(path: Path, why: str) -> FileInvalid:
    """Say that a model's sidecar does not say how to test it."""
    return FileInvalid(
        f"'{path}' does not say how to prepare images for the model",
        why=f"it lacks {why}",
        hint=(
            "export the model again with ofa",
            "for a model of others write that file: mean and std under preprocessing, resolution, precision",
        ),
    )


def other_class_count(file: Path, found: int, images: int) -> FileInvalid:
    """Say that a model names other classes than the test images have."""
    return FileInvalid(
        f"model '{file}' does not tell the classes of these images apart",
        why=f"it was made for {found:,} classes, and the images have {images:,}",
        hint="test it on images of the data set that it was trained on",
    )


def subnets_expected(path: Path, found: int, exactly: int) -> UsageInvalid:
    """Say that a file holds another number of subnets."""
    return UsageInvalid(
        f"'{path}' holds {found} subnets",
        why=f"{exactly} is asked for",
        hint="see 'ofa space sample SPACE --json'",
    )


def no_subnet_named(corners: Sequence[str]) -> UsageInvalid:
    """Say that a supernet has many subnets."""
    return UsageInvalid(
        "no subnet is named",
        why="the training is of a supernet, which is exported one subnet at a time",
        hint=f"--subnet FILE.json, as 'ofa search --json' prints it, or a corner: {', '.join(corners)}",
    )


def no_such_subnet(text: str, corners: Sequence[str]) -> UsageInvalid:
    """Say that a text names neither a file nor a subnet."""
    return UsageInvalid(
        f"there is no subnet '{text}'",
        why="it is no file, and neither name nor id of a corner; an id alone does not tell what it is the id of",
        hint=f"--subnet FILE.json, of several with --id, or a corner: {', '.join(corners)}",
    )


def which_subnet(text: str, identity: str | None, ids: Sequence[str]) -> UsageInvalid:
    """Say that a file holds several subnets, or not the one that is meant."""
    listed = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
    return UsageInvalid(
        f"'{text}' holds {len(ids)} subnets" if identity is None else f"'{text}' holds no subnet '{identity}'",
        why=f"their ids are {listed}",
        hint=f"say which one, such as the first: --id {ids[0]}" if ids else "give a file that holds some",
    )


def subnet_untrained(identity: str, tuned: str) -> SpaceMismatch:
    """Say that a fine-tuned run was not trained for a subnet."""
    return SpaceMismatch(
        f"subnet '{identity}' is not the one that was fine-tuned",
        why=f"that one is '{tuned}', and what the others share with it has changed without them",
        hint="leave out --subnet, or export the other one from the supernet's own run",
    )


def other_origin(path: Path, differing: Sequence[str]) -> FileInvalid:
    """Say that labels come from elsewhere."""
    return FileInvalid(
        f"file of labels '{path}' cannot be continued",
        why="it was made from another " + ", another ".join(differing),
        hint="write to another file, or remove this one and label again",
    )
