"""Accuracies as the verbs report them: of subnets of a run, of an exported file in its runtime, of many as labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import ofa.space as S
from ofa import console, score
from ofa.files import MEBIBYTE, read_json
from ofa.graphs import run as runtimes
from ofa.space.core import Subnet
from ofa.train import errors, label, runs
from ofa.train.data import Images
from ofa.train.evaluate import percent, right, statistics
from ofa.train.ranks import Ranks
from ofa.train.runs import Trained, Weights
from ofa.train.sources import Source
from ofa.train.sources import errors as image_errors
from ofa.train.sources.decode import Problems

# What runs a file where the command does not say, by the file's ending.
RUNTIME_OF: dict[str, runtimes.Runtime] = {".onnx": "onnxruntime", ".tflite": "litert", ".pt": "torch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which subnets are meant: those of a file, or so many random ones, or (neither) the corners."""

    subnets: Path | None = None
    random: int = 0
    seed: int = 0

    def of(self, trained: Trained) -> dict[str, Subnet]:
        """Return the subnets by name: a corner's name, or an id."""
        space = trained.supernet.space
        if trained.recipe.subnet is not None and self.subnets is None and not self.random:
            return {"the fine-tuned subnet": space.subnet(trained.recipe.subnet)}
        if self.subnets is not None:
            return {subnet.id: subnet for subnet in runs.subnets_in(self.subnets, trained)}
        if self.random:
            drawn = S.sample.random(space, 2 * self.random, np.random.default_rng([self.seed, 9]))
            return {one.id: one for one in map(space.subnet, S.sample.unique(drawn)[: self.random])}
        return {name: space.corner(name) for name in space.corners()}


def of_run(
    run: Path,
    path: str,
    choice: Choice,
    *,
    part: str,
    weights: Weights,
    ranks: Ranks,
    problems: Problems = "raise",
) -> list[dict[str, Any]]:
    """Measure subnets of a run on images held back or for testing; one row each, shared by processes."""
    trained = runs.trained(run, path, weights=weights, problems=problems, device=ranks.device)
    chosen = choice.of(trained)
    calibration, images = trained.images("calibration", path), trained.images(part, path)
    if not len(images):
        raise errors.nothing_held_back(run)
    mine = []
    with _progress("testing", len(chosen), ranks) as advance:
        for name in list(chosen)[ranks.rank :: ranks.size]:
            found = _right(trained, chosen[name], calibration, images)
            mine.append({"subnet": name, "id": chosen[name].id, "resolution": chosen[name].resolution} | facts(found))
            advance(ranks.size, note=f"{name}: {percent(found):.2f} %")
    if ranks.first:
        _tell_replaced(trained.data.source, images.source)
    rows = {row["subnet"]: row | {"split": part, "weights": weights} for part_ in ranks.gathered(mine) for row in part_}
    return [rows[name] for name in chosen]


def _right(trained: Trained, subnet: Subnet, calibration: Images, images: Images) -> NDArray[np.bool_]:
    """Return which images a calibrated subnet names rightly."""
    from ofa.nn.supernet import extract

    measured = statistics(trained.supernet, subnet, calibration)
    return right(extract(trained.supernet, subnet, measured), images, subnet.resolution)


def of_file(file: Path, path: str, runtime: str | None, *, problems: Problems = "raise") -> dict[str, Any]:
    """Measure a model file through its runtime on test images, prepared as its sidecar says.

    A file of others needs a sidecar too, named as the file and ".json": {"preprocessing": {"mean", "std"} (of pixels in
    0-1, by channel), "resolution" (px), "precision"}; its classes are in the order of the images'.

    Raises FileInvalid without a sidecar that says how and for a model of other classes, UsageInvalid for a runtime that
    there is not.
    """
    sidecar = file.with_name(file.name + ".json")
    said = read_json(sidecar, max_bytes=MEBIBYTE, what="sidecar of a model")
    try:
        preprocessing = said["preprocessing"]
        mean, std = (tuple(float(v) for v in preprocessing[key]) for key in ("mean", "std"))
        subnet = said.get("subnet", said)
        resolution, precision = int(subnet["resolution"]), str(said["precision"])
    except (KeyError, TypeError, ValueError) as fault:
        raise errors.sidecar_lacking(sidecar, str(fault)) from fault
    chosen = cast(runtimes.Runtime, runtime or RUNTIME_OF.get(file.suffix, "onnxruntime"))
    network = runtimes.load(file, chosen)
    images = Images.all_of(runs.opened(path, "test", problems=problems, channels=len(mean)), mean, std)
    with console.progress(f"testing with {chosen}", len(images)) as advance:
        found = right_in(network, images, resolution, of=file, on_images=advance)
    _tell_replaced(images.source)
    return {"file": str(file), "runtime": chosen, "resolution": resolution} | facts(found, precision)


