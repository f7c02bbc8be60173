"""The memory of whole networks: each in a process of its own, once, kept through kills, or with a reason."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from harness import footprint
from harness import journal as journals
from harness.artefacts import Artefacts
from harness.bench import Scope, bench
from harness.inventory import Device, simulated
from harness.journal import Footprint
from harness.networks import middle
from harness.plan import EMPTY, Item, Plan, Rounds
from harness.prepare import bench_plan
from harness.reduce import table
from harness.session import OnProgress, quiet, ready_runtime, run
from harness.simulation.machine import Machine
from harness.tables import JOURNAL, TABLE
from harness.verify import Anchor, measure
from ofa.errors import DeviceLost, FileInvalid, MeasurementRefused
from ofa.lut.format import Lut, read
from ofa.space.facts import params, peak_activation_bytes
from ofa.space.ops import ops_of

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
NETWORKS = tuple(SPACE.subnet(genome) for genome in spaces.sample.random(SPACE, 4, np.random.default_rng(2)))
SOME_KIB = Footprint(session="s", peak_rss_kib=7, reason="")


class Counted:
    """A transport that counts the processes it starts, and can be interrupted at one of them."""

    def __init__(self, inner: Any, stop_at: int | None = None) -> None:
        self.inner, self.stop_at, self.opened = inner, stop_at, 0
        self.agent, self.files, self.remote = inner.agent, inner.files, inner.remote
        self.push, self.end, self.private = inner.push, inner.end, inner.private

    def open(self) -> Any:
        self.opened += 1
        if self.opened == self.stop_at:
            raise KeyboardInterrupt
        return self.inner.open()


def counted(device: Device, stop_at: int | None = None) -> tuple[Device, Counted]:
    transport = Counted(device.transport, stop_at)
    return replace(device, transport=transport), transport


def network_plan(plan: Callable[..., Plan]) -> Plan:
    """Return a plan of four networks and an op, on which the stand-in can say something."""
    items = [
        Item(
            key=f"{SPACE.id}:{subnet.id}", kind="network", state="hot", file=f"{number:064x}",
            space=SPACE.id, genome=bytes(subnet.array).hex(), split="fit",
        )
        for number, subnet in enumerate(NETWORKS)
    ]  # fmt: skip
    return plan(items=(*items, Item(key="op.n1", kind="op", state="hot", file=f"{9:064x}")), rounds=1)


def test_each_network_is_measured_in_its_own_process_once(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    device, processes = counted(stand_in())
    steps: list[tuple[int, int, str]] = []
    with journals.create(tmp_path / "journal.sqlite", network_plan(plan)) as journal:
        session = run(journal.plan, device=device, journal=journal)
        before = processes.opened
        footprint.run(
            journal.plan, device=device, journal=journal, session=session, on_progress=lambda *step: steps.append(step)
        )
        assert processes.opened - before == 1 + len(NETWORKS)
        found = journal.footprints()
        footprint.run(journal.plan, device=device, journal=journal)
        assert processes.opened - before == 1 + len(NETWORKS) and len(journal.sessions()) == 1
        lut = table(journal)
    assert found == {
        EMPTY: Footprint(session=session or "", peak_rss_kib=50_000, reason=""),
        **{
            f"{n:064x}": Footprint(session=session or "", peak_rss_kib=51_000 + n, reason="")
            for n in range(len(NETWORKS))
        },
    }
    assert {row.id: row.peak_rss_kib for row in lut.networks} == {
        subnet.id: 51_000 + number for number, subnet in enumerate(NETWORKS)
    }
    assert [record["empty_rss_kib"] for record in lut.sessions] == [50_000]
    assert [step[:2] for step in steps] == [(done, 5) for done in range(6)]


def test_an_interrupted_one_goes_on_where_it_was(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    chosen = network_plan(plan)
    with journals.create(tmp_path / "journal.sqlite", chosen) as journal:
        session = run(chosen, device=stand_in(), journal=journal)
        device, _ = counted(stand_in(), stop_at=4)
        with pytest.raises(KeyboardInterrupt):
            footprint.run(chosen, device=device, journal=journal, session=session)
        assert len(journal.footprints()) == 3
    with journals.resume(tmp_path / "journal.sqlite", chosen) as journal:
        device, processes = counted(stand_in())
        assert run(chosen, device=device, journal=journal) is None
        footprint.run(chosen, device=device, journal=journal)
        assert processes.opened == 1 + 2
        sessions = [entry.session for entry in journal.footprints().values()]
        assert len(journal.sessions()) == 2 and sorted(map(sessions.count, set(sessions))) == [2, 3]
        assert all(row.peak_rss_kib for row in table(journal).networks)


def test_it_is_not_measured_on_under_other_conditions(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    with journals.create(tmp_path / "journal.sqlite", network_plan(plan)) as journal:
        run(journal.plan, device=stand_in(), journal=journal)
        with pytest.raises(MeasurementRefused, match="no longer"):
            footprint.run(journal.plan, device=stand_in(STAND_IN_CPU="another"), journal=journal)
        assert journal.footprints() == {}


def test_what_cannot_be_measured_has_a_reason_and_is_not_tried_again(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    device = stand_in("one has no footprint")
    with journals.create(tmp_path / "journal.sqlite", network_plan(plan)) as journal:
        session = run(journal.plan, device=device, journal=journal)
        footprint.run(journal.plan, device=device, journal=journal, session=session)
        found = journal.footprints()
        assert [found[f"{n:064x}"].reason for n in range(4)] == ["", "RuntimeError: cannot allocate"] * 2
        assert footprint.lacking(journal.plan, journal) == []
        assert sorted(row.peak_rss_kib or 0 for row in table(journal).networks) == [0, 0, 51_000, 51_002]


def test_what_failed_in_the_rounds_is_not_tried(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    device = stand_in("one fails")
    with journals.create(tmp_path / "journal.sqlite", network_plan(plan)) as journal:
        run(journal.plan, device=device, journal=journal)
        assert footprint.lacking(journal.plan, journal) == [EMPTY, *(f"{n:064x}" for n in range(3))]
    assert footprint.lacking(plan(), journals.create(tmp_path / "ops.sqlite", plan())) == []


@pytest.mark.parametrize("fault", ["footprint dies", "footprint says both", "footprint is nothing"])
def test_a_process_that_breaks_off_is_begun_anew_twice(
    fault: str, stand_in: Callable[..., Device], plan: Callable[..., Plan]
) -> None:
    device, processes = counted(stand_in(fault))
    with pytest.raises(DeviceLost):
        footprint.of_file(device, "onnxruntime", EMPTY)
    assert processes.opened == 3


def test_a_footprint_stands_in_a_journal_once_and_is_of_its_plan(plan: Callable[..., Plan], tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with journals.create(path, network_plan(plan)) as journal:
        journal.add_footprint(EMPTY, SOME_KIB)
        with pytest.raises(FileInvalid):
            journal.add_footprint(EMPTY, SOME_KIB)
        for wrong in (replace(SOME_KIB, reason="why"), replace(SOME_KIB, peak_rss_kib=None)):
            with pytest.raises(FileInvalid):
                journal.add_footprint(f"{1:064x}", wrong)
        journal.add_footprint(f"{77:064x}", SOME_KIB)
    with pytest.raises(FileInvalid, match="damaged") as caught:
        journals.open_journal(path)
    assert "footprints" in caught.value.why


@pytest.mark.slow
def test_a_simulated_device_says_what_it_was_made_to_hold(tmp_path: Path) -> None:
    machine = Machine(runtime_bytes=1e7, weight_copies=3.0, map_copies=2.0)
    device = simulated(tmp_path / "files", machine=machine, own_process=False)
    scope = Scope(fit=3, holdout=1, rounds=1, rounds_most=1, seed=0)
    bench(SPACE, device=device, runtime="simulated", folder=tmp_path, scope=scope)
    lut = read(tmp_path / TABLE)
    # Two sessions that begin within a second stand in any order: only the first pass measured memory.
    assert [record["empty_rss_kib"] for record in lut.sessions if "empty_rss_kib" in record] == [-(-(10**7) // 1024)]
    assert len(lut.networks) == 4
    for row in lut.networks:
        subnet = SPACE.subnet(list(bytes.fromhex(row.genome)))
        true_bytes = 1e7 + 3 * 4 * params(subnet) + 2 * peak_activation_bytes(subnet)
        assert row.peak_rss_kib == np.ceil(true_bytes / 1024)
    before = (tmp_path / TABLE / "networks.csv").read_bytes()
    bench(SPACE, device=device, runtime="simulated", folder=tmp_path, scope=scope)
    assert (tmp_path / TABLE / "networks.csv").read_bytes() == before
    with journals.open_journal(tmp_path / JOURNAL) as journal:
        assert len(journal.sessions()) == 1


def test_verified_files_tell_their_memory_and_anchors_are_not_asked(
    stand_in: Callable[..., Device], tmp_path: Path
) -> None:
    device, processes = counted(stand_in())
    store = Artefacts(device.transport.files).store
    model = tmp_path / "model.onnx"
    model.write_bytes(b"a")
    anchors = {"net": Anchor(file=store(b"1"), ns=2000)}
    found = measure(
        {"model": model}, device=device, runtime="onnxruntime", folder=tmp_path / "verify", reference=store(b"r"),
        anchors=anchors, rounds=2,
    )  # fmt: skip
    name = store(b"a").name
    assert found.verdicts[0].peak_rss_mib == (51_000 + int(name[-1], 16)) / 1024
    assert processes.opened == 1 + 2 + 1


HOST = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_footprint import measured_whole
measured_whole(Path({folder!r}), on_progress=lambda *step: print(*step[:2], flush=True))
"""


