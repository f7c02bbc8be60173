"""Devices that a program is brought to, and no agent: a phone over ADB or a board over SSH of the lab's list, or this
computer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.errors import file_invalid
from harness.inventory import Device, device_named
from harness.lab import read_lab
from harness.native.errors import no_program, no_shell, program_path_invalid, program_unused
from harness.native.shell import LocalShell
from harness.native.transport import Native
from harness.places import lab_folder
from harness.plan import NATIVE, RuntimeName
from harness.transport.adb import Adb
from harness.transport.local import Local
from harness.transport.ssh import Ssh

# What stands before the path of a program that is on the device already.
THERE = "device:"


def reached(name: str, files: Path, *, runtime: RuntimeName, program: Path | None) -> Device:
    """Return a device, reached as its runtime needs: by its agent, or by a program that is brought there.

    Where no program is named, it is the one that the lab's list names for this runtime, else the one that the profile
    says such a device comes with. Raises UsageInvalid for a program that no one needs or that is lacking, and what
    `native` raises.
    """
    if runtime not in NATIVE:
        if program is not None:
            raise program_unused(runtime)
        return device_named(name, files)
    if program is None:
        program = listed_program(name, runtime)
    if program is None:
        known = own_program(device_named(name, files), runtime)
        if known is None:
            raise no_program(name, runtime)
        program = Path(THERE + known)
    return native(name, files, runtime=runtime, program=program)


def listed_program(name: str, runtime: RuntimeName) -> Path | None:
    """Return the program that the lab's list names for a device and this runtime; None where it names none."""
    unit = read_lab().devices.get(name)
    if unit is None or unit.program is None or unit.runtime != runtime:
        return None
    return Path(unit.program) if unit.program.startswith(THERE) else lab_folder() / Path(unit.program).expanduser()


def check_program(program: Path) -> None:
    """Raise FileInvalid where a program that is to be brought to a device is not on this computer."""
    if not str(program).startswith(THERE) and not program.is_file():
        raise file_invalid("program", program, "there is no such file", "give the path of a build for the device")


def own_program(device: Device, runtime: RuntimeName) -> str | None:
    """Return where a kind of device has a runtime's program, as its profile says; None where it says nothing."""
    offer = device.profile.runtimes.get(runtime)
    return None if offer is None else offer.program


def native(name: str, files: Path, *, runtime: RuntimeName, program: Path) -> Device:
    """Return a device of the lab's list, or this computer, that a program is brought to.

    ``files`` is the folder of model files on this computer; a ``program`` of the form device:PATH is on the device
    already. Raises FileInvalid where there is no such program, UsageInvalid for a device that is reached otherwise, and
    what `device_named` raises.
    """
    near = device_named(name, files)
    there = str(program).removeprefix(THERE)
    on_device = there != str(program)
    if on_device and not there.startswith("/"):
        raise program_path_invalid(near.name, there)
    check_program(program)
    transport = over(near, runtime, Path(there) if on_device else program.resolve(), on_device)
    return replace(near, transport=transport)


def over(near: Device, runtime: RuntimeName, program: Path, on_device: bool) -> Native:
    """Return the way to run a program on a device, by the way to the device; raises UsageInvalid where there is
    none."""
    way = near.transport
    make = partial(Native, device=near.name, runtime=runtime, program=program, on_device=on_device)
    if isinstance(way, Adb):
        return make(shell=way, files=way.files, ask=way.ask, leased=True)
    if isinstance(way, Ssh):
        return make(shell=way, files=way.files, agent_there=way, leased=True)
    if isinstance(way, Local):
        return make(shell=LocalShell(device=near.name, folder=way.files / "there"), files=way.files)
    raise no_shell(near.name, runtime)
