"""The way to a device without an agent: the agent beside it runs in this process, and a program on the device."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.errors import answer_refused, device_lost
from harness.native.agent import Beside
from harness.native.bare import SHAPES, network
from harness.native.board import Board
from harness.native.errors import mask_invalid
from harness.native.lease import Lease
from harness.native.phone import Phone
from harness.native.programs import PROGRAMS
from harness.native.runner import Runner, sha256_on
from harness.native.runs import Use
from harness.native.shell import Shell
from harness.plan import RuntimeName
from harness.transport.android import Ask
from harness.transport.contract import OnBytes, Transport, silent
from ofa.files import sha256_bytes, write_atomic

MASK = re.compile(r"[0-9a-f]{1,64}")
# A new process finds its cores asleep and its clocks low: the tools' own usual warm-up is half a second.
WARM_S = 0.2
RUN_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Native:
    """How to run a program on a device, and the folder here of the networks it runs.

    ``runtime`` is the program's word, ``program`` its file here, ``use`` what is the device's own of how it runs one.
    ``mask`` pins it to cores, hex digits as `taskset` takes them. ``ask`` asks a phone for what only phones say, and
    for which of its cores are fast; ``agent_there`` starts the agent of a board, which is asked for that. The program
    is a path on the device where it is ``on_device`` already. Where it is ``leased`` other hosts reach it, too, and it
    is held by a lease that lies on it.
    """

    device: str
    shell: Shell
    runtime: RuntimeName
    program: Path
    files: Path
    use: Use = field(default_factory=Use)
    context: Literal["shell", "app"] = "shell"
    mask: str | None = None
    ask: Ask | None = None
    leased: bool = False
    agent_there: Transport | None = None
    on_device: bool = False
    warm_s: float = WARM_S
    run_s: float = RUN_S

    def __post_init__(self) -> None:
        """Refuse a mask that is none; raises UsageInvalid."""
        if self.mask is not None and (MASK.fullmatch(self.mask) is None or int(self.mask, 16) == 0):
            raise mask_invalid(self.device, self.mask)

    @property
    def agent(self) -> Path:
        """Return the program: nothing else of ours is on the device."""
        return self.program

    @property
    def remote(self) -> bool:
        """Say that files need not be brought: the agent beside the device reads this computer's folder itself."""
        return False

    @property
    def private(self) -> tuple[str, ...]:
        """Return the words by which the device's shell is found."""
        return self.shell.private

    def open(self) -> Conversation:
        """Begin a conversation: nothing is started on the device yet. Raises DeviceLost where it does not answer."""
        self.shell.ready()
        phone: Phone | Board | None = None if self.ask is None else Phone(device=self.device, ask=self.ask)
        if self.agent_there is not None:
            phone = Board(device=self.device, transport=self.agent_there)
        runner = Runner(
            shell=self.shell,
            runtime=self.runtime,
            program=self.program,
            on_device=self.on_device,
            path_of=self.path_of,
            mask=self.mask,
            phone=phone,
        )
        beside = Beside(
            runner=runner,
            use=self.use,
            context=self.context,
            phone=phone,
            lease=Lease(device=self.device, shell=self.shell) if self.leased else None,
            warm_s=self.warm_s,
            run_s=self.run_s,
        )
        return Conversation(self.device, beside)

    def path_of(self, name: str) -> Path:
        """Return where a network is here by its name; a bare one is written where it is not there yet."""
        if name not in SHAPES:
            return self.files / name
        data = network(name, PROGRAMS[self.runtime].suffix)
        path = self.files / sha256_bytes(data)
        if not path.exists():
            write_atomic(path, data)
        return path

    def sha256_there(self) -> str | None:
        """Return the SHA-256 of the program that is on the device already, None where it cannot be read; raises
        DeviceLost."""
        self.shell.ready()
        return sha256_on(self.shell, str(self.program))

    def push(self, path: Path, name: str, *, on_bytes: OnBytes = silent) -> None:
        """Do nothing: the agent beside the device reads this computer's folder."""

    def end(self) -> None:
        """Do nothing: each command has a connection of its own."""


class Conversation:
    """A conversation with the agent beside a device: it works on while its answers are waited for."""

    __slots__ = ("answers", "beside", "device")

    def __init__(self, device: str, beside: Beside) -> None:
        """Take the agent."""
        self.device = device
        self.beside = beside
        self.answers: Iterator[dict[str, Any]] = iter(())

    def send(self, line: bytes, *, timeout_s: float) -> None:
        """Take one request line; it is worked on as its answers are received."""
        self.answers = self.beside.answer(line)

    def receive(self, *, timeout_s: float, max_bytes: int) -> bytes:
        """Return the next answer; raises DeviceLost at their end, and where the device does not answer.

        Every command on the device has a limit of its own, which is what is waited for at most.
        """
        record = next(self.answers, None)
        if record is None:
            raise device_lost(self.device, "nothing is left to be heard")
        line = json.dumps(record, allow_nan=False).encode()
        if len(line) > max_bytes:
            raise answer_refused(self.device, f"a line of more than {max_bytes:,} bytes")
        return line

    def close(self) -> None:
        """End the conversation."""
        self.answers = iter(())

    kill = close
