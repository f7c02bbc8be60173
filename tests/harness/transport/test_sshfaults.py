"""Everything a lab does to a device ends in an error that says so, after a bounded time, and in nothing else."""

import json
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from transport.lab import Link, Sshd, free_port, signal_to

from harness.protocol import Conversation
from harness.transport.lastwords import MOST_LINE_BYTES
from harness.transport.ssh import Ssh
from ofa.errors import DeviceLost

pytestmark = pytest.mark.slow

NOISE = """
import os, sys
for line in sys.stdin.buffer:
    os.write(2, (b"x" * 99 + b"\\n") * 84000)
    os.write(1, line)
"""
GARBAGE = """
import os
for _ in range(1600):
    os.write(1, b"g" * 65536)
"""
DEAF = "import time\nprint('here', flush=True)\ntime.sleep(300)\n"
LAST_WORDS = "import sys\nsys.stderr.write('first\\nno such thing as a GPU')\nsys.exit(3)\n"


@contextmanager
def told(limit_s: float, *parts: str) -> Iterator[None]:
    """Expect DeviceLost within a time, with some words in it and something to try."""
    began_s = time.monotonic()
    with pytest.raises(DeviceLost) as caught:
        yield
    took_s = time.monotonic() - began_s
    assert took_s < limit_s, f"it took {took_s:.1f} s"
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert "try:" in str(caught.value)


