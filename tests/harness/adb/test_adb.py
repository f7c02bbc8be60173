"""The agent on a phone over one long shell: it speaks, it ends with its host, and it leaves nothing behind."""

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from adb.adbd_double import Phone, within
from harness import journal as journals
from harness.artefacts import File
from harness.inventory import Device
from harness.plan import Plan
from harness.protocol import VERSION, Conversation
from harness.session import run
from harness.transport.adb import Adb
from ofa.errors import DeviceLost, MeasurementRefused, UsageInvalid

Make = Callable[..., Phone]
Reach = Callable[..., Adb]


def alive(process: int) -> bool:
    """Say whether a process runs: one that ended may be there still, until its parent has asked."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(process: int, most_s: float = 30.0) -> bool:
    deadline_s = time.monotonic() + most_s
    while alive(process) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return not alive(process)


@pytest.mark.slow
def test_a_plan_is_measured_whole_over_adb(
    phone: Make, reach: Reach, device: Device, plan: Callable[..., Plan], onnx_files: list[File], tmp_path: Path
) -> None:
    way = reach(phone())
    for file in onnx_files:
        way.push(device.transport.files / file.name, file.name)
    asked = plan(onnx_files, rounds=1)
    with journals.create(tmp_path / "journal.sqlite", asked) as journal:
        run(asked, device=replace(device, transport=way), journal=journal)
        assert len(journal.samples()) == len(asked.items)
        _, record = journal.sessions()[0]
    assert "127.0.0.1" not in str(record)


@pytest.mark.slow
def test_the_agent_ends_with_its_host(phone: Make, reach: Reach) -> None:
    one = phone()
    way = reach(one)
    for end in ("close", "kill"):
        channel = way.open()
        assert Conversation(channel, "p").greet().protocol == VERSION
        agent = int(channel.process or 0)
        assert alive(agent)
        with within():
            getattr(channel, end)()
        assert gone(agent)
    way.end()
    # Sent once, and not again by the second start.
    assert [path.name for path in (one.folder / "ofa-lab").glob("agent-*")] == [f"agent-{_digest(way.agent)[:16]}.pyz"]


def _digest(path: Path) -> str:
    from ofa.files import sha256_file

    return sha256_file(path)


@pytest.mark.slow
def test_an_agent_that_outlives_its_input_is_killed_with_what_it_started(phone: Make, reach: Reach) -> None:
    one = phone()
    one.hangs_up = False
    child = one.folder / "child"
    one.tool("stubborn", f"trap '' HUP\nsleep 300 & echo $! > {child}\nwhile true; do sleep 300; done")
    channel = reach(one, python=str(one.tools / "stubborn")).open()
    agent = int(channel.process or 0)
    deadline_s = time.monotonic() + 20
    while not (child.exists() and child.read_text().strip()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    with within():
        channel.close()
    assert gone(agent) and gone(int(child.read_text()))


@pytest.mark.slow
def test_another_process_that_has_the_number_now_is_spared(phone: Make, reach: Reach) -> None:
    channel = reach(phone()).open()
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        channel.close()
        channel.process = str(bystander.pid)
        channel.kill()
        assert bystander.poll() is None and alive(bystander.pid)
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.slow
def test_a_daemon_that_dies_in_mid_answer_is_a_lost_device(phone: Make, reach: Reach) -> None:
    one = phone()
    channel = reach(one).open()
    one.bytes_until_gone = 200
    with within(), pytest.raises(DeviceLost) as fault:
        Conversation(channel, "p").greet()
    assert "offline" in fault.value.why or "does not list" in fault.value.why
    with within():
        channel.kill()
    assert gone(int(channel.process or 0))


@pytest.mark.slow
def test_a_frozen_phone_is_given_up(phone: Make, reach: Reach) -> None:
    one = phone()
    channel = reach(one).open()
    one.frozen.set()
    with within():
        with pytest.raises(DeviceLost, match="stopped answering"):
            Conversation(channel, "p").greet(patience_s=1)
        channel.kill()


@pytest.mark.slow
def test_garbage_from_the_agent_is_refused(phone: Make, reach: Reach) -> None:
    one = phone()
    one.tool("garbage", "head -c 100000000 /dev/zero")
    channel = reach(one, python=str(one.tools / "garbage")).open()
    with within():
        with pytest.raises(DeviceLost, match="cannot be used"):
            Conversation(channel, "p").greet()
        channel.kill()


@pytest.mark.slow
def test_a_phone_that_cannot_run_the_agent_says_why(phone: Make, reach: Reach) -> None:
    with pytest.raises(MeasurementRefused, match="over adb") as refusal:
        reach(phone(shell_v2=False)).open()
    assert "shell_v2" in str(refusal.value)
    channel = reach(phone(), python="no-such-python").open()
    with pytest.raises(DeviceLost) as fault:
        Conversation(channel, "p").greet()
    channel.kill()
    assert "127" in fault.value.why and "no-such-python" in fault.value.why


@pytest.mark.slow
def test_folder_and_settings_may_hold_anything_printable(phone: Make, reach: Reach) -> None:
    one = phone()
    folder = one.folder / "a b'$(touch sprung)`\"; exit 3; é,*"
    said = "; touch sprung; '\"$(touch sprung)"
    way = reach(one, folder=str(folder), environment={"OFA_TEST_SETTING": said})
    channel = way.open()
    # Until it has greeted, the shell may not have become the agent yet.
    assert Conversation(channel, "p").greet().protocol == VERSION
    settings = Path(f"/proc/{channel.process}/environ").read_bytes().split(b"\0")
    assert b"OFA_TEST_SETTING=" + said.encode() in settings
    channel.close()
    assert not list(one.folder.rglob("sprung")) and (folder / "files").is_dir()


@pytest.mark.parametrize(
    "changes",
    [
        {"folder": "relative"}, {"folder": "/data/../etc"}, {"folder": "/data/a\nb"}, {"serial": "-s"},
        {"environment": {"A;B": "1"}}, {"environment": {"A": "x\ny"}},
    ],
    ids=str,
)  # fmt: skip
def test_what_no_phone_can_be_told_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    settings = {"device": "p", "serial": "R5", "python": "python3", "agent": tmp_path, "files": tmp_path}
    with pytest.raises(UsageInvalid):
        Adb(**{**settings, **changes})  # type: ignore[arg-type]
    assert Adb(**settings).remote  # type: ignore[arg-type]


@pytest.mark.slow
def test_twenty_phones_greet_through_one_server(phone: Make, reach: Reach) -> None:
    ways = [reach(phone()) for _ in range(20)]

    def greet(way: Adb) -> int:
        channel = way.open()
        try:
            return Conversation(channel, "p").greet().protocol
        finally:
            channel.close()

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(greet, ways)) == [VERSION] * 20
