"""A published checkpoint as a run folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ofa.files import readable_json, sha256_file, write_atomic
from ofa.nn.weights import load_published
from ofa.space.core import SearchSpace
from ofa.train import checkpoint, folder, recipes
from ofa.train.checkpoint import Checkpoint


def import_checkpoint(file: Path, space: SearchSpace, out: Path, *, holdout: int = 10_000) -> dict[str, Any]:
    """Write the weights of a published checkpoint into a run folder, with a recipe for calibration and fine-tuning.

    ``holdout`` is how many training images the recipe holds back for labels. Raises FileInvalid listing the differences
    where a tensor is missing, unknown or misshapen; UsageInvalid where the folder holds a training already, or files
    that no training wrote.
    """
    folder.check_begin(out, resume=False)
    found = load_published(file, space)
    recipe = dataclasses.replace(
        recipes.imagenet_shrinking(),
        name="imported",
        space=space.name,
        width=space.width,
        holdout=holdout,
        origin=sha256_file(file),
    )
    folder.check_ours(out, recipe)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / folder.RECIPE, readable_json(recipe.to_json()))
    made = Checkpoint(space=space.id, recipe=recipe.id, model=found.weights)
    checkpoint.save(out / folder.CHECKPOINT, made)
    return {
        "space": space.id,
        "tensors": len(found.weights),
        "transforms_at_identity": len(found.identity),
        "running_statistics_not_needed": len(found.unneeded),
        "checkpoint": str(out / folder.CHECKPOINT),
    }
