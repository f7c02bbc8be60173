"""Who holds a device that no agent of ours runs on: the lease that an agent keeps there, changed through its shell."""

from __future__ import annotations

import json
import posixpath
import re
import secrets
import time
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.native.errors import lease_locked, lease_unwritten, no_uptime
from harness.native.shell import Shell
from ofa.files import sha256_bytes

# An agent renews it every few seconds while a job is followed; between jobs, by every request.
TTL_S = 120
# A program that builds for an hour is waited for as long.
MOST_TTL_S = 7200
QUERY_S = 20.0
MOST_BYTES = 4096
MOST_ANSWER_BYTES = 1 << 16
# How long somebody else may take to change a lease, which is a matter of milliseconds.
PATIENCE_S = 10.0
PAUSE_S = 0.2
# As the agent has it: how much longer than it was given for a lease may seem to hold.
LEEWAY_S = 1.0
NONCE = re.compile(r"[0-9a-f]{16}")
NOT_HELD = "the device is not held by this host any more"

# POSIX words only, and one line: what is sent over SSH holds no line break. Time is what the kernel says since the
# device was started: a clock that nobody can set, and the one an agent there goes by.
LOOK = (
    'read -r now rest < /proc/uptime; echo "$now"; echo "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"; '
    'head -c 4096 "$1/lease.json" 2>/dev/null; exit 0'
)
# Of several that come at once mkdir lets one in. Who died inside left a name there, and whoever waited for that name in
# vain removes it: a second one finds another name, or none. Where it was there and is gone, it is tried again at once.
CHANGE = (
    'cd "$1" 2>/dev/null || { mkdir -p "$1" && cd "$1"; } || exit 1; umask 077; '
    'if [ -n "$5" ]; then rm "lease.change/$5" 2>/dev/null; rmdir lease.change 2>/dev/null; fi; '
    "for turn in 1 2 3 4 5; do why=$(mkdir lease.change 2>&1) && turn=in && break; "
    '[ -d lease.change ] && { echo "busy $(ls lease.change 2>/dev/null)"; exit 0; }; done; '
    '[ "$turn" = in ] || { echo "$why" >&2; exit 1; }; : > "lease.change/$4"; '
    'case "$(head -c 4096 lease.json 2>/dev/null | sha256sum)" in "$2"*) '
    'if [ -z "$3" ]; then rm -f lease.json && echo done; '
    'else printf %s "$3" > "lease.json.$4" && mv -f "lease.json.$4" lease.json && echo done; fi ;; '
    "*) echo changed ;; esac; "
    'rm -f "lease.change/$4" "lease.json.$4"; rmdir lease.change; exit 0'
)


class NotHeld(Exception):
    """Another took the device over; the text goes back to the host."""


