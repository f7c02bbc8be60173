"""What a network costs, computed and not measured: multiply-accumulates, parameters, activation memory."""

from __future__ import annotations

from typing import Any

from ofa.space.core import SearchSpace, Subnet
from ofa.space.layers import layers_of
from ofa.space.ops import Op, ops_of

IMAGENET_SHOWN = (128, 160, 192, 224)
FP32_BYTES = 4


def macs(subnet: Subnet, resolution: int | None = None) -> int:
    """Return the multiply-accumulates of convolutions and linear layers, squeeze-excite included, at batch 1."""
    return sum(op.macs for op in ops_of(subnet, resolution))


def params(subnet: Subnet) -> int:
    """Return the trained numbers of a subnet: weights, biases, and scale and shift of each norm."""
    return sum(op.params for op in ops_of(subnet))


def peak_activation_bytes(subnet: Subnet, resolution: int | None = None) -> int:
    """Return the most bytes of activations alive at once, fp32, batch 1.

    Layers run in order; a value lives from the layer that makes it to the last one that reads it; activations and
    norms work in place. A runtime that fuses or reorders may need less.
    """
    return max(op_peak_bytes(op) for op in ops_of(subnet, resolution))


def op_peak_bytes(op: Op) -> int:
    """Return the most bytes of activations alive at once inside an op, its input and output among them; fp32."""
    return peak_values(op) * FP32_BYTES


def peak_values(op: Op) -> int:
    """Return the most numbers alive at once inside an op, its input and output among them."""
    layers = layers_of(op)
    last_use = {name: at for at, layer in enumerate(layers) for name in layer.inputs}
    alive = {"x": op.in_channels * op.in_size**2}
    peak = 0
    for at, layer in enumerate(layers):
        alive[layer.name] = layer.out_channels * layer.out_size**2
        peak = max(peak, sum(alive.values()))
        for name in layer.inputs:
            if last_use[name] == at:
                alive.pop(name, None)
    return peak


def supernet_params(space: SearchSpace) -> int:
    """Return the trained numbers of the whole supernet: its largest subnet and the kernel transforms.

    A layer elastic in kernel has a matrix k² x k² for every kernel but its largest.
    """
    transforms = sum(
        max(stage.depths) * sum(kernel**4 for kernel in stage.kernels if kernel < max(stage.kernels))
        for stage in space.stages
    )
    return params(space.corner("max")) + transforms


def facts(space: SearchSpace) -> dict[str, Any]:
    """Return what ``ofa space facts`` prints: parameters and MACs of the supernet and of its corner subnets.

    MACs are by resolution, px; a supernet's are those of its largest subnet.
    """
    shown = IMAGENET_SHOWN if set(IMAGENET_SHOWN) <= set(space.resolutions) else space.resolutions
    corners = {name: _of_corner(space, name, shown) for name in space.corners()}
    return {
        "space": space.id,
        "resolutions_px": list(space.resolutions),
        "supernet": {"params": supernet_params(space), "macs": corners["max"]["macs"]},
        "corners": corners,
    }


def _of_corner(space: SearchSpace, name: str, resolutions: tuple[int, ...]) -> dict[str, Any]:
    """Return the facts of one corner subnet."""
    subnet = space.corner(name)
    return {
        "params": params(subnet),
        "macs": {str(resolution): macs(subnet, resolution) for resolution in resolutions},
        "peak_activation_bytes": {
            str(resolution): peak_activation_bytes(subnet, resolution) for resolution in resolutions
        },
    }
