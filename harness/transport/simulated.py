"""Runs the agent for a device that does not exist: with a virtual clock, spoken to as any other."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from harness.errors import device_lost
from harness.simulation.machine import Machine
from harness.simulation.process import Simulation, agent_of
from harness.transport.contract import Channel
from harness.transport.local import Here, start


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated(Here):
    """How to start the agent on a simulated device.

    Without ``own_process`` the agent runs inside this one: nothing can kill it, and nothing has to be started.
    """

    machine: Machine
    own_process: bool = True

    def open(self) -> Channel:
        """Start an agent; raises DeviceLost where its process cannot be started."""
        if not self.own_process:
            return Inside(self)
        machine = self.machine.model_dump_json()
        command = [sys.executable, "-m", "harness.simulation", str(self.agent), str(self.files), machine]
        # The package may be a checkout that is not installed: the child finds what its parent found.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        return start(self.device, command, {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"})


class Inside:
    """A conversation with an agent inside this process: a request is answered, whole, as soon as it is sent."""

    __slots__ = ("agent", "answers", "device", "files")

    def __init__(self, way: Simulated) -> None:
        """Begin a process of the simulated device."""
        self.device = way.device
        self.files = way.files
        self.agent = agent_of(way.agent, Simulation(way.machine, way.files))
        self.answers: deque[bytes] = deque()

    def send(self, line: bytes, *, timeout_s: float) -> None:
        """Answer one request line."""
        self.agent["answer"](line, str(self.files), SimpleNamespace(send=self._take))

    def receive(self, *, timeout_s: float, max_bytes: int) -> bytes:
        """Return the next answer; raises DeviceLost where there is none."""
        if not self.answers:
            raise device_lost(self.device, "nothing is left to be heard")
        return self.answers.popleft()

    def close(self) -> None:
        """End the agent."""
        self.answers.clear()

    kill = close

    def _take(self, record: dict[str, Any]) -> None:
        """Keep an answer as the line it would be."""
        self.answers.append(json.dumps(record).encode())
