"""Ctrl-C in `ofa search --state`: it says how to go on, and who goes on finds what nobody interrupted would have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa.lut.write import write
from ofa.space import sample
from ofa.twins import accuracy
from tests.search.test_cli import SPACE, TINY, middle_ms, table

WAIT_S = 240.0


def command(folder: Path, state: str) -> list[str]:
    """Return a search that takes seconds."""
    named = ("--lut", str(folder / "table"), "--accuracy", str(folder / "twin"), "--under", f"{middle_ms(folder)}ms")
    ofa = str(Path(sys.executable).with_name("ofa"))
    return [ofa, "search", *SPACE, *named, "--thorough", "--seed", "3", "--state", str(folder / state), "--json"]


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what a search found, but for how long it took."""
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return {name: value for name, value in found.items() if name != "cpu_s"}


@pytest.mark.slow
def test_a_search_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    write(table(), tmp_path / "table")
    genomes = sample.random(TINY, 60, np.random.default_rng(0))
    top1 = 60 + 5 * np.log(genomes.astype(np.float64).sum(axis=1)) + np.random.default_rng(1).normal(0, 0.2, 60)
    accuracy.fit(TINY, genomes, top1).save(tmp_path / "twin")

    def start(state: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(tmp_path, state),
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Who runs the tests in the background may have told all of them to ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    stopped = start("stopped.npz")
    deadline_s = time.monotonic() + WAIT_S
    while not list(tmp_path.glob("stopped*.npz")) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=WAIT_S)
    assert stopped.returncode == 130 and not out, err
    said = " ".join(err.split())
    assert "the search was stopped" in said and "--state" in said and "Traceback" not in said
    assert ended(start("stopped.npz")) == ended(start("whole.npz"))
