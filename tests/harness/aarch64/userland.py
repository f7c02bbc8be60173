"""An aarch64 board for tests: Debian's userland under qemu-user, with runtimes and an sshd of its own. No time it tells
is one of a board.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from transport.lab import descendants, free_port, make_key, marked, signal_to

from harness.transport.knownhosts import HostKey, write
from harness.transport.sshconfig import Address

ROOT = Path(__file__).resolve().parents[3]
# Where the userland is kept from run to run; who does not set it did not ask for it.
VARIABLE = "OFA_AARCH64"
MIRROR = os.environ.get("OFA_AARCH64_MIRROR", "http://deb.debian.org/debian")
SUITE, PYTHON, PACKAGES = "bookworm", "3.11", "python3,openssh-server,ca-certificates"
PROGRAMS = {"qemu-aarch64-static": "qemu-user-static", "debootstrap": "debootstrap", "update-binfmts": "binfmt-support"}
BINFMT = Path("/proc/sys/fs/binfmt_misc")
BUILD_S, WHEELS_S, START_S = 7200, 3600, 120
PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
# What each runtime needs beside itself; not asked of pip, which would look at the host's architecture.
WHEELS = {
    "onnxruntime": ("constraints.txt", ("onnxruntime", "numpy", "flatbuffers", "protobuf", "packaging")),
    "litert": (
        "constraints.txt",
        ("ai-edge-litert", "numpy", "backports.strenum", "flatbuffers", "tqdm", "typing_extensions", "protobuf"),
    ),
    "tflite_runtime": ("constraints-tflite.txt", ("tflite-runtime", "numpy")),
    "torch": (
        "constraints.txt",
        (
            # The last one whose wheel for aarch64 does not need CUDA's libraries.
            *("torch==2.8.0", "numpy", "filelock", "typing_extensions", "sympy", "mpmath", "networkx", "Jinja2"),
            *("MarkupSafe", "fsspec"),
        ),
    ),
}
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey /etc/ofa/host
AuthorizedKeysFile /etc/ofa/authorized
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
LoginGraceTime 300
UseDNS no
SetEnv OFA_TEST_LAB={token}
Subsystem sftp internal-sftp
"""


def lacking() -> str:
    """Return why there can be no such board here; empty where there can."""
    if not os.environ.get(VARIABLE):
        return "it takes long and a network: tox run -e aarch64"
    if os.geteuid() != 0:
        return "an aarch64 userland needs root"
    packages = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if packages:
        return "an aarch64 userland needs the packages " + ", ".join(f"'{package}'" for package in packages)
    return ""


def unreachable() -> str:
    """Return why Debian's archive cannot be used; empty where it can."""
    address = f"{MIRROR}/dists/{SUITE}/Release"
    try:
        with urllib.request.urlopen(address, timeout=30):
            return ""
    except OSError as fault:
        return f"an aarch64 userland needs a network: {address} says {fault}"


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Let this computer run aarch64 programs, and put back what was changed for that."""
    mounted, known = (BINFMT / "register").exists(), (BINFMT / "qemu-aarch64").exists()
    if not mounted:
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=True, timeout=20)
    if not known:
        subprocess.run(["update-binfmts", "--enable", "qemu-aarch64"], check=True, timeout=20)
    try:
        yield
    finally:
        if not known:
            subprocess.run(["update-binfmts", "--disable", "qemu-aarch64"], check=False, timeout=20)
        if not mounted:
            subprocess.run(["umount", BINFMT], check=False, timeout=20)


def built(folder: Path) -> Path:
    """Return the root of the userland in a folder, which is made where it is not there or was left unfinished."""
    root, mark = folder / SUITE, f"{SUITE} {PACKAGES}\n"
    done = folder / f"{SUITE}.done"
    if done.exists() and done.read_text() == mark:
        return root
    shutil.rmtree(root, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    command = ["debootstrap", "--arch=arm64", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root), MIRROR]
    with (folder / "debootstrap.log").open("wb") as log:
        ended = subprocess.run(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=BUILD_S, check=False)
    assert ended.returncode == 0, (folder / "debootstrap.log").read_text(errors="replace")[-3000:]
    done.write_text(mark)
    return root


def pins(runtime: str) -> list[str]:
    """Return what is installed for a runtime, by the versions this project is checked with."""
    file, names = WHEELS[runtime]
    found = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / file).read_text(), re.MULTILINE))
    return [name if "==" in name else f"{name}=={found[name]}" for name in names]


def equipped(root: Path, runtime: str) -> str:
    """Bring the wheels of a runtime into the userland, once; return their folder there."""
    place, wanted = root / "opt" / runtime, " ".join(pins(runtime))
    done = root / "opt" / f"{runtime}.done"
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_aarch64")]
        abis = [word for name in ("cp311", "abi3", "none") for word in ("--abi", name)]
        command = [
            sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:", "--no-compile",
            "--python-version", PYTHON, "--implementation", "cp", *abis, *platforms, "--target", str(place),
            *pins(runtime),
        ]  # fmt: skip
        ended = subprocess.run(command, capture_output=True, text=True, timeout=WHEELS_S, check=False)
        assert ended.returncode == 0, f"{runtime} has no wheels for aarch64: {ended.stderr[-2000:]}"
        done.write_text(wanted)
    return f"/opt/{runtime}"


class Board:
    """The userland with its own sshd, in a mount namespace of its own; it listens on loopback."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self.token, self.port = secrets.token_hex(8), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        own = root / "etc" / "ofa"
        own.mkdir(mode=0o755, exist_ok=True)
        for name in ("host", "login"):
            make_key(folder / name)
        shutil.copy(folder / "host", own / "host")
        shutil.copy(folder / "login.pub", own / "authorized")
        (own / "sshd_config").write_text(CONFIG.format(port=self.port, token=self.token))
        shutil.rmtree(root / "root" / ".cache", ignore_errors=True)

    @property
    def address(self) -> Address:
        return Address(host="127.0.0.1", port=self.port, user="root", identities=(self.folder / "login",))

    @property
    def known_hosts(self) -> Path:
        path = self.folder / "known_hosts"
        kind, base64 = (self.folder / "host.pub").read_text().split()[:2]
        printed = subprocess.run(["ssh-keygen", "-lf", self.folder / "host.pub"], capture_output=True, text=True)
        write(path, self.address, HostKey(kind=kind, fingerprint=printed.stdout.split()[1], base64=base64))
        return path

    def start(self) -> Board:
        """Start its sshd and wait until it greets."""
        steps = [
            f"mount --rbind /dev '{self.root}/dev'", f"mount -t proc proc '{self.root}/proc'",
            f"mount -t tmpfs -o mode=755 tmpfs '{self.root}/run'", f"mkdir -m 755 '{self.root}/run/sshd'",
            f"exec chroot '{self.root}' /usr/sbin/sshd -D -e -f /etc/ofa/sshd_config",
        ]  # fmt: skip
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", " && ".join(steps)]
        with (self.folder / "sshd.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
                if sock.recv(4) == b"SSH-":
                    return self
            time.sleep(0.2)
        self.stop()
        raise AssertionError("its sshd did not start: " + (self.folder / "sshd.log").read_text()[-2000:])

    def stop(self) -> None:
        """End everything that runs there."""
        assert self.process
        for _ in range(50):
            found = descendants(self.process.pid) | marked(self.token)
            if not found:
                break
            for number in found:
                signal_to(number, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)
            time.sleep(0.05)