def measured_whole(folder: Path, on_progress: OnProgress = quiet, *, own_process: bool = True) -> Lut:
    """Measure four networks on a simulated device, and return the table."""
    device = simulated(folder / "files", own_process=own_process)
    chosen = bench_plan(
        device, "simulated", Artefacts(device.transport.files), ops=(), reference=middle(SPACE),
        networks=[(subnet, "fit") for subnet in NETWORKS], seed=1, rounds=1, protocol=Rounds(rounds_most=1),
    )  # fmt: skip
    with journals.resume(folder / JOURNAL, chosen) as journal:
        session = run(chosen, device=device, journal=journal)
        footprint.run(chosen, device=device, journal=journal, session=session, on_progress=on_progress)
        return table(journal)


@pytest.mark.slow
def test_a_host_killed_between_networks_measures_the_rest_and_none_twice(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    host = subprocess.Popen(
        [sys.executable, "-c", HOST.format(here=str(Path(__file__).parent), folder=str(folder))],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert host.stdout is not None
    for said in host.stdout:
        if said == "3 5\n":
            break
    host.kill()
    host.wait()
    host.stdout.close()
    with journals.open_journal(folder / JOURNAL) as journal:
        before = journal.footprints()
    assert 3 <= len(before) < 5
    lut = measured_whole(folder)
    with journals.open_journal(folder / JOURNAL) as journal:
        after = journal.footprints()
    assert {file: after[file] for file in before} == before and len(after) == 5
    assert len({entry.session for entry in after.values()}) == 2
    undisturbed = measured_whole(tmp_path / "once", own_process=False)
    assert [row.peak_rss_kib for row in lut.networks] == [row.peak_rss_kib for row in undisturbed.networks]
    assert all(row.peak_rss_kib for row in lut.networks)


@pytest.mark.slow
def test_a_real_process_holds_the_network_and_not_what_the_host_holds(device: Device) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    pytest.importorskip("onnx", reason="the package 'onnx' is not installed")
    held = np.ones(50_000_000)
    _, about = ready_runtime(device, "onnxruntime")
    small = footprint.of_file(device, "onnxruntime", EMPTY).peak_rss_kib
    large_space = spaces.load("mobilenet_v3")
    subnet = middle(large_space)
    file = Artefacts(device.transport.files).for_network(ops_of(subnet), about)
    large = footprint.of_file(device, "onnxruntime", file.name).peak_rss_kib
    absent = footprint.of_file(device, "onnxruntime", "0" * 64)
    assert small is not None and large is not None
    assert 10_000 < small < held.nbytes / 1024 / 2
    # At the least the parameters once; at the most the file, the parsed and the packed weights, and as much again.
    assert 1.0 < (large - small) * 1024 / (4 * params(subnet)) < 6.0
    assert absent.peak_rss_kib is None and absent.reason and "FileNotFound" in absent.reason
