"""What an op truly takes on a simulated device: the number that every measurement of it is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from harness.plan import IO
from harness.simulation.machine import Machine
from ofa.space.facts import op_peak_bytes
from ofa.space.layers import Layer, layers_of
from ofa.space.ops import parse

VALUE_BYTES = 4
LARGE_KERNEL = 7
IO_VALUES = 3 * 224 * 224


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one call costs, in ns: on the cores at full clock, in the caches, and from memory where all of its
    ``footprint_bytes`` were pushed out of the caches."""

    cores_ns: float
    caches_ns: float
    memory_ns: float
    footprint_bytes: float

    def at_ns(self, speed: float, cold: float) -> float:
        """Return the time of a call at a speed of the cores, with a share ``cold`` of the footprint not in a cache."""
        return self.cores_ns / speed + self.caches_ns + cold * self.memory_ns


@lru_cache(maxsize=1 << 16)
def op_work(machine: Machine, key: str) -> Work:
    """Return the work of one op by its key, the call itself not included; raises FileInvalid for any other text."""
    layers = layers_of(parse(key))
    values = sum(_values(layer) for layer in layers)
    weights = sum(layer.params for layer in layers)
    footprint = VALUE_BYTES * (weights + values / 2)
    slower = machine.updated_factor
    return Work(
        cores_ns=slower * sum(_cores_ns(machine, layer) for layer in layers),
        caches_ns=slower * VALUE_BYTES * values / machine.bytes_per_ns,
        memory_ns=slower * footprint / machine.dram_bytes_per_ns,
        footprint_bytes=footprint,
    )


def work_of(machine: Machine, keys: Sequence[str]) -> Work:
    """Return the work of a call of one op, or of the ops of a network one after another.

    The ops of a network push one another out of the caches as far as they do not fit, however often it is called.
    """
    ops = [op_work(machine, key) for key in keys]
    footprint = sum(op.footprint_bytes for op in ops)
    memory = sum(op.memory_ns for op in ops)
    inside = evicted(machine, footprint) if len(ops) > 1 else 0.0
    return Work(
        cores_ns=machine.updated_factor * machine.session_ns + sum(op.cores_ns for op in ops),
        caches_ns=sum(op.caches_ns for op in ops) + inside * memory,
        memory_ns=(1 - inside) * memory,
        footprint_bytes=footprint,
    )


def bare_work(machine: Machine, name: str) -> Work:
    """Return the work of a network of one elementwise node: nothing but the call ("empty"), or a pass over an image."""
    values = 2 * IO_VALUES if name == IO else 0
    footprint = VALUE_BYTES * values
    slower = machine.updated_factor
    return Work(
        cores_ns=slower * (machine.session_ns + (machine.layer_ns if values else 0.0)),
        caches_ns=slower * VALUE_BYTES * values / machine.bytes_per_ns,
        memory_ns=slower * footprint / machine.dram_bytes_per_ns,
        footprint_bytes=footprint,
    )


def truth_ns(machine: Machine, keys: Sequence[str], state: str) -> float:
    """Return what a call takes on the cool device: hot, right after the same call, or cold, after many others."""
    return work_of(machine, keys).at_ns(machine.power_speed, 1.0 if state == "cold" else 0.0)


def resident_bytes(machine: Machine, keys: Sequence[str]) -> float:
    """Return the memory that a network takes beside the runtime's own once it has been called."""
    ops = [parse(key) for key in keys]
    maps = max((op_peak_bytes(op) for op in ops), default=0)
    return machine.weight_copies * VALUE_BYTES * sum(op.params for op in ops) + machine.map_copies * maps


def evicted(machine: Machine, size_bytes: float) -> float:
    """Return which share of a footprint ``size_bytes`` of other accesses push out of the caches."""
    return min(1.0, size_bytes / machine.cache_bytes)


def _values(layer: Layer) -> int:
    """Return how many values a layer reads and writes."""
    read = layer.in_channels * layer.in_size**2 * len(layer.inputs)
    return read + layer.out_channels * layer.out_size**2


def _cores_ns(machine: Machine, layer: Layer) -> float:
    """Return a layer's time on the big cores at full clock."""
    depthwise = layer.groups == layer.in_channels > 1
    rate = machine.depthwise_macs_per_ns if depthwise else machine.macs_per_ns
    slower = machine.updated_depthwise7_factor if depthwise and layer.kernel == LARGE_KERNEL else 1.0
    return slower * (machine.layer_ns + layer.macs / rate)
