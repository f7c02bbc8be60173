"""What is wrong with a device, or with this host, and what to type: each check a line, each failure a remedy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness import gate
from harness.answers import Facts
from harness.errors import RESUME_HINT
from harness.inventory import Device
from harness.lab import read_lab
from harness.lease import ended, for_a_moment, leased
from harness.native import facts
from harness.native.devices import check_program, listed_program, over
from harness.native.phone import Phone
from harness.needs import PACKAGES, PROGRAMS, Purpose, packages
from harness.places import LAB, lab_folder
from harness.plan import NATIVE
from harness.prepare import TIERS, check_way
from harness.refusals import kept_busy, mended
from harness.session import greet
from harness.transport.adb import Adb
from harness.ways import use_of
from ofa.errors import MeasurementRefused, OfaError, install
from ofa.folders import cache_folder
from ofa.lut.markdown import count

LEAST_FREE_MIB = 2048
WORK = "other work there"
QUIETEN = "end what runs there; a round waits for that, unless --allow-load is added: the table then says 'loaded'"
# Packages that the bare verb looks for: one of each kind.
USUAL = ("onnx", "flatbuffers", "paramiko", "xgboost", "torch", "plotly")
KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: fine, or not, with what was seen and what to type; ``exit_code`` is that of the
    error which measuring would end with.

    What is not there and not ``asked`` for is no fault, and not fine either.
    """

    what: str
    fine: bool
    seen: str
    remedy: str = ""
    exit_code: int = MeasurementRefused.exit_code
    asked: bool = True

    def row(self) -> dict[str, Any]:
        """Return it as JSON; whether what nobody asks for is fine is nothing."""
        fine = self.fine if self.asked else None
        return {"check": self.what, "fine": fine, "seen": self.seen, "try": self.remedy}


def of_host() -> Iterator[Check]:
    """Look at this computer: packages, programs, the lab's list, room for files, other work."""
    for name in USUAL:
        yield _package(name)
    yield _list()
    if any(unit.adb for unit in _units()):
        yield _program("adb", "adb")
    yield _room()
    yield _busy()


def of_purpose(purpose: Purpose) -> Iterator[Check]:
    """Look at what this computer lacks for one thing that somebody wants to do."""
    for name in packages(purpose):
        yield _package(name)
    for program, system_package in PROGRAMS.get(purpose, {}).items():
        yield _program(program, system_package)
    if purpose is Purpose.ssh:
        yield _key()
    if purpose in (Purpose.ssh, Purpose.adb):
        yield _list()
    if purpose in (Purpose.bench, Purpose.train, Purpose.demo):
        yield _room()


def _package(name: str) -> Check:
    """Say whether a package is installed, and what brings it."""
    there, package = find_spec(name) is not None, PACKAGES[name]
    remedy = "" if there else f"{install(package.extra)}   (for {package.why})"
    return Check(what=f"package {name}", fine=there, seen="installed" if there else "not installed", remedy=remedy)


def _program(name: str, system_package: str) -> Check:
    """Say whether a program is there, and what brings it."""
    there = shutil.which(name) is not None
    remedy = "" if there else f"apt install {system_package}"
    return Check(what=f"program {name}", fine=there, seen="found" if there else "not found", remedy=remedy)


def _key() -> Check:
    """Say whether this user has a key that a board could know."""
    folder = Path.home() / ".ssh"
    there = [name for name in KEYS if (folder / name).exists()]
    told = folder / "config"
    if not there and os.environ.get("SSH_AUTH_SOCK"):
        there = ["an ssh-agent"]
    if not there and told.is_file() and "identityfile" in told.read_text(errors="replace").lower():
        there = ["those of ~/.ssh/config"]
    seen = ", ".join(there) or "none in ~/.ssh, and no ssh-agent"
    remedy = "" if there else "ssh-keygen -t ed25519, then: ssh-copy-id USER@BOARD"
    return Check(what="SSH key", fine=bool(there), seen=seen, remedy=remedy)


def _list() -> Check:
    """Say how many devices the lab's list has, and where it lies."""
    lab = lab_folder() / LAB
    try:
        known = len(read_lab().devices)
    except OfaError as fault:
        return _failed("lab's list", fault)
    seen = f"{count(known, 'device')} in {lab}" if lab.exists() else f"none at {lab}"
    return Check(what="lab's list", fine=True, seen=seen)


