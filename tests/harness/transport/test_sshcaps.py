"""A device with a fifth of a CPU: slower to answer, and every sample still that of the network, not of the stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from transport.caps import PERIOD_MS, RUNS_MS, capped
from transport.lab import Sshd

from harness import journal as journals
from harness.artefacts import Artefacts, File
from harness.inventory import Device
from harness.plan import Item, Plan, Reference, Rounds
from harness.protocol import Runtime
from harness.reduce import conditions, measured
from harness.session import run
from harness.transport.ssh import Ssh
from ofa.space.ops import parse

STOP_NS = (PERIOD_MS - RUNS_MS) * 1_000_000
# As many of these one after another as take longer than is run between two stops, on a fast computer too.
HEAVY, TIMES = "mbconv.k3.s1.i16x112.o16x112.m64.relu.n1", (40, 48)
BURSTS, CALLS = 2, 3


def plan_of(light: File, heavy: list[File]) -> Plan:
    """Return a plan of one round that times a small network and larger ones hot, in bursts of equally many calls."""
    items = [Item(key=f"op{place}.n1", kind="op", state="hot", file=file.name) for place, file in enumerate(heavy)]
    protocol = Rounds(rounds_most=1, redo_most=0, hot_bursts=BURSTS, burst_least=CALLS, burst_most=CALLS)
    return Plan(
        device="this-computer", runtime="onnxruntime", rounds=1, seed=5, protocol=protocol,
        items=(Item(key="light.n1", kind="op", state="hot", file=light.name), *items),
        reference=Reference(key="reference", file=heavy[0].name), canaries={"dispatch": "empty"},
    )  # fmt: skip


@pytest.mark.slow
def test_a_cap_slows_a_device_and_spoils_no_sample(
    sshd: Sshd, way: Callable[..., Ssh], device: Device, onnx_files: list[File], tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="the package 'onnx' is not installed")
    about = Runtime(name="onnxruntime", ready=True, version="0", opset=17, ir_version=8)
    files = Artefacts(device.transport.files)
    plan = plan_of(onnx_files[0], [files.for_network([parse(HEAVY)] * times, about) for times in TIMES])
    journal = journals.create(tmp_path / "journal.sqlite", plan)
    with capped(sshd):
        run(plan, device=replace(device, transport=way(sshd, files=device.transport.files)), journal=journal)
    samples = journal.samples()
    assert Counter(row.item for row in samples) == Counter(range(3)) and not journal.failures()
    assert {(row.attempt, row.calls) for row in samples} == {(1, BURSTS * CALLS)}, "a call was lost, or counted twice"
    for row in [*samples, *journal.references()]:
        wall = (row.wall_min_ns, row.wall_p10_ns, row.wall_p20_ns, row.wall_median_ns, row.wall_p95_ns)
        assert list(wall) == sorted(wall) and row.cpu_min_ns and row.cpu_p10_ns and row.cpu_min_ns <= row.cpu_p10_ns
    # Of calls of some µs a stop is in a few at the most: neither the least nor the 10th percentile has one in it.
    [light] = [row for row in samples if row.item == 0]
    assert light.wall_p10_ns < STOP_NS / 10
    # Of those that take longer than a device is let run, it is in each: the table then believes the CPU's clock, and
    # every row says so.
    found = conditions(journal)
    assert found.basis == "cpu_min_ns" and (found.wall_over_cpu or 0) > 1.05
    assert all("cpu" in row.flags for row in measured(journal, found).values())
    assert all(row.wall_p10_ns > STOP_NS + (row.cpu_p10_ns or 0) / 2 for row in samples if row.item != 0)
