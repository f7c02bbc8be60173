"""The process of a simulated device: ``python -m harness.simulation AGENT FILES MACHINE``, the last one as JSON."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.simulation.machine import Machine
from harness.simulation.process import Simulation, agent_of


def main(arguments: list[str]) -> int:
    """Serve until stdin ends, as the agent does."""
    archive, files, machine = arguments
    agent = agent_of(Path(archive), Simulation(Machine.model_validate_json(machine), Path(files)))
    # The agent takes the entry off the path that it was started with.
    sys.path.insert(0, archive)
    return int(agent["main"](["--files", files]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
