"""Runs the command line among names and addresses that tell who is who, and looks for them in all that comes of it."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST = "ford-prefect"
# In every process on the device, by which it is found here.
MARK = "OFA_TEST_TELLING"
BENCH = (
    *("bench", "--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10", "--runtime", "onnxruntime"),
    *("--no-ops", "--fit", "2", "--holdout", "1", "--rounds", "1", "--rounds-most", "1", "--allow-load"),
)
MOST_S = 240


@dataclass(slots=True)
class Lab:
    """A host with a home, a lab's list and a cache of its own, whose name tells; and what was said on it."""

    folder: Path
    home: Path = field(init=False)
    settings: Path = field(init=False)
    listening: set[str] = field(default_factory=set)
    watched: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.home, self.settings = self.folder / "marvin-home", self.folder / "marvin-settings"
        (self.home / ".ssh").mkdir(parents=True)
        self.settings.mkdir()

    def ofa(self, *words: str) -> tuple[int, str]:
        """Run a command to its end and return its exit code and all that it said, on both outputs."""
        code = "from harness.cli import main; main()"
        variables = {
            **os.environ, "HOME": str(self.home), "OFA_LAB": str(self.settings), "PYTHONPATH": str(ROOT),
            "OFA_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        with (self.folder / "said").open("w+b") as said:
            process = subprocess.Popen(
                [*renamed(), sys.executable, "-c", code, *words],
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=variables, cwd=self.folder,
            )  # fmt: skip
            try:
                until_s = time.monotonic() + MOST_S
                while process.poll() is None and time.monotonic() < until_s:
                    self._look()
                    time.sleep(0.1)
            finally:
                process.kill()
                process.wait()
            said.seek(0)
            return process.returncode, said.read().decode(errors="replace")

    def _look(self) -> None:
        """Note which processes there are on the device, and on what they listen."""
        for number in marked():
            self.watched.add(number)
            self.listening |= {f"{command_of(number)}: {what}" for what in sockets_of(number) & listeners()}


def renamed() -> list[str]:
    """Return what goes before a command for a host of another name, where this user may have one."""
    words = ["unshare", "--uts", "sh", "-c", f'hostname {HOST} && exec "$@"', "sh"]
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("hostname"):
        return []
    return words if subprocess.run([*words, "true"], capture_output=True, timeout=20).returncode == 0 else []


def marked() -> set[int]:
    """Return the processes of agents and workers."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (
                f"{MARK}=".encode() in (entry / "environ").read_bytes()
                and b"agent-" in (entry / "cmdline").read_bytes()
            ):
                found.add(int(entry.name))
    return found


def command_of(number: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def sockets_of(number: int) -> set[str]:
    """Return the inodes of a process's sockets."""
    found = set()
    with suppress(OSError):
        for entry in Path(f"/proc/{number}/fd").iterdir():
            with suppress(OSError):
                found |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(entry)))
    return found


def listeners() -> set[str]:
    """Return the inodes of the sockets that somebody could speak to: listening, bound, or with a name."""
    found = set()
    for name, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        with suppress(OSError):
            rows = [line.split() for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
            found |= {row[9] for row in rows if row[3] == state}
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return found | {row[6] for row in rows if len(row) > 7 or row[3] != "00000000"}


def leaks(folder: Path, words: set[str]) -> dict[str, set[str]]:
    """Return which of some words stand in which file below a folder; a journal is read as text, too."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.relative_to(folder).as_posix().encode() + path.read_bytes()
        if path.suffix == ".sqlite":
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                content += "\n".join(database.iterdump()).encode()
        if hits := {word for word in words if word.encode() in content}:
            found[str(path.relative_to(folder))] = hits
    return found


def told(text: str, words: set[str]) -> set[str]:
    """Return which of some words stand in a text."""
    return {word for word in words if word in text}
