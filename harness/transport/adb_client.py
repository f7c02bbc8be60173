"""Runs the program adb for one phone: what state it is in, and queries to its shell that end with a record of our own.

The exit code of adb is never believed: it is 0 where the phone has no shell_v2, and where the phone vanished.
"""

from __future__ import annotations

import re
import secrets
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import answer_refused, device_lost
from harness.transport import child
from harness.transport.child import Ended
from harness.transport.contract import Said
from harness.transport.errors import adb_missing, adb_server_silent, phone_not_ready, serial_invalid
from ofa.errors import DeviceLost, OfaError, printable

SERVER_S = 20.0  # the first command starts the server, which takes seconds on a busy computer
RACE_PAUSES_S = (0.5, 1.0, 2.0)
CONNECT_S = 15.0
LETS_GO_S = 1.0
ALREADY = "already connected"
SETTLE_S = 6.0
MAX_BYTES = 1 << 20
MAX_WORDS = 300
# A serial that 'adb connect' takes: a name or address, and a port.
TCP_SERIAL = re.compile(r"(?:\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}")
# What adb puts before the reason, which is not one itself.
FAILED = re.compile(r"^(?:adb: )?(?:error: )?failed to connect to '[^']*': (?=.)")
STATES = (
    "device", "offline", "unauthorized", "authorizing", "connecting", "no permissions", "recovery", "sideload",
    "rescue", "bootloader", "host", "detached", "unknown",
)  # fmt: skip


def bounded(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    max_bytes: int,
    on_turn: Callable[[], None] = lambda: None,
) -> Ended:
    """Run adb for at most ``timeout_s``, as `child.finish` does; raises PackageMissing where it is not there."""
    try:
        process = child.start(command, environment=environment)
    except OSError as fault:
        raise adb_missing(command[0], fault.strerror or "it cannot be started") from fault
    return child.finish(process, timeout_s=timeout_s, max_bytes=max_bytes, on_turn=on_turn)


def server(adb: str, server_port: int | None, *words: str, timeout_s: float = SERVER_S) -> Ended:
    """Ask the adb server something that is about no single phone; raises PackageMissing."""
    return bounded([adb, *words], environment=variables(server_port), timeout_s=timeout_s, max_bytes=MAX_BYTES)


def variables(server_port: int | None) -> dict[str, str]:
    """Return what adb's environment must hold to find a server that is not at its usual port."""
    return {} if server_port is None else {"ANDROID_ADB_SERVER_PORT": str(server_port)}


def states(adb: str = "adb", server_port: int | None = None) -> dict[str, str]:
    """Return the state of every phone the adb server knows, by serial; raises DeviceLost, PackageMissing."""
    for pause_s in RACE_PAUSES_S:
        ended = server(adb, server_port, "devices")
        if not ended.why and ended.code == 0:
            return parse_states(ended.out.decode("utf-8", "replace"))
        if ended.why:
            break
        # Of many that start the server at once one succeeds, and the others fail: it is there a moment later.
        time.sleep(pause_s)
    said = ended.err.decode("utf-8", "replace").strip().splitlines()
    raise adb_server_silent(ended.why or printable(said[-1] if said else f"exit code {ended.code}")[:MAX_WORDS])


def parse_states(text: str) -> dict[str, str]:
    """Return serial and state of each line of 'adb devices', with or without '-l'; "unknown" for one it never says."""
    found: dict[str, str] = {}
    _, _, listed = text.partition("List of devices attached")
    for line in listed.splitlines():
        serial, _, rest = line.partition("\t") if "\t" in line else line.strip().partition(" ")
        if serial.strip() and rest.strip():
            rest = rest.strip()
            named = [state for state in STATES if rest == state or rest.startswith((state + " ", state + ";"))]
            found[serial.strip()] = named[0] if named else "unknown"
    return found


