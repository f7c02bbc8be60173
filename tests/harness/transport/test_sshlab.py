"""A lab over a real OpenSSH server: devices that differ measured at once, and two hosts that want the same one."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pytest
from transport.hosts import Host
from transport.lab import Sshd, signal_to

import ofa.space as spaces
from harness import bench as benches
from harness.artefacts import agent_archive
from harness.inventory import AGENT_ENVIRONMENT
from harness.journal import open_journal
from harness.plan import Rounds
from harness.protocol import Conversation
from harness.tables import JOURNAL, TABLE
from harness.transport.ssh import Ssh
from ofa.errors import MeasurementRefused
from ofa.lut.check import checked
from ofa.lut.format import Lut

pytestmark = pytest.mark.slow

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
WORDS = ["bench", "--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10", "--allow-load"]
SMALL = ["--rounds", "1", "--rounds-most", "1", "--no-again"]
FOUR = {
    "ort-int8": ("onnxruntime", 'precision = "int8"'),
    "ort": ("onnxruntime",),
    "xnnpack": ("litert",),
    "builtin": ("litert", 'kernels = "builtin"'),
}
PATIENCE_S = 90.0


@pytest.fixture
def subnets(tmp_path: Path) -> list[str]:
    """Return the words that ask for one small network and its ops only."""
    drawn = spaces.sample.random(SPACE, 1, np.random.default_rng(3))
    path = tmp_path / "subnets.json"
    path.write_text(json.dumps([SPACE.subnet(genome).to_json() for genome in drawn]))
    return ["--subnets", str(path)]


def needed() -> None:
    for package in ("onnx", "onnxruntime", "flatbuffers", "ai_edge_litert"):
        pytest.importorskip(package, reason=f"the package '{package}' is not installed")


def test_four_devices_that_differ_are_measured_at_once(
    sshd: Sshd, run: Any, tmp_path: Path, subnets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed()
    devices = {name: (sshd, f'runtime = "{runtime}"', *more) for name, (runtime, *more) in FOUR.items()}
    for name, value in Host(tmp_path / "host", devices).variables.items():
        monkeypatch.setenv(name, value)
    # How quiet this computer is, is not what is tested.
    monkeypatch.setattr(benches, "Rounds", partial(Rounds, drift_most=10.0, hot_bursts=1, cold_cycles=2))
    names = [word for name in FOUR for word in ("--device", name)]
    code, out, err = run(*WORDS, *SMALL, *subnets, *names, "--out", str(tmp_path / "run"), "--json")
    assert code == 0, err
    rows = json.loads(out)["devices"]
    assert [(row["device"], row["result"]) for row in rows] == [(name, "measured") for name in FOUR]
    luts = {name: checked(tmp_path / "run" / name / TABLE) for name in FOUR}
    assert {name: used(lut) for name, lut in luts.items()} == {
        "ort-int8": ("onnxruntime", "default", "int8"), "ort": ("onnxruntime", "default", "fp32"),
        "xnnpack": ("litert", "default", "fp32"), "builtin": ("litert", "builtin", "fp32"),
    }  # fmt: skip
    assert len({lut.header.environment_id for lut in luts.values()}) == 4, "they are four environments"
    assert len({frozenset(row[:2] for row in lut.rows) for lut in luts.values()}) == 1, "they have the same rows"
    for name in FOUR:
        assert once(tmp_path / "run" / name / JOURNAL)
        assert (sshd.home / f"of {name}" / "files").is_dir()
    assert sshd.ended(), "something was left on the device"


def used(lut: Lut) -> tuple[str, ...]:
    return tuple(str(lut.header.environment[name]) for name in ("runtime", "kernels", "precision"))


def once(path: Path) -> bool:
    """Say whether a journal has every item of its plan exactly once in each round."""
    with open_journal(path) as journal:
        rounds = journal.complete_rounds()
        found = Counter((row.round, row.item) for row in journal.samples())
        assert not journal.failures()
        wanted = {(number, item) for number in rounds for item in range(len(journal.plan.items))}
        return len(rounds) == journal.plan.rounds and set(found) == wanted and set(found.values()) == {1}


@pytest.fixture
def started() -> Iterator[list[Popen[str]]]:
    """Return a list of commands, none of which outlives the test."""
    commands: list[Popen[str]] = []
    yield commands
    for command in commands:
        command.kill()
        command.communicate(timeout=20)


def test_of_two_hosts_exactly_one_measures(
    sshd: Sshd, tmp_path: Path, subnets: list[str], started: list[Popen[str]]
) -> None:
    needed()
    for number in range(2):
        host = Host(tmp_path / f"host{number}", {"board": (sshd, 'runtime = "onnxruntime"')})
        started.append(host.start(*WORDS, *SMALL, *subnets, "--device", "board", "--out", str(host.folder / "run")))
    lease = sshd.home / "of board" / "lease.json"
    owner = str(json.loads(first_text(lease, started))["owner"])
    found = re.search(r"process (\d+)", owner)
    assert found
    [first] = [command for command in started if command.pid == int(found.group(1))]
    [second] = [command for command in started if command is not first]
    # The one that holds it waits, or it might be through before the other asks.
    signal_to(first.pid, signal.SIGSTOP)
    _, said = second.communicate(timeout=PATIENCE_S)
    signal_to(first.pid, signal.SIGCONT)
    assert second.returncode == MeasurementRefused.exit_code == 5, said
    assert f"device 'board' is held by {owner}" in " ".join(said.split()) and "ofa devices release board" in said
    assert "Traceback" not in said
    _, said = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0, said
    runs = [tmp_path / f"host{number}" / "run" / TABLE for number in range(2)]
    assert [path.exists() for path in runs] == [command is first for command in started]
    assert not lease.exists(), "the device was not given back"


def first_text(path: Path, commands: list[Popen[str]]) -> str:
    """Return what a file holds once it is there; who is to write it must be alive until then."""
    until_s = time.monotonic() + PATIENCE_S
    while not path.exists() and time.monotonic() < until_s and all(command.poll() is None for command in commands):
        time.sleep(0.01)
    if path.exists():
        return path.read_text()
    raise AssertionError([command.communicate()[1] for command in commands if command.poll() is not None])


def test_a_hello_imports_no_runtime(sshd: Sshd, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the package 'onnxruntime' is not installed")
    ssh = Ssh(
        device="board", address=sshd.address, python=sys.executable, known_hosts=sshd.known_hosts,
        agent=agent_archive(tmp_path / "agent"), files=tmp_path / "files", environment=AGENT_ENVIRONMENT,
    )  # fmt: skip
    channel = ssh.open()
    talk = Conversation(channel, "board")
    assert talk.greet().runtimes == []
    [agent] = sshd.agents()
    foreign = re.compile(r"site-packages|dist-packages|onnxruntime|litert|torch|numpy")
    assert not foreign.search(Path(f"/proc/{agent}/maps").read_text())
    # What is asked for is imported, and would have been seen.
    assert talk.greet(("onnxruntime",)).runtimes[0].ready
    assert foreign.search(Path(f"/proc/{agent}/maps").read_text())
    channel.close()
    ssh.end()
