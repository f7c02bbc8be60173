"""The memory twin: what a process holds at its peak that calls a network, from its parameters and its activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa import score
from ofa.lut.calibrate import fit as calibrated
from ofa.lut.format import Lut
from ofa.lut.heldout import genomes_of
from ofa.lut.rows import NetworkRow
from ofa.space.core import Genomes, SearchSpace
from ofa.space.facts import FP32_BYTES, op_peak_bytes
from ofa.space.index import index_of
from ofa.space.layers import layers_of
from ofa.space.ops import Op
from ofa.twins import calibrate, samples

Vector = NDArray[np.float64]

# Four numbers are fitted.
FEWEST_NETWORKS = 8
BYTES_PER_KIB = 1024
FEATURES = ("parameter_bytes", "activation_bytes", "wide_filter_bytes")
# XNNPACK's depthwise kernels take filters of up to 25 taps (5 x 5), by its dwconv-config.c of 2025. It runs larger ones
# as grouped matrix products, whose packed weights are padded to a whole vector of output channels for each channel.
MOST_TAPS = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTwin:
    """Predicts the peak resident memory, KiB, of a process that calls a network of its space and does nothing else.

    ``base_kib`` is what does not depend on the network; ``weights`` are bytes held for each byte of ``FEATURES``: how
    often a runtime keeps the parameters, and the activations. ``card`` says what it was fitted to and how far it is
    off.
    """

    space: SearchSpace
    base_kib: float
    weights: dict[str, float]
    card: dict[str, Any]

    def predict(self, genomes: Genomes) -> Vector:
        """Return the predicted peak, KiB, float64[n], of canonical genomes uint8[n, G]."""
        prices = np.array([self.weights[name] for name in FEATURES])
        return np.asarray(self.base_kib + features(self.space, genomes) @ prices / BYTES_PER_KIB)

    __call__ = predict


def features(space: SearchSpace, genomes: Genomes) -> Vector:
    """Return the ``FEATURES`` of canonical genomes uint8[n, G], float64[n, 3], exact, in bytes at fp32, batch 1.

    Parameters are those of the exported network, norms folded in. Activations are the most that are alive at once
    where layers run in order: the input and the output of a layer, and a shortcut that waits. Wide filters are the
    weights of depthwise layers of more than 25 taps, which some runtimes pack with much padding.
    """
    index, (parameters, activations, wide) = index_of(space), _of_ops(space)
    columns = [index.sum(genomes, parameters), index.most(genomes, activations), index.sum(genomes, wide)]
    return np.stack(columns, axis=1)


@lru_cache(maxsize=32)
def _of_ops(space: SearchSpace) -> Vector:
    """Return the ``FEATURES`` of each op of a space, float64[3, n_ops]: a search asks for them batch by batch."""
    index = index_of(space)
    found = np.array([index.values(of) for of in (parameter_bytes, op_peak_bytes, wide_filter_bytes)])
    found.setflags(write=False)
    return found


def parameter_bytes(op: Op) -> int:
    """Return the bytes of an op's weights and biases once its norms are folded in; fp32."""
    # A norm has scale and shift; folded in, only a bias is left beside the weights.
    return FP32_BYTES * sum(layer.params - layer.norm * layer.out_channels for layer in layers_of(op))


def wide_filter_bytes(op: Op) -> int:
    """Return the bytes of an op's depthwise filters of more than 25 taps, biases not included; fp32."""
    wide = (layer for layer in layers_of(op) if layer.groups > 1 and layer.kernel**2 > MOST_TAPS)
    return FP32_BYTES * sum(layer.out_channels * layer.kernel**2 for layer in wide)


def fit_memory(lut: Lut, space: SearchSpace) -> MemoryTwin:
    """Fit a twin to the networks of a table whose memory was measured; its card scores the held-out ones, unseen.

    "holdout" holds "networks", "mape_pct", "less_empty_mape_pct" (of what the networks add to the empty runtime, where
    the table says what that holds) and "spearman", None where too few are held out. Raises UsageInvalid for fewer than
    8 different networks with a peak.
    """
    rows = [row for row in lut.networks if row.space == space.id and row.peak_rss_kib is not None]
    twin = fit(space, *_measured(space, [row for row in rows if row.learnt]))
    known = [record.get("empty_rss_kib") for record in lut.sessions]
    empty_kib = next((float(kib) for kib in known if isinstance(kib, int)), None)
    found = scores(twin, *_measured(space, [row for row in rows if row.split == "holdout"]), empty_kib=empty_kib)
    return replace(twin, card={**twin.card, "table": lut.name, "holdout": found})


def fit(space: SearchSpace, genomes: Genomes, peak_kib: NDArray[np.floating]) -> MemoryTwin:
    """Fit base and weights of zero or more to measured peaks, KiB, float64[n], by least relative error.

    Source: non-negative least squares, Lawson and Hanson 1974. Raises SpaceMismatch for foreign genomes, UsageInvalid
    for peaks that are none and for fewer than 8 different networks.
    """
    genomes, kib = samples.merged(
        space, genomes, peak_kib, needed=FEWEST_NETWORKS, of="networks of known memory", positive=True
    )
    design = features(space, genomes) / BYTES_PER_KIB
    mix = calibrated(design, kib)
    left_out_pct = 100 * float(np.mean(np.abs(1 / calibrate.left_out(design, kib) - 1)))
    return MemoryTwin(
        space=space,
        base_kib=mix.constant,
        weights=dict(zip(FEATURES, mix.weights.tolist(), strict=True)),
        card={"space": space.id, "samples": len(kib), "left_out_mape_pct": samples.finite(left_out_pct)},
    )


def scores(
    twin: MemoryTwin, genomes: Genomes, peak_kib: NDArray[np.floating], *, empty_kib: float | None = None
) -> dict[str, Any]:
    """Return how far a twin is off on networks it was not fitted to; the keys are those of `fit_memory`'s card."""
    found: dict[str, Any] = {"networks": len(genomes), "mape_pct": None, "less_empty_mape_pct": None, "spearman": None}
    if not len(genomes):
        return found
    predicted, actual = twin.predict(genomes), np.asarray(peak_kib, dtype=np.float64)
    found["mape_pct"] = samples.finite(score.mape_pct(predicted, actual))
    if empty_kib is not None and (actual > empty_kib).all():
        found["less_empty_mape_pct"] = samples.finite(score.mape_pct(predicted - empty_kib, actual - empty_kib))
    if len(genomes) > 1:
        found["spearman"] = samples.finite(score.spearman(predicted, actual))
    return found


def _measured(space: SearchSpace, rows: Sequence[NetworkRow]) -> tuple[Genomes, Vector]:
    """Return the genomes and peaks, KiB, of rows that have one."""
    return genomes_of(space, rows), np.array([row.peak_rss_kib for row in rows], dtype=np.float64)
