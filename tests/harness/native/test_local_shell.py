"""This computer as a device without an agent: a command's own end is told, and one without an end is ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.native.shell import LocalShell
from harness.transport.contract import Said
from ofa.errors import DeviceLost


@pytest.fixture
def near(tmp_path: Path) -> LocalShell:
    shell = LocalShell(device="some-phone", folder=tmp_path / "there")
    shell.ready()
    return shell


def test_a_command_runs_in_the_folder_and_says_how_it_ended(near: LocalShell) -> None:
    said = near.shell(["sh", "-c", "pwd; echo complaint >&2; exit 3"], timeout_s=20, max_bytes=1000)
    assert said == Said(code=3, out=f"{near.folder}\n".encode(), err=b"complaint\n")


def test_a_command_that_is_not_there_says_too_much_or_does_not_end_is_a_lost_device(near: LocalShell) -> None:
    with pytest.raises(DeviceLost, match="stopped answering") as fault:
        near.shell(["no-such-program"], timeout_s=20, max_bytes=1000)
    assert "'no-such-program' cannot be started" in fault.value.why
    with pytest.raises(DeviceLost) as fault:
        near.shell(["yes"], timeout_s=20, max_bytes=1000)
    assert fault.value.why == "a command said more than 1,000 bytes"
    with pytest.raises(DeviceLost) as fault:
        near.shell(["sleep", "30"], timeout_s=0.2, max_bytes=1000)
    assert fault.value.why == "a command did not end in 0.2 s"
