"""One subnet of a run as what somebody else gets: a model file, or a bundle with all that its user must know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ofa import console
from ofa.errors import FileInvalid
from ofa.files import MEBIBYTE, read_json, whole_folder
from ofa.graphs import run as runtimes
from ofa.graphs.bundle import contents, errors, golden
from ofa.graphs.bundle import write as bundles
from ofa.graphs.bundle.contents import Preparation
from ofa.graphs.bundle.golden import Golden, Picture
from ofa.graphs.export import Exported
from ofa.graphs.forms import SUFFIX
from ofa.space.core import Subnet
from ofa.train import accuracy, augment, exporting
from ofa.train.data import Images
from ofa.train.errors import nothing_held_back
from ofa.train.runs import Trained
from ofa.train.sources.decode import Problems, cut_middle
from ofa.twins.genes import genes_digest

# Images that the golden ones are chosen from, of as many classes as there are.
CANDIDATES = 48
# Pillow rounds between columns and rows, and training in float32: neither moves a pixel by more levels of 255.
LEVELS_WITHIN = 1.5
Latency = Callable[[Subnet], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for: the form of the file, a bundle or not, and on which images its top-1 is measured.

    ``latency`` says what to expect of a subnet on a device; it goes into a bundle.
    """

    format: Literal["onnx", "tflite"] = "onnx"
    precision: Literal["fp32", "int8"] = "fp32"
    bundle: bool = False
    split: Literal["holdout", "test"] | None = None
    latency: Latency | None = None
    replace: bool = False


def hand_over(run: Path, path: str, trained: Trained, subnet: Subnet, out: Path, wanted: Wanted) -> dict[str, Any]:
    """Write a subnet of a run (opened, with images at ``path``) into a folder, as a model or a bundle; return what was
    made.

    A bundle is written whole or not at all. Raises UsageInvalid where ``out`` holds what may not be replaced or no
    images were held back to measure on, VerificationFailed where the file, or the bundle by its own check, does not
    compute what the network computes, and what exporting and ``wanted.latency`` raise.
    """
    out = Path(out)
    if wanted.split == "holdout" and not len(trained.data.holdout):
        raise nothing_held_back(run)
    if wanted.bundle:
        bundles.check_free(out, replace=wanted.replace)
        expected = {"latency": None if wanted.latency is None else dict(wanted.latency(subnet))}
        with whole_folder(out, replace=wanted.replace) as fresh:
            made, facts = _model(trained, path, subnet, fresh / f"model{SUFFIX[wanted.format]}", wanted)
            expected["top1"] = facts["top1"]
            facts |= expected | {"bundle": str(out)} | _bundle(trained, subnet, made, expected)
        return facts | {"model": str(out / made.path.name)}
    if wanted.latency is not None:
        raise errors.only_with_bundle("--lut")
    file = out / f"{subnet.id}{SUFFIX[wanted.format]}"
    if file.exists() and not wanted.replace:
        raise errors.model_there(file)
    made, facts = _model(trained, path, subnet, file, wanted)
    return facts | {"model": str(made.path), "bundle": None, "latency": None, "golden": None}


def _model(trained: Trained, path: str, subnet: Subnet, file: Path, wanted: Wanted) -> tuple[Exported, dict[str, Any]]:
    """Write the model file and its sidecar; return them, and what is said of them."""
    images = None if wanted.split is None else trained.images(wanted.split, path)
    made = exporting.write(
        trained.supernet,
        subnet,
        file,
        wanted.format,
        calibration=trained.images("calibration", path),
        checkpoint_sha256=trained.sha256,
        precision=wanted.precision,
    )
    facts: dict[str, Any] = {
        "subnet": subnet.id,
        "resolution_px": subnet.resolution,
        "format": wanted.format,
        "precision": wanted.precision,
        "sha256": made.sha256,
        "bytes": made.path.stat().st_size,
        "parity": made.parity,
        "agreement": None if made.agreement is None else asdict(made.agreement),
        "top1": None,
    }
    if images is not None:
        run = runtimes.load(made.path, accuracy.RUNTIME_OF[made.path.suffix])
        with console.progress(f"testing {file.name}", len(images)) as advance:
            found = accuracy.right_in(run, images, subnet.resolution, of=file, on_images=advance)
        facts["top1"] = accuracy.facts(found, wanted.precision) | {"split": wanted.split}
    return made, facts


