"""A stand-in for torch with a GPU: it computes nothing, and notes what it was asked for.

It is test code: nothing it says is a measurement. ``WORK_MS`` is what its GPU's clock says a call took.
"""

from types import SimpleNamespace
from typing import Any

__version__ = "2.4.0"
SAID: list[str] = []
WORK_MS = 0.0
channels_last = "channels_last"
version = SimpleNamespace(cuda="12.6")
backends = SimpleNamespace(cudnn=SimpleNamespace(version=lambda: 90300))


class Tensor:
    def __init__(self, where: str = "cpu", half: bool = False) -> None:
        self.where, self.is_half = where, half

    def contiguous(self, memory_format: str) -> "Tensor":
        return self

    def half(self) -> "Tensor":
        return Tensor(self.where, True)

    def to(self, where: str) -> "Tensor":
        SAID.append(f"to {where}")
        return Tensor(where, self.is_half)


class Generator:
    def manual_seed(self, seed: int) -> "Generator":
        return self


class Event:
    def __init__(self, enable_timing: bool = False) -> None:
        pass

    def record(self, stream: Any) -> None:
        SAID.append("record")

    def synchronize(self) -> None:
        SAID.append("synchronize")

    def elapsed_time(self, other: "Event") -> float:
        return WORK_MS


def network(value: Tensor) -> Tensor:
    SAID.append(f"network on {value.where}" + (" in half" if value.is_half else ""))
    return value


def randn(shape: Any, generator: Generator) -> Tensor:
    return Tensor()


def zeros(shape: Any) -> Tensor:
    return Tensor()


def relu(value: Tensor) -> Tensor:
    return value


def set_num_threads(threads: int) -> None:
    pass


def set_grad_enabled(enabled: bool) -> None:
    pass


jit = SimpleNamespace(trace=lambda function, inputs: network)
cuda = SimpleNamespace(
    Event=Event,
    is_available=lambda: True,
    current_stream=lambda: "stream",
    get_device_name=lambda place: "Stand-in GPU",
    get_device_capability=lambda place: (8, 7),
)
