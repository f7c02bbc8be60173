"""What a bench over ADB leaves and says names the phone as the lab does, and nothing on the phone listens."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from telling import BENCH, HOST, MARK, Lab, leaks, told

from adb.adbd_double import Phone

pytestmark = pytest.mark.slow
FOLDER = 'zaphod\'s $(touch sprung) `touch sprung` "földer" & * ;'
SETTING = "; touch sprung '\"$(touch sprung)"


def listed(lab: Lab, phone: Phone, port: int) -> set[str]:
    """Write the lab's list, and return the words that must stand nowhere else."""
    python = phone.folder / "zaphod $HOME" / "python -c"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    entry = {
        "kind": "linux-host", "adb": phone.serial, "adb_port": port, "python": str(python),
        "folder": str(phone.folder / FOLDER),
    }  # fmt: skip
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in entry.items()]
    lines.append(f"environment = {{ {MARK} = {json.dumps(SETTING)}, OMP_NUM_THREADS = '1' }}")
    (lab.settings / "lab.toml").write_text("[devices.phone-42]\n" + "\n".join(lines) + "\n")
    return {"zaphod", "marvin", HOST, phone.serial, "127.0.0.1", f":{phone.port}"}


def test_a_bench_tells_nobody_which_phone_it_was(phone: Callable[..., Phone], adb_port: int, tmp_path: Path) -> None:
    lab, one = Lab(tmp_path), phone()
    words = listed(lab, one, adb_port)
    code, said = lab.ofa(*BENCH, "--device", "phone-42", "--out", "run", "--json")
    assert code == 0, said
    assert not told(said, words)
    assert leaks(tmp_path / "run", words) == {} and (tmp_path / "run" / "lut" / "lut.json").exists()
    assert lab.watched and lab.listening == set()
    assert not list(tmp_path.rglob("sprung")), "a name was run"
    one.die()
    code, said = lab.ofa(*BENCH, "--device", "phone-42", "--out", "other")
    assert code == 4 and "phone-42" in said and not told(said, words), said
    assert leaks(tmp_path / "other", words) == {}
