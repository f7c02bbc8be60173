"""Holds a device while we measure on it: the lease lies on the device, so that two hosts see the same one."""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

from harness.answers import Leased, Released
from harness.inventory import Device
from harness.link import Link
from harness.native.lease import TTL_S, Lease, Taken
from harness.native.transport import Native
from harness.places import lab_folder
from harness.refusals import device_held, no_lease
from harness.transport.adb import Adb
from ofa import console
from ofa.errors import DeviceAway, DeviceLost
from ofa.files import sha256_bytes, write_atomic

MOMENT_S = 5


@contextmanager
def held(device: Device, folder: Path, *, force: bool = False) -> Iterator[Device]:
    """Hold a device for what is measured into a folder, and give it back at the end; this computer needs no lease.

    Whoever goes on with the same folder on the same host is the same owner, also after a crash. A lease that ran out is
    taken over with a message, one that has not only where ``force``. Raises MeasurementRefused, DeviceLost.
    """
    if not leased(device):
        yield device
        return
    token = token_of(folder)
    request = {"do": "lease", "owner": owner(), "token": token, "ttl_s": TTL_S, "force": force}
    answer = asked(device, request)
    if not answer.granted:
        raise device_held(device.name, answer.owner or "somebody", answer.left_s)
    if answer.owner is not None:
        console.warn(f"took device '{device.name}' over from {answer.owner}, whose lease {_ended(force)}")
    away = False
    try:
        yield replace(device, lease=token)
    except DeviceAway:
        # It was waited for as long as anything may take; the lease runs out by itself.
        away = True
        raise
    finally:
        if not away:
            with suppress(DeviceLost):
                released(device, token)


def leased(device: Device) -> bool:
    """Say whether other hosts reach a device, so that it is held by a lease; this computer's folders are locked."""
    way = device.transport
    return way.remote or (isinstance(way, Native) and way.leased)


def _ended(force: bool) -> str:
    """Say how a lease came to an end."""
    return "was broken, as you asked" if force else "ran out"


def asked(device: Device, request: dict[str, object]) -> Leased:
    """Return what a device says to a request for its lease."""
    link = Link(device)
    try:
        return link.kept(lambda: link.one(request, Leased))
    finally:
        link.kill()


def released(device: Device, token: str) -> bool:
    """Give a device back; say whether it was still ours."""
    link = Link(device, retry_s=0.0)
    try:
        return link.one({"do": "release", "token": token}, Released).held
    finally:
        link.kill()


def owner() -> str:
    """Return how the other host's people know who holds a device."""
    return f"{getpass.getuser()} on {platform.node() or 'a host'} (process {os.getpid()})"[:200]


def ended(whose: str) -> bool:
    """Return whether an owner was a process of ours on this host that is no more: its lease runs on for a while."""
    mine, _, _ = owner().rpartition("(process ")
    left, _, number = whose.rpartition("(process ")
    if left != mine or not re.fullmatch(r"[1-9][0-9]{0,9}\)", number):
        return False
    return not Path(f"/proc/{number[:-1]}").exists()


def token_of(folder: Path) -> str:
    """Return the secret by which whoever measures into a folder on this host is known to a device.

    The host's name is in it: several hosts may share one home, and with it the lab's list, and each have a /tmp/run.
    """
    return sha256_bytes(f"{host_id()} {platform.node()} {folder.resolve()}".encode())[:32]


def host_id() -> str:
    """Return what tells this user's hosts from anybody else's; made once, and kept with the lab's list."""
    path = lab_folder() / "host-id"
    if not path.exists():
        draft = path.with_name(f"host-id.{token_hex(4)}")
        write_atomic(draft, token_hex(16) + "\n")
        # Of several that come first at once, one wins.
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        # Not every disk knows links, such as a memory card's.
        except OSError:
            draft.replace(path)
        draft.unlink(missing_ok=True)
    return path.read_bytes()[:64].decode("ascii", "replace").strip()


def broken(device: Device) -> dict[str, object]:
    """Take a device from whoever holds it, give it back at once, and say who that was.

    Raises DeviceLost, and UsageInvalid for this computer, which needs no lease.
    """
    if not leased(device):
        raise no_lease(device.name)
    answer = for_a_moment(device, owner(), force=True)
    return {"device": device.name, "was_held_by": answer.owner}


def for_a_moment(device: Device, whose: str, *, force: bool = False) -> Taken | Leased:
    """Take a device and give it back at once, where nobody holds it or ``force``; return what it says to that.

    A phone is asked through its shell: not every one has a Python for an agent. Raises DeviceLost, MeasurementRefused.
    """
    token, way = token_hex(16), device.transport
    if isinstance(way, Adb):
        way.ready()
        lease = Lease(device=device.name, shell=way)
        taken = lease.take(whose, token, MOMENT_S, force=force)
        if taken.granted:
            lease.give_back(token)
        return taken
    answer = asked(device, {"do": "lease", "owner": whose, "token": token, "ttl_s": MOMENT_S, "force": force})
    if answer.granted:
        released(device, token)
    return answer
