"""The real agent over a real OpenSSH server: it starts, answers, ends, and opens nothing."""

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from transport.lab import Sshd, command_of, make_key

from harness.protocol import Conversation
from harness.transport.ssh import Ssh
from harness.transport.sshchannel import KILL
from harness.transport.sshline import run, words
from ofa.errors import DeviceLost, MeasurementRefused, UsageInvalid

# One way's word is another's option, pattern, command, variable or end of a quotation.
HOSTILE = "-a b'c\"d $(touch x) `touch x`; touch x & * ~ \\ ! {a,b} ü"


@pytest.mark.slow
def test_the_agent_says_hello_and_leaves(sshd: Sshd, way: Callable[..., Ssh]) -> None:
    ssh = way(sshd, environment={"OMP_NUM_THREADS": "1"})
    channel = ssh.open()
    hello = Conversation(channel, "board").greet()
    assert hello.protocol == 2 and ssh.remote and len(sshd.agents()) == 1
    assert sorted(path.name for path in (sshd.home / ".cache" / "ofa-lab").iterdir()) == [channel.mark]
    channel.close()
    assert sshd.ended()
    with pytest.raises(DeviceLost):
        channel.receive(timeout_s=1, max_bytes=100)
    channel.kill()


@pytest.mark.slow
def test_one_connection_carries_all_and_is_made_anew(sshd: Sshd, way: Callable[..., Ssh]) -> None:
    ssh = way(sshd)
    channels = [ssh.open() for _ in range(3)]
    threads = [threading.Thread(target=lambda: channels.append(ssh.open())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    log = sshd.folder / "sshd.log"
    for channel in channels:
        Conversation(channel, "board").greet()
    assert len(sshd.agents()) == 6 and log.read_text().count("Accepted publickey") == 1
    for channel in channels:
        channel.kill()
    assert sshd.ended()
    ssh.end()
    ssh.open().close()
    assert log.read_text().count("Accepted publickey") == 2


@pytest.mark.slow
def test_an_agent_is_the_first_of_a_group_and_ends_with_it(
    sshd: Sshd, way: Callable[..., Ssh], as_agent: Callable[..., Ssh], tmp_path: Path
) -> None:
    program = (
        "import subprocess, sys, os\n"
        "subprocess.Popen(['sleep', '300'])\n"
        "print(os.getpid(), os.getpgid(0), flush=True)\n"
        "sys.stdin.read(1)\nimport time\ntime.sleep(300)\n"
    )
    channel = as_agent(way(sshd), tmp_path, program).open()
    number, group = channel.receive(timeout_s=60, max_bytes=100).split()
    assert number == group and channel.pid == number.decode()
    # A process has its command line a moment after it is there.
    began_s = time.monotonic()
    while "sleep 300" not in sshd.processes().values():
        assert time.monotonic() - began_s < 60
    began_s = time.monotonic()
    channel.kill()
    assert time.monotonic() - began_s < 60
    assert sshd.ended() and "sleep 300" not in sshd.processes().values()


@pytest.mark.slow
def test_a_number_that_is_somebody_elses_by_now_is_left_alone(
    sshd: Sshd, way: Callable[..., Ssh], as_agent: Callable[..., Ssh], tmp_path: Path
) -> None:
    ssh = as_agent(way(sshd), tmp_path, "import time\nprint('here', flush=True)\ntime.sleep(300)\n")
    channel = ssh.open()
    assert channel.receive(timeout_s=60, max_bytes=100) == b"here"
    right, channel.mark = channel.mark, "agent-before-the-restart.pyz"
    channel.kill()
    assert len(sshd.agents()) == 1
    run(ssh.line, ssh.route, ["sh", "-c", KILL, "sh", str(sshd.agents()[0]), right], timeout_s=10)
    assert sshd.ended()


@pytest.mark.slow
@pytest.mark.parametrize("folder", [HOSTILE, "~/deep/er", "/absolute"])
def test_hostile_names_are_only_names(sshd: Sshd, way: Callable[..., Ssh], tmp_path: Path, folder: str) -> None:
    (sshd.home / "bin $HOME").mkdir()
    (sshd.home / "bin $HOME" / "python -c").symlink_to(sys.executable)
    where = f"{tmp_path}{folder}" if folder.startswith("/") else folder
    ssh = way(sshd, folder=where, python="bin $HOME/python -c", environment={"PROBE": HOSTILE, "_": "-i"})
    model = tmp_path / "model"
    model.write_bytes(b"model")
    ssh.push(model, "0" * 64)
    channel = ssh.open()
    Conversation(channel, "board").greet()
    [agent] = sshd.agents() or [int(channel.pid or 0)]
    variables = Path(f"/proc/{agent}/environ").read_bytes().split(b"\0")
    channel.close()
    assert b"PROBE=" + HOSTILE.encode() in variables
    at = Path(where.removeprefix("~/"))
    assert (sshd.home / at / "files" / ("0" * 64)).read_bytes() == b"model"
    assert (sshd.home / at).stat().st_mode & 0o777 == (sshd.home / at / "files").stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.rglob("x"))


def test_words_survive_a_shell_or_are_refused() -> None:
    import subprocess

    chosen = ["printf", "%s\\n", HOSTILE, "", "'", "a=b", "-n"]
    said = subprocess.run(["sh", "-c", words(chosen)], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == chosen[2:]
    for word in ("a\nb", "a\x00b", "\x1b[0m", "a\rb", "\udc80"):
        with pytest.raises(UsageInvalid):
            words([word])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"folder": "a\nb"}, UsageInvalid),
        ({"environment": {"A B": "x"}}, UsageInvalid),
        ({"environment": {"-i": "x"}}, UsageInvalid),
        ({"environment": {"A": "x\ny"}}, UsageInvalid),
        ({"python": "a=b"}, MeasurementRefused),
        ({"python": "-c"}, MeasurementRefused),
        ({"python": ""}, MeasurementRefused),
        ({"python": "python-that-is-not-there"}, MeasurementRefused),
        ({"python": "/dev/null"}, MeasurementRefused),
        ({"folder": "/proc/none"}, MeasurementRefused),
    ],
)
def test_what_cannot_be_started_says_so(
    sshd: Sshd, way: Callable[..., Ssh], change: dict[str, object], kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        way(sshd, **change).open()
    assert "try:" in str(caught.value)


@pytest.mark.slow
def test_a_device_behind_another(sshd: Sshd, way: Callable[..., Ssh], tmp_path: Path) -> None:
    inner = Sshd(tmp_path / "inner")
    try:
        inner.start()
        address = replace(inner.address, jump=sshd.address)
        with pytest.raises(DeviceLost, match="not trusted"):
            way(inner, address=address).open()
        with inner.known_hosts.open("a") as stream:
            stream.write(sshd.known_hosts.read_text())
        hosts = inner.folder / "both"
        hosts.write_text((inner.folder / "known_hosts").read_text() + sshd.known_hosts.read_text())
        ssh = way(inner, address=address, known_hosts=hosts)
        channel = ssh.open()
        Conversation(channel, "board").greet()
        assert len(inner.agents()) == 1 and sshd.ended()
        channel.close()
        inner.stop()
        with pytest.raises(DeviceLost) as caught:
            replace(ssh).open()
        assert str(sshd.address) in caught.value.why
    finally:
        inner.stop()


@pytest.mark.slow
def test_nothing_listens(sshd: Sshd, way: Callable[..., Ssh]) -> None:
    channel = way(sshd).open()
    Conversation(channel, "board").greet()
    listening = {socket for table in ("tcp", "tcp6", "udp", "udp6", "raw") for socket in open_sockets(table)}
    assert listening, "the server itself listens: a table without it was not read"
    assert {number for number in sshd.processes() if sockets_of(number) & listening}, "the server is not among them"
    for agent in sshd.agents():
        assert not sockets_of(agent) & listening, command_of(agent)
    assert sshd.agents()
    channel.close()


def open_sockets(table: str) -> set[str]:
    """Return the inodes of sockets that take what comes: listening ones, and all that have no connections."""
    lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return {row[9] for row in rows if row[3] == "0A" or not table.startswith("tcp")}


def sockets_of(number: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{number}/fd").iterdir():
        try:
            named = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(entry))
        except OSError:
            continue
        if named:
            found.add(named.group(1))
    return found


@pytest.mark.slow
def test_keys_that_cannot_be_used_are_told(sshd: Sshd, way: Callable[..., Ssh], tmp_path: Path) -> None:
    make_key(tmp_path / "stranger")
    (tmp_path / "letter").write_text("no key")
    identities = (tmp_path / "absent", tmp_path / "letter", tmp_path / "stranger")
    with pytest.raises(DeviceLost) as caught:
        way(sshd, address=replace(sshd.address, identities=identities)).open()
    assert "took none of 1 keys" in caught.value.why and "absent" in caught.value.why and "letter" in caught.value.why
    assert "ssh-copy-id" in str(caught.value)
    with pytest.raises(DeviceLost, match="reached"):
        way(sshd, address=replace(sshd.address, user="nobody-here")).open()
    with pytest.raises(DeviceLost) as caught:
        way(sshd, address=replace(sshd.address, identities=(tmp_path / "absent",))).open()
    assert "no key to log in" in caught.value.why


def test_json_is_what_programs_travel_as() -> None:
    from harness.transport.sshfiles import LOOK, SETTLE

    for program in (LOOK, SETTLE):
        assert eval(json.dumps(program)) == program
        compile(program, "device", "exec")
