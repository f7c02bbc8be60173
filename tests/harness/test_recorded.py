"""What is measured while the agent reads a recorded tree is marked, and never passes for a device."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boards import board

from harness import journal as journals
from harness.artefacts import File
from harness.inventory import Device
from harness.plan import Plan, Way
from harness.prepare import ready_way
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


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core alone is neither big nor little")
def test_where_cores_differ_the_agent_is_kept_to_those_that_are_asked_for(
    device: Device, onnx_files: list[File], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """The tree says that the last core of this computer is faster; that the worker runs there is true."""
    here = sorted(os.sched_getaffinity(0))
    for core in here:
        path = tmp_path / f"root/sys/devices/system/cpu/cpu{core}/cpu_capacity"
        path.parent.mkdir(parents=True)
        path.write_text("1024\n" if core == here[-1] else "400\n")
    transport: Any = device.transport
    environment = {**transport.environment, "OFA_AGENT_ROOT": str(tmp_path / "root")}
    device = replace(device, transport=replace(transport, environment=environment))
    found = {}
    for wanted, cores in (("usual", "big"), ("little", "little"), ("all", None)):
        way = ready_way(device, "onnxruntime", Way(cores=wanted))[1]  # type: ignore[arg-type]
        assert way.cores == (cores or "all")
        asked = plan(onnx_files, rounds=1, **way.said())
        with journals.create(tmp_path / f"{wanted}.sqlite", asked) as journal:
            run(asked, device=device, journal=journal)
            found[wanted] = table(journal)
            assert {facts["state"].get("cores") for *_, facts in journal.batches()} == {
                {"big": str(here[-1]), "little": cores_of(here[:-1])}.get(cores or "")
            }
    assert [found[one].header.conditions for one in found] == ["cpu-1t-big", "cpu-1t-little", "cpu-1t"]
    assert [found[one].header.environment.get("pinned") for one in found] == ["big cores", "little cores", None]
    assert len({found[one].header.environment_id for one in found}) == 3
    assert found["usual"].sessions[0]["on_cores"] == str(here[-1]) and "on_cores" not in found["all"].sessions[0]


def cores_of(cores: list[int]) -> str:
    """Return neighbouring cores as the kernel lists them."""
    return str(cores[0]) if len(cores) == 1 else f"{cores[0]}-{cores[-1]}"
