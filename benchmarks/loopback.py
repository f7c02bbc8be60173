"""A lab on this computer for benchmarks: the tests' own OpenSSH servers, and a bench host that knows them by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transport.hosts import Host
    from transport.lab import Sshd

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def servers(folder: Path, count: int) -> Iterator[list[Sshd]]:
    """Start some OpenSSH servers on loopback, each with keys and a home of its own, and end them with all they run."""
    _within_reach()
    from transport.lab import Sshd

    with ExitStack() as stack:
        found = [Sshd(folder / f"server-{number}") for number in range(count)]
        for server in found:
            stack.callback(server.stop)
            server.start()
        yield found


def host(folder: Path, devices: Mapping[str, Sequence[object]]) -> Host:
    """Return a bench host whose lab's list names devices: each a server (None: this computer) and more lines."""
    _within_reach()
    from transport.hosts import Host

    return Host(folder, devices)


def inside(own: Host, script: str, *words: str) -> dict[str, Any]:
    """Run a script as that host, in a process of its own, and return the JSON that its last line is."""
    environment = {**os.environ, **own.variables, "PYTHONPATH": str(ROOT), "SSH_AUTH_SOCK": ""}
    command = [sys.executable, script, *words]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _within_reach() -> None:
    """Let the tests' modules about SSH be imported: they are no part of the package."""
    place = str(ROOT / "tests" / "harness")
    if place not in sys.path:
        sys.path.insert(0, place)
