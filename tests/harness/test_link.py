"""Work goes on while the link is down: nothing is lost, nothing comes twice, and nobody waits for ever."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from far import Cut, Far, far

from harness import journal as journals
from harness.artefacts import Artefacts, File
from harness.footprint import of_file
from harness.inventory import Device
from harness.journal import Journal
from harness.link import Link
from harness.plan import Plan, Rounds
from harness.session import run
from ofa.errors import DeviceLost

pytestmark = [pytest.mark.slow]
# Long enough that a batch lives for a second or two.
LONG = Rounds(cold_cycles=4, hot_bursts=2, burst_us=20, canary_calls=1, rounds_most=1)


@pytest.fixture
def away(tmp_path: Path) -> tuple[Device, Far]:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    return far(tmp_path)


@pytest.fixture
def files(away: tuple[Device, Far], onnx_bytes: list[bytes]) -> list[File]:
    return [Artefacts(away[0].transport.files).store(data) for data in onnx_bytes]


def measured(device: Device, plan: Plan, path: Path, **options: Any) -> Journal:
    with journals.resume(path, plan) as journal:
        run(plan, device=device, journal=journal, **options)
    return journals.resume(path, plan)


def triples(journal: Journal) -> list[tuple[int, int | None, str]]:
    return sorted((row.round, row.item, "sample") for row in journal.samples())


def whole(plan: Plan) -> list[tuple[int, int, str]]:
    return [(number, item, "sample") for number in range(plan.rounds) for item in range(len(plan.items))]


def test_files_come_once_and_jobs_go(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path
) -> None:
    device, link = away
    wanted = plan(files)
    with measured(device, wanted, tmp_path / "journal.sqlite") as journal:
        assert triples(journal) == whole(wanted) and {row.attempt for row in journal.samples()} == {1}
    assert len(link.faults.pushed) == 1, "all files in one pack"
    assert {path.name for path in link.inner.files.iterdir()} == {file.name for file in files}
    assert not list(link.jobs.iterdir()) and not link.workers()


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 7, 11])
def test_a_link_that_is_cut_anywhere_costs_nothing(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path, after: int
) -> None:
    device, link = away
    wanted = plan(files, rounds=1)
    link.faults.cut_after = [99, after, after, 99]
    with measured(device, wanted, tmp_path / "journal.sqlite") as journal:
        assert triples(journal) == whole(wanted)
    assert not link.workers()


@pytest.mark.parametrize("after", [1, 3, 5])
def test_stray_output_is_no_record(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path, after: int
) -> None:
    device, link = away
    wanted = plan(files, rounds=1)
    link.faults.garbage_after = [99, after]
    with measured(device, wanted, tmp_path / "journal.sqlite") as journal:
        assert triples(journal) == whole(wanted)


def test_a_device_that_is_away_for_a_while_is_waited_for(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path
) -> None:
    device, link = away
    wanted = plan(files, rounds=1)
    link.faults.cut_after = [99, 3]

    def shut(done: int, total: int, text: str) -> None:
        if link.faults.opened == 2 and not link.faults.closed:
            link.faults.closed = 2

    with measured(device, wanted, tmp_path / "journal.sqlite", on_progress=shut) as journal:
        assert triples(journal) == whole(wanted)
    assert link.faults.opened >= 5


def test_a_device_that_stays_away_ends_the_wait(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path
) -> None:
    device, link = away
    open_link = Link(device, retry_s=2.5)
    link.faults.closed = 10**6
    channel = open_link.conversation.channel
    assert isinstance(channel, Cut)
    channel.inner.process.kill()
    began_s = time.monotonic()
    with pytest.raises(DeviceLost, match="stopped answering") as lost:
        open_link.greet()
    assert time.monotonic() - began_s < 10 and "nobody answers" in lost.value.why


@pytest.mark.parametrize("end", ["kill_workers", "reboot"])
def test_a_worker_that_dies_is_followed_by_another(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path, end: str
) -> None:
    device, link = away
    wanted = plan(files, rounds=1, protocol=LONG.model_copy(update={"cold_cycles": 10000, "hot_bursts": 1}))
    killed: list[int] = []

    def kill() -> None:
        deadline_s = time.monotonic() + 30
        while not killed and time.monotonic() < deadline_s:
            if link.workers() and any(path.stat().st_size for path in link.jobs.glob("*/journal.jsonl")):
                killed.extend(link.workers())
                getattr(link, end)()
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    with measured(device, wanted, tmp_path / "journal.sqlite") as journal:
        thread.join()
        assert killed and triples(journal) == whole(wanted)
        assert {row.attempt for row in journal.samples()} == {2} and journal.attempts_of(0) == 2
        (note,) = journal.database.execute("SELECT note FROM ends WHERE status = 'lost'").fetchall()
        assert "lost its worker (attempt 1)" in note[0]
        assert ("started anew" if end == "reboot" else "in the middle") in note[0]


def test_a_host_that_comes_back_takes_what_was_measured_meanwhile(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path
) -> None:
    """As after kill -9 of the host: its agent ends with the link, the worker goes on to the end of its batch."""
    device, link = away
    wanted = plan(files, rounds=1)
    # Greeted, told what is lacking, unpacked, started.
    link.faults.cut_after = [99, 4]

    def leave(done: int, total: int, text: str) -> None:
        if link.faults.opened == 2:
            link.faults.closed = 10**6

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("harness.link.RETRY_S", 0.1)
        with journals.resume(tmp_path / "journal.sqlite", wanted) as journal, pytest.raises(DeviceLost):
            run(wanted, device=device, journal=journal, on_progress=leave)
    link.faults.closed = 0
    deadline_s = time.monotonic() + 30
    while link.workers() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    (job,) = link.jobs.iterdir()
    before = (job / "journal.jsonl").read_bytes()
    began = json.loads(before.splitlines()[0])
    with measured(device, wanted, tmp_path / "journal.sqlite") as journal:
        assert triples(journal) == whole(wanted) and began["attempt"] == 1
        said = {row.item: row.wall_min_ns for row in journal.samples()}
    kept = [json.loads(line) for line in before.splitlines()]
    assert said == {row["item"]: row["wall_min_ns"] for row in kept if row["ev"] == "sample"}


def test_ctrl_c_ends_the_worker(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path
) -> None:
    device, link = away
    endless = {"cold_cycles": 10000, "hot_bursts": 1000, "burst_least": 10000, "burst_most": 10000}
    wanted = plan(files, rounds=1, protocol=LONG.model_copy(update=endless))

    def stop(done: int, total: int, text: str) -> None:
        if link.workers():
            raise KeyboardInterrupt

    with journals.resume(tmp_path / "journal.sqlite", wanted) as journal, pytest.raises(KeyboardInterrupt):
        run(wanted, device=device, journal=journal, on_progress=stop)
    assert not link.workers() and not list(link.jobs.iterdir())


def test_memory_is_measured_in_a_worker_too(away: tuple[Device, Far], files: list[File]) -> None:
    device, link = away
    found = of_file(device, "onnxruntime", files[0].name)
    assert found.peak_rss_kib and found.peak_rss_kib > 10_000
    assert not list(link.jobs.iterdir())
