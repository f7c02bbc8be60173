"""A run of a program that is broken off: its process ends, nothing of it stays, and its lease outlives the longest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.errors import device_lost
from harness.inventory import Device
from harness.lease import held
from harness.native import runner as runners
from harness.native.runner import Runner
from harness.native.runs import Use, Wanted
from harness.native.shell import LocalShell
from harness.session import ready_runtime
from harness.transport.contract import Said
from ofa.errors import DeviceLost
from ofa.files import sha256_bytes

# It tells its flags, and then runs for longer than anybody waits.
PROGRAM = """#!{python}
import sys, time
if "--help" in sys.argv:
    print("--graph --num_runs --num_threads --use_xnnpack --warmup_runs --min_secs --max_secs --warmup_min_secs")
else:
    time.sleep(60)
"""
WANTED = Wanted(warm_calls=1, warm_s=0.0, calls=1, least_s=0.0)
DAY_S = 86400


@dataclass(slots=True)
class Breaking:
    """A device whose link breaks while a program runs: what was started there goes on, as over SSH or ADB."""

    inner: LocalShell
    fault: BaseException
    begun: list[subprocess.Popen[bytes]] = field(default_factory=list)
    private: tuple[str, ...] = ()

    @property
    def there(self) -> str:
        return self.inner.there

    def ready(self) -> None:
        self.inner.ready()

    def push(self, path: Path, name: str) -> None:
        self.inner.push(path, name)

    def shell(self, words: Sequence[str], *, timeout_s: float, max_bytes: int) -> Said:
        if runners.RUN not in words:
            return self.inner.shell(words, timeout_s=timeout_s, max_bytes=max_bytes)
        self.begun.append(
            subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True, cwd=self.inner.folder)
        )
        named = Path(str(words[words.index(runners.RUN) + 2]) + ".pid")
        until_s = time.monotonic() + 20
        while not (named.exists() and is_program(named.read_text().strip())) and time.monotonic() < until_s:
            time.sleep(0.01)
        raise self.fault


def is_program(number: str) -> bool:
    try:
        return b"benchmark_model" in Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture
def breaking(tmp_path: Path) -> Callable[[BaseException], tuple[Runner, Breaking]]:
    """Return a maker of a program that was found to be one, on a device whose link is about to break so."""

    def make(fault: BaseException) -> tuple[Runner, Breaking]:
        program, files = tmp_path / "program", tmp_path / "files"
        program.write_text(PROGRAM.format(python=sys.executable))
        files.mkdir()
        shell = Breaking(LocalShell(device="some-phone", folder=tmp_path / "there"), fault)
        shell.ready()
        path_of = files.joinpath
        runner = Runner(shell=shell, runtime="benchmark_model", program=program, path_of=path_of)
        runner.prepare({"tool/timeout": ""})
        return runner, shell

    return make


@pytest.mark.slow
@pytest.mark.parametrize("fault", [device_lost("some-phone", "it broke"), KeyboardInterrupt()], ids=["link", "^C"])
def test_a_program_whose_run_was_broken_off_is_ended(breaking: Any, fault: BaseException) -> None:
    """Whoever goes on would else measure beside it, for as long as it was let run."""
    runner, shell = breaking(fault)
    name = sha256_bytes(b"a network")
    runner.path_of(name).write_bytes(b"a network")
    try:
        with pytest.raises(type(fault)):
            runner.run(name, WANTED, Use())
        assert shell.begun[0].wait(timeout=20) in (137, -9)
        assert not [path for path in Path(shell.there).iterdir() if path.name.startswith("result-")]
    finally:
        shell.begun[0].kill()


def test_a_process_that_is_another_program_by_now_is_left_alone(breaking: Any, tmp_path: Path) -> None:
    _, shell = breaking(DeviceLost("unused"))
    result = tmp_path / "there" / "result-1"
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            result.with_name("result-1.pid").write_text(f"{other.pid}\n")
            result.with_name("result-1.engine").touch()
            words = ["sh", "-c", runners.END, "sh", str(result), str(tmp_path / "there" / "benchmark_model-1")]
            assert shell.shell(words, timeout_s=20, max_bytes=1000).code == 0
            assert other.poll() is None and not list(result.parent.glob("result-1*"))
        finally:
            other.kill()


def test_what_a_host_left_that_was_killed_goes_after_a_day(breaking: Any) -> None:
    runner, shell = breaking(DeviceLost("unused"))
    old = [Path(shell.there) / name for name in ("result-1", "result-1.engine", "result-1.pid", "kept-1.engine")]
    young, network = Path(shell.there) / "result-2", Path(shell.there) / "network.tflite"
    for path in (*old, young, network):
        path.touch()
        os.utime(path, (time.time(), time.time() - (0 if path == young else 2 * DAY_S)))
    runner.tool = None
    runner.prepare({"tool/timeout": ""})
    assert not [path for path in old if path.exists()] and young.exists() and network.exists()


@pytest.mark.slow
def test_a_lease_outlives_the_longest_build(
    beside: Callable[..., Device], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board builds an engine for many minutes, in which nobody renews the lease."""
    monkeypatch.setenv("OFA_LAB", str(tmp_path / "lab"))
    device = beside("trtexec", leased=True)
    lease = Path(device.transport.shell.there).parent / "lease.json"  # type: ignore[attr-defined]
    found: list[tuple[float, float]] = []
    said = Runner._said

    def watched(runner: Runner, words: list[str], limit_s: float) -> Said:
        if runners.RUN in words:
            uptime_s = float(Path("/proc/uptime").read_text().split()[0])
            found.append((json.loads(lease.read_text())["until_s"] - uptime_s, limit_s))
        return said(runner, words, limit_s)

    monkeypatch.setattr(Runner, "_said", watched)
    with held(device, tmp_path / "run") as mine:
        ready_runtime(mine, "trtexec")
        assert found and all(left_s > limit_s > 3600 for left_s, limit_s in found)
        ready_runtime(mine, "trtexec")
    assert not lease.exists()
