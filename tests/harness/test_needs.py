"""'ofa doctor WHAT' names what is missing for it, with the line that mends it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import doctor, needs
from harness.needs import Purpose

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make this computer lack every package, program and key."""
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("OFA_LAB", str(tmp_path / "lab"))


def lacks(run: Run, purpose: str) -> dict[str, str]:
    code, out, _ = run("doctor", purpose, "--json")
    assert code == 8
    rows: list[dict[str, Any]] = json.loads(out)
    assert all(bool(row["try"]) == (not row["fine"]) for row in rows)
    return {row["check"]: row["try"] for row in rows if not row["fine"]}


@pytest.mark.usefixtures("lacking")
def test_what_is_missing_is_named_with_the_line_that_brings_it(run: Run) -> None:
    search = lacks(run, "search")
    assert list(search) == ["package xgboost"] and "[search]'" in search["package xgboost"]
    assert set(lacks(run, "train")) == {"package torch", "package sklearn", "package PIL"}
    assert lacks(run, "adb") == {"program adb": "apt install adb"}
    assert lacks(run, "ssh")["SSH key"].startswith("ssh-keygen")
    assert {"package onnx", "package torch", "package xgboost", "package plotly"} <= set(lacks(run, "demo"))


@pytest.mark.usefixtures("lacking")
def test_a_key_may_be_anywhere_that_ssh_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not doctor._key().fine
    monkeypatch.setenv("SSH_AUTH_SOCK", "/somewhere")
    assert doctor._key().fine
    monkeypatch.delenv("SSH_AUTH_SOCK")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host board\n  IdentityFile ~/keys/board\n")
    assert doctor._key().fine


def test_what_is_there_is_fine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    code, out, _ = run("doctor", "search", "--json")
    assert code == 0 and [row["fine"] for row in json.loads(out)] == [True]


def test_every_purpose_needs_something() -> None:
    for purpose in Purpose:
        assert needs.packages(purpose) or needs.PROGRAMS.get(purpose)


def test_a_device_without_the_package_for_it_ends_with_8_and_several_with_the_least(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFA_LAB", str(tmp_path))
    monkeypatch.setattr(doctor, "of_host", lambda: iter(()))
    monkeypatch.setitem(sys.modules, "paramiko", None)
    board = '[devices.board]\nkind = "linux-host"\nssh = "me@192.0.2.1"\n'
    (tmp_path / "lab.toml").write_text(board)
    for words in (("devices", "check", "board"), ("doctor",)):
        code, out, _ = run(*words, "--json")
        (fault,) = (row for row in json.loads(out) if row["fine"] is False)
        assert code == 8 and "'paramiko' is not installed" in fault["seen"] and "[ssh]" in fault["try"]
    (tmp_path / "lab.toml").write_text(f'{board}[devices.odd]\nkind = "no-such-kind"\nssh = "me@192.0.2.2"\n')
    assert run("doctor", "--json")[0] == 3, "the last of the two, and the least"


def test_a_phone_that_is_not_there_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again it may say so in other words, as one over TCP does that adb was to connect."""
    from harness import doctor
    from harness.inventory import of_lab
    from harness.lab import Unit
    from harness.transport.adb import Adb
    from harness.transport.errors import phone_not_ready

    words = iter(("Connection refused", "already connected to it", "", "No route to host", ""))

    def gone(self: Adb, *_: object, **__: object) -> None:
        raise phone_not_ready("phone", "10.0.0.7:5555", None, (), next(words))

    for name in ("ready", "open", "shell"):
        monkeypatch.setattr(Adb, name, gone)
    device = of_lab("phone", Unit(kind="pixel-7", adb="10.0.0.7:5555"), tmp_path)
    monkeypatch.setenv("OFA_LAB", str(tmp_path))
    failed = [check.what for check in doctor.of_device(lambda: device) if not check.fine]
    assert failed == ["agent"]
