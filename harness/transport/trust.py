"""Which hosts the lab trusts: a host's key is fetched, shown to a person, and pinned; never changed silently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.transport import sshlink
from harness.transport.errors import key_pinned_already
from harness.transport.knownhosts import HostKey, pinned, write
from harness.transport.sshconfig import Address
from ofa.errors import UsageInvalid

__all__ = ["HostKey", "another_key", "fetch_key", "pin", "pinned"]


def fetch_key(
    address: Address, timeout_s: float, *, device: str | None = None, known_hosts: Path | None = None
) -> HostKey:
    """Return the key a host shows, without logging in there; type and fingerprint are as OpenSSH prints them.

    ``device``: what messages call it. A host behind others is asked through them: they are logged in to, and must be
    trusted by ``known_hosts`` before. Raises DeviceLost.
    """
    return sshlink.shown_key(
        sshlink.Route(
            device=device or address.host,
            address=address,
            known_hosts=() if known_hosts is None else (known_hosts,),
            connect_s=timeout_s,
            silence_s=timeout_s,
        )
    )


def pin(path: Path, address: Address, key: HostKey, *, device: str | None = None, replace: bool = False) -> None:
    """Trust a host by a key from now on: the file is replaced whole, readable by its owner only.

    Raises UsageInvalid where the host has another key there, unless that is to be ``replace``-d; FileInvalid.
    """
    before = pinned(path, address)
    if before == (key,) or (key in before and not replace):
        return
    if before and not replace:
        raise another_key(device or address.host, address, before, key)
    write(path, address, key)


def another_key(device: str, address: Address, before: Sequence[HostKey], key: HostKey) -> UsageInvalid:
    """Return the error for a host that is trusted by other keys than the one it shows."""
    return key_pinned_already(device, address.key_name, [str(one) for one in before], str(key))
