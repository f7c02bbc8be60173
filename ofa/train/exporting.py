"""A subnet of a supernet as a model file: calibrated on training images, extracted, written, proven to be the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ofa.graphs.export import Exported, Format, Precision, export
from ofa.graphs.ir import Array
from ofa.nn.supernet import Supernet, extract
from ofa.space.core import Subnet
from ofa.train.data import Images
from ofa.train.evaluate import statistics

# Training images that the ranges of an int8 file come from: more widen them by what is rarely seen.
INT8_IMAGES = 256


def write(
    supernet: Supernet,
    subnet: Subnet,
    path: Path,
    format: Format,
    *,
    calibration: Images,
    checkpoint_sha256: str,
    precision: Precision = "fp32",
    options: Mapping[str, int] | None = None,
) -> Exported:
    """Write a subnet of a supernet, on the CPU, as a model file with its sidecar.

    Batch-norm statistics, and in int8 the ranges, come from ``calibration``: training images. ``options`` goes to the
    writer. Raises what `ofa.graphs.export.export` raises.
    """
    plain = extract(supernet, subnet, statistics(supernet, subnet, calibration))
    return export(
        plain,
        subnet,
        path,
        format,
        precision=precision,
        calibration=ranged(calibration, subnet.resolution) if precision == "int8" else None,
        checkpoint_sha256=checkpoint_sha256,
        preprocessing=calibration.preprocessing(),
        options=options,
    )


def ranged(calibration: Images, resolution_px: int) -> Array:
    """Return the images of a calibration set that int8 ranges come from, float32[n, C, r, r]: some, evenly spread."""
    wanted = np.unique(
        np.linspace(0, len(calibration) - 1, min(INT8_IMAGES, len(calibration))).round().astype(np.int64)
    )
    kept, begun = [], 0
    for batch in calibration.batches(resolution_px):
        own = wanted[(wanted >= begun) & (wanted < begun + len(batch))] - begun
        kept.append(batch.numpy()[own])
        begun += len(batch)
    return np.ascontiguousarray(np.concatenate(kept), dtype=np.float32)
