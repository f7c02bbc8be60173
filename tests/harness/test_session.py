"""Rounds are whole or not there: agents and hosts are killed, sessions resumed, and nothing is lost or repeated."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest

from harness import journal as journals
from harness.artefacts import File
from harness.inventory import Device
from harness.journal import Journal
from harness.plan import Item, Plan, Reference, Rounds, write
from harness.session import begin_session, ready_runtime, run
from ofa.errors import DeviceLost, MeasurementRefused


def triples(journal: Journal) -> list[tuple[int, str, str]]:
    items = journal.plan.items
    return sorted(
        (row.round, items[row.item].key, items[row.item].state) for row in journal.samples() if row.item is not None
    )


def expected(plan: Plan) -> list[tuple[int, str, str]]:
    return sorted((number, item.key, item.state) for number in range(plan.rounds) for item in plan.items)


@dataclass(slots=True)
class Spy:
    """A transport that remembers the processes it started."""

    inner: Any
    channels: list[Any] = field(default_factory=list)

    @property
    def agent(self) -> Path:
        return self.inner.agent  # type: ignore[no-any-return]

    @property
    def remote(self) -> bool:
        return False

    @property
    def private(self) -> tuple[str, ...]:
        return ()

    def open(self) -> Any:
        self.channels.append(self.inner.open())
        return self.channels[-1]


def spied(device: Device) -> tuple[Any, Spy]:
    from dataclasses import replace

    spy = Spy(device.transport)
    return replace(device, transport=spy), spy  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_plan_is_measured_whole(
    device: Device, plan: Callable[..., Plan], onnx_files: list[File], tmp_path: Path
) -> None:
    seen: list[tuple[int, int, str]] = []
    with journals.create(tmp_path / "journal.sqlite", plan(onnx_files)) as journal:
        run(journal.plan, device=device, journal=journal, on_progress=lambda *step: seen.append(step))
        assert triples(journal) == expected(journal.plan)
        assert {(row.round, row.state) for row in journal.references()} == {
            (r, s) for r in range(3) for s in ("hot", "cold")
        }
        _, record = journal.sessions()[0]
        assert record["environment"]["runtime"] == "onnxruntime" and len(record["environment_id"]) == 12
        before = journal.samples()
        run(journal.plan, device=device, journal=journal)
        assert journal.samples() == before and len(journal.sessions()) == 1
    assert seen[0][0] == 0 and seen[-1][:2] == (36, 36)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_each_round_is_another_process_and_order(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    watched, spy = spied(stand_in())
    with journals.create(tmp_path / "journal.sqlite", plan()) as journal:
        run(journal.plan, device=watched, journal=journal)
    assert len({channel.process.pid for channel in spy.channels}) == 1 + 3
    assert all(channel.process.returncode is not None for channel in spy.channels)
    assert len({str(plan().batches(number)) for number in range(3)}) == 3
    assert plan().batches(1) == plan().batches(1) != plan(seed=6).batches(1)


def test_batches_keep_a_file_together(plan: Callable[..., Plan]) -> None:
    whole = plan()
    small = plan(protocol=whole.protocol.model_copy(update={"batch_files": 2}))
    batches = small.batches(0)
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert sorted(index for batch in batches for index in batch) == list(range(12))
    for batch in batches:
        assert len({small.items[index].file for index in batch}) == 2


@pytest.mark.parametrize(("files", "bytes_each"), [(4, 0), (100, 0), (7, 0), (100, 90)])
def test_batches_are_equally_large(files: int, bytes_each: int, plan: Callable[..., Plan]) -> None:
    """Cold items share a group with equally many others, wherever they fall."""
    items = [
        Item(key=f"op{n}.n1", kind="op", state=state, file=f"{n:064x}", size_bytes=bytes_each)
        for n in range(23)
        for state in ("cold", "hot")
    ]
    items += [Item(key=f"net:{n}", kind="network", state="hot", file=f"{100 + n:064x}") for n in range(5)]
    sized = plan(
        items=tuple(items),
        protocol=Rounds(batch_files=files, batch_bytes=500),
        reference=Reference(key="r", file=f"{0:064x}"),
    )
    batches = sized.batches(3)
    cold = [sum(sized.items[index].state == "cold" for index in batch) for batch in batches]
    names = [len({sized.items[index].file for index in batch}) for batch in batches]
    assert sorted(index for batch in batches for index in batch) == list(range(51))
    assert max(cold) - min(cold) <= 1 and max(names) <= files and sum(names) == 28
    assert max(names) - min(names) <= 1 and all(count * bytes_each <= 500 for count in cold)
    assert len(batches) == {(4, 0): 7, (100, 0): 1, (7, 0): 4, (100, 90): 5}[files, bytes_each]


@pytest.mark.slow
def test_an_agent_killed_in_mid_round_costs_nothing(
    device: Device, plan: Callable[..., Plan], onnx_files: list[File], tmp_path: Path
) -> None:
    watched, spy = spied(device)
    long = plan(onnx_files)
    long = long.model_copy(
        update={"protocol": long.protocol.model_copy(update={"hot_bursts": 220, "burst_least": 100, "burst_most": 100})}
    )
    killed: list[int] = []

    def kill_once(done: int, total: int, text: str) -> None:
        in_second_round = 12 < done < 24
        if in_second_round and not killed:
            killed.append(spy.channels[-1].process.pid)
            os.kill(killed[0], signal.SIGKILL)

    with journals.create(tmp_path / "journal.sqlite", long) as journal:
        run(long, device=watched, journal=journal, on_progress=kill_once)
        assert killed and triples(journal) == expected(long)
        assert {row.round: row.attempt for row in journal.samples()} == {0: 1, 1: 2, 2: 1}
        lost = journal.database.execute("SELECT round, attempt, note FROM ends WHERE status = 'lost'").fetchall()
    assert len(lost) == 1 and lost[0][:2] == (1, 1) and "signal 9" in lost[0][2]


@pytest.mark.slow
def test_a_host_killed_in_mid_plan_resumes(
    device: Device, plan: Callable[..., Plan], onnx_files: list[File], tmp_path: Path
) -> None:
    long = plan(onnx_files)
    long = long.model_copy(
        update={"protocol": long.protocol.model_copy(update={"hot_bursts": 220, "burst_least": 100, "burst_most": 100})}
    )
    write(long, tmp_path / "plan.json")
    host = f"""
        import pathlib
        from harness import inventory, journal, plan, session
        folder = pathlib.Path({str(tmp_path)!r})
        the_plan = plan.read(folder / "plan.json")
        device = inventory.this_computer(folder / "files")
        with journal.resume(folder / "journal.sqlite", the_plan) as opened:
            session.run(the_plan, device=device, journal=opened, on_progress=lambda *step: print(step[0], flush=True))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(host)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    for said in process.stdout:
        if 12 < int(said) < 24:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with journals.resume(tmp_path / "journal.sqlite", long) as journal:
        assert journal.complete_rounds() == {0}
        first = journal.samples()
        run(long, device=device, journal=journal)
        assert triples(journal) == expected(long)
        assert journal.samples()[: len(first)] == first
        assert {row.round: row.attempt for row in journal.samples()} == {0: 1, 1: 2, 2: 1}
        assert len(journal.sessions()) == 2


