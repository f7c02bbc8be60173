"""Phones that do not exist, each adb server at a port of its own, and nothing left of either."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adb.adbd_double import Phone
from harness.artefacts import agent_archive
from harness.transport.adb import Adb


@pytest.fixture
def adb_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Return the port of an adb server of this test's own, with a home and keys of its own."""
    program = shutil.which("adb")
    if program is None:
        pytest.skip("the package 'adb' is not installed")
    for name in ("ANDROID_SERIAL", "ANDROID_ADB_SERVER_PORT", "ADB_SERVER_SOCKET", "ADB_TRACE"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ADB_VENDOR_KEYS", str(home))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert port != 5037
    yield port
    variables = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(port)}
    subprocess.run([program, "kill-server"], env=variables, capture_output=True, timeout=30)


@pytest.fixture
def phone(tmp_path: Path) -> Iterator[Callable[..., Phone]]:
    """Return a function that makes a phone; what it is given is what the phone can do."""
    made: list[Phone] = []

    def make(**settings: bool) -> Phone:
        made.append(Phone(tmp_path / f"phone{len(made)}", **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def reach(tmp_path: Path, adb_port: int) -> Callable[..., Adb]:
    """Return a function that gives the transport to a phone."""
    agent = agent_archive(tmp_path / "agent")

    def transport(phone: Phone, **changes: object) -> Adb:
        settings = {
            "device": "some-phone", "serial": phone.serial, "python": sys.executable, "agent": agent,
            "files": tmp_path / "files", "folder": str(phone.folder / "ofa-lab"), "server_port": adb_port,
            "environment": {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        }  # fmt: skip
        return Adb(**{**settings, **changes})  # type: ignore[arg-type]

    return transport