@contextmanager
def stranger(greeting: bytes | None) -> Iterator[int]:
    """Serve something else than SSH on a port: a greeting and the end, or nothing for ever."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                    if greeting is not None:
                        held[-1].sendall(greeting)
                        held[-1].close()
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)
            for sock in held:
                sock.close()


def unknown_name(*what: object, **how: object) -> object:
    """Answer as a resolver that does not know a name; no question leaves this computer."""
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_what_is_not_ssh(
    sshd: Sshd, way: Callable[..., Ssh], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port, told(20, "not SSH", "check the port"):
        way(sshd, address=replace(sshd.address, port=port)).open()
    with stranger(None) as port, told(20, "said nothing of SSH"):
        way(sshd, address=replace(sshd.address, port=port), connect_s=2.0).open()
    with stranger(b"") as port, told(20, "hung up"):
        way(sshd, address=replace(sshd.address, port=port)).open()
    with told(20, "nothing listens", "start sshd"):
        way(sshd, address=replace(sshd.address, port=free_port())).open()
    monkeypatch.setattr(socket, "getaddrinfo", unknown_name)
    with told(20, "is not known here"):
        way(sshd, address=replace(sshd.address, host="no-such-host.invalid")).open()
    said = capfd.readouterr()
    assert "Traceback" not in said.err + said.out


def test_the_server_is_killed_in_the_middle_of_an_answer(sshd: Sshd, way: Callable[..., Ssh]) -> None:
    channel = way(sshd, connect_s=5.0).open()
    Conversation(channel, "board").greet()
    channel.send(json.dumps({"id": 7, "do": "rest", "seconds": 30}).encode() + b"\n", timeout_s=5)
    threading.Timer(0.5, sshd.kill).start()
    with told(20, "the connection broke"):
        channel.receive(timeout_s=60, max_bytes=1 << 16)
    began_s = time.monotonic()
    channel.kill()
    assert time.monotonic() - began_s < 60


def test_the_agent_is_killed(sshd: Sshd, way: Callable[..., Ssh]) -> None:
    channel = way(sshd).open()
    Conversation(channel, "board").greet()
    [agent] = sshd.agents()
    threading.Timer(0.3, signal_to, (agent, signal.SIGKILL)).start()
    with told(20, "ended by a signal"):
        channel.receive(timeout_s=60, max_bytes=1 << 16)
    with told(20, "ended by a signal"):
        channel.send(b"{}\n", timeout_s=5)
    channel.kill()


def test_a_frozen_agent_is_ended(sshd: Sshd, way: Callable[..., Ssh]) -> None:
    channel = way(sshd).open()
    Conversation(channel, "board").greet()
    signal_to(sshd.agents()[0], signal.SIGSTOP)
    channel.send(b'{"id": 1, "do": "hello"}\n', timeout_s=5)
    with told(10, "nothing was heard for 1 s"):
        channel.receive(timeout_s=1, max_bytes=1 << 16)
    with told(20, "read nothing for 2 s"):
        channel.send(b" " * (16 << 20), timeout_s=2)
    channel.close()
    assert sshd.ended()


def test_a_frozen_device_is_given_up(sshd: Sshd, way: Callable[..., Ssh]) -> None:
    ssh = way(sshd, connect_s=4.0, silence_s=3.0)
    channel = ssh.open()
    Conversation(channel, "board").greet()
    sshd.freeze()
    with told(10, "nothing was heard for 1 s"):
        channel.receive(timeout_s=1, max_bytes=1 << 16)
    with told(30):
        channel.send(b" " * (16 << 20), timeout_s=2)
    with told(40, "cannot be reached"):
        ssh.open()
    began_s = time.monotonic()
    channel.kill()
    ssh.end()
    assert time.monotonic() - began_s < 60
    sshd.thaw()
    ssh.open().kill()


def test_a_noisy_agent_is_heard(
    sshd: Sshd, way: Callable[..., Ssh], as_agent: Callable[..., Ssh], tmp_path: Path
) -> None:
    channel = as_agent(way(sshd), tmp_path, NOISE).open()
    for number in range(2):
        channel.send(b"%d\n" % number, timeout_s=20)
        assert channel.receive(timeout_s=60, max_bytes=100) == b"%d" % number
    assert len(channel.drain.said.rest) <= MOST_LINE_BYTES
    channel.close()


def test_garbage_fills_no_memory(
    sshd: Sshd, way: Callable[..., Ssh], as_agent: Callable[..., Ssh], tmp_path: Path
) -> None:
    ssh = as_agent(way(sshd), tmp_path, GARBAGE)
    ssh.open().kill()
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    channel = ssh.open()
    with told(30, "more than 65,536 bytes"):
        channel.receive(timeout_s=20, max_bytes=1 << 16)
    time.sleep(1)
    channel.kill()
    assert sshd.ended()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 30 << 10


def test_last_words_are_told(sshd: Sshd, way: Callable[..., Ssh], as_agent: Callable[..., Ssh], tmp_path: Path) -> None:
    channel = as_agent(way(sshd), tmp_path, LAST_WORDS).open()
    with told(20, "exit code 3", "no such thing as a GPU"):
        channel.receive(timeout_s=20, max_bytes=100)
    channel.kill()


def test_a_deaf_agent_is_closed(
    sshd: Sshd, way: Callable[..., Ssh], as_agent: Callable[..., Ssh], tmp_path: Path
) -> None:
    channel = as_agent(way(sshd), tmp_path, DEAF).open()
    assert channel.receive(timeout_s=60, max_bytes=100) == b"here"
    channel.close()
    assert sshd.ended()


def test_more_sessions_than_the_server_allows(tmp_path: Path, way: Callable[..., Ssh], sshd: Sshd) -> None:
    sshd.stop()
    sshd.start("MaxSessions 1")
    ssh = way(sshd)
    channel = ssh.open()
    with told(20, "MaxSessions"):
        ssh.open()
    channel.kill()


def test_a_cut_link_is_noticed_and_a_short_cut_is_not(link: Link, way: Callable[..., Ssh], tmp_path: Path) -> None:
    device = Sshd(tmp_path / "far", link=link)
    try:
        ssh = way(device.start(), connect_s=6.0, silence_s=8.0)
        channel = ssh.open()
        conversation = Conversation(channel, "board")
        conversation.greet()
        link.down()
        threading.Timer(3, link.up).start()
        channel.send(b'{"id": 90, "do": "rest", "seconds": 1}\n', timeout_s=5)
        assert json.loads(channel.receive(timeout_s=20, max_bytes=1 << 16))["id"] == 90
        link.down()
        # Nobody speaks: the keepalive is what is never acknowledged.
        with told(40, "the connection broke"):
            channel.receive(timeout_s=60, max_bytes=1 << 16)
        with told(30, "cannot be reached"):
            ssh.open()
        link.up()
        channel.kill()
        assert device.agents() == []
        ssh.open().close()
    finally:
        device.stop()


def test_a_refused_login_tells_no_secret(sshd: Sshd, way: Callable[..., Ssh]) -> None:
    (sshd.folder / "authorized").write_text("")
    secret = "".join((sshd.folder / "login").read_text().splitlines()[1:-1])
    with pytest.raises(DeviceLost) as caught:
        way(sshd).open()
    assert "took none of 1 keys" in caught.value.why and "ssh-copy-id" in str(caught.value)
    said = str(caught.value) + (sshd.folder / "sshd.log").read_text()
    assert not [secret[at : at + 24] for at in range(0, len(secret) - 24, 24) if secret[at : at + 24] in said]
