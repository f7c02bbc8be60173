"""Real devices over SSH for tests: an OpenSSH server of one's own on loopback or behind a link that can be cut."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from transport.wire import Wire

from harness.transport.knownhosts import HostKey, write
from harness.transport.sshconfig import Address

SSHD = Path("/usr/sbin/sshd")
MISSING = "the package 'openssh-server' is not installed"
START_S = 10.0
BOOT_ID = "/proc/sys/kernel/random/boot_id"
AS_ROOT = os.geteuid() == 0
# A home of the device's own, which no login file of the user's is read in (and no tool of theirs is killed half done).
# Every hand-over is an exec, as where a login shell runs the command itself.
SHELL = """
cd '{home}' || exit 1
case "$SSH_ORIGINAL_COMMAND" in
  *sftp*server|internal-sftp) exec {sftp} ;;
  *) exec /bin/sh -c "$SSH_ORIGINAL_COMMAND" ;;
esac
"""
CONFIG = """
Port {port}
ListenAddress {host}
HostKey {host_key}
AuthorizedKeysFile {authorized}
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
MaxSessions 20
UseDNS no
PrintMotd no
SetEnv OFA_TEST_LAB={token} HOME={home}
Subsystem sftp internal-sftp
ForceCommand exec /bin/sh {shell}
"""


class Sshd:
    """A device: an sshd of the user who runs the test, with a host key, a login key and a home of its own.

    ``folder`` holds all of it and must be the test's own. ``link``: the link it lives behind; otherwise it listens on
    loopback. ``home_mib``: the size of its disk, and ``boots``: it knows its own starts from each other; for root only.
    """

    def __init__(
        self, folder: Path, *, link: Link | None = None, home_mib: int | None = None, boots: bool = False
    ) -> None:
        self.folder = folder
        self.link = link
        self.home_mib = home_mib
        self.boots = boots
        self.home = folder / "home"
        self.host = link.host if link else "127.0.0.1"
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.token = secrets.token_hex(8)
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True)
        for name in ("host", "login"):
            make_key(folder / name)
        shutil.copy(folder / "login.pub", folder / "authorized")
        self.shell = folder / "shell.sh"
        self.shell.write_text(SHELL.format(home=self.home, sftp=sftp_server()))

    @property
    def address(self) -> Address:
        return Address(host=self.host, port=self.port, user=self.user, identities=(self.folder / "login",))

    @property
    def key(self) -> HostKey:
        kind, base64 = (self.folder / "host.pub").read_text().split()[:2]
        printed = subprocess.run(["ssh-keygen", "-lf", self.folder / "host.pub"], capture_output=True, text=True)
        return HostKey(kind=kind, fingerprint=printed.stdout.split()[1], base64=base64)

    @property
    def known_hosts(self) -> Path:
        """Return a file that trusts this device, as it is now."""
        path = self.folder / "known_hosts"
        write(path, self.address, self.key)
        return path

    def start(self, *extra: str) -> Sshd:
        """Start, with more lines of configuration; on another port after the first start only if that is taken."""
        self.stop()
        if self.boots:
            (self.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        return self.serve(*extra)

    def serve(self, *extra: str) -> Sshd:
        """Start the server alone: what runs on the device goes on."""
        for _ in range(5):
            self.port = self.port or free_port()
            config = self.folder / "sshd_config"
            config.write_text("\n".join(extra) + CONFIG.format(
                port=self.port, host=self.host, host_key=self.folder / "host", authorized=self.folder / "authorized",
                token=self.token, home=self.home, shell=self.shell,
            ))  # fmt: skip
            with (self.folder / "sshd.log").open("ab") as log:
                self.process = subprocess.Popen(
                    [*self._around(), str(SSHD), "-D", "-e", "-f", str(config)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
            if self._answers():
                return self
            self.stop()
            self.port = 0
        raise AssertionError("sshd did not start: " + (self.folder / "sshd.log").read_text()[-2000:])

    def _around(self) -> list[str]:
        """Return what goes before sshd: its namespaces, and the folder that it wants of root."""
        inside = ["ip", "netns", "exec", self.link.namespace] if self.link else []
        if not AS_ROOT:
            return inside
        if not may_unshare():
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
            return inside
        steps = ["mount -t tmpfs -o size=64k,mode=755 tmpfs /run", "mkdir -m 755 /run/sshd"]
        if self.boots:
            steps.append(f"mount --bind '{self.folder / 'boot_id'}' {BOOT_ID}")
        if self.home_mib:
            steps.append(f"mount -t tmpfs -o size={self.home_mib}m,mode=700 tmpfs '{self.home}'")
        script = " && ".join([*steps, 'exec "$@"'])
        return [*inside, "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]

    def _answers(self) -> bool:
        """Wait until the server greets."""
        assert self.process
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1) as sock:
                if sock.recv(4) == b"SSH-":
                    return True
            time.sleep(0.02)
        return False

    def processes(self) -> dict[int, str]:
        """Return everything that lives on the device: process numbers with their command lines."""
        assert self.process
        return {number: command_of(number) for number in descendants(self.process.pid) | marked(self.token)}

    def agents(self) -> list[int]:
        """Return the processes that run the agent itself."""
        return sorted(number for number, line in self.processes().items() if re.match(r"\S*python\S* \S*agent-", line))

    def ended(self, within_s: float = 10.0) -> bool:
        """Say whether no process of an agent is left: on a busy computer a killed one is listed for a moment."""
        deadline_s = time.monotonic() + within_s
        while self.agents() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        return not self.agents()

    def workers(self) -> list[int]:
        """Return the processes that work without a connection."""
        return [number for number in self.agents() if "--work" in command_of(number)]

    def followers(self) -> list[int]:
        """Return the processes that speak with a host."""
        return [number for number in self.agents() if "--work" not in command_of(number)]

    @property
    def jobs(self) -> Path:
        """Return the folder of the jobs, as the device sees it."""
        assert self.process
        inside = Path(f"/proc/{self.process.pid}/root") if self.home_mib else Path("/")
        return inside / self.home.relative_to("/") / ".cache" / "ofa-lab" / "jobs"

    def kill(self) -> None:
        """Kill the server and its sessions at once; what runs on the device lives on, without a connection."""
        for number, line in self.processes().items():
            if "sshd" in line.split(" ")[0] or "unshare" in line:
                signal_to(number, signal.SIGKILL)
        self._reap()

    def freeze(self) -> None:
        """Stop everything on the device where it stands."""
        for number in self.processes():
            signal_to(number, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let everything on the device go on."""
        for number in self.processes():
            signal_to(number, signal.SIGCONT)

    def stop(self) -> None:
        """End the device with everything that runs on it."""
        if self.process is None:
            return
        # What is being started while others are killed is found the next time round.
        for _ in range(20):
            found = self.processes()
            if not found:
                break
            for number in found:
                signal_to(number, signal.SIGKILL)
            self._reap()
            time.sleep(0.02)
        self._reap()

    def _reap(self) -> None:
        """Wait for the server's own end."""
        assert self.process
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)


