"""A bench host with a home, a login key and a lab's list of its own: what one engineer has, and another has not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from transport.lab import Sshd

from harness.lab import FOLDER_VARIABLE, KNOWN_HOSTS, LAB
from harness.transport.knownhosts import write

ROOT = Path(__file__).resolve().parents[3]


class Host:
    """A folder that stands for a host: devices it knows by name, each with its server and more lines of the list.

    Devices of one server have folders of their own there, so that each is held by itself.
    """

    def __init__(self, folder: Path, devices: Mapping[str, Sequence[object]]) -> None:
        self.folder = folder
        lines = []
        (folder / "lab").mkdir(parents=True)
        for name, (server, *more) in devices.items():
            lines += [f"[devices.{name}]", 'kind = "this-computer"', *map(str, more)]
            if isinstance(server, Sshd):
                lines += [f'ssh = "{name}"', f'python = "{sys.executable}"', f'folder = "of {name}"']
                self._reaches(name, server)
        (folder / "lab" / LAB).write_text("\n".join(lines) + "\n")

    def _reaches(self, name: str, server: Sshd) -> None:
        """Know a server by a name, log in to it by a key, and trust its own."""
        home = self.folder / "home" / ".ssh"
        home.mkdir(parents=True, exist_ok=True)
        key = home / f"key-{server.token}"
        shutil.copy(server.folder / "login", key)
        key.chmod(0o600)
        with (home / "config").open("a") as stream:
            stream.write(f"Host {name}\n HostName {server.host}\n Port {server.port}\n")
            stream.write(f" User {server.user}\n IdentityFile {key}\n")
        write(self.folder / "lab" / KNOWN_HOSTS, server.address, server.key)

    @property
    def variables(self) -> dict[str, str]:
        """Return what a process on this host is told by its environment."""
        return {
            FOLDER_VARIABLE: str(self.folder / "lab"), "HOME": str(self.folder / "home"),
            "OFA_CACHE": str(self.folder / "cache"),
        }  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command of this host, in a process of its own."""
        environment = {**os.environ, **self.variables, "PYTHONPATH": str(ROOT), "SSH_AUTH_SOCK": ""}
        return subprocess.Popen(
            [sys.executable, "-m", "harness.cli", *words], cwd=self.folder, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
