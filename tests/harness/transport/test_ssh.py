"""The real agent over a real OpenSSH server: it starts, answers, ends, and files come whole."""

import time
from collections.abc import Callable

import pytest
from transport.lab import Sshd

from harness.protocol import Conversation
from harness.transport.ssh import Ssh
from ofa.errors import DeviceLost


def test_the_agent_says_hello(sshd: Sshd, way: Callable[..., Ssh]) -> None:
    ssh = way(sshd, environment={"OMP_NUM_THREADS": "1"})
    channel = ssh.open()
    hello = Conversation(channel, "board").greet()
    assert hello.protocol == 2 and ssh.remote
    assert len(sshd.agents()) == 1
    channel.close()
    assert sshd.agents() == []
    with pytest.raises(DeviceLost):
        channel.receive(timeout_s=1, max_bytes=100)


def test_a_killed_agent_is_gone_with_its_group(sshd: Sshd, way: Callable[..., Ssh]) -> None:
    channel = way(sshd).open()
    Conversation(channel, "board").greet()
    began_s = time.monotonic()
    channel.kill()
    assert time.monotonic() - began_s < 3 and sshd.agents() == []
