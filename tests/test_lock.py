"""A folder or a file is kept to one process at a time, whatever that one forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ofa.errors import UsageInvalid
from ofa.lock import alone

OTHER = """
import os, sys, time
from pathlib import Path
from ofa.lock import alone
with alone(Path(sys.argv[1]), *sys.argv[2:]):
    child = os.fork()
    if not child:
        time.sleep(600)
    print(child, flush=True)
    sys.stdin.read()
    os.kill(child, 9)
"""


def other(*place: object) -> subprocess.Popen[str]:
    """Start a process that goes into a place and stays there until it is told to end."""
    command = [sys.executable, "-c", OTHER, *map(str, place)]
    pipe = subprocess.PIPE
    # It has a child, and ends with it.
    return subprocess.Popen(command, cwd=Path(__file__).parents[1], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("file", [(), ("labels.csv",)], ids=["folder", "file"])
def test_one_process_at_a_time(file: tuple[str, ...], tmp_path: Path) -> None:
    with alone(tmp_path, *file):
        shown, err = other(tmp_path, *file).communicate(timeout=60)
        assert "UsageInvalid: error: another process is at work" in err and shown == ""
    assert other(tmp_path, *file).communicate(timeout=60)[0].strip().isdigit()
    assert not list(tmp_path.iterdir())


def test_files_of_one_folder_are_kept_apart(tmp_path: Path) -> None:
    with alone(tmp_path), alone(tmp_path, "a.csv"):
        assert other(tmp_path, "a.tsv").communicate(timeout=60)[0].strip().isdigit()


def test_what_a_killed_process_held_is_free(tmp_path: Path) -> None:
    """Also while a child of it lives on, as processes that load images do for some seconds."""
    process = other(tmp_path)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    with pytest.raises(UsageInvalid, match="another process"), alone(tmp_path):
        pass
    process.kill()
    process.wait()
    try:
        with alone(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_folders_in_which_nothing_came_to_lie_are_gone_afterwards(tmp_path: Path) -> None:
    """A run that is refused leaves none behind; what was there, or holds anything, stays."""
    with alone(tmp_path / "runs" / "board"):
        assert (tmp_path / "runs" / "board").is_dir()
    assert not (tmp_path / "runs").exists()
    with alone(tmp_path / "runs" / "board"):
        (tmp_path / "runs" / "other").mkdir()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]
    with alone(tmp_path / "runs" / "other"):
        pass
    assert (tmp_path / "runs" / "other").is_dir()