class Held(BaseModel):
    """A lease as it lies on the device; until when it holds is told in seconds since the device was started."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    owner: Annotated[str, Field(min_length=1, max_length=200)]
    token: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    ttl_s: Annotated[int, Field(ge=1, le=MOST_TTL_S)]
    boot_id: Annotated[str, Field(max_length=100)]
    until_s: Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was found: the lease, None where there is none that can be read, the bytes it was, and when that was."""

    held: Held | None
    content: bytes
    now_s: float
    boot_id: str

    @property
    def left_s(self) -> float:
        """Return for how long the lease holds, not beyond a restart of the device.

        Not every device tells its starts apart by an id: one that seems to hold for longer than it was given for is
        from before a restart, too, or damaged.
        """
        if self.held is None or self.held.boot_id != self.boot_id:
            return 0.0
        left_s = self.held.until_s - self.now_s
        return left_s if left_s <= self.held.ttl_s + LEEWAY_S else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Whether the device is ours; ``owner`` is who holds it instead, or from whom it was taken over."""

    granted: bool
    owner: str | None
    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The lease of one device, beside the folder of its files, where an agent keeps it too."""

    device: str
    shell: Shell

    @property
    def folder(self) -> str:
        """Return the folder that holds it."""
        return posixpath.dirname(self.shell.there)

    def take(self, owner: str, token: str, ttl_s: int, *, force: bool = False) -> Taken:
        """Take the device unless another holds it; one that ran out is taken over, one that has not where ``force``.

        Raises DeviceLost, MeasurementRefused where it cannot be written.
        """
        while True:
            seen = self.look()
            held, left_s = seen.held, seen.left_s
            other = held is not None and held.token != token
            if held is not None and other and left_s > 0 and not force:
                return Taken(granted=False, owner=held.owner, left_s=round(left_s, 1))
            if self._changed(seen, owner=owner, token=token, ttl_s=ttl_s):
                return Taken(granted=True, owner=held.owner if held is not None and other else None, left_s=ttl_s)

    def renew(self, token: str, *, ttl_s: int = TTL_S) -> None:
        """Let the lease run anew, for so long; raises NotHeld where another took it over, DeviceLost."""
        while True:
            seen = self.look()
            if seen.held is None or seen.held.token != token:
                raise NotHeld(NOT_HELD)
            if self._changed(seen, owner=seen.held.owner, token=token, ttl_s=ttl_s):
                return

    def give_back(self, token: str) -> bool:
        """Give the device back; say whether it was still ours. Raises DeviceLost."""
        while True:
            seen = self.look()
            if seen.held is None or seen.held.token != token:
                return False
            if self._changed(seen):
                return True

    def look(self) -> Seen:
        """Return who holds the device; raises DeviceLost, MeasurementRefused where it does not tell how long it has
        run."""
        said = self.shell.shell(["sh", "-c", LOOK, "sh", self.folder], timeout_s=QUERY_S, max_bytes=MOST_ANSWER_BYTES)
        uptime, boot_id, content = [*said.out.split(b"\n", 2), b"", b""][:3]
        if not re.fullmatch(rb"[0-9]{1,10}\.[0-9]{1,9}", uptime.strip()):
            raise no_uptime(self.device)
        return Seen(
            held=read(content), content=content, now_s=float(uptime), boot_id=boot_id.decode("ascii", "replace").strip()
        )

    def _changed(self, seen: Seen, **held: str | int) -> bool:
        """Write a lease that begins now, or none, in place of the one seen; say whether that was still there.

        Raises MeasurementRefused where it cannot be written, or somebody takes too long to change it.
        """
        new = json.dumps({**held, "boot_id": seen.boot_id, "until_s": seen.now_s + int(held["ttl_s"])}) if held else ""
        expected, nonce = sha256_bytes(seen.content), secrets.token_hex(8)
        since_s, inside, stale = time.monotonic(), "", ""
        while True:
            words = ["sh", "-c", CHANGE, "sh", self.folder, expected, new, nonce, stale]
            said = self.shell.shell(words, timeout_s=QUERY_S, max_bytes=MOST_ANSWER_BYTES)
            text = said.out.decode("ascii", "replace").strip()
            if said.code == 0 and text in ("done", "changed"):
                return text == "done"
            if said.code != 0 or not text.startswith("busy"):
                raise lease_unwritten(self.device, said.err.decode("utf-8", "replace").strip() or text)
            name = text.removeprefix("busy").strip()
            if stale and name == inside:
                raise lease_locked(self.device, f"{self.folder}/lease.change")
            if name != inside:
                since_s, inside = time.monotonic(), name
            late = time.monotonic() - since_s > PATIENCE_S
            stale = (name if NONCE.fullmatch(name) else "none") if late else ""
            time.sleep(0.0 if late else PAUSE_S)


def read(content: bytes) -> Held | None:
    """Return a lease; None where it is none that can be read."""
    try:
        return Held.model_validate_json(content) if len(content) < MOST_BYTES else None
    except ValidationError:
        return None
