"""What a bench over SSH leaves and says names the device as the lab does, and nothing on the device listens."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from telling import BENCH, HOST, MARK, Lab, leaks, told
from transport.lab import MISSING, SSHD, Sshd

from harness.transport.knownhosts import write

pytestmark = pytest.mark.slow
# One way's word is another's option, command or end of a quotation; and each tells whose the device is.
FOLDER = '-zaphod\'s $(touch sprung) `touch sprung` "földer" & * ;'
SETTING = "; touch sprung '\"$(touch sprung)"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def board(tmp_path: Path, lab: Lab) -> Sshd:
    """Return a device that is in the lab's list by an alias, with keys, folder, Python and settings that tell."""
    if not SSHD.exists():
        pytest.skip(MISSING)
    device = Sshd(tmp_path / "zaphod-board")
    python = device.home / "zaphod $HOME" / "python -c"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    key = lab.home / "trillian-key"
    key.write_bytes((device.folder / "login").read_bytes())
    key.chmod(0o600)
    return device


def listed(lab: Lab, board: Sshd) -> set[str]:
    """Write the lab's list, and return the words that must stand nowhere else."""
    board.start()
    (lab.home / ".ssh" / "config").write_text(
        f"Host heartofgold\n HostName {board.host}\n Port {board.port}\n User {board.user}\n"
        f" IdentityFile {lab.home}/trillian-key\n"
    )
    write(lab.settings / "known_hosts", board.address, board.key)
    python = "zaphod $HOME/python -c"
    entry = {"kind": "linux-host", "ssh": "heartofgold", "python": python, "folder": FOLDER}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in entry.items()]
    lines.append(f"environment = {{ {MARK} = {json.dumps(SETTING)} }}")
    (lab.settings / "lab.toml").write_text("[devices.board-42]\n" + "\n".join(lines) + "\n")
    telling = {"zaphod", "trillian", "marvin", "heartofgold", HOST, board.host, f":{board.port}", f"{board.user}@"}
    return telling | {(board.folder / "login.pub").read_text().split()[1]}


def test_a_bench_tells_nobody_where_the_device_is(lab: Lab, board: Sshd, tmp_path: Path) -> None:
    words = listed(lab, board)
    try:
        code, said = lab.ofa(*BENCH, "--device", "board-42", "--out", "run", "--json")
        assert code == 0, said
        assert not told(said, words)
        code, said = lab.ofa("lut", "build", "run", "--into", "tables")
        assert code == 0 and not told(said, words), said
        code, said = lab.ofa("report", "run")
        assert code in (0, 3) and not told(said, words), said
        assert {"plan.json", "journal.sqlite", "lut"} <= {path.name for path in (tmp_path / "run").iterdir()}
        assert leaks(tmp_path / "run", words) == {} and leaks(tmp_path / "tables", words) == {}
        # What is said of it, and what keeps its address, are two things: the words are looked for where they are.
        assert leaks(lab.settings, words) and leaks(lab.home, words)
        assert len(lab.watched) >= 2 and lab.listening == set()
        assert not list(tmp_path.rglob("sprung")), "a name was run"
    finally:
        board.stop()


def test_what_goes_wrong_is_told_without_it(lab: Lab, board: Sshd, tmp_path: Path) -> None:
    words = listed(lab, board)
    command = (*BENCH, "--device", "board-42", "--out", "run")
    try:
        board.kill()
        code, said = lab.ofa(*command)
        assert code == 4 and "board-42" in said and not told(said, words), said
        board.start()
        (lab.settings / "known_hosts").write_text("")
        code, said = lab.ofa(*command)
        assert code == 4 and "not trusted" in said and not told(said, words), said
        write(lab.settings / "known_hosts", board.address, board.key)
        (board.folder / "authorized").write_text("")
        code, said = lab.ofa(*command, "--json")
        assert code == 4 and not told(said, words), said
        assert leaks(tmp_path / "run", words) == {}
    finally:
        board.stop()
