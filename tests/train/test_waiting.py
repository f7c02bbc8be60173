"""Threads of torch sleep while they wait where other work keeps the cores busy, and only there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ofa.train import waiting

PROGRAM = """
import os
from ofa.train import waiting
waiting.foreign_cores = lambda: {foreign}
seen = []
real = __import__
def importing(name, *more, **named):
    if name == "torch" and "torch" not in __import__("sys").modules:
        seen.append(os.environ.get("OMP_WAIT_POLICY"))
    return real(name, *more, **named)
import builtins
builtins.__import__ = importing
waiting.load_torch()
builtins.__import__ = real
print(seen, os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.parametrize(
    ("foreign", "environment", "said"),
    [
        (1.5, {}, "['passive'] None"),
        (0.2, {}, "[] None"),
        (1.5, {"OMP_WAIT_POLICY": "active"}, "[] active"),
        (1.5, {"OMP_NUM_THREADS": "1"}, "[] None"),
    ],
)
def test_who_waits_beside_other_work_sleeps(foreign: float, environment: dict[str, str], said: str) -> None:
    known = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(foreign=foreign)],
        env=known | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == said
    assert ("other work keeps 1.5 cores" in done.stderr) == ("passive" in said)


def test_what_other_processes_do_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    counts = iter([100, 100 + int(1.5 * waiting.LOOK_S * ticks)])
    stat = tmp_path / "stat"

    def counted() -> None:
        stat.write_text(f"cpu  {next(counts)} 0 0 5000 0 0 0 0 0 0\n")

    counted()
    monkeypatch.setattr(waiting, "STAT", stat)
    monkeypatch.setattr(time, "sleep", lambda seconds: counted())
    assert waiting.foreign_cores() == pytest.approx(1.5, abs=0.06)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(waiting, "STAT", tmp_path / "none")
    assert waiting.foreign_cores() == 0
