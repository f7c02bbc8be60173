"""The bare networks as files, for programs that have none of their own: one addition, of few floats or an image's."""

from __future__ import annotations

import importlib

from ofa.graphs.ir import INPUT, Graph, Node, Shape
from ofa.space.layers import Layer

# Channels and edge of the map, px: four floats, and what the agent's bare networks have as an image.
SHAPES = {"empty": Shape(channels=4, size=1), "io": Shape(channels=3, size=224)}
WRITERS = {".tflite": "tflite", ".onnx": "onnx"}


def network(name: str, suffix: str) -> bytes:
    """Return the file of "empty" or "io" in the format of a suffix; raises PackageMissing."""
    shape = SHAPES[name]
    layer = Layer(
        name="sum",
        kind="add",
        inputs=(INPUT, INPUT),
        in_channels=shape.channels,
        out_channels=shape.channels,
        in_size=shape.size,
        out_size=shape.size,
    )
    graph = Graph(
        nodes=(Node(name="0.sum", layer=layer, inputs=(INPUT, INPUT)),), shapes={INPUT: shape, "0.sum": shape}
    )
    written: bytes = importlib.import_module("ofa.graphs." + WRITERS[suffix]).write(graph)
    return written
