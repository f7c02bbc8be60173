"""Which key each host has: files in OpenSSH's known_hosts format, read strictly and changed line by line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import file_invalid
from harness.transport.errors import host_keys_not_written
from harness.transport.sshconfig import Address
from harness.transport.sshlibrary import need_paramiko
from ofa.files import read_capped, replace_whole

if TYPE_CHECKING:
    import paramiko

MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """The public key of a host: its type, its fingerprint as OpenSSH prints it, and the key itself in base64."""

    kind: str
    fingerprint: str
    base64: str

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


def host_key(key: paramiko.PKey) -> HostKey:
    """Return what is kept of a key."""
    return HostKey(kind=key.get_name(), fingerprint=key.fingerprint, base64=key.get_base64())  # type: ignore[attr-defined,unused-ignore]


def pinned(path: Path, address: Address) -> tuple[HostKey, ...]:
    """Return the keys a file has for a host, none where it is absent; raises FileInvalid where a line is damaged."""
    need_paramiko()
    import paramiko

    found = []
    for number, line in enumerate(_lines(path), 1):
        names, entry = _names(line), None
        if address.key_name not in _matching(names, address.key_name):
            continue
        try:
            entry = paramiko.hostkeys.HostKeyEntry.from_line(" ".join(line.split()), number)
        # The parser lets through what its decoders raise; a key that cannot be read must not look like none.
        except Exception as fault:
            raise file_invalid("file of host keys", path, f"line {number} holds no key") from fault
        if entry is None or entry.key is None:
            raise file_invalid("file of host keys", path, f"line {number} holds a key of an unknown type")
        found.append(host_key(entry.key))
    return tuple(found)


def trusted(paths: Iterable[Path], address: Address) -> tuple[HostKey, ...]:
    """Return the keys of a host from the first of some files that has any."""
    for path in paths:
        found = pinned(path, address)
        if found:
            return found
    return ()


def revoked(paths: Iterable[Path], address: Address, key: HostKey) -> Path | None:
    """Return the first of some files that marks a key as one of a host's that must not be trusted any more, or None."""
    for path in paths:
        for mark, hosts, _, base64, *_ in ([*line.split(), "", "", "", ""] for line in _lines(path)):
            names, wanted = hosts.split(","), address.key_name
            about_it = _matching(names, wanted) or any(fnmatchcase(wanted, name) for name in names)
            if mark == "@revoked" and base64 == key.base64 and about_it:
                return path
    return None


def write(path: Path, address: Address, key: HostKey) -> None:
    """Make ``key`` the only key of a host; lines about others stay as they are.

    The file is replaced as a whole or not at all, and only its owner may read it. Raises FileInvalid.
    """
    lines = []
    for line in _lines(path):
        names = _names(line)
        mine = _matching(names, address.key_name)
        left = [name for name in names if name not in mine]
        if not mine:
            lines.append(line)
        elif left:
            lines.append(",".join(left) + line.lstrip()[len(",".join(names)) :])
    lines.append(f"{address.key_name} {key.kind} {key.base64}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_whole(path, "".join(f"{line}\n" for line in lines).encode(), mode=0o600)
    except OSError as fault:
        raise host_keys_not_written(path, fault) from fault


def _lines(path: Path) -> list[str]:
    """Return the lines of a file, none where it is absent."""
    if not path.exists():
        return []
    raw = read_capped(path, max_bytes=MAX_BYTES, what="file of host keys")
    try:
        return raw.decode().splitlines()
    except UnicodeDecodeError as fault:
        raise file_invalid("file of host keys", path, "it is not text") from fault


def _names(line: str) -> list[str]:
    """Return the hosts a line is about: none for a comment, or for a mark such as '@revoked'."""
    words = line.split()
    return [] if not words or words[0][0] in "#@" else words[0].split(",")


def _matching(names: Iterable[str], wanted: str) -> set[str]:
    """Return ``wanted`` where it is among some names, with every hashed name that stands for it."""
    import paramiko

    found = {name for name in names if name == wanted}
    for name in names:
        if name.startswith("|1|") and name.count("|") == 3:
            try:
                hashed = paramiko.HostKeys.hash_host(wanted, name)
            except (ValueError, AssertionError):  # a salt that is no base64 of 20 bytes
                continue
            if hashed == name:
                found |= {wanted, name}
    return found
