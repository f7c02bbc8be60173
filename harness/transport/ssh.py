"""Runs the agent on a device over SSH: one connection for everything, keys only, every wait bounded."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import device_lost
from harness.transport.contract import OnBytes, Said, silent
from harness.transport.errors import device_lacks, words_refused
from harness.transport.sshchannel import START, SshChannel
from harness.transport.sshconfig import Address
from harness.transport.sshfiles import Place, bring
from harness.transport.sshline import Line, begin, run, shut, words
from harness.transport.sshlink import Route
from ofa.files import sha256_file

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")
FILES = "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ssh:
    """How to start the agent on a device over SSH.

    ``python`` and ``folder`` are paths on the device, from the user's home where they are relative. ``agent`` and
    ``files`` are here. ``known_hosts`` is the lab's own. ``connect_s`` bounds each hop from the first packet to the
    login and the start of each command; after ``silence_s`` without a sign the connection is given up.
    """

    device: str
    address: Address
    python: str = "python3"
    folder: str = ".cache/ofa-lab"
    agent: Path
    files: Path
    environment: dict[str, str] = field(default_factory=dict)
    known_hosts: Path
    connect_s: float = 10.0
    silence_s: float = 20.0
    line: Line = field(init=False, repr=False, compare=False, default_factory=Line)

    @property
    def remote(self) -> bool:
        """Say that the agent runs elsewhere."""
        return True

    @property
    def private(self) -> tuple[str, ...]:
        """Return hosts, users and key files of all hops, and the device's folder and Python where they are paths."""
        hops = self.address.hops()
        files = [str(path) for hop in hops for path in hop.identities]
        paths = [path for path in (self.folder, self.python) if path.startswith("/")]
        return (*files, *paths, *(word for hop in hops for word in (str(hop), hop.key_name, hop.host, f"{hop.user}@")))

    @property
    def route(self) -> Route:
        """Return how the device is reached."""
        return Route(
            device=self.device,
            address=self.address,
            known_hosts=(self.known_hosts,),
            connect_s=self.connect_s,
            silence_s=self.silence_s,
        )

    def open(self) -> SshChannel:
        """Start an agent, which is brought to the device first where it is not there.

        Raises DeviceLost, MeasurementRefused where the device has no room or no Python for it, and UsageInvalid for a
        folder, Python or environment that cannot be sent.
        """
        archive = self._agent_there()
        agent = [*self._environment(), self._python(), self._at(archive), "--files", self._at(FILES)]
        link, channel = self.line.session(self.route)
        try:
            begin(self.route, channel, "exec " + words(["sh", "-c", START, "sh", "env", *agent]))
        except BaseException:
            shut(link, channel)
            raise
        return SshChannel(self.route, self.line, link, channel, mark=archive)

    def push(self, path: Path, name: str, *, on_bytes: OnBytes = silent) -> None:
        """Bring a file to the folder the agent reads, under ``name``, whole or not at all.

        One that is there already, with the same content, is not sent again. ``on_bytes`` is told how many of how many
        bytes are there. Raises DeviceLost, and MeasurementRefused where the device has no room for it.
        """
        if not FILE_NAME.fullmatch(name):
            raise words_refused(name)
        bring(self._place(FILES), path, name, sha256=sha256_file(path), on_bytes=on_bytes)

    @property
    def there(self) -> str:
        """Return the device's folder of files, as its commands find it from the user's home."""
        return self._at(FILES)

    def ready(self) -> None:
        """Return where the device answers; raises DeviceLost."""
        self.line.linked(self.route)

    def shell(self, arguments: Sequence[str], *, timeout_s: float, max_bytes: int) -> Said:
        """Run one command there, each word as it is; raises DeviceLost, also where it does not end in ``timeout_s`` or
        says more than ``max_bytes``. Both its outputs come as one."""
        both = ["sh", "-c", 'exec "$@" 2>&1', "sh", *arguments]
        found = run(self.line, self.route, both, timeout_s=timeout_s, most_bytes=max_bytes)
        if found.status < 0 and not (self.line.link and self.line.link.outlives()):
            raise device_lost(self.device, "the connection broke in the middle of a command")
        return Said(code=found.status, out=found.output)

    def end(self) -> None:
        """End the connection; the transport can be opened again."""
        self.line.drop()

    def _agent_there(self) -> str:
        """Return the name of the agent's archive on the device, once it is there; asked once a connection.

        It is named by its content and never replaced: an agent that runs reads on in it.
        """
        digest = sha256_file(self.agent)
        name = f"agent-{digest[:16]}.pyz"
        link = self.line.linked(self.route)
        if name not in link.there:
            bring(self._place(), self.agent, name, sha256=digest, on_bytes=silent)
            link.there.add(name)
        return name

    def _place(self, *parts: str) -> Place:
        """Return a folder on the device."""
        return Place(line=self.line, route=self.route, python=self._python(), folder=self._at(*parts))

    def _at(self, *parts: str) -> str:
        """Return a path on the device that no program takes for an option."""
        return posixpath.join(_from_home(self.folder), *parts)

    def _python(self) -> str:
        """Return the device's Python as a word that 'env' takes for a program; raises MeasurementRefused."""
        if "=" in self.python or self.python.startswith("-") or not self.python:
            raise device_lacks(self.device, f"'{self.python}' is no name of a Python", "correct the device's 'python'")
        return _from_home(self.python) if "/" in self.python else self.python

    def _environment(self) -> list[str]:
        """Return the variables as words for 'env'; raises UsageInvalid for a name that is none."""
        for name in self.environment:
            if not VARIABLE.fullmatch(name):
                raise words_refused(name)
        return [f"{name}={value}" for name, value in sorted(self.environment.items())]


def _from_home(path: str) -> str:
    """Return a path as a command finds it that starts in the user's home."""
    return path if path.startswith("/") else posixpath.join(".", path.removeprefix("~/"))