def check_serial(device: str, serial: str) -> None:
    """Raise UsageInvalid where a serial is none, or one that adb or a terminal would take for something else."""
    if not serial or serial.startswith("-") or not serial.isprintable():
        raise serial_invalid(device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One phone, by its serial, as the program adb reaches it."""

    device: str
    serial: str
    adb: str = "adb"
    server_port: int | None = None

    def __post_init__(self) -> None:
        """Refuse a serial that adb, or a terminal, would take for something else; raises UsageInvalid."""
        check_serial(self.device, self.serial)

    def argv(self, *words: str) -> list[str]:
        """Return a command line about this phone and no other."""
        return [self.adb, "-s", self.serial, *words]

    @property
    def environment(self) -> dict[str, str]:
        """Return what adb's environment must hold."""
        return variables(self.server_port)

    def run(
        self,
        *words: str,
        timeout_s: float,
        max_bytes: int = MAX_BYTES,
        on_turn: Callable[[], None] = lambda: None,
    ) -> Ended:
        """Run adb for this phone, bounded; raises PackageMissing."""
        command = self.argv(*words)
        return bounded(command, environment=self.environment, timeout_s=timeout_s, max_bytes=max_bytes, on_turn=on_turn)

    def shell(self, words: Sequence[str], *, timeout_s: float, max_bytes: int = MAX_BYTES) -> Said:
        """Run one command on the phone, each word quoted for its shell, and return what it said.

        Raises DeviceLost where it did not end within ``timeout_s``, gave more than ``max_bytes``, or the phone is gone.
        """
        token = f"__end_{secrets.token_hex(8)}:"
        ended = self.run("shell", f"{quoted(words)}; echo {token}$?", timeout_s=timeout_s, max_bytes=max_bytes)
        # No line of its own: the record comes right behind an output that ends in the middle of a line.
        found = re.search(re.escape(token.encode()) + rb"([0-9]{1,3})(\r?)\n\Z", ended.out)
        if found is None:
            raise self.lost(ended)
        out = ended.out[: found.start()]
        # Old phones give every command a terminal, which turns each end of line into two characters.
        return Said(code=int(found[1]), out=out.replace(b"\r\n", b"\n") if found[2] else out, err=ended.err)

    def lost(self, ended: Ended) -> DeviceLost:
        """Return why adb gave no answer, from the state the phone is in now."""
        if ended.too_long:
            return answer_refused(self.device, ended.why)
        said = self.cleaned(ended.err)
        why = ended.why or "the connection ended before the answer did"
        return self.explained(device_lost(self.device, f"{why}; adb says: {said}" if said else why))

    def explained(self, fault: DeviceLost) -> DeviceLost:
        """Return a better reason for a fault where the phone's state gives one, else the fault itself."""
        try:
            known = states(self.adb, self.server_port)
        except OfaError as other:
            return other if isinstance(other, DeviceLost) else fault
        state = known.get(self.serial)
        return fault if state == "device" else phone_not_ready(self.device, self.serial, state, tuple(known))

    def cleaned(self, said: bytes) -> str:
        """Return adb's last words, fit for a terminal, without the serial: faults are kept in journals."""
        lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
        last = FAILED.sub("", lines[-1].strip()) if lines else ""
        return printable(last.replace(f"'{self.serial}'", "it").replace(self.serial, "it"))[:MAX_WORDS]

    def ready(self) -> None:
        """Return where the phone answers; one over TCP that is offline or absent is connected once.

        Raises DeviceLost saying what to do about the state it is in.
        """
        known, said = states(self.adb, self.server_port), ""
        if known.get(self.serial) in (None, "offline", "connecting") and TCP_SERIAL.fullmatch(self.serial):
            # A stale connection is not replaced: 'adb connect' then says "already connected", and it stays offline.
            if self.serial in known:
                server(self.adb, self.server_port, "disconnect", self.serial, timeout_s=CONNECT_S)
            said, known = self._connected()
            if self.serial not in known and ALREADY in said:
                # The server had not let go of the old connection yet.
                time.sleep(LETS_GO_S)
                said, known = self._connected()
        deadline_s = time.monotonic() + SETTLE_S
        while known.get(self.serial) in ("connecting", "authorizing") and time.monotonic() < deadline_s:
            time.sleep(0.2)
            known = states(self.adb, self.server_port)
        if known.get(self.serial) != "device":
            raise phone_not_ready(self.device, self.serial, known.get(self.serial), tuple(known), said)

    def _connected(self) -> tuple[str, dict[str, str]]:
        """Ask the server to connect the phone; return what it said, and the state of every phone after that."""
        ended = server(self.adb, self.server_port, "connect", self.serial, timeout_s=CONNECT_S)
        # What came of it stands in the text alone: the exit code was 0 whatever happened, for years.
        said = ended.why or self.cleaned(ended.out + b"\n" + ended.err)
        return said, states(self.adb, self.server_port)

    def features(self) -> frozenset[str]:
        """Return what the phone's daemon can do, by adb's names; raises DeviceLost."""
        ended = self.run("features", timeout_s=SERVER_S)
        if ended.why or ended.code != 0:
            raise self.lost(ended)
        return frozenset(ended.out.decode("utf-8", "replace").split())


def quoted(words: Sequence[str]) -> str:
    """Return a command line that a POSIX shell takes apart into exactly these words."""
    return " ".join(shlex.quote(word) for word in words)
