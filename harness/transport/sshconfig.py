"""Where a device over SSH is: addresses as people type them, completed from their SSH configuration."""

from __future__ import annotations

import getpass
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.errors import file_invalid
from harness.transport.errors import address_invalid
from harness.transport.sshlibrary import need_paramiko
from ofa.errors import printable
from ofa.files import read_capped

MAX_BYTES = 1 << 20
MOST_HOPS = 8
SSH_PORT = 22
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._-]+)?")
USER = re.compile(r"[^\s@:/-][^\s@:/]{0,63}")
MATCHES = {"all", "canonical", "final", "host", "originalhost", "user", "localuser"}
WITHOUT_VALUE = {"all", "canonical", "final"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a device is, as whom to log in, with which keys, and through which other host.

    ``alias``: the name the host's key is kept under instead of its address. ``known_hosts``: files with keys of hosts
    that the configuration names; the lab's own file comes first and is not among them.
    """

    host: str
    port: int = SSH_PORT
    user: str
    identities: tuple[Path, ...] = ()
    alias: str | None = None
    jump: Address | None = None
    known_hosts: tuple[Path, ...] = ()

    @property
    def key_name(self) -> str:
        """Return the name the host's key is kept under, as OpenSSH writes it."""
        return self.alias or (self.host if self.port == SSH_PORT else f"[{self.host}]:{self.port}")

    def hops(self) -> tuple[Address, ...]:
        """Return the hosts on the way, the first to be reached first and this one last."""
        return (*(self.jump.hops() if self.jump else ()), self)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" + ("" if self.port == SSH_PORT else f":{self.port}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """The parts of an address as somebody typed it."""

    host: str
    user: str | None
    port: int | None


def resolve(text: str, config_path: Path | None = None) -> Address:
    """Return the address that ``alias``, ``user@host``, ``user@host:port`` or ``ssh://...`` stands for.

    ``config_path`` is ``~/.ssh/config`` where it is not given; a file that is absent says nothing, and the system's
    own is not read. Raises UsageInvalid for a text that is no address, FileInvalid for a configuration that would run
    programs or that would be followed in part only, PackageMissing without paramiko.
    """
    need_paramiko()
    path = Path("~/.ssh/config").expanduser() if config_path is None else config_path
    config = read(path)
    return _resolve(text, path, config, ())


def read(path: Path) -> Any:
    """Return a configuration as `paramiko.SSHConfig`, once it is found to run nothing; raises FileInvalid."""
    import paramiko

    raw = read_capped(path, max_bytes=MAX_BYTES, what="SSH configuration") if path.exists() else b""
    try:
        text = raw.decode()
        refuse_unsafe(path, text)
        return paramiko.SSHConfig.from_text(text)
    except (paramiko.SSHException, ValueError) as fault:
        raise file_invalid("SSH configuration", path, printable(str(fault))[:200]) from fault


def refuse_unsafe(path: Path, text: str) -> None:
    """Refuse what paramiko would execute, leave out, or take for a match without understanding it.

    Lines and words are told apart as paramiko tells them: a difference would be a way around the check.
    """
    import paramiko

    for line in io.StringIO(text):
        found = re.match(paramiko.SSHConfig.SETTINGS_REGEX, line.strip())
        key, value = (found.group(1).lower(), found.group(2)) if found else ("", "")
        if key == "include":
            raise file_invalid(
                "SSH configuration", path, "its 'Include' is not followed: what the other file says would be missing",
                "put the lines of that other file in the place of 'Include'",
            )  # fmt: skip
        words = set(re.split(r"[\s\"'=!\\]+", value.lower())) if key == "match" else set()
        if "exec" in words:
            raise file_invalid(
                "SSH configuration", path, "its 'Match exec' would run a program on this computer",
                "take that block out, or let it match by 'host' or 'user' alone",
            )  # fmt: skip
        if key == "match":
            _refuse_unknown_match(path, value)


def _refuse_unknown_match(path: Path, value: str) -> None:
    """Refuse a 'Match' on something that paramiko does not know: it would match everything."""
    import shlex

    words = iter(shlex.split(value))
    for word in words:
        kind = word.removeprefix("!")
        if kind not in MATCHES:
            raise file_invalid("SSH configuration", path, f"its 'Match {printable(kind)}' is not understood")
        if kind not in WITHOUT_VALUE:
            next(words, None)


def _resolve(text: str, path: Path, config: Any, seen: tuple[str, ...]) -> Address:
    """Resolve one host of a chain; ``seen`` are those that lead to it."""
    typed = parse(text)
    if typed.host in seen or len(seen) >= MOST_HOPS:
        way = " -> ".join([*seen, typed.host])
        raise file_invalid("SSH configuration", path, f"its 'ProxyJump' goes round: {way}")
    import paramiko

    try:
        options: Mapping[str, Any] = config.lookup(typed.host)
    except (paramiko.SSHException, KeyError, ValueError, OSError) as fault:
        raise file_invalid("SSH configuration", path, printable(f"for '{typed.host}': {fault}")[:200]) from fault
    if options.get("proxycommand"):
        raise file_invalid(
            "SSH configuration", path, f"its 'ProxyCommand' for '{typed.host}' is not followed", "use 'ProxyJump'"
        )
    alias = options.get("hostkeyalias")
    address = Address(
        host=_checked(HOST, IPV6, options["hostname"], text),
        port=typed.port or _port(options.get("port", SSH_PORT), text),
        user=_checked(USER, USER, typed.user or options.get("user") or getpass.getuser(), text),
        identities=tuple(_files(options.get("identityfile", ()))),
        alias=None if alias is None else _checked(HOST, IPV6, alias, text),
        known_hosts=tuple(_files(options.get("userknownhostsfile", "").split())),
    )
    jumps = str(options.get("proxyjump", "none"))
    return (
        address if jumps.lower() == "none" else replace(address, jump=_jump(jumps, path, config, (*seen, typed.host)))
    )


def _jump(text: str, path: Path, config: Any, seen: tuple[str, ...]) -> Address:
    """Return the last host of a list of jumps, each reached through the one before it.

    Only the first follows a jump of its own: the list says how to reach the others.
    """
    first, *others = (part.strip() for part in text.split(","))
    address = _resolve(first, path, config, seen)
    for number, other in enumerate(others):
        if number + 2 > MOST_HOPS:
            raise file_invalid("SSH configuration", path, f"its 'ProxyJump' has more than {MOST_HOPS} hosts")
        alone = _without_jump(other, path, config, seen)
        address = replace(alone, jump=address)
    return address


def _without_jump(text: str, path: Path, config: Any, seen: tuple[str, ...]) -> Address:
    """Resolve a host whose way is known already."""
    return replace(_resolve(text, path, config, seen), jump=None)


def parse(text: str) -> Typed:
    """Take an address apart; raises UsageInvalid where it is none."""
    if not text or text.startswith("-") or not text.isprintable():
        raise address_invalid(text, "it is empty, begins with '-' or has control characters")
    rest = text
    if "://" in text:
        try:
            url = urlsplit(text)
        except ValueError as fault:
            raise address_invalid(text, str(fault)) from fault
        if url.scheme != "ssh" or url.path not in ("", "/") or url.query or url.fragment:
            raise address_invalid(text, "only ssh://[user@]host[:port] is understood")
        rest = url.netloc
    user, mark, rest = rest.rpartition("@")
    host, port = rest, ""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", rest)
    if bracketed:
        host, port = bracketed.group(1), bracketed.group(2) or ""
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
        if not port:
            raise address_invalid(text, "nothing stands behind the ':'")
    return Typed(
        host=_checked(HOST, IPV6, host, text),
        user=_checked(USER, USER, user, text) if mark else None,
        port=_port(port, text) if port else None,
    )


def _checked(one: re.Pattern[str], other: re.Pattern[str], value: str, text: str) -> str:
    """Return a value that has one of two forms; raises UsageInvalid."""
    if value.isprintable() and (one.fullmatch(value) or other.fullmatch(value)):
        return value
    raise address_invalid(text, f"'{printable(value)[:100]}' is no name of a host or user")


def _port(value: object, text: str) -> int:
    """Return a port; raises UsageInvalid."""
    if re.fullmatch(r"[0-9]{1,5}", str(value)) and 0 < int(str(value)) < 65536:
        return int(str(value))
    raise address_invalid(text, f"'{printable(str(value))[:20]}' is no port")


def _files(names: object) -> Iterator[Path]:
    """Return files that a configuration names; 'none' is the name of none."""
    assert isinstance(names, list | tuple)
    for name in names:
        if name.lower() not in ("none", "/dev/null"):
            yield Path(name).expanduser()
