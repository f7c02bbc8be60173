"""The agent in an aarch64 userland: brought there over SSH, it runs one op with each runtime, and says what it is.

Opt in by `tox run -e aarch64`. Under qemu a call takes some hundred times as long as on a board: what is looked at is
that wheels, files, agent and transport work there, and that nobody can take the times for a board's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from boards import board as planted

import ofa.space as spaces
from aarch64 import userland
from aarch64.userland import VARIABLE, WHEELS, Board, built, equipped, pins, translated
from harness import journal as journals
from harness import session
from harness.artefacts import Artefacts, agent_archive
from harness.inventory import Device, RuntimeName, load_profile
from harness.lease import held
from harness.plan import Item, Plan, Reference, Rounds
from harness.protocol import Conversation, Hello
from harness.reduce import table
from harness.transport.ssh import Ssh
from ofa.errors import FileInvalid
from ofa.lut.write import write
from ofa.space.ops import ops_of

RUNTIMES: tuple[RuntimeName, ...] = ("onnxruntime", "litert", "tflite_runtime", "torch")
# Importing a runtime takes half a minute there, and several where the computer has other work.
PATIENCE_S = 1200.0


@pytest.fixture(scope="module")
def aarch64(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """Return a board that runs."""
    if why := userland.lacking() or userland.unreachable():
        pytest.skip(why)
    with translated():
        root = built(Path(os.environ[VARIABLE]))
        planted("bare-container", root / "opt" / "recorded")
        one = Board(root, tmp_path_factory.mktemp("board"))
        try:
            yield one.start()
        finally:
            one.stop()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first hello take longer than that of any board."""

    def greet(device: Device, runtimes: tuple[str, ...] = ()) -> Hello:
        channel = device.transport.open()
        try:
            return Conversation(channel, device.name).greet(runtimes, patience_s=PATIENCE_S)
        finally:
            channel.close()

    monkeypatch.setattr(session, "greet", greet)


def reached(one: Board, folder: Path, runtime: str) -> Device:
    """Return the board as a device whose Python finds one runtime."""
    transport = Ssh(
        device="aarch64", address=one.address, known_hosts=one.known_hosts, agent=agent_archive(folder / "agent"),
        files=folder / "files", connect_s=120.0, silence_s=120.0,
        environment={
            "PYTHONPATH": equipped(one.root, runtime), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
            # By this everything that is measured says that it is simulated.
            "OFA_AGENT_ROOT": "/opt/recorded",
        },
    )  # fmt: skip
    return Device(profile=load_profile("linux-host"), transport=transport, unit="aarch64")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_op_runs_on_aarch64(
    runtime: RuntimeName, aarch64: Board, patient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFA_LAB", str(tmp_path / "lab"))
    device = reached(aarch64, tmp_path, runtime)
    op = ops_of(spaces.load("mobilenet_v3_tiny", channels=1, classes=10).corner("min"))[1]
    _, found = session.ready_runtime(device, runtime)
    file = Artefacts(device.transport.files).for_op(op, found)
    plan = Plan(
        device="linux-host", runtime=runtime, rounds=1, seed=1,
        protocol=Rounds(warm_calls=1, cold_cycles=1, hot_bursts=1, burst_least=1, burst_most=1, rounds_most=1),
        reference=Reference(key="reference", file=file.name),
        items=tuple(Item(key=op.key, kind="op", state=state, file=file.name) for state in ("cold", "hot")),
    )  # fmt: skip
    try:
        with held(device, tmp_path) as mine, journals.create(tmp_path / "journal.sqlite", plan) as journal:
            session.run(plan, device=mine, journal=journal)
            samples, failures = journal.samples(), journal.failures()
            lut = table(journal)
            _, said = journal.sessions()[0]
    finally:
        device.transport.end()
    assert failures == {} and [sample.item for sample in samples] == [0, 1]
    assert said["environment"]["machine"] == "aarch64" and said["environment"]["runtime"] == runtime
    version = pins(runtime)[0].partition("==")[2]
    assert str(said["environment"]["runtime_version"]).startswith(version)
    assert lut.simulated and {row.status for row in lut.rows} <= {"ok", "noisy"}
    with pytest.raises(FileInvalid, match="simulated"):
        write(lut, tmp_path / "luts" / "table")


def test_every_runtime_of_the_agent_has_its_wheels_pinned() -> None:
    assert set(WHEELS) == set(RUNTIMES)
    for runtime in WHEELS:
        assert all("==" in pin for pin in pins(runtime))
