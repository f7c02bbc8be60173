"""The accuracy predictor that Once-for-All published for MobileNetV3 at width 1.2, from its plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofa import files
from ofa.search import errors
from ofa.search.relu import Network
from ofa.space.core import Genomes, SearchSpace

LAYERS = ("0", "2", "4", "6")
WIDTH, STAGES, BLOCKS = 1.2, 5, 4
KERNELS, EXPANDS = (3, 5, 7), (3.0, 4.0, 6.0)
FIRST_PX, STEP_PX, RESOLUTIONS = 112, 16, 8
INPUTS = 2 * STAGES * BLOCKS * 3 + RESOLUTIONS
MAX_BYTES = 64 * files.MEBIBYTE
MOST_UNITS = 4096
PERCENT = 100.0
# A block of rows whose activations stay in the second-level cache.
CHUNK_ROWS = 1024

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPredictor:
    """Predicts top-1 accuracy, percent, on images that the published supernet was not trained on.

    A ReLU network on one-hot kernels and expand ratios of twenty blocks and on eight resolutions, 112 to 224 px in
    steps of 16 (Cai et al. 2020, appendix A; the layout is that of the reference's `acc_predictor`). ``columns``
    int64[G, C + 1] says which input a gene's value sets; a depth sets none.
    """

    space: SearchSpace
    layers: tuple[Layer, ...]
    columns: NDArray[np.int64]

    def predict(self, genomes: Genomes) -> NDArray[np.float64]:
        """Return the predicted accuracy, percent, float64[n], of canonical genomes uint8[n, G]."""
        told = np.flatnonzero((self.columns < INPUTS).any(axis=1))
        columns, found = self.columns[told], np.empty(len(genomes))
        for start in range(0, len(genomes), CHUNK_ROWS):
            part = genomes[start : start + CHUNK_ROWS, told]
            # One input more than there is takes what genes that are not in use would set.
            hot = np.zeros((len(part), INPUTS + 1), dtype=np.float32)
            hot[np.arange(len(part))[:, None], columns[np.arange(len(told)), part]] = 1.0
            found[start : start + CHUNK_ROWS] = self._forward(hot[:, :INPUTS])
        return PERCENT * found

    __call__ = predict

    @property
    def network(self) -> Network:
        """Return it as what a bound is made of."""
        layers = tuple((weight.astype(np.float64), bias.astype(np.float64)) for weight, bias in self.layers)
        return Network(layers=layers, columns=self.columns, scale=PERCENT)

    def _forward(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network, float32[n, inputs] to float32[n]."""
        for number, (weight, bias) in enumerate(self.layers):
            values = values @ weight
            values += bias
            if number < len(self.layers) - 1:
                np.maximum(values, 0.0, out=values)
        return values[:, 0]


def read(path: Path, space: SearchSpace) -> PublishedPredictor:
    """Read the predictor's arrays from an npz file; the space may offer any of its resolutions.

    Raises FileInvalid for another file, SpaceMismatch for a space that it cannot tell apart or a resolution it lacks.
    """
    data = files.read_capped(path, max_bytes=MAX_BYTES, what="accuracy predictor")
    try:
        layers = _layers(files.npz_arrays(data, max_bytes=MAX_BYTES))
    # A damaged file fails in any way.
    except Exception as fault:
        raise errors.not_published(path, fault, inputs=INPUTS) from fault
    return PublishedPredictor(space=space, layers=layers, columns=_columns(space))


def predicts(resolution: int) -> bool:
    """Say whether the predictor knows a resolution, px."""
    steps, rest = divmod(resolution - FIRST_PX, STEP_PX)
    return rest == 0 and 0 <= steps < RESOLUTIONS


def _layers(arrays: dict[str, NDArray[np.float32]]) -> tuple[Layer, ...]:
    """Return the layers, weights transposed for rows of inputs; ValueError where they make no network."""
    found, inputs = [], INPUTS
    for name in LAYERS:
        for part in ("weight", "bias"):
            if f"{name}.{part}" not in arrays:
                raise ValueError(f"it has no array '{name}.{part}'")
        weight, bias = arrays[f"{name}.weight"], arrays[f"{name}.bias"]
        units = 1 if name == LAYERS[-1] else len(weight)
        if weight.shape != (units, inputs) or bias.shape != (units,) or units > MOST_UNITS:
            raise ValueError(f"layer '{name}' has shape {weight.shape}; it follows one of {inputs} numbers")
        if weight.dtype != np.float32 or not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError(f"layer '{name}' holds values that are not finite float32 numbers")
        found.append((np.ascontiguousarray(weight.T), bias.astype(np.float32)))
        inputs = units
    return tuple(found)


def _columns(space: SearchSpace) -> NDArray[np.int64]:
    """Return which input each value of each gene sets; ``INPUTS`` where it sets none."""
    shape = [(len(stage.depths), max(stage.depths), stage.kernels, stage.expands) for stage in space.stages]
    if shape != [(3, BLOCKS, KERNELS, EXPANDS)] * STAGES or space.width != WIDTH:
        raise errors.space_unpublished(space.id)
    if unknown := [px for px in space.resolutions if not predicts(px)]:
        last_px = FIRST_PX + STEP_PX * (RESOLUTIONS - 1)
        raise errors.resolution_unpublished(unknown[0], first=FIRST_PX, last=last_px, step=STEP_PX)
    columns = np.full((len(space.genes), int(space.cardinalities.max()) + 1), INPUTS)
    for number, gene in enumerate(space.genes):
        if gene.name == "resolution":
            columns[number, 1 : len(gene.choices) + 1] = [
                INPUTS - RESOLUTIONS + (int(px) - FIRST_PX) // STEP_PX for px in gene.choices
            ]
        elif gene.block is not None and gene.stage is not None:
            block = (gene.stage - 1) * BLOCKS + gene.block
            first = 3 * block + (0 if gene.name.endswith("kernel") else 3 * STAGES * BLOCKS)
            columns[number, 1:4] = range(first, first + 3)
    return columns
