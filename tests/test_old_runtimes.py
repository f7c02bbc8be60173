"""The tests that need the runtimes of old boards, run in the tox environment that has them."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_graph_writers_speak_to_old_runtimes() -> None:
    """tflite-runtime 2.14 and onnxruntime 1.16 need numpy 1 and Python 3.11, so they cannot be installed here."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the package 'tflite-runtime' is built for Linux on x86-64 only, of what these tests run on")
    if shutil.which("python3.11") is None:
        pytest.skip("the command 'python3.11' is not installed")
    pytest.importorskip("tox", reason="the package 'tox' is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tox", "run", "-e", "tflite"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