def _bundle(trained: Trained, subnet: Subnet, made: Exported, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Write what stands beside the model of a bundle; return what is said of the golden images.

    They come from the images held back from training where there are some. Warns where exchanged channels would not be
    noticed.
    """
    sidecar = read_json(made.sidecar, max_bytes=MEBIBYTE, what="sidecar")
    data, form = trained.data, str(sidecar["file"]["format"])
    part = "holdout" if len(data.holdout) else "calibration"
    preparation = Preparation(cut=data.source.cut, mean=data.mean, std=data.std)
    rules = contents.rules(preparation, form, subnet.resolution)
    run = runtimes.load(made.path, accuracy.RUNTIME_OF[made.path.suffix])
    chosen = golden.chosen(_candidates(data.images(part), trained.problems), rules, run, data.source.classes)
    _check_prepared(chosen, preparation, rules["input"]["layout"], subnet.resolution)
    origin = {
        "genes_sha256": genes_digest(subnet.space),
        "weights": trained.weights,
        "data": data.source.fingerprint,
        "tool": f"ofa-lab {sidecar['versions']['ofa-lab']}",
    }
    where = "images held back from training" if part == "holdout" else "training images"
    bundle = contents.described(
        made.path.read_bytes(), sidecar, rules, chosen, origin=origin, golden_from=where, expected=expected
    )
    bundles.write(made.path.parent, bundle, chosen)
    if chosen.swapped is not None and not chosen.told(bundle["golden"]["tolerance"]["outputs"]):
        console.warn(
            "no golden image tells exchanged channels: with red and blue swapped the outputs differ by "
            f"{max(chosen.swapped):.2g} of the largest at most"
        )
    return {"golden": {key: bundle["golden"][key] for key in ("from", "labels", "predicted", "swapped_channels")}}


def _candidates(images: Images, problems: Problems) -> list[Picture]:
    """Return images that the golden ones are chosen from: one of each class after another, evenly over the classes.

    Raises FileInvalid for one that cannot be read, unless ``problems`` are skipped and there are others.
    """
    labels, found = images.labels, []
    ranks = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        ranks[own] = np.arange(len(own))
    order = np.lexsort((labels, ranks))
    # Of more classes than candidates not only the first ones.
    first = order[: max(CANDIDATES, int((ranks == 0).sum()))]
    for place in first[np.unique(np.linspace(0, len(first) - 1, min(CANDIDATES, len(first))).round().astype(int))]:
        index, label = int(images.indices[place]), images.source.classes[int(labels[place])]
        try:
            found.append(Picture(pixels=images.source.whole(index), label=label))
        except FileInvalid as fault:
            if problems == "raise":
                raise
            unread = fault
    if not found:
        raise unread
    return found


def _check_prepared(chosen: Golden, preparation: Preparation, layout: str, resolution_px: int) -> None:
    """Raise VerificationFailed where the rules of a bundle do not prepare the golden images as training would."""
    made = []
    for picture in chosen.pictures:
        pixels = cut_middle(picture.pixels, resolution_px) if preparation.cut == "middle" else picture.pixels
        batch = torch.from_numpy(np.array(pixels[None]))
        made.append(augment.prepared(batch, resolution_px, preparation.mean, preparation.std).numpy())
    levels = contents.levels_apart(chosen, made, preparation, layout)
    if not levels <= LEVELS_WITHIN:
        raise errors.prepared_otherwise(levels, LEVELS_WITHIN)
