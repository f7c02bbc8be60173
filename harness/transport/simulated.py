"""Runs the agent for a device that does not exist: a child process with a virtual clock, spoken to as any other."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.simulation.machine import Machine
from harness.transport.local import LocalChannel, start


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """How to start the agent on a simulated device, and the folder of its files."""

    device: str
    agent: Path
    files: Path
    machine: Machine

    def open(self) -> LocalChannel:
        """Start an agent process; raises DeviceLost where it cannot be started."""
        machine = self.machine.model_dump_json()
        command = [sys.executable, "-m", "harness.simulation", str(self.agent), str(self.files), machine]
        # The package may be a checkout that is not installed: the child finds what its parent found.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        return start(self.device, command, {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"})
