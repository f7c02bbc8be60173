"""A device over SSH for each test that asks for one, and the way to it."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transport.lab import MISSING, SSHD, Link, Sshd, may_link

from harness.artefacts import agent_archive
from harness.transport.ssh import Ssh

pytest.importorskip("paramiko", reason="the package 'paramiko' is not installed")


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """Return a running device."""
    if not SSHD.exists():
        pytest.skip(MISSING)
    device = Sshd(tmp_path / "device")
    try:
        yield device.start()
    finally:
        device.stop()


@pytest.fixture
def link() -> Iterator[Link]:
    """Return a link to a network of its own, for a device on the other end of it."""
    if not SSHD.exists():
        pytest.skip(MISSING)
    if not may_link():
        pytest.skip("network namespaces need root and the package 'iproute2'")
    link = Link()
    try:
        yield link.start()
    finally:
        link.stop()


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Callable[..., Ssh]]:
    """Return what makes a way to a device; connections end with the test."""
    made: list[Ssh] = []

    def make(device: Sshd, **changes: Any) -> Ssh:
        known = {
            "device": "board", "address": device.address, "python": sys.executable, "known_hosts": device.known_hosts,
            "agent": agent_archive(tmp_path / "agent"), "files": tmp_path / "files",
            "connect_s": 15.0, "silence_s": 20.0,
        }  # fmt: skip
        made.append(Ssh(**{**known, **changes}))
        return made[-1]

    yield make
    for ssh in made:
        ssh.end()


@pytest.fixture
def as_agent() -> Callable[[Ssh, Path, str], Ssh]:
    """Return what puts a program of the test in the agent's place."""

    def make(ssh: Ssh, folder: Path, program: str) -> Ssh:
        path = folder / "stand_in.py"
        path.write_text(program)
        return replace(ssh, agent=path)

    return make
