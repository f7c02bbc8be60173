"""A new lab's folder: valid as it is and with its examples, never written over, and checked by its own CI script."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.lab import read_lab
from harness.places import FOLDER_VARIABLE, LAB
from ofa.lut import index
from tests import inputs

Run = Callable[..., tuple[int, str, str]]
SCRIPTS = {"ci/check-tables.sh", "ci/diff-tables.sh"}
FILES = {LAB, "known_hosts", ".gitignore", "luts/README.md", ".github/workflows/tables.yml"} | SCRIPTS


@pytest.fixture
def lab(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a lab's folder that was just made, in use."""
    folder = tmp_path / "my lab"
    code, out, _ = run("init", str(folder), "--json")
    assert code == 0 and set(json.loads(out)["written"]) == FILES and json.loads(out)["kept"] == []
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_a_new_list_is_empty_and_its_examples_are_valid(lab: Path, run: Run) -> None:
    assert set(files_in(lab)) == FILES and read_lab().devices == {}
    text = (lab / LAB).read_text()
    (lab / LAB).write_text(re.sub(r"^# (?=\[|[a-z_]+ = )", "", text, flags=re.MULTILINE))
    units = read_lab().devices
    assert [bool(unit.ssh) for unit in units.values()] == [True, True, False, False]
    assert [bool(unit.adb) for unit in units.values()] == [False, False, True, False]
    assert {"nano-1", "other-pc", "my-pixel", "bench-host"} == set(units)
    code, out, err = run("devices", "--json")
    assert code == 0 and {"nano-1", "this-computer"} <= {row["device"] for row in json.loads(out)}, err


def test_nothing_is_written_over(lab: Path, run: Run) -> None:
    (lab / LAB).write_text('schema = "lab/1"\n# mine\n')
    (lab / "known_hosts").unlink()
    before = files_in(lab)
    code, out, err = run("init", str(lab))
    assert code == 0 and files_in(lab) == before | {"known_hosts": b""}
    assert re.search(rf"{re.escape(LAB)} +kept", out) and re.search(r"known_hosts +written", out)
    assert f"export {FOLDER_VARIABLE}" in err and "ofa doctor" in err and f"'{lab}'" in err
    code, out, err = run("init", str(lab / LAB))
    assert (code, out) == (3, "") and "Traceback" not in err and "try:" in err


def test_addresses_and_keys_are_kept_out_of_git(lab: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git needed")
    subprocess.run(["git", "init", "-q"], cwd=lab, check=True)
    (lab / "runs").mkdir()
    for kept_out in ("runs/journal.sqlite", "luts/report.html"):
        (lab / kept_out).touch()
    seen = subprocess.run(["git", "status", "--short", "-uall"], cwd=lab, capture_output=True, text=True, check=True)
    listed = {line[3:] for line in seen.stdout.splitlines()}
    assert listed == FILES - {LAB, "known_hosts"}


@pytest.fixture
def script(lab: Path) -> Callable[..., tuple[int, str]]:
    """Return what runs one of the lab's scripts, with this checkout's ofa: its exit code, and all that it printed."""
    program = lab.parent / "bin" / "ofa"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from harness.cli import main; main()" "$@"\n')
    program.chmod(0o755)
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(root)}

    def ran(name: str, *words: str) -> tuple[int, str]:
        line = ["sh", str(lab / "ci" / name), *words]
        done = subprocess.run(line, cwd=lab.parent, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return ran


@pytest.mark.slow
def test_its_ci_script_refuses_what_is_wrong(lab: Path, script: Callable[..., tuple[int, str]]) -> None:
    assert script("check-tables.sh") == (0, "no table yet: nothing to check\n")
    inputs.table(lab / "luts" / "pixel-8" / "litert-fp32-xnnpack-1t")
    code, said = script("check-tables.sh")
    assert code == 3 and "ofa lut index" in said
    index.write(lab / "luts")
    code, said = script("check-tables.sh")
    assert code == 0, said
    ops = lab / "luts" / "pixel-8" / "litert-fp32-xnnpack-1t" / "ops.csv"
    ops.write_text(ops.read_text().replace("ok", "fine", 1))
    assert script("check-tables.sh")[0] == 3
    (lab / "luts" / "pixel-8" / "litert-fp32-xnnpack-1t" / "lut.json").unlink()
    code, said = script("check-tables.sh")
    assert code == 3 and "lut.json" in said


@pytest.mark.slow
def test_a_pull_request_is_told_what_changed_in_each_table(lab: Path, script: Callable[..., tuple[int, str]]) -> None:
    if shutil.which("git") is None:
        pytest.skip("git needed")

    def git(*words: str) -> None:
        who = ["-c", "user.name=lab", "-c", "user.email=lab@localhost"]
        subprocess.run(["git", *who, *words], cwd=lab, check=True, capture_output=True)

    git("init", "-q")
    git("add", "luts/README.md")
    git("commit", "-q", "-m", "no table")
    changing, going, coming = (f"luts/pixel-8/litert-fp32-xnnpack-{threads}t" for threads in (1, 2, 4))
    inputs.table(lab / changing)
    inputs.table(lab / going, threads=2)
    new = "".join(f"### New latency table: `{table}`\n\n" for table in (changing, going))
    # Neither is known to git yet.
    assert script("diff-tables.sh", "HEAD") == (0, new)
    git("add", "luts")
    git("commit", "-q", "-m", "two tables")
    assert script("diff-tables.sh", "HEAD") == (0, "")
    shutil.rmtree(lab / changing)
    shutil.rmtree(lab / going)
    inputs.table(lab / changing, session="second")
    inputs.table(lab / coming, threads=4)
    git("add", "luts")
    code, said = script("diff-tables.sh", "HEAD")
    assert code == 0, said
    assert f"### Latency tables: `before/{changing}` → `after/{changing}`" in said and "**Ops**: " in said
    assert f"no longer here: `{going}`" in said and f"### New latency table: `{coming}`" in said
    (lab / changing / "lut.json").unlink()
    code, said = script("diff-tables.sh", "HEAD")
    assert code == 3 and "lut.json" in said
    code, said = script("diff-tables.sh")
    assert code != 0 and "the commit to compare with" in said
    assert script("diff-tables.sh", "elsewhere") == (
        2,
        "'elsewhere' is no commit that is here; in CI, fetch more of the history\n",
    )