def _room() -> Check:
    """Say whether files have room."""
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    free_mib = shutil.disk_usage(folder).free >> 20
    fine = free_mib >= LEAST_FREE_MIB
    remedy = "" if fine else f"free some space, or point OFA_CACHE elsewhere; {LEAST_FREE_MIB:,} MiB are enough"
    return Check(what="room for files", fine=fine, seen=f"{free_mib:,} MiB free at {folder}", remedy=remedy)


def _busy() -> Check:
    """Say whether this computer is quiet enough to be measured itself."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    fine = load < 0.5 * cores
    remedy = "" if fine else "measure this computer itself when it is quiet; other devices are not concerned"
    return Check(what="other work here", fine=fine, seen=f"load {load:.2f} on {cores} cores", remedy=remedy)


def _units() -> list[Any]:
    """Return the devices of the lab's list; none where it cannot be read, which is told by its own check."""
    try:
        return list(read_lab().devices.values())
    except OfaError:
        return []


def of_device(find: Callable[[], Device]) -> Iterator[Check]:
    """Look at a device: the way to it, its agent, who holds it, its runtimes, how warm and how free it is."""
    try:
        device = find()
    except OfaError as fault:
        yield _failed("profile and address", fault)
        return
    yield Check(what="profile and address", fine=True, seen=f"kind {device.kind}")
    yield from _use(device)
    try:
        hello = greet(device)
    except OfaError as fault:
        failed = _failed("agent", fault)
        yield failed
        # A phone without a Python is held all the same, by programs that are brought to it. One that is not there says
        # so once.
        if isinstance(device.transport, Adb) and _answers(device.transport):
            yield from (check for check in (*_held(device), *_without_agent(device)) if check.seen != failed.seen)
        return
    python = str(hello.environment.get("python", "unreadable"))
    yield Check(what="agent", fine=True, seen=f"greets, Python {python}")
    if leased(device):
        yield from _held(device)
    yield _cores(device, hello.environment)
    yield from _runtimes(device)
    yield from _programs(device)
    yield from _heat(device, hello.state)
    yield from _work(device)


def _answers(way: Adb) -> bool:
    """Say whether a phone's shell can be asked: why not is told in other words each time."""
    try:
        way.ready()
    except OfaError:
        return False
    return True


def _without_agent(device: Device) -> Iterator[Check]:
    """Look at a phone that no agent runs on: programs can be brought there all the same."""
    way = device.transport
    assert isinstance(way, Adb)
    try:
        files = facts.read(way, facts.ENVIRONMENT)
        environment = Phone(device=device.name, ask=way.ask).environment(may_pin="taskset" in facts.tools(files))
        environment |= facts.environment(files)
        state = facts.state(facts.read(way, facts.STATE))
    except OfaError as fault:
        yield _failed("shell", fault)
        return
    seen = f"answers: {environment['model']}, Android {environment['android']}, {environment['abis']}"
    yield Check(what="shell", fine=True, seen=f"{seen}; it can be measured by a program, without the agent")
    yield _cores(device, environment)
    yield from _programs(device)
    yield from _heat(device, state)
    yield from _load(environment, state)


def _cores(device: Device, environment: Facts) -> Check:
    """Say which cores of a device are fast, and which of them are measured on where nobody says."""
    tiers = environment.get(TIERS)
    apart = f"the fastest first: {tiers}; measured on are {device.profile.cores}, or what '--cores' says"
    alike = "of one kind, or nobody can tell: a process runs on any of them"
    return Check(what="cores", fine=True, seen=alike if tiers is None else apart)


def _programs(device: Device) -> Iterator[Check]:
    """Say of each program that the profile names where it is, or what to bring."""
    for name, offer in device.profile.runtimes.items():
        if name not in NATIVE:
            continue
        what, units = f"program {name}", ", ".join(offer.units)
        if offer.program is None:
            seen = f"for {units}: none comes with us; '--program FILE' brings your build, whose SHA-256 is recorded"
            yield Check(what=what, fine=True, seen=seen)
            continue
        try:
            sha256 = over(device, name, Path(offer.program), on_device=True).sha256_there()
        except OfaError as fault:
            yield _failed(what, fault)
            continue
        fine = sha256 is not None
        seen = f"for {units}: {offer.program}" + (f", sha256 {sha256[:12]}…" if sha256 else " is not there")
        remedy = "" if fine else f"install it there, or name it: '--program FILE' or '--program device:PATH' ({name})"
        yield Check(what=what, fine=fine, seen=seen, remedy=remedy)


