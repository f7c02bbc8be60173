"""What bundle.json says of a model: how images are prepared, its classes and integers, its origin, what to expect."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ofa.graphs.bundle.checker import SCHEMA
from ofa.graphs.bundle.ends import SCHEME, ends
from ofa.graphs.bundle.golden import Golden
from ofa.graphs.ir import INPUT

GOLDEN = "golden.npz"
LAYOUTS = {"onnx": "NCHW", "tflite": "NHWC"}
COLOURS = {1: "grey", 3: "RGB"}
# In the units of a prepared image; numpy's arithmetic is the same on every computer to far less than this.
PREPARED_WITHIN = 1e-3
# Shares of the largest output. Other processors add in another order; in int8 each of many layers rounds to 1 of 255.
OUTPUTS_WITHIN = {"fp32": 1e-3, "int8": 0.05}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How a training set's images become what its networks take; ``cut`` is none or middle, which is rounded to 8 bits.

    ``mean`` and ``std`` are of pixels in 0-1, one for each channel.
    """

    cut: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def rules(preparation: Preparation, form: str, resolution_px: int) -> dict[str, Any]:
    """Return what bundle.json says of the input, of how images are prepared for it, and of the golden images' channels.

    ``form`` is onnx or tflite; what the words mean is said in ``checker.prepared``.
    """
    channels, layout = len(preparation.mean), LAYOUTS[form]
    size = [resolution_px, resolution_px]
    mean, std = np.array(preparation.mean), np.array(preparation.std)
    return {
        "input": {
            "name": INPUT,
            "dtype": "float32",
            "layout": layout,
            "shape": [1, channels, *size] if layout == "NCHW" else [1, *size, channels],
            "channel_order": COLOURS[channels],
            "value_range": [float((-mean / std).min()), float(((1 - mean) / std).max())],
        },
        "preprocessing": {
            "cut": preparation.cut,
            "cut_share": "7/8 of the shorter edge" if preparation.cut == "middle" else "all",
            "width_px": resolution_px,
            "height_px": resolution_px,
            "resize": "bilinear with antialiasing: a triangle filter as wide as a pixel of the smaller image",
            "round_to_8_bits": preparation.cut == "middle",
            "divide_by": 255,
            "mean": list(preparation.mean),
            "std": list(preparation.std),
        },
        "golden": {"channel_order": COLOURS[channels]},
    }


def described(
    model: bytes,
    sidecar: Mapping[str, Any],
    rules: Mapping[str, Any],
    golden: Golden,
    *,
    origin: Mapping[str, Any],
    golden_from: str,
    expected: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what bundle.json holds. ``sidecar`` is what stands beside the model; ``origin`` what it does not say."""
    precision = str(sidecar["precision"])
    within = OUTPUTS_WITHIN[precision]
    form = str(sidecar["file"]["format"])
    return {
        "schema": SCHEMA,
        "model": {
            "file": sidecar["file"]["name"],
            "sidecar": f"{sidecar['file']['name']}.json",
            "sha256": sidecar["file"]["sha256"],
            "bytes": sidecar["file"]["bytes"],
            "format": form,
            "precision": precision,
        },
        "origin": {
            **{key: sidecar[key] for key in ("space", "subnet", "subnet_id", "checkpoint_sha256")},
            **origin,
        },
        "input": rules["input"],
        "preprocessing": rules["preprocessing"],
        "output": {"dtype": "float32", "shape": [1, len(golden.classes)], "meaning": "logits, in the order of classes"},
        "classes": list(golden.classes),
        "quantisation": _integers(model, form, sidecar) if precision == "int8" else None,
        "golden": {
            **rules["golden"],
            "file": GOLDEN,
            "images": len(golden.pictures),
            "from": golden_from,
            "labels": [picture.label for picture in golden.pictures],
            "predicted": golden.predicted,
            "tolerance": {"prepared": PREPARED_WITHIN, "outputs": within},
            "swapped_channels": None
            if golden.swapped is None
            else {"differences": list(golden.swapped), "told": golden.told(within)},
        },
        "checked_with": {**sidecar["versions"], "system": f"{platform.system()} {platform.machine()}"},
        "expected": dict(expected),
    }


def _integers(model: bytes, form: str, sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of an int8 file's integers."""
    return {**ends(model, form), "scheme": SCHEME, "calibration": sidecar["calibration"]}


def levels_apart(golden: Golden, made: Sequence[Any], preparation: Preparation, layout: str) -> float:
    """Return how far the golden images are from what training makes of them, in levels of a pixel (0 to 255).

    ``made`` holds each as training prepares it, float32[1, C, H, W].
    """
    own = golden.prepared if layout == "NCHW" else golden.prepared.transpose(0, 3, 1, 2)
    levels = np.abs(np.concatenate(made) - own) * 255 * np.array(preparation.std)[:, None, None]
    return float(levels.max())
