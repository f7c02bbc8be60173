"""Golden images: real ones with what the model takes of them and what it answers, such that swapped channels show."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa.graphs.bundle import checker
from ofa.graphs.ir import Array

Pixels = NDArray[np.uint8]
Run = Callable[[Array], Array]

COUNT = 4
# A swap must move the outputs by so many times what a check allows: then no runtime's rounding hides it.
MARGIN = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A candidate: an image before it is cut and resized, uint8[h, w, c], and the name of its class."""

    pixels: Pixels
    label: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Golden:
    """Chosen pictures, ``prepared`` float32[n, ...] in the model's layout, ``outputs`` float32[n, classes].

    ``swapped`` holds for each how much exchanging red and blue changes its outputs, as a share of the largest one; None
    for grey images, which have nothing to exchange.
    """

    pictures: tuple[Picture, ...]
    prepared: Array
    outputs: Array
    classes: tuple[str, ...]
    swapped: tuple[float, ...] | None

    @property
    def predicted(self) -> list[str]:
        """Return the name of the class that the model gives each picture."""
        return [self.classes[place] for place in self.outputs.argmax(1)]

    def told(self, tolerance: float) -> bool | None:
        """Say whether a check that allows ``tolerance`` notices exchanged channels; None where there are none."""
        return None if self.swapped is None else max(self.swapped) >= MARGIN * tolerance

    def arrays(self) -> bytes:
        """Return what golden.npz holds."""
        buffer = io.BytesIO()
        raw = {f"raw_{number}": picture.pixels for number, picture in enumerate(self.pictures)}
        named = {"predicted": np.array(self.predicted), "classes": np.array(self.classes)}
        labels = np.array([picture.label for picture in self.pictures])
        np.savez_compressed(
            buffer, allow_pickle=False, prepared=self.prepared, outputs=self.outputs, labels=labels, **named, **raw
        )
        return buffer.getvalue()


def chosen(pictures: Sequence[Picture], rules: Mapping[str, Any], run: Run, classes: Sequence[str]) -> Golden:
    """Return up to four of some candidates: of different predicted classes as far as there are, those whose outputs
    exchanged channels change most. A check fails where one of them is off.

    ``rules`` is what bundle.json says of input and preparation (`contents.rules`); ``run`` takes float32[n, C, H, W].
    """
    prepared = np.concatenate([checker.prepared(picture.pixels, dict(rules)) for picture in pictures])
    outputs = run(_as_nchw(prepared, rules))
    apart = np.zeros(len(pictures))
    grey = pictures[0].pixels.shape[2] == 1
    if not grey:
        turned = [checker.prepared(picture.pixels[:, :, ::-1], dict(rules)) for picture in pictures]
        apart = _apart(run(_as_nchw(np.concatenate(turned), rules)), outputs)
    kept = _spread(np.argsort(-apart, kind="stable").tolist(), outputs.argmax(1).tolist())
    return Golden(
        pictures=tuple(pictures[place] for place in kept),
        prepared=prepared[kept],
        outputs=outputs[kept],
        classes=tuple(classes),
        swapped=None if grey else tuple(apart[kept].tolist()),
    )


def _as_nchw(prepared: Array, rules: Mapping[str, Any]) -> Array:
    """Return prepared images as `ofa.graphs.run` takes them, whatever the layout of the file."""
    nhwc = rules["input"]["layout"] == "NHWC"
    return np.ascontiguousarray(prepared.transpose(0, 3, 1, 2)) if nhwc else prepared


def _apart(found: Array, expected: Array) -> NDArray[np.float64]:
    """Return max|difference| / max|output| of each image, float64[n], as a check measures it."""
    apart: NDArray[np.float64] = np.abs(found - expected).max(1) / np.maximum(np.abs(expected).max(1), 1e-30)
    return apart


def _spread(order: Sequence[int], predicted: Sequence[int]) -> list[int]:
    """Return the first of each class in order, then the others, as many as are kept."""
    firsts = list({predicted[place]: place for place in reversed(order)}.values())
    ranked = sorted(firsts, key=order.index) + [place for place in order if place not in firsts]
    return ranked[:COUNT]
