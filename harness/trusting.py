"""Pins the host key of a device that is reached by SSH, once somebody has compared its fingerprint."""

from __future__ import annotations

import sys
from typing import Any

from harness.errors import not_by_ssh, not_trusted
from harness.lab import read_lab, refuse_placeholder
from harness.places import known_hosts
from ofa import console

ASK_S = 10.0


def trusted(name: str, *, yes: bool, replace: bool) -> dict[str, Any]:
    """Show a device's fingerprint, ask, and trust its key from then on; return what is trusted, and if that is new.

    A key that is trusted already is said to be. Asks only at a terminal; elsewhere ``yes`` must say that the
    fingerprint was compared. A key that differs from the trusted one is taken only where ``replace``; else nobody is
    asked. Raises UsageInvalid, DeviceLost, FileInvalid where the list has no address of the device yet.
    """
    from harness.transport import trust
    from harness.transport.sshconfig import resolve

    unit = read_lab().devices.get(name)
    if unit is None or unit.ssh is None:
        raise not_by_ssh(name)
    refuse_placeholder(name, unit)
    address = resolve(unit.ssh)
    key = trust.fetch_key(address, ASK_S, device=name, known_hosts=known_hosts())
    facts = {"device": name, "key": key.kind, "fingerprint": key.fingerprint, "kept_in": str(known_hosts())}
    console.note(f"device '{name}' shows the key {key.kind} {key.fingerprint}")
    before = trust.pinned(known_hosts(), address)
    if before == (key,):
        # Who is asked to compare what was compared before learns to agree without looking.
        console.note("that is the one that is trusted already: nothing was changed")
        return facts | {"changed": False}
    if before and key not in before:
        if not replace:
            raise trust.another_key(name, address, before, key)
        console.warn(f"until now it was trusted by {', '.join(map(str, before))}: find out why that changed")
    console.note("compare it with what the device itself says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
    terminal = sys.stdin.isatty()
    if not yes and not (terminal and _agreed()):
        raise not_trusted(name, key.fingerprint, asked=terminal, replace=replace)
    trust.pin(known_hosts(), address, key, device=name, replace=replace)
    return facts | {"changed": True}


def _agreed() -> bool:
    """Ask at a terminal whether a key is to be trusted: what a pipe says, nobody has compared."""
    return input("trust this key? [y/N] ").strip().lower() in ("y", "yes")