def test_ctrl_c_ends_the_agent_and_leaves_a_journal_that_resumes(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    watched, spy = spied(stand_in())

    def interrupt(done: int, total: int, text: str) -> None:
        if 12 < done < 24:
            raise KeyboardInterrupt

    with journals.create(tmp_path / "journal.sqlite", plan()) as journal, pytest.raises(KeyboardInterrupt):
        run(journal.plan, device=watched, journal=journal, on_progress=interrupt)
    deadline_s = time.monotonic() + 5
    while spy.channels[-1].process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert all(channel.process.returncode is not None for channel in spy.channels)
    with journals.resume(tmp_path / "journal.sqlite", plan()) as journal:
        run(journal.plan, device=stand_in(), journal=journal)
        assert triples(journal) == expected(journal.plan)
        assert {row.round: row.attempt for row in journal.samples()}[1] == 2


def test_a_changed_device_is_not_mixed_in(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    def interrupt(done: int, total: int, text: str) -> None:
        if done > 12:
            raise KeyboardInterrupt

    with journals.create(tmp_path / "journal.sqlite", plan()) as journal:
        with pytest.raises(KeyboardInterrupt):
            run(journal.plan, device=stand_in(), journal=journal, on_progress=interrupt)
        with pytest.raises(MeasurementRefused, match="no longer as it was") as caught:
            run(journal.plan, device=stand_in(STAND_IN_CPU="another"), journal=journal)
    assert "cpu" in caught.value.why


def test_a_device_that_stays_broken_ends_the_session_with_what_is_done_kept(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    with journals.create(tmp_path / "journal.sqlite", plan()) as journal:
        with pytest.raises(DeviceLost):
            run(journal.plan, device=stand_in("dies"), journal=journal)
        run(journal.plan, device=stand_in(), journal=journal)
        assert triples(journal) == expected(journal.plan)
        assert {row.round: row.attempt for row in journal.samples()} == {0: 4, 1: 1, 2: 1}


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        ('{"temperature_c": {"cpu": 70.5, "gpu": "unreadable"}}', "70.5 °C"),
        ('{"temperature_c": "unreadable"}', "no temperature"),
        ('{"temperature_c": {"cpu": 41}}', None),
    ],
)
def test_a_hot_device_is_not_measured(
    state: str, refused: str | None, stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path
) -> None:
    from dataclasses import replace

    device = stand_in(STAND_IN_STATE=state)
    calm = device.profile.calm.model_copy(update={"max_temp_c": 55.0})
    device = replace(device, profile=device.profile.model_copy(update={"calm": calm}))
    with journals.create(tmp_path / "journal.sqlite", plan(rounds=1)) as journal:
        if refused is None:
            run(journal.plan, device=device, journal=journal)
            return
        with pytest.raises(MeasurementRefused, match="not cool enough") as caught:
            run(journal.plan, device=device, journal=journal)
    assert refused in caught.value.why


def test_sessions_of_two_units_that_begin_in_one_second_are_two(
    stand_in: Callable[..., Device], plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that share a session are not merged: its rounds would count twice."""

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Stopped":
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr("harness.session.datetime", Stopped)
    device = stand_in()
    hello, runtime = ready_runtime(device, "onnxruntime")
    ids = []
    for name in ("one", "other"):
        with journals.create(tmp_path / f"{name}.sqlite", plan(rounds=1)) as journal:
            ids.append(begin_session(journal.plan, device, journal, hello, runtime))
    assert len(set(ids)) == 2 and all(identity.startswith("20260102T030405Z-") for identity in ids)
