"""What a command line names, opened: images, recipes, finished or unfinished trainings, lists of subnets."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
import typing
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ofa.errors import OfaError
from ofa.files import MEBIBYTE, read_json, sha256_file
from ofa.nn.supernet import Supernet, build
from ofa.space import listed
from ofa.space.core import Subnet
from ofa.train import checkpoint, data, digits, errors, folder, named, recipes, schedule, settings, sources
from ofa.train.data import Data, Images
from ofa.train.ranks import CPU
from ofa.train.recipes import Recipe
from ofa.train.sources import Source, Split
from ofa.train.sources.decode import Problems

Weights = Literal["last", "best", "ema"]
DIGITS = "digits"
# The paper of progressive shrinking adds the true labels' loss to the teacher's; the sandwich rule has the teacher's.
HARD_WEIGHTS = {"progressive_shrinking": 1.0, "sandwich": 0.0, "compound": 0.0, "slimmable": 0.0}
# What no setting changes; and what fine-tuning takes over from the supernet: the network, and what it has seen.
FIXED = ("phases", "name", "subnet", "origin")
INHERITED = ("space", "width", "seed", "holdout", "calibration", "mean", "std")
# Scenes in place of a data set: none is on the disk, and they cost a second or two for each 10,000.
_SCENES: dict[Split, tuple[digits.Split, int]] = {
    "train": ("train", digits.TRAINING_SCENES),
    "test": ("test", digits.TEST_SCENES),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A supernet of a run folder with what it was trained on; ``sha256`` is that of the file its weights came from.

    ``problems`` says what an unreadable image leads to, whichever images it is among.
    """

    recipe: Recipe
    data: Data
    supernet: Supernet
    sha256: str
    weights: Weights
    device: torch.device
    problems: Problems = "raise"

    @property
    def origin(self) -> str:
        """Return whose weights these are: the last weights and their average stand in one file."""
        return f"{self.sha256}{'-ema' if self.weights == 'ema' else ''}"

    def images(self, part: str, path: str) -> Images:
        """Return ``calibration``, ``holdout`` (of the training images), or ``test`` from ``path``."""
        if part != "test":
            return self.data.images(part, self.device)
        source = opened(path, "test", problems=self.problems, channels=self.data.source.channels)
        sources.same_classes(self.data.source, source)
        everything = Images.all_of(source, self.data.mean, self.data.std)
        return dataclasses.replace(everything, device=self.device)


def opened(
    path: str,
    split: Split,
    *,
    problems: Problems = "raise",
    channels: int | None = None,
    threads: int | None = None,
) -> Source:
    """Open images by path (see ``ofa.train.sources.open_source``), or by the word "digits" the scenes of the demo."""
    if path == DIGITS:
        kind, count = _SCENES[split]
        return digits.source(kind, count, 0 if split == "train" else 3)
    return sources.open_source(Path(path), split=split, problems=problems, channels=channels, threads=threads)


def tests_fault(path: str, source: Source) -> str | None:
    """Return why test images beside those to train on cannot be used, or that there are none; None where they can.

    Known before a training rather than after it: `ofa eval` asks for them at its end.
    """
    if path == DIGITS:
        return None
    if not sources.holds(Path(path), "test"):
        return errors.no_tests(path)
    try:
        sources.same_classes(source, opened(path, "test", channels=source.channels))
    except OfaError as fault:
        return errors.tests_unlike(fault)
    return None


def recipe_named(name: str, wanted: Sequence[str], epochs_scale: float, preset: str | None = None) -> Recipe:
    """Return a recipe by name or as ``module:function``, with ``key=value`` settings and longer or shorter phases.

    ``preset`` replaces its phases by those of a schedule of this name, as long and with the same highest rate.
    Raises UsageInvalid for a name, key or value that does not exist or does not fit.
    """
    recipe = recipes.RECIPES[name]() if name in recipes.RECIPES else _from_module(name)
    if preset is not None:
        first = max(recipe.phases, key=lambda phase: phase.learning_rate)
        phases = schedule.named(
            preset,
            epochs=sum(phase.epochs for phase in recipe.phases),
            learning_rate=first.learning_rate,
            warmup_epochs=first.warmup_epochs,
        )
        recipe = dataclasses.replace(recipe, phases=phases, hard_weight=HARD_WEIGHTS.get(preset, recipe.hard_weight))
    if epochs_scale != 1:
        recipe = dataclasses.replace(recipe, phases=schedule.scaled(recipe.phases, epochs_scale))
    return changed(recipe, wanted)


def changed(recipe: Recipe, wanted: Sequence[str], *, kept: Collection[str] = ()) -> Recipe:
    """Return a recipe with ``key=value`` settings, those of ``kept`` left as they are.

    Raises UsageInvalid for a key or value that does not fit, and where the result cannot be trained.
    """
    for setting in wanted:
        recipe = _with(recipe, setting, kept)
    if why := settings.problem(recipe):
        raise errors.recipe_impossible(recipe.name, why)
    return recipe


def _from_module(name: str) -> Recipe:
    """Call a recipe function of the user's own."""
    module, colon, function = name.partition(":")
    if not colon:
        raise errors.no_recipe(name, tuple(recipes.RECIPES))
    # An installed command does not look where it is called; behind all else, so that nothing there hides a package.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        made = getattr(importlib.import_module(module), function)()
    except OfaError:
        raise
    # The user's own module can fail in any way.
    except Exception as fault:
        raise errors.recipe_broken(name, f"{type(fault).__name__}: {fault}") from fault
    if not isinstance(made, Recipe):
        raise errors.recipe_broken(name, f"it returned {type(made).__name__}, not a Recipe")
    if why := settings.problem(made):
        raise errors.recipe_broken(name, why)
    return made


