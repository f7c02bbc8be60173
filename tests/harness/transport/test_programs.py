"""A program that stands for the agent on a board over SSH: real sshd, and a stand-in for trtexec that the board has."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from transport.lab import Sshd

import ofa.space as spaces
from harness.bench import Scope, bench
from harness.doctor import of_device
from harness.inventory import Device, Offer, load_profile
from harness.lease import asked, held, leased, owner
from harness.native.devices import over
from harness.native.transport import Native
from harness.plan import Way
from harness.session import greet, ready_runtime
from harness.transport.ssh import Ssh
from harness.transport.sshline import Finished, Line, run
from ofa.errors import DeviceLost, MeasurementRefused
from ofa.files import sha256_file

STAND_IN = Path(__file__).parents[1] / "native" / "stand_in_trtexec.py"


@pytest.fixture
def trtexec(tmp_path: Path) -> Path:
    """Return the stand-in as a program that the board has."""
    pytest.importorskip("onnx", reason="the package 'onnx' is not installed")
    path = tmp_path / "trtexec"
    path.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    path.chmod(0o700)
    return path


@pytest.fixture
def board(sshd: Sshd, way: Callable[..., Ssh], trtexec: Path) -> Device:
    """Return a board of a kind that has the program at a place of its own."""
    profile = load_profile("jetson-orin-nano")
    offer = Offer(units=("gpu",), precisions=("fp32", "fp16", "int8"), program=str(trtexec))
    # Nobody can tell how warm this computer is.
    calm = profile.calm.model_copy(update={"max_temp_c": None})
    profile = profile.model_copy(update={"runtimes": {"trtexec": offer}, "calm": calm})
    return Device(profile=profile, transport=way(sshd), unit="orin-1")


def by_program(board: Device, trtexec: Path, **changes: Any) -> Device:
    transport = over(board, "trtexec", trtexec, on_device=True)
    return replace(board, transport=replace(transport, **changes))


@pytest.mark.slow
def test_engines_are_built_and_timed_on_a_board_over_ssh(
    board: Device, trtexec: Path, tmp_path: Path, sshd: Sshd
) -> None:
    device = by_program(board, trtexec)
    space = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    way = Way(unit="gpu", precision="fp16")
    scope = Scope(fit=2, holdout=0, rounds=2, rounds_most=2, seed=0, ops=False, again=False, way=way)
    lut = bench(space, device=device, runtime="trtexec", folder=tmp_path / "run", scope=scope)
    assert len(lut.networks) == 2 and all(row.ns and row.status in ("ok", "noisy") for row in lut.networks)
    said = lut.header.environment
    assert (said["program_sha256"], lut.header.runtime_version) == (sha256_file(trtexec), "10.3.0")
    # What the board's own agent knows of it is in the environment, but for the Python that runs it.
    assert said["kernel"] != "unreadable" and "python" not in said and said["context"] == "shell"
    # The program was there; networks were brought, and of the engines only those that a round runs again are left.
    there = sorted(path.name for path in (sshd.home / ".cache/ofa-lab/files").iterdir())
    assert [name for name in there if name.endswith(".onnx")] and not [name for name in there if "trtexec" in name]
    assert not [name for name in there if name.startswith("result-")]
    kept = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert str(sshd.port).encode() not in kept and b"127.0.0.1" not in kept


@pytest.mark.slow
def test_a_program_and_the_agent_of_a_board_see_one_lease(
    board: Device, trtexec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that brings a program and one that brings the agent do not measure one board at once."""
    beside, lease = by_program(board, trtexec), {"do": "lease", "owner": "bob", "token": "b" * 32, "ttl_s": 60}
    assert leased(beside) and leased(board)
    monkeypatch.setenv("OFA_LAB", str(tmp_path / "lab"))
    with held(beside, tmp_path / "run") as mine:
        assert mine.lease is not None and greet(mine).environment
        refused = asked(board, lease)
        assert not refused.granted and refused.owner == owner()
    assert asked(board, lease).granted
    with pytest.raises(MeasurementRefused, match="held by bob"), held(beside, tmp_path / "run"):
        pass


@pytest.mark.slow
def test_both_outputs_come_as_one_and_every_wait_has_an_end(board: Device) -> None:
    way = board.transport
    assert isinstance(way, Ssh)
    way.ready()
    said = way.shell(["sh", "-c", "echo a; echo b >&2; exit 3"], timeout_s=20, max_bytes=100)
    assert (said.code, sorted(said.out.split())) == (3, [b"a", b"b"])
    words = ["printf", "%s|", "a b", "$(touch sprung)", "'\"", "-n", "é"]
    assert way.shell(words, timeout_s=20, max_bytes=100).out.decode() == "a b|$(touch sprung)|'\"|-n|é|"
    with pytest.raises(DeviceLost, match="did not end within"):
        way.shell(["sleep", "30"], timeout_s=1, max_bytes=100)
    with pytest.raises(DeviceLost, match="cannot be used"):
        way.shell(["head", "-c", "100000000", "/dev/zero"], timeout_s=20, max_bytes=1000)
    assert way.shell(["echo", "still"], timeout_s=20, max_bytes=100).out == b"still\n"


def test_a_command_that_goes_on_talking_is_over_by_the_clock() -> None:
    """It is never silent for long, and says little: neither of the other limits ends it."""

    def recv(most: int) -> bytes:
        time.sleep(0.001)
        return b"x"

    channel = MagicMock(recv=recv, recv_stderr=lambda most: b"")
    line = MagicMock(session=lambda route: (MagicMock(alive=False), channel))
    with pytest.raises(DeviceLost, match="did not end within"):
        run(line, MagicMock(device="board", connect_s=5.0), ["true"], timeout_s=0.05, most_bytes=500)


@pytest.mark.slow
def test_a_command_whose_connection_broke_is_no_command_that_failed(
    board: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of its session is seen a moment before that of the connection, and looks like that of a signal."""
    way = board.transport
    assert isinstance(way, Ssh)
    way.ready()
    assert way.shell(["sh", "-c", "kill -9 $$"], timeout_s=20, max_bytes=100).code == -1

    def broke(line: Line, *_: Any, **__: Any) -> Finished:
        assert line.link is not None
        threading.Timer(0.1, line.link.close).start()
        return Finished(status=-1, output=b"", last_words="")

    monkeypatch.setattr("harness.transport.ssh.run", broke)
    with pytest.raises(DeviceLost, match="the connection broke"):
        way.shell(["true"], timeout_s=20, max_bytes=100)


@pytest.mark.slow
def test_a_board_that_is_gone_is_a_lost_device(board: Device, trtexec: Path, sshd: Sshd) -> None:
    device = by_program(board, trtexec)
    assert isinstance(device.transport, Native) and not device.transport.remote
    assert device.transport.private == board.transport.private
    ready_runtime(device, "trtexec")
    sshd.stop()
    with pytest.raises(DeviceLost):
        ready_runtime(device, "trtexec")


@pytest.mark.slow
def test_a_check_says_which_program_a_board_has(board: Device, trtexec: Path) -> None:
    found = {check.what: check for check in of_device(lambda: board)}
    assert found["program trtexec"].fine and sha256_file(trtexec)[:12] in found["program trtexec"].seen
    trtexec.unlink()
    found = {check.what: check for check in of_device(lambda: board)}
    assert not found["program trtexec"].fine and "--program" in found["program trtexec"].remedy
