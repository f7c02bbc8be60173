"""Who holds this device: one owner at a time, known to the device itself, so that two hosts see the same."""

import contextlib
import fcntl
import json
import os
import re
import time
from typing import IO, Any, Callable, Dict, Iterator, Optional

import bench
import probe
import store

TOKEN = re.compile(r"^[0-9a-f]{32}\Z")
MOST_OWNER_CHARACTERS = 200
LEAST_TTL_S, MOST_TTL_S = 5, 3600
PATIENCE_S = 10
# How much longer than it was given for a lease may seem to hold: a shell reads the clock in hundredths of a second.
LEEWAY_S = 1.0
# Python has a name for it since 3.7.
BOOT_TIME = getattr(time, "CLOCK_BOOTTIME", 7)

Send = Callable[[Dict[str, Any]], None]
Held = Dict[str, Any]


class NotHeld(bench.RequestInvalid):
    """Whoever asks does not hold the device any more."""


def lease(request: Dict[str, Any], files: str, send: Send) -> None:
    """Grant the device to who asks, unless another holds it; a lease that ran out is taken over, and said so."""
    owner, token, ttl_s = request.get("owner"), token_of(request), request.get("ttl_s")
    if not isinstance(owner, str) or not 0 < len(owner) <= MOST_OWNER_CHARACTERS:
        raise bench.RequestInvalid("'owner' must be a text of at most %d characters" % MOST_OWNER_CHARACTERS)
    if not isinstance(ttl_s, int) or isinstance(ttl_s, bool) or not LEAST_TTL_S <= ttl_s <= MOST_TTL_S:
        raise bench.RequestInvalid("'ttl_s' must be a whole number from %d to %d" % (LEAST_TTL_S, MOST_TTL_S))
    with alone(files) as path:
        held = read(path)
        left_s = 0.0 if held is None else remaining_s(held)
        other = held is not None and held["token"] != token
        if held is not None and other and left_s > 0 and request.get("force") is not True:
            send({"ev": "leased", "granted": False, "owner": held["owner"], "left_s": round(left_s, 1)})
            return
        write(path, {"owner": owner, "token": token, "ttl_s": ttl_s})
    taken = held["owner"] if held is not None and other else None
    send({"ev": "leased", "granted": True, "owner": taken, "left_s": float(ttl_s)})


def release(request: Dict[str, Any], files: str, send: Send) -> None:
    """Give the device back; nothing happens where another holds it by now."""
    token = token_of(request)
    with alone(files) as path:
        held = read(path)
        mine = held is not None and held["token"] == token
        if mine:
            os.unlink(path)
    send({"ev": "released", "held": mine})


def renew(files: str, token: Any) -> None:
    """Let a lease run anew, as whoever works under it does again and again.

    Raises NotHeld where it was broken, or another took it over: two hosts that measure at once disturb each other.
    """
    if token is None:
        return
    with alone(files) as path:
        held = read(path)
        if held is None or held["token"] != token:
            raise NotHeld("the device is not held by this host any more")
        write(path, {name: held[name] for name in ("owner", "token", "ttl_s")})


def token_of(request: Dict[str, Any]) -> str:
    """Return the secret by which an owner is known; raises RequestInvalid."""
    token = request.get("token")
    if not isinstance(token, str) or not TOKEN.match(token):
        raise bench.RequestInvalid("'token' must be 32 hex digits")
    return token


@contextlib.contextmanager
def alone(files: str) -> Iterator[str]:
    """Give the path of the lease while no other process looks at it."""
    folder = os.path.dirname(os.path.abspath(files))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, "lease.lock"), "a+") as lock:
        deadline = time.monotonic() + PATIENCE_S
        while not taken(lock):
            if time.monotonic() > deadline:
                raise bench.RequestInvalid("another agent has kept the lease locked for %d s" % PATIENCE_S)
            time.sleep(0.02)
        yield os.path.join(folder, "lease.json")


def taken(lock: IO[str]) -> bool:
    """Take a lock where it is free; say whether it is ours now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def read(path: str) -> Optional[Held]:
    """Return the lease; None where there is none that can be read."""
    try:
        with open(path, "rb") as stream:
            held = json.loads(stream.read(4096).decode("utf-8"))
    except (OSError, ValueError):
        return None
    wanted = {"owner": str, "token": str, "ttl_s": int, "boot_id": str, "until_s": float}
    if not isinstance(held, dict) or not all(isinstance(held.get(name), kind) for name, kind in wanted.items()):
        return None
    return held


def remaining_s(held: Held) -> float:
    """Return for how long a lease holds: by a clock that nobody can set, and not beyond a restart of the device.

    Not every device tells its starts apart by an id: one that seems to hold for longer than it was given for is from
    before a restart, too, or damaged.
    """
    left_s = held["until_s"] - now_s() if held["boot_id"] == probe.boot_id() else 0.0
    return float(left_s) if left_s <= held["ttl_s"] + LEEWAY_S else 0.0


def now_s() -> float:
    """Return for how long the device has run, also asleep, s: what /proc/uptime says, by which a shell goes."""
    try:
        return time.clock_gettime(BOOT_TIME)
    except (AttributeError, OSError):
        return time.monotonic()


def write(path: str, held: Held) -> None:
    """Write a lease that begins now, whole or not at all."""
    content = dict(held, boot_id=probe.boot_id(), until_s=now_s() + held["ttl_s"])
    store.write(path, json.dumps(content).encode("utf-8"), mode=0o600)
