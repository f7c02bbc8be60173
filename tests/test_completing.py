"""What a shell is offered, asked as a shell asks: through the variables of the completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ofa.space as spaces
from harness import places
from harness.completing import devices
from ofa import completing
from ofa.graphs.run import RUNTIMES

ROOT = Path(__file__).resolve().parents[1]
LAB = """
schema = "lab/1"
[devices.board-1]
kind = "jetson-nano"
ssh = "board-1"
[devices.board-2]
kind = "jetson-nano"
ssh = "board-2"
"""
PROGRAM = "from harness.cli import main; main()"
TELL = "import sys; from harness.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"


def asked(folder: Path, line: str, program: str = PROGRAM, lab: Path | None = None) -> tuple[list[str], str]:
    """Return what bash is offered for the last word of a line, and what was said beside."""
    words = line.split(" ")
    environment = os.environ | {"_OFA_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    environment |= {places.FOLDER_VARIABLE: str(lab or folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.split(), done.stderr


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Return a folder with a lab's list and two tables, one of them in a hidden folder."""
    (tmp_path / places.LAB).write_text(LAB)
    for folder in ("luts/pixel-7/litert-fp32-1t", "runs/one/lut", "runs/.hidden/lut"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / completing.TABLE).write_text("{}")
    return tmp_path


@pytest.mark.slow
def test_a_shell_is_offered_devices_spaces_runtimes_and_tables(lab: Path) -> None:
    assert asked(lab, "ofa bench --device b")[0] == ["board-1", "board-2"]
    assert asked(lab, "ofa space facts mobilenet_v3_")[0] == [
        "mobilenet_v3_lite",
        "mobilenet_v3_tiny",
        "mobilenet_v3_tiny_lite",
    ]
    assert asked(lab, "ofa bench --runtime lit")[0] == ["litert"]
    for verb in ("show", "recheck"):
        assert asked(lab, f"ofa lut {verb} ")[0] == ["luts/pixel-7/litert-fp32-1t", "runs/one/lut"]


@pytest.mark.slow
def test_completion_is_light_and_silent(lab: Path, tmp_path: Path) -> None:
    offered, told = asked(lab, "ofa devices check board", TELL)
    assert offered == ["board-1", "board-2"]
    # Not pydantic: Typer itself reads values with it.
    heavy = {"numpy", "torch", "xgboost", "scipy", "rich", "onnx", "paramiko"}
    assert not heavy & {name.partition(".")[0] for name in told.split()}
    assert not {"harness.inventory", "harness.lab", "ofa.space"} & set(told.split())
    (tmp_path / places.LAB).write_text("not = [toml")
    offered, told = asked(tmp_path, "ofa devices check sim")
    assert (offered, told) == (["simulated-phone"], "")
    offered, told = asked(tmp_path, "ofa estimate --lut absent/")
    assert (offered, told) == ([], "")


def test_devices_are_those_of_the_list_and_the_kinds_without_an_address(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(places.FOLDER_VARIABLE, str(lab))
    found = devices("")
    assert found[:2] == ["board-1", "board-2"] and {"this-computer", "simulated-phone"} <= set(found)
    assert "jetson-nano" not in found
    monkeypatch.setenv(places.FOLDER_VARIABLE, str(lab / "nowhere"))
    assert set(devices("")) == set(found[2:])


def test_tables_are_looked_for_below_what_is_typed(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab)
    assert completing.tables("runs/") == ["runs/one/lut"] == completing.tables("ru")
    assert completing.tables("./ru") == ["./runs/one/lut"]
    assert completing.tables(f"{lab}/lu") == [f"{lab}/luts/pixel-7/litert-fp32-1t"]
    assert completing.tables("absent/x") == []


def test_names_that_are_written_out_are_those_there_are() -> None:
    assert set(completing.SPACES) == set(spaces.names())
    assert completing.FILE_RUNTIMES == RUNTIMES
