"""Fast and slow cores are told apart by what a tree says, and this process is truly kept to them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = sorted(os.sched_getaffinity(0))
TWO = pytest.mark.skipif(len(HERE) < 2, reason="one core alone is neither big nor little")
WORK = {"do": "footprint", "runtime": "bogus", "file": "empty", "threads": 1, "kernels": "default"}


def tree(root: Path, speeds: dict[int, int], leaf: str = "cpu_capacity") -> str:
    """Lay out sysfs with a speed for each core and return its root."""
    for core, speed in speeds.items():
        path = root / "sys/devices/system/cpu" / f"cpu{core}" / leaf
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{speed}\n")
    return str(root)


def tiers(inside: Callable[[str], Any], root: str, given: list[int]) -> Any:
    return inside(f"import cores; cores.GIVEN.append(frozenset({given})); print(json.dumps(cores.tiers({root!r})))")


def test_capacity_or_else_the_highest_clock_tells_cores_apart(inside: Callable[[str], Any], tmp_path: Path) -> None:
    capacities = {**dict.fromkeys(range(4), 160), **dict.fromkeys(range(4, 8), 670), 8: 1024}
    root = tree(tmp_path / "capacity", capacities)
    assert tiers(inside, root, list(range(9))) == [[8], [4, 5, 6, 7], [0, 1, 2, 3]]
    # An app that Android keeps to little cores has one kind of them.
    assert tiers(inside, root, [0, 1, 2]) == [[0, 1, 2]]
    clocks = {0: 1800000, 1: 1800000, 2: 2850000, 3: 2800000}
    clocked = tree(tmp_path / "clock", clocks, "cpufreq/cpuinfo_max_freq")
    assert tiers(inside, clocked, [0, 1, 2, 3]) == [[2, 3], [0, 1]]
    # One core without a speed: nobody can tell.
    assert tiers(inside, clocked, [0, 1, 2, 3, 4]) == []
    some = inside(
        "import cores; print(json.dumps([cores.chosen([[8], [4, 5, 6, 7], [0, 1, 2, 3]], which, threads)"
        " for which, threads in (('big', 1), ('big', 2), ('little', 1), ('little', 9))]"
        " + [cores.listed([7, 0, 1, 2])]))"
    )
    assert some == [[8], [4, 5, 6, 7, 8], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8], "0-2,7"]


@TWO
def test_every_thread_is_kept_to_the_cores_and_given_back(
    inside: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path, {core: 1024 if core == HERE[-1] else 400 for core in HERE})
    found = inside(
        f"""
import os, threading, time, cores
os.environ["OFA_AGENT_ROOT"] = {root!r}
over = threading.Event()
other = threading.Thread(target=over.wait)
other.start()
def all_of():
    return sorted(set(core for task in os.listdir("/proc/self/task") for core in os.sched_getaffinity(int(task))))
said = [cores.told({root!r})]
said.append([cores.pin(dict(cores="big", threads=1)), all_of()])
said.append([cores.pin(dict(cores="little", threads=1)), all_of()])
said.append([cores.pin(dict(threads=1)), all_of()])
over.set()
print(json.dumps(said))
"""
    )
    small = HERE[:-1]
    assert found[0].split()[0] == str(HERE[-1])
    assert found[1] == [str(HERE[-1]), [HERE[-1]]] and found[2][1] == small and found[3] == [None, HERE]


def test_what_cannot_be_pinned_is_an_error_and_no_measurement(
    exchange: Callable[..., tuple[list[dict[str, Any]], int]], python: str, tmp_path: Path
) -> None:
    alike = tree(tmp_path / "alike", dict.fromkeys(HERE, 1024))
    asked = [{**WORK, "id": 1, "runtime": "torch", "cores": "big"}, {**WORK, "id": 2, "cores": "fast"}]
    raw = b"".join(json.dumps({**one, "runtime": "torch"}).encode() + b"\n" for one in asked)
    records, code = exchange(python, raw, OFA_AGENT_ROOT=alike)
    assert code == 0 and [one["ev"] for one in records] == ["error", "error"]
    assert "all of one kind" in records[0]["reason"] and "'cores' must be one of" in records[1]["reason"]


def test_android_says_in_what_context_a_process_runs(inside: Callable[[str], Any], tmp_path: Path) -> None:
    (tmp_path / "system/app").mkdir(parents=True)
    code = "import os, probe; said = []\n"
    for number in (0, 2000, 10234, 1010234):
        code += f"os.getuid = lambda: {number}; said.append(probe.environment({str(tmp_path)!r})['context'])\n"
    assert inside(code + "print(json.dumps(said))") == ["shell", "shell", "app", "app"]
    assert inside(f"import probe; print(json.dumps('context' in probe.environment({str(tmp_path / 'x')!r})))") is False
