"""What an agent says of a fault names neither the folder of its user nor the device."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

REQUEST = {"id": 1, "do": "footprint", "runtime": "onnxruntime", "kernels": "default", "threads": 1, "file": "0" * 64}


def test_a_reason_does_not_name_the_users_folder(python: str, agent_archive: Path, tmp_path: Path) -> None:
    home = tmp_path / "zaphod"
    (home / "files").mkdir(parents=True)
    said = subprocess.run(
        [python, str(agent_archive), "--files", str(home / "files")],
        input=json.dumps(REQUEST).encode() + b"\n", capture_output=True, timeout=60, cwd=home,
        env={**os.environ, "HOME": str(home)},
    ).stdout  # fmt: skip
    if not said:
        pytest.skip("this agent left before it answered: its input had ended")
    reason = json.loads(said)["reason"]
    assert "~/files/000" in reason and "No such file" in reason and "zaphod" not in said.decode()


def test_the_devices_own_name_is_left_out(inside) -> None:
    found = inside(
        "import os, discreet\n"
        "os.uname = lambda: ('Linux', 'zaphod-board.lab', '', '', '')\n"
        "print(json.dumps([discreet.discreet(text) for text in "
        "('on zaphod-board.lab: no', 'zaphod-board, too', 'zaphod-boards stay', 'a vm')]))"
    )
    assert found == ["on -: no", "-, too", "zaphod-boards stay", "a vm"]
