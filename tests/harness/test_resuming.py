"""Who can resume is told the line; who cannot is not told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import RESUME_HINT, device_lost
from harness.refusals import too_busy
from harness.resuming import of_run, unbegun
from harness.tables import PLAN
from ofa.errors import DeviceLost, MeasurementRefused, UsageInvalid

LINE = ["ofa", "bench", "--device", "board", "--out", "runs/board"]


@pytest.fixture(autouse=True)
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", LINE)


def test_where_nothing_was_begun_nobody_speaks_of_resuming(tmp_path: Path) -> None:
    with pytest.raises(DeviceLost) as lost, of_run(tmp_path):
        raise device_lost("board", "it is silent")
    assert lost.value.hints == ()
    with pytest.raises(MeasurementRefused) as busy, unbegun():
        raise too_busy("board", 1.0, 0.25)
    assert busy.value.hints[0] == "end what runs there"


def test_what_was_begun_is_gone_on_with_by_the_whole_line(tmp_path: Path) -> None:
    (tmp_path / PLAN).write_text("{}")
    with pytest.raises(DeviceLost) as lost, of_run(tmp_path):
        raise device_lost("board", "nothing listens", "start sshd on the device")
    first, then = lost.value.hints
    assert first == "start sshd on the device" and then.endswith(" ".join([*LINE, "--resume"]))
    with pytest.raises(DeviceLost) as general, of_run(tmp_path):
        raise device_lost("board", "it is silent")
    assert RESUME_HINT not in general.value.hints and general.value.hints[0].endswith("--resume")
    with pytest.raises(UsageInvalid) as other, of_run(tmp_path):
        raise UsageInvalid("a folder", hint="another folder")
    assert other.value.hints == ("another folder",)
    # One line is for all of several devices.
    with pytest.raises(DeviceLost) as several, of_run(tmp_path, several=True):
        raise device_lost("board", "it is silent")
    assert several.value.hints == ()
