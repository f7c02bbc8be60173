"""Compiles the tail of layers (normalisation and activation) for training, and gives up where it compiles too often.

Convolutions are left alone: a supernet has hundreds of shapes of them, and a compiler that specialises on each makes
a step many times slower (whittle-org/whittle#312). The tail is one function of few activations, compiled for any size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ofa.nn.blocks import EPSILON, activate
from ofa.space.layers import Layer

# Graphs a training may compile: a few for each activation, with and without gradient.
BUDGET = 32


class Regional:
    """Finishes layers as ``blocks.batch_statistics`` does, compiled; what fits none of ``budget`` graphs runs eager."""

    def __init__(self, *, budget: int = BUDGET, backend: str = "inductor") -> None:
        self.graphs = 0
        # All tails are one code object, for which torch alone would compile eight graphs. It warns at the limit.
        self._limit = torch._dynamo.config.patch(recompile_limit=budget)
        self._inner: Callable[..., Any] = torch._dynamo.lookup_backend(backend)
        self._tails: dict[str | None, Callable[..., Any]] = {}

    def __call__(self, layer: Layer, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Normalise float[n, c, h, w] by the batch and apply the layer's activation."""
        if layer.act not in self._tails:
            self._tails[layer.act] = torch.compile(_tail(layer), dynamic=True, backend=self._counted)
        with self._limit:
            out: Tensor = self._tails[layer.act](x, scale, shift)
        return out

    def _counted(self, graph: Any, inputs: Any) -> Any:
        """Compile one graph, and count it."""
        self.graphs += 1
        return self._inner(graph, inputs)


def _tail(layer: Layer) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return what one activation's layers end with."""

    def tail(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return activate(F.batch_norm(x, None, None, scale, shift, training=True, eps=EPSILON), layer)

    return tail
