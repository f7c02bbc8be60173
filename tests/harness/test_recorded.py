"""What is measured while the agent reads a recorded tree is marked, and never passes for a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boards import board

from harness import journal as journals
from harness.artefacts import File
from harness.inventory import Device
from harness.plan import Plan
from harness.reduce import table
from harness.session import run


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [True, False])
def test_a_table_measured_over_a_recorded_tree_is_simulated(
    recorded: bool, device: Device, onnx_files: list[File], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    transport: Any = device.transport
    if recorded:
        root = board("jetson-orin-jp6", tmp_path / "orin")
        transport = replace(transport, environment={**transport.environment, "OFA_AGENT_ROOT": str(root)})
    with journals.create(tmp_path / "journal.sqlite", plan(onnx_files)) as journal:
        run(journal.plan, device=replace(device, transport=transport), journal=journal)
        header = table(journal).header
    assert header.simulated == recorded
    assert header.environment.get("power_mode", "none") == ("MODE_30W" if recorded else "none")
    assert header.conditions == ("cpu-1t-mode_30w" if recorded else "cpu-1t")
