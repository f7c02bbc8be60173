"""Work goes on while the link is down: nothing is lost, nothing comes twice, and nobody waits for ever."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Self

import pytest
from far import Cut, Far, Spoil, Take, far, stray
from unbroken import HALVES, half, idle, measured, notes, once, triples, values, whole

from harness import journal as journals
from harness import lease as leases
from harness.artefacts import Artefacts, File
from harness.footprint import of_file
from harness.inventory import Device
from harness.link import Link
from harness.plan import Plan, Rounds
from harness.protocol import MAX_ANSWER_BYTES
from harness.session import run
from harness.supply import supply
from ofa.errors import DeviceAway, DeviceLost

pytestmark = [pytest.mark.slow]
# Long enough that a batch lives for a second or two.
LONG = Rounds(cold_cycles=4, hot_bursts=2, burst_us=20, canary_calls=1, canary_us=0, rounds_most=1)


@pytest.fixture
def away(tmp_path: Path) -> tuple[Device, Far]:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    return far(tmp_path)


@pytest.fixture
def files(away: tuple[Device, Far], onnx_bytes: list[bytes]) -> list[File]:
    return [Artefacts(away[0].transport.files).store(data) for data in onnx_bytes]


def test_files_come_once_and_jobs_go(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path
) -> None:
    device, link = away
    wanted = plan(files)
    with measured(device, wanted, tmp_path / "journal.sqlite") as journal:
        assert triples(journal) == whole(wanted) and {row.attempt for row in journal.samples()} == {1}
    assert len(link.faults.pushed) == 1, "all files in one pack"
    assert {path.name for path in link.inner.files.iterdir()} == {file.name for file in files}
    assert not list(link.jobs.iterdir()) and idle(link.workers)


def test_a_lease_is_renewed_while_files_are_on_their_way(
    away: tuple[Device, Far], files: list[File], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, link = away
    monkeypatch.setenv("OFA_LAB", str(tmp_path / "lab"))
    monkeypatch.setattr("harness.supply.RENEW_S", 0.0)
    lease = link.inner.files.parent / "lease.json"
    held_s: list[float] = []

    def slowly(self: Far, path: Path, name: str, *, on_bytes: Callable[[int, int], None]) -> None:
        shutil.copy(path, self.inner.files / name)
        for part in range(3):
            held_s.append(json.loads(lease.read_text())["until_s"])
            time.sleep(0.05)
            on_bytes(part, 3)

    monkeypatch.setattr(Far, "push", slowly)
    with leases.held(device, tmp_path / "run") as mine, Link(mine) as opened:
        supply(opened, [file.name for file in files])
    assert held_s == sorted(set(held_s)) and len(held_s) == 3
    assert {path.name for path in link.inner.files.iterdir()} == {file.name for file in files}


@pytest.mark.parametrize("after", [0, 1, 2, 3, 4, 7, 11])
def test_a_link_that_is_cut_anywhere_costs_nothing(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path, after: int
) -> None:
    device, link = away
    wanted = plan(files, rounds=1)
    link.faults.cut_after = [99, after, after, 99]
    with measured(device, wanted, tmp_path / "journal.sqlite") as journal:
        assert triples(journal) == whole(wanted)
    assert idle(link.workers)


def malformed(take: Take, given: list[bytes], held: list[bytes]) -> bytes:
    return take()[:-9]


def oversized(take: Take, given: list[bytes], held: list[bytes]) -> bytes:
    return take()[:-1] + b" " * MAX_ANSWER_BYTES + b"}"


def replayed(take: Take, given: list[bytes], held: list[bytes]) -> bytes:
    return given[-1]


def reordered(take: Take, given: list[bytes], held: list[bytes]) -> bytes:
    if held:
        return held.pop()
    held.append(take())
    return take()


# Of two lines that change places there must be two: what is followed has more than one.
SPOILT = [(spoil, after) for spoil in (stray, malformed, oversized, replayed) for after in (1, 5)] + [(reordered, 5)]


@pytest.mark.parametrize(("spoil", "after"), SPOILT, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_no_answer_is_no_record(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path,
    spoil: Spoil, after: int, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("harness.link.SILENCE_S", 5.0)
    device, link = away
    wanted = plan(files, rounds=1)
    link.faults.garbage_after, link.faults.garbage = [99, after], spoil
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
    assert time.monotonic() - began_s < 60 and "nobody answers" in lost.value.why


@pytest.mark.parametrize(("fault", "calls"), [(DeviceAway, 0), (DeviceLost, 1)])
def test_a_device_that_stayed_away_is_not_asked_for_its_lease(
    fault: type[DeviceLost], calls: int, away: tuple[Device, Far], tmp_path: Path
) -> None:
    """It was waited for as long as anything may take; the lease runs out by itself."""
    device, link = away
    with pytest.raises(fault), leases.held(device, tmp_path):
        opened = link.faults.opened
        raise fault("it is gone")
    assert link.faults.opened == opened + calls


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


class LastYear(datetime):
    """The date of a host whose clock was set back."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time() - 365 * 86400, tz)


@pytest.mark.parametrize("clock", [datetime, LastYear], ids=["later", "clock set back"])
def test_a_host_that_comes_back_takes_what_was_measured_meanwhile(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path,
    clock: type[datetime], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
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
    began, *rest = [json.loads(line) for line in (job / "journal.jsonl").read_bytes().splitlines()]
    monkeypatch.setattr("harness.session.datetime", clock)
    with measured(device, wanted, tmp_path / "journal.sqlite") as journal:
        assert triples(journal) == whole(wanted) and began["attempt"] == 1
        assert values(journal) == {row["item"]: row["wall_min_ns"] for row in rest if row["ev"] == "sample"}
    assert not list(link.jobs.iterdir())


def test_an_error_of_the_worker_is_told_and_its_job_ends(
    away: tuple[Device, Far], plan: Callable[..., Plan], files: list[File], tmp_path: Path
) -> None:
    device, link = away
    wanted = plan(files, rounds=1, protocol=HALVES)

    def fail() -> None:
        """Let the worker have found no room."""
        for worker in link.workers():
            os.kill(worker, signal.SIGSTOP)
        for journal in link.jobs.glob("*/journal.jsonl"):
            with journal.open("ab") as stream:
                stream.write(b'{"id":0,"ev":"error","reason":"OSError: No space left on device"}\n')

    with once(lambda: half(link.jobs), fail):
        journal = measured(device, wanted, tmp_path / "journal.sqlite")
    with journal:
        assert triples(journal) == whole(wanted) and {row.attempt for row in journal.samples()} == {2}
        assert "No space left" in notes(journal)[0]
    assert link.no_worker_is_left() and not list(link.jobs.iterdir())


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
    assert link.no_worker_is_left() and not list(link.jobs.iterdir())


def test_memory_is_measured_in_a_worker_too(away: tuple[Device, Far], files: list[File]) -> None:
    device, link = away
    found = of_file(device, "onnxruntime", files[0].name)
    assert found.peak_rss_kib and found.peak_rss_kib > 10_000
    assert not list(link.jobs.iterdir())
