"""Compiles the tail of layers (normalisation and activation) for training, and gives up where it compiles too often.

Convolutions are left alone: a supernet has hundreds of shapes of them, and a compiler that specialises on each makes
a step many times slower (whittle-org/whittle#312). The tail is one function of few activations, compiled for any size.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ofa.nn.blocks import EPSILON, activate, batch_statistics
from ofa.space.layers import Layer

# Graphs a training may compile: a few for each activation, with and without gradient.
BUDGET = 32


class Regional:
    """Finishes layers as ``blocks.batch_statistics`` does, compiled; eager from the ``budget``-th graph on."""

    def __init__(self, *, budget: int = BUDGET, backend: str = "inductor") -> None:
        self.budget, self.graphs = budget, 0
        self._inner: Callable[..., Any] = torch._dynamo.lookup_backend(backend)
        self._tails: dict[str | None, Callable[..., Any]] = {}

    def __call__(self, layer: Layer, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Normalise float[n, c, h, w] by the batch and apply the layer's activation."""
        if self.graphs > self.budget:
            return batch_statistics(layer, x, scale, shift)
        if layer.act not in self._tails:
            self._tails[layer.act] = torch.compile(_tail(layer), dynamic=True, backend=self._counted)
        out: Tensor = self._tails[layer.act](x, scale, shift)
        return out

    def _counted(self, graph: Any, inputs: Any) -> Any:
        """Compile one graph, and count it."""
        self.graphs += 1
        if self.graphs > self.budget:
            warnings.warn(
                f"more than {self.budget} graphs were compiled; training goes on without compilation", stacklevel=2
            )
        return self._inner(graph, inputs)


def _tail(layer: Layer) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return what one activation's layers end with."""

    def tail(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return activate(F.batch_norm(x, None, None, scale, shift, training=True, eps=EPSILON), layer)

    return tail
