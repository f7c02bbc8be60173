"""A connection to a host over SSH: found, trusted, logged in to, and never waited for without an end."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.transport.errors import device_unreachable, host_changed, host_revoked, host_unknown, login_refused
from harness.transport.knownhosts import HostKey, host_key, revoked, trusted
from harness.transport.sshconfig import Address
from harness.transport.sshlibrary import need_paramiko

if TYPE_CHECKING:
    import paramiko

AGENT_S = 3.0
KEEPALIVE_S = 5
MOMENT_S = 0.05
OUTLIVES_S = 0.5
USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")
# A value of the lab's list goes before that of the configuration.
WRITTEN = "it stands in 'ssh' of the lab's list (lab.toml), else in the host's block of ~/.ssh/config"
NAMED = "check the name of the host: 'ssh' in the lab's list (lab.toml), or 'HostName' of its block in ~/.ssh/config"
ON_THE_DEVICE = "see that it is switched on, and that 'ssh' reaches it from here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How to get to a device, by whose keys it is trusted, and how long to wait.

    ``connect_s`` bounds each hop from the first packet to the login, ``silence_s`` what is sent and never acknowledged.
    """

    device: str
    address: Address
    known_hosts: tuple[Path, ...]
    connect_s: float
    silence_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A connection that is logged in, with those to the hosts before it."""

    transport: paramiko.Transport
    before: Link | None = None
    # What was found to be on the device already; asked again over the next connection only.
    there: set[str] = field(default_factory=set)

    @property
    def alive(self) -> bool:
        """Say whether nothing has ended the connection yet."""
        return self.transport.is_active()

    def outlives(self) -> bool:
        """Say whether the connection outlived a session that has just ended: its end is seen a little later."""
        until_s = time.monotonic() + OUTLIVES_S
        while self.alive and time.monotonic() < until_s:
            time.sleep(0.02)
        return self.alive

    def close(self) -> None:
        """End the connection, the device's before those it goes through."""
        self.transport.close()
        if self.before:
            self.before.close()


def connect(route: Route) -> Link:
    """Connect and log in, through other hosts where the address says so; raises DeviceLost."""
    need_paramiko()
    before = _before(route)
    transport: paramiko.Transport | None = None
    try:
        deadline_s = time.monotonic() + route.connect_s
        transport, keys = _shaken(route, before, deadline_s)
        _check_key(route, transport, keys)
        _log_in(route, transport, deadline_s)
        transport.set_keepalive(KEEPALIVE_S)
    except BaseException:
        if transport:
            transport.close()
        if before:
            before.close()
        raise
    return Link(transport=transport, before=before)


def shown_key(route: Route) -> HostKey:
    """Return the key a host shows, trusted or not, without logging in there; raises DeviceLost."""
    need_paramiko()
    before = _before(route)
    try:
        transport, _ = _shaken(route, before, time.monotonic() + route.connect_s)
        try:
            return host_key(transport.get_remote_server_key())
        finally:
            transport.close()
    finally:
        if before:
            before.close()