class Link:
    """A network of its own with one host in it, reached over a link that can be cut, fast and whole unless a ``wire``
    is given; for root only.
    """

    def __init__(self, wire: Wire | None = None) -> None:
        self.wire = wire
        self.number = secrets.randbelow(3 * 250)
        self.namespace = f"ofa{os.getpid()}n{self.number}"
        self.here = f"ofa{self.number}h"
        self.net = f"10.{96 + self.number // 250}.{self.number % 250}"
        self.host = f"{self.net}.2"

    def start(self) -> Link:
        # Where the link is down its own route is gone, and packets would leave by the default route.
        ip("route", "add", "unreachable", f"{self.net}.0/24", "metric", "4000000")
        ip("netns", "add", self.namespace)
        if self.wire is None:
            ip("link", "add", self.here, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        else:
            there = f"{self.here[:-1]}t"
            self.wire.lay(self.here, there)
            ip("link", "set", there, "netns", self.namespace, "name", "eth0")
        ip("addr", "add", f"{self.net}.1/24", "dev", self.here)
        ip("-n", self.namespace, "addr", "add", f"{self.host}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "lo", "up")
        ip("-n", self.namespace, "link", "set", "eth0", "up")
        self.up()
        return self

    def down(self) -> None:
        """Cut the link: packets are lost from now on."""
        ip("link", "set", self.here, "down")

    def up(self) -> None:
        """Mend the link."""
        ip("link", "set", self.here, "up")

    def stop(self) -> None:
        """Take it all away."""
        if self.wire is not None:
            self.wire.take_up()
        for words in (
            ("link", "del", self.here), ("netns", "del", self.namespace),
            ("route", "del", "unreachable", f"{self.net}.0/24", "metric", "4000000"),
        ):  # fmt: skip
            subprocess.run(["ip", *words], capture_output=True, timeout=20, check=False)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


def may_unshare(*mount: str) -> bool:
    """Say whether a mount namespace can be made here, and something be mounted in it."""
    mount = mount or ("-t", "tmpfs", "tmpfs", "/mnt")
    command = ["unshare", "--mount", "--propagation", "private", "mount", *mount]
    return AS_ROOT and subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


def may_link(wire: Wire | None = None) -> bool:
    """Say whether a network namespace with a link into it can be made here."""
    if not AS_ROOT or not shutil.which("ip"):
        return False
    link = Link(wire)
    try:
        link.start()
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        link.stop()
    return True


def make_key(path: Path) -> None:
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True, timeout=20)


def sftp_server() -> str:
    """Return where OpenSSH's server for files is."""
    places = ("/usr/lib/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/openssh/sftp-server")
    return next((place for place in places if Path(place).exists()), "/usr/libexec/sftp-server")


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def descendants(root: int) -> set[int]:
    """Return a process, where it lives, and all that it started."""
    parents = dict(living())
    found = {root} & set(parents)
    while grown := {number for number, parent in parents.items() if parent in found} - found:
        found |= grown
    return found


def living() -> Iterator[tuple[int, int]]:
    """Return each living process with its parent."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    yield int(entry.name), int(parent)


def marked(token: str) -> set[int]:
    """Return the living processes whose environment has the token: a session's, whoever their parent is by now."""
    found = set()
    for number, _ in living():
        with contextlib.suppress(OSError):
            if token.encode() in Path(f"/proc/{number}/environ").read_bytes():
                found.add(number)
    return found


def command_of(number: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def signal_to(number: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(number, what)