def right_in(
    network: runtimes.Run,
    images: Images,
    resolution: int,
    *,
    of: Path | None = None,
    on_images: Callable[[int], None] = lambda count: None,
) -> NDArray[np.bool_]:
    """Return which images a loaded model file names rightly, bool[n]; ``on_images`` is told how many more were seen.

    Raises FileInvalid, naming the file ``of``, for a model of other classes than the images have.
    """
    named = []
    for x in images.batches(resolution):
        logits = network(np.ascontiguousarray(x.numpy()))
        if of is not None and logits.shape[1] != len(images.source.classes):
            raise errors.other_class_count(of, logits.shape[1], len(images.source.classes))
        named.append(logits.argmax(1))
        on_images(len(x))
    found: NDArray[np.bool_] = np.concatenate(named) == images.labels
    return found


def label_run(
    run: Path,
    path: str,
    choice: Choice,
    out: Path,
    *,
    weights: Weights,
    ranks: Ranks,
    problems: Problems = "raise",
) -> dict[str, Any]:
    """Label subnets of a run on the images it held back; see ``ofa.train.label``.

    Raises UsageInvalid for a run that held none back, and for a fine-tuned one: only one of its subnets was trained.
    """
    if runs.recipe_of(run).subnet is not None:
        raise errors.one_subnet_only(run)
    trained = runs.trained(run, path, weights=weights, problems=problems, device=ranks.device)
    chosen = choice.of(trained)
    calibration, images = trained.images("calibration", path), trained.images("holdout", path)
    if not len(images):
        raise errors.nothing_held_back(run)
    origin = {
        "checkpoint_sha256": trained.sha256,
        "weights": weights,
        "data": trained.data.source.fingerprint,
        "calibration_images": len(calibration),
        "label_images": len(images),
    }
    with _progress("labelling", len(chosen), ranks) as advance:
        top1 = label.label(
            trained.supernet,
            np.stack([subnet.array for subnet in chosen.values()]),
            out,
            calibration=calibration,
            images=images,
            ranks=ranks,
            origin=origin,
            on_label=lambda subnet, found: advance(note=f"{subnet.id}: {found:.1f} %"),
            on_known=lambda count: advance(0, before=count),
        )
    if ranks.first:
        _tell_replaced(trained.data.source)
    return {"labels": len(top1)} | spread(top1)


def _progress(what: str, total: int, ranks: Ranks) -> AbstractContextManager[Any]:
    """Show progress where this is the process that talks."""
    return console.progress(what, total) if ranks.first else nullcontext(console.silent)


def _tell_replaced(*opened: Source) -> None:
    """Warn where unreadable images were replaced by others of their class."""
    if places := sorted({place for source in opened for place in source.skipped}):
        console.warn(image_errors.replaced(places))


def spread(top1: NDArray[np.float64]) -> dict[str, float]:
    """Return the least, median, mean and largest of accuracies."""
    parts: Sequence[tuple[str, Any]] = (("min", np.min), ("median", np.median), ("mean", np.mean), ("max", np.max))
    return {name: round(float(of(top1)), 3) for name, of in parts}


def facts(found: NDArray[np.bool_], precision: str = label.PRECISION) -> dict[str, Any]:
    """Return top-1 and its standard error (percent points), images and precision."""
    return {
        "top1": round(percent(found), 3),
        "stderr": round(score.standard_error_points(float(found.mean()), len(found)), 3),
        "images": len(found),
        "precision": precision,
    }