@contextlib.contextmanager
def bounded(transport: paramiko.Transport, timeout_s: float) -> Iterator[None]:
    """End the connection where a block takes longer: some waits of the library have no limit of their own."""
    timer = threading.Timer(max(0.0, timeout_s), transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _before(route: Route) -> Link | None:
    """Connect to the host that leads to this one, where there is one."""
    return connect(replace(route, address=route.address.jump)) if route.address.jump else None


def _shaken(route: Route, before: Link | None, deadline_s: float) -> tuple[paramiko.Transport, tuple[HostKey, ...]]:
    """Return an encrypted connection to a host nobody has trusted yet, and the keys known for it."""
    import paramiko

    keys = trusted((*route.known_hosts, *route.address.known_hosts), route.address)
    began_s = time.monotonic()
    sock = _through(route, before) if before else _socket(route)
    transport = paramiko.Transport(sock)
    left_s = _left(deadline_s)
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = left_s
    transport.channel_timeout = route.connect_s
    options = transport.get_security_options()
    # A host has several keys: it shows the one of a type we ask for first.
    first = [kind for key in keys for kind in (RSA_SIGNATURES if key.kind == "ssh-rsa" else (key.kind,))]
    known = [kind for kind in first if kind in options.key_types]
    options.key_types = [*known, *(kind for kind in options.key_types if kind not in known)]
    try:
        transport.start_client(timeout=left_s)
        transport.get_remote_server_key()  # raises where the time ran out: the line above then says nothing
    except (paramiko.SSHException, EOFError, OSError) as fault:
        transport.close()
        raise _no_handshake(route, fault, time.monotonic() - began_s) from fault
    return transport, keys


def _no_handshake(route: Route, fault: Exception, took_s: float) -> Exception:
    """Say why no encrypted connection came about."""
    import paramiko

    place = f"'{route.address}'"
    if isinstance(fault, paramiko.ssh_exception.IncompatiblePeer):
        return device_unreachable(
            route.device, f"{place} speaks SSH too old or too new for paramiko: {fault}", "update it"
        )
    if took_s >= 0.9 * route.connect_s:
        why = f"{place} took the connection and then said nothing of SSH for {took_s:.0f} s"
        return device_unreachable(route.device, why, "it may be frozen or overloaded: look at it, or start it again")
    if "banner" in str(fault) or "protocol version" in str(fault):
        why = f"what answers at {place} is not SSH, or hung up at once"
        return device_unreachable(route.device, why, "check the port", "see that sshd there does not limit connections")
    return device_unreachable(route.device, f"{place} broke off the handshake: {fault or 'end of file'}", ON_THE_DEVICE)


def _socket(route: Route) -> socket.socket:
    """Return a TCP connection that notices when the other side is gone; raises DeviceLost."""
    address, place = route.address, f"'{route.address}'"
    try:
        sock = socket.create_connection((address.host, address.port), timeout=route.connect_s)
    except socket.gaierror as fault:
        why = f"the name '{address.host}' is not known here: {fault.strerror}"
        raise device_unreachable(route.device, why, NAMED, "or check the network") from fault
    except ConnectionRefusedError as fault:
        why = f"nothing listens at {place}"
        raise device_unreachable(route.device, why, "start sshd on the device", f"check the port: {WRITTEN}") from fault
    except TimeoutError as fault:
        why = f"{place} did not answer for {route.connect_s:g} s"
        raise device_unreachable(route.device, why, ON_THE_DEVICE) from fault
    except (OSError, UnicodeError) as fault:
        raise device_unreachable(route.device, f"{place}: {fault}", ON_THE_DEVICE) from fault
    # Two small writes and then a wait: without this a command takes 48 ms instead of 4.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_S),
        # The only thing that ends a read from a device whose cable was pulled.
        ("TCP_USER_TIMEOUT", int(route.silence_s * 1000)),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


def _through(route: Route, before: Link) -> paramiko.Channel:
    """Return a connection to a host by way of another; raises DeviceLost."""
    import paramiko

    address = route.address
    try:
        place = (address.host, address.port)
        return before.transport.open_channel("direct-tcpip", place, ("127.0.0.1", 0), timeout=route.connect_s)
    except paramiko.ChannelException as fault:
        why = f"'{address.jump}' cannot reach '{address}', or may not: {fault.text}"
        raise device_unreachable(route.device, why, "try 'ssh' from there", "see its 'AllowTcpForwarding'") from fault
    except (paramiko.SSHException, EOFError, OSError) as fault:
        why = f"'{address.jump}' did not connect to '{address}': {fault or 'end of file'}"
        raise device_unreachable(route.device, why, ON_THE_DEVICE) from fault


def _check_key(route: Route, transport: paramiko.Transport, keys: tuple[HostKey, ...]) -> None:
    """Refuse a host whose key nobody has pinned, that shows another than the pinned one, or a revoked one; raises
    DeviceLost."""
    shown = host_key(transport.get_remote_server_key())
    if path := revoked((*route.known_hosts, *route.address.known_hosts), route.address, shown):
        raise host_revoked(route.device, route.address.key_name, str(shown), path)
    if not keys:
        raise host_unknown(route.device, route.address.key_name, shown.kind, shown.fingerprint)
    if shown not in keys:
        raise host_changed(route.device, route.address.key_name, [str(key) for key in keys], str(shown))


def _log_in(route: Route, transport: paramiko.Transport, deadline_s: float) -> None:
    """Log in with a key file or a key of the ssh-agent; never by password; raises DeviceLost."""
    import paramiko

    address, tried = route.address, 0
    notes: list[str] = []
    for key in _keys(address, notes):
        transport.auth_timeout = _left(deadline_s)
        try:
            more = transport.auth_publickey(address.user, key)
        except paramiko.BadAuthenticationType as fault:
            notes.append("it takes only " + ", ".join(fault.allowed_types))
            break
        except (paramiko.SSHException, EOFError, OSError) as fault:
            tried += 1
            if not transport.is_active() or _left(deadline_s) <= MOMENT_S:
                notes.append(f"it broke off: {fault}")
                break
            continue
        if not more:
            return
        tried += 1
        notes.append("it asks for more than a key: " + ", ".join(more))
        break
    why = f"'{address}' took none of {tried} keys" if tried else f"there is no key to log in to '{address}' with"
    broke_off = tried and not transport.is_active()
    raise login_refused(
        route.device,
        "; ".join([why, *notes]),
        *(() if tried or notes else ("make a key first: ssh-keygen -t ed25519",)),
        f"'ssh-copy-id -p {address.port} {address.user}@{address.host}' from this computer",
        f"or check the user: {WRITTEN}; and 'IdentityFile', which only ~/.ssh/config has",
        for_good=not broke_off,
    )


def _left(deadline_s: float) -> float:
    """Return the seconds left, never none at all: the library takes 0 for no limit."""
    return max(MOMENT_S, deadline_s - time.monotonic())


def _keys(address: Address, notes: list[str]) -> Iterator[paramiko.PKey]:
    """Return the keys to try: files first, then those of the ssh-agent; what cannot be used is noted."""
    import paramiko

    usual = [Path("~/.ssh").expanduser() / name for name in USUAL_KEYS]
    for path in address.identities or [path for path in usual if path.exists()]:
        try:
            yield paramiko.PKey.from_path(path)
        except (TypeError, paramiko.PasswordRequiredException):
            notes.append(f"'{path}' is locked by a passphrase: 'ssh-add' it")
        except OSError as fault:
            notes.append(f"'{path}': {fault.strerror}")
        # A file that is no key is told about and passed over, whatever its decoder thinks of it.
        except Exception:
            notes.append(f"'{path}' is no key that can be read")
    yield from _agent_keys(notes)


def _agent_keys(notes: list[str]) -> Iterable[paramiko.PKey]:
    """Return the keys an ssh-agent offers, none where it does not answer soon."""
    import paramiko

    found: list[paramiko.PKey] = []

    def ask() -> None:
        with contextlib.suppress(paramiko.SSHException, OSError):
            found.extend(paramiko.Agent().get_keys())

    if not os.environ.get("SSH_AUTH_SOCK"):
        return ()
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(AGENT_S)
    if asking.is_alive():
        notes.append("the ssh-agent does not answer")
        return ()
    return found