def _use(device: Device) -> Iterator[Check]:
    """Say whether a device can be measured with what the lab's list says, where it does."""
    unit = read_lab().devices.get(device.name)
    if unit is None or not unit.use:
        return
    try:
        use = use_of(device.name, {})
        check_way(device, use.runtime, use.way)
        if (program := listed_program(device.name, use.runtime)) is not None:
            check_program(program)
    except OfaError as fault:
        yield _failed("the list's runtime", fault)
        return
    yield Check(what="the list's runtime", fine=True, seen=" ".join(map(str, unit.use.values())))


def _held(device: Device) -> Iterator[Check]:
    """Say who holds a device, by asking for it for a moment."""
    try:
        answer = for_a_moment(device, "a check")
        seen = "free" if answer.granted else f"held by {answer.owner}, for {answer.left_s:.0f} s"
        rest = "that measurement has ended: type it again with --resume" if ended(answer.owner or "") else "wait"
        remedy = "" if answer.granted else f"{rest}, or: ofa devices release {device.name}"
        yield Check(what="lease", fine=answer.granted, seen=seen, remedy=remedy)
    except OfaError as fault:
        yield _failed("lease", fault)


def _runtimes(device: Device) -> Iterator[Check]:
    """Try every runtime the profile names, each in a process of its own: one that crashes takes no other along.

    One that is not there is a fault where the lab's list names it, or names none and no other runs. What is a program
    that somebody brings along is not there to be tried.
    """
    unit = read_lab().devices.get(device.name)
    named = unit.use.get("runtime") if unit is not None else None
    ready: dict[str, bool] = {}
    said: dict[str, str] = {}
    for name in (name for name in device.profile.runtimes if name not in NATIVE):
        try:
            found = [runtime for runtime in greet(device, (name,)).runtimes if runtime.name == name]
        except OfaError as fault:
            yield _failed(f"runtime {name}", fault)
            continue
        ready[name] = bool(found) and found[0].ready
        running = f"runs, version {found[0].version}" if ready[name] else None
        said[name] = running or (found[0].reason if found else None) or "unknown there"
    for runtime, seen in said.items():
        python = unit.python if unit is not None and device.transport.remote else ""
        spare = not ready[runtime] and runtime != named and (named is not None or any(ready.values()))
        remedy = mended(runtime, python, listed=bool(python))
        yield Check(
            what=f"runtime {runtime}",
            fine=ready[runtime] or spare,
            seen=f"not there, and none that is asked for: {seen}" if spare else seen,
            remedy="" if ready[runtime] or spare else remedy,
            asked=not spare,
        )


def _heat(device: Device, state: Facts) -> Iterator[Check]:
    """Say how warm a device is, against what its profile allows."""
    limit_c, now_c, throttled = device.profile.calm.max_temp_c, None, ""
    try:
        now = gate.seen(device, state)
        now_c, throttled = gate.hottest_c(now), gate.held_back(now)
    except OfaError as fault:
        yield _failed("temperature", fault)
        limit_c = None
    if limit_c is not None or throttled:
        fine = not throttled and limit_c is not None and now_c is not None and now_c <= limit_c
        seen = "no sensor can be read" if now_c is None else f"{now_c:.1f} °C"
        seen += "" if limit_c is None else f", limit {limit_c:g} °C"
        seen += f"; held back: {throttled}" if throttled else ""
        yield Check(what="temperature", fine=fine, seen=seen, remedy="" if fine else "let it cool, or look at its fan")


def _work(device: Device) -> Iterator[Check]:
    """Say how many cores other work keeps busy, asked as before each round, against what its profile allows."""
    limit = device.profile.calm.max_foreign_cores
    try:
        cores = gate.foreign_cores(device)
    except OfaError as fault:
        yield _failed(WORK, fault)
        return
    if cores is not None:
        fine = cores <= limit
        yield Check(what=WORK, fine=fine, seen=kept_busy(cores, limit), remedy="" if fine else QUIETEN)


def _load(environment: Facts, state: Facts) -> Iterator[Check]:
    """Say how busy a device is by its load, where no agent tells how many cores others keep busy."""
    load = state.get("load_1min")
    if isinstance(load, int | float):
        cores = environment.get("cores")
        fine = not isinstance(cores, int) or load < 0.5 * cores
        yield Check(what=WORK, fine=fine, seen=f"load {load:.2f}", remedy="" if fine else QUIETEN)


def _failed(what: str, fault: OfaError) -> Check:
    """Return an error as a check that failed; here nothing is measured that could be gone on with."""
    return Check(
        what=what,
        fine=False,
        seen=f"{fault.what}" + (f": {fault.why}" if fault.why else ""),
        exit_code=fault.exit_code,
        remedy="; ".join(hint for hint in fault.hints if hint != RESUME_HINT) or "look at the way to it, and ask again",
    )
