"""Threads of torch sleep while they wait where other work keeps the cores busy, and only there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ofa.train import waiting

PROGRAM = """
import os
from ofa.train import waiting
waiting.busy_share = lambda: {share}
seen = []
real = __import__
def importing(name, *more, **named):
    if name == "torch" and "torch" not in __import__("sys").modules:
        seen.append(os.environ.get("OMP_WAIT_POLICY"))
    return real(name, *more, **named)
import builtins
builtins.__import__ = importing
crowded = waiting.load_torch()
builtins.__import__ = real
print(crowded, seen, os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "environment", "said"),
    [
        (0.6, {}, "True ['passive'] None"),
        (0.1, {}, "False [] None"),
        (0.6, {"OMP_WAIT_POLICY": "active"}, "True [] active"),
        (0.6, {"OMP_NUM_THREADS": "1"}, "False [] None"),
    ],
)
def test_who_waits_beside_other_work_sleeps(share: float, environment: dict[str, str], said: str) -> None:
    known = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(share=share)],
        env=known | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == said


def test_cores_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before torch is loaded; who warns of them afterwards waits for no second look."""
    shares = iter((0.6, 0.1))
    monkeypatch.setattr(waiting, "busy_share", lambda: next(shares))
    waiting.busy_at_start.cache_clear()
    try:
        assert [waiting.busy_at_start(), waiting.busy_at_start()] == [0.6, 0.6]
    finally:
        waiting.busy_at_start.cache_clear()