def _with(recipe: Recipe, setting: str, kept: Collection[str]) -> Recipe:
    """Return a recipe with one ``key=value`` changed, the value read as JSON or else as text."""
    key, _, text = setting.partition("=")
    known = sorted(set(recipes.NAMES) - set(FIXED))
    if key not in known:
        raise errors.no_setting(key, known)
    if key in kept:
        raise errors.setting_inherited(key)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if isinstance(value, list):
        value = tuple(value)
    if wanted := settings.misfit(Recipe, key, value):
        raise errors.setting_unfit(key, text, wanted)
    return dataclasses.replace(recipe, **{key: _as_declared(key, value)})


def _as_declared(key: str, value: Any) -> Any:
    """Return a number as float where the recipe has floats: 1 and 1.0 are one recipe."""
    hint = typing.get_type_hints(Recipe)[key]
    if isinstance(value, tuple):
        return tuple(float(part) for part in value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and float in (hint, *typing.get_args(hint)) else value


def trained(
    run: Path,
    path: str,
    *,
    weights: Weights = "last",
    problems: Problems = "raise",
    device: torch.device = CPU,
    threads: int | None = None,
) -> Trained:
    """Open the supernet of a run folder with the images it was trained on; ``weights``: last, best or their average.

    ``threads`` decode images in files, as in ``opened``: one is enough where worker processes load beside each other.

    Raises FileInvalid where the folder holds no training, SpaceMismatch or FileInvalid where images are others.
    """
    recipe = recipe_of(run)
    source = opened(path, "train", problems=problems, threads=threads)
    divided = data.divided(source, recipe)
    space = recipe.search_space(source.channels, len(source.classes))
    file = run / (folder.BEST if weights == "best" else folder.CHECKPOINT)
    if not file.exists():
        raise errors.no_best(run) if (run / folder.CHECKPOINT).exists() else errors.no_run(run, file.name)
    found = checkpoint.load(file)
    if found.space != space.id:
        raise errors.other_space(file, found.space, space.id)
    if found.data and found.data != source.fingerprint:
        raise errors.other_data(file, found.data, source.fingerprint)
    if weights == "ema" and not found.ema:
        raise errors.no_average(file)
    supernet: Supernet = build(space).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    chosen = dataclasses.replace(found, model=found.ema) if weights == "ema" else found
    folder.restore(run, supernet, chosen)
    return Trained(
        recipe=recipe,
        data=divided,
        supernet=supernet,
        sha256=sha256_file(file),
        weights=weights,
        device=device,
        problems=problems,
    )


def recipe_of(run: Path) -> Recipe:
    """Return the recipe that a run folder holds; raise FileInvalid where it holds none."""
    path = run / folder.RECIPE
    if not path.exists():
        raise errors.no_run(run, folder.RECIPE)
    facts = read_json(path, max_bytes=MEBIBYTE, what="recipe")
    try:
        recipe = recipes.from_json(facts)
    except (TypeError, KeyError, AttributeError, ValueError) as fault:
        raise errors.recipe_unreadable(path, str(fault)) from fault
    if why := settings.problem(recipe):
        raise errors.recipe_unreadable(path, why)
    return recipe


def resumes(run: Path, recipe: Recipe) -> bool:
    """Say whether a folder holds a training to go on with; raise FileInvalid where its recipe differs, and in what."""
    if not folder.begun(run):
        return False
    found = recipe_of(run)
    differing = [
        settings.phases_apart(found.phases, recipe.phases)
        if key == "phases"
        else settings.apart(key, getattr(found, key), getattr(recipe, key))
        for key in recipes.NAMES
        if key not in recipes.UNIMPORTANT and getattr(found, key) != getattr(recipe, key)
    ]
    if differing:
        raise errors.other_settings(run, differing)
    return True


def subnets_in(path: Path, trained: Trained, *, exactly: int | None = None, every: bool = False) -> list[Subnet]:
    """Return the subnets of a JSON file, in any of the forms of `ofa.space.listed`, which also says what ``every`` is.

    Raises what `listed.read` does, SpaceMismatch for one of another space; UsageInvalid for not ``exactly`` so many.
    """
    found = listed.read(path, space=trained.supernet.space, every=every)
    if exactly is not None and len(found) != exactly:
        raise errors.subnets_expected(path, len(found), exactly)
    return found


def subnet_named(text: str | None, identity: str | None, trained: Trained) -> Subnet:
    """Return the one subnet that a command line means: of a file (of several, the one whose id is ``identity``, or its
    choice), a corner by its name or id, or where no text is given the subnet that was fine-tuned.

    Raises UsageInvalid where none or several fit; SpaceMismatch for one of another space, or one that a fine-tuned run
    was not trained for.
    """
    space, tuned = trained.supernet.space, trained.recipe.subnet
    if text is None:
        if tuned is None:
            raise errors.no_subnet_named(space.corners())
        return space.subnet(tuned)
    if Path(text).is_file():
        chosen = named.one_of(Path(text), identity, space=space)
    else:
        corners = {name: space.corner(name) for name in space.corners()}
        found = {subnet.id: subnet for name, subnet in corners.items() if text in (name, subnet.id)}
        if not found:
            raise errors.no_such_subnet(text, space.corners())
        if len(found) != 1 or identity not in (None, *found):
            raise errors.which_subnet(text, identity, list(found))
        (chosen,) = found.values()
    if tuned is not None and chosen.genome != tuned:
        raise errors.subnet_untrained(chosen.id, space.subnet(tuned).id)
    return chosen
