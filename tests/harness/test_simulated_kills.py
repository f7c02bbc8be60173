"""Whoever is killed while a simulated device is measured, and whenever: nothing is lost and nothing comes twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from virtual import OPS, measure, phone, plan_of, values

from harness import journal as journals
from harness.reduce import table

KILLS = 50
HOST = """
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from harness.inventory import simulated
from harness.simulation.machine import Machine
sys.path.insert(0, {here!r})
from virtual import OPS, measure, phone, plan_of
from ofa.lut.write import write
folder = Path({folder!r})
device = phone(folder, own_process=True, seed=9)
lut = measure(device, plan_of(device, OPS[:12], rounds=4), folder)
write(lut, folder / "lut", allow_simulated=True)
"""


@pytest.mark.slow
def test_fifty_kills_of_host_and_agent_change_nothing(tmp_path: Path) -> None:
    """Whoever is killed, and whenever: the table is that of a run that nothing disturbed, row by row."""
    once = phone(tmp_path / "once", own_process=True, seed=9)
    expected = measure(once, plan_of(once, OPS[:12], rounds=4), tmp_path / "once")
    moments = random.Random(0)
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", HOST.format(here=str(Path(__file__).parent), folder=str(folder))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    kills = at_work = 0
    while kills < KILLS:
        host = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
        # For most, the moment is counted from when the device is at work: on a slow computer all would die before.
        if moments.random() < 0.8:
            await_work(host)
        deadline_s = time.monotonic() + moments.uniform(0.0, 3.0)
        while host.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.02)
        if host.poll() is not None:
            # It got through before the kill: what comes next has nothing left to interrupt.
            for path in (folder / "journal.sqlite", folder / "files" / "simulated-moments.json"):
                path.unlink(missing_ok=True)
            continue
        agents = children(host.pid)
        at_work += bool(agents)
        if agents and moments.random() < 0.5:
            os.kill(moments.choice(agents), signal.SIGKILL)
            kills += 1
            host.wait(timeout=300)
            continue
        host.kill()
        host.wait(timeout=300)
        kills += 1
    assert at_work >= KILLS // 4, "hardly anybody was killed while the device was at work"
    subprocess.run(command, env=environment, check=True, timeout=300)
    found = journals.open_journal(folder / "journal.sqlite")
    with found:
        lut = table(found)
        triples = [(row.round, row.item) for row in found.samples()]
    assert len(triples) == len(set(triples)) == 4 * len(found.plan.items)
    assert values(lut) == values(expected)


def await_work(host: subprocess.Popen[bytes]) -> None:
    """Wait until a host has started a process of its device, or is through."""
    deadline_s = time.monotonic() + 60
    while host.poll() is None and not children(host.pid) and time.monotonic() < deadline_s:
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(word) for word in path.read_text().split()]
    except OSError:
        return []
